"""The description of the interface, held against the routes, the schemas' own schema and what the service answers."""

import json
import re

import pytest
from jsonschema import Draft202012Validator

from service.api import openapi
from service.api.openapi import describe, is_described, operation_of, path_of, problem_codes
from service.api.operations import OPERATIONS
from service.domain.actor import Role
from service.http import queries
from service.sharing_out import all_routes
from tests.system.world import NOBODY, good_request

ROUTES = [route for route in all_routes() if is_described(route)]
DOCUMENT = json.loads(openapi._encoded(tuple(all_routes())))


def _operations():
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def _operation(route):
    return DOCUMENT["paths"][path_of(route)][route.method.lower()]


def _references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _references(part)


def _resolve(reference):
    found = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_every_route_that_is_no_page_is_described_and_nothing_else():
    ours = {f"{route.method} {path_of(route)}" for route in ROUTES}
    assert {name for name, _ in _operations()} == ours
    assert set(OPERATIONS) == ours, "and somebody said what each takes and answers"
    others = [route.path for route in all_routes() if route not in ROUTES]
    assert not [path for path in others if path.startswith(("/api/", "/intake/", "/log/"))]


def test_the_description_is_whole():
    assert re.fullmatch(r"3\.1\.[0-9]+", DOCUMENT["openapi"])
    assert all(DOCUMENT["info"][name] for name in ("title", "version", "description"))
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in _references(DOCUMENT):
        assert _resolve(reference), reference
    names = [operation["operationId"] for _, operation in _operations()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "operation"), list(_operations()))
def test_an_operation_says_what_it_does_takes_answers_and_needs(name, operation):
    assert len(operation["summary"]) > 10
    parts = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
    assert parts == re.findall(r"\{(\w+)\}", name)
    assert min(map(int, operation["responses"])) < 300
    assert {"400", "500", "503"} <= set(operation["responses"])
    for way in operation["security"]:
        assert set(way) <= set(DOCUMENT["components"]["securitySchemes"])
    if "requestBody" in operation:
        assert {"413", "415"} <= set(operation["responses"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_who_may_is_what_the_declaration_says(route):
    operation = _operation(route)
    # A secret in the path is no scheme that a description can name.
    is_open = route.needs.name == "PUBLIC" or "{secret}" in route.path
    assert bool(operation["security"]) != is_open
    assert ("401" in operation["responses"]) == (route.needs.name != "PUBLIC")


def _validate(answer, route):
    """Fail when the answer is none that the description knows."""
    operation, kind = _operation(route), answer.headers.get("Content-Type", "").split(";")[0]
    described = operation["responses"].get(str(answer.status))
    assert described is not None, (route.path, answer.status)
    if "$ref" in described:
        described = _resolve(described["$ref"])
    content = described.get("content")
    if content is None or route.method == "HEAD":
        assert answer.body == b""
        return
    if kind not in content:
        # Content is given out as what it is; the description says bytes or text.
        assert set(content) & {"application/octet-stream", "text/plain"}, (route.path, kind)
        return
    if kind.endswith("json"):
        schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
        Draft202012Validator(schema).validate(answer.json)


MAY = {
    "POST /intake/{source}": None,
    "GET /intake/{source}": None,
    "POST /intake/{source}/k/{secret}": None,
    "OPTIONS /intake/{source}": None,
    "OPTIONS /intake/{source}/k/{secret}": None,
    "PUT /intake/{source}/k/{secret}/{source_id}/recordings/{name}": None,
    "PUT /intake/{source}/{source_id}/recordings/{name}": Role.INTEGRATION,
    "POST /api/v1/contacts": Role.INTEGRATION,
    "POST /api/v1/sources/{source}/statements": Role.INTEGRATION,
    "GET /api/v1/sources/completeness": Role.AUDITOR,
    "PUT /api/v1/contacts/{contact_id}/recordings/{name}": Role.INTEGRATION,
    "POST /api/v1/uploads": Role.INTEGRATION,
    "HEAD /api/v1/uploads/{upload_id}": Role.INTEGRATION,
    "PATCH /api/v1/uploads/{upload_id}": Role.INTEGRATION,
    "DELETE /api/v1/uploads/{upload_id}": Role.INTEGRATION,
    "POST /api/v1/uploads/{upload_id}": Role.INTEGRATION,
    "GET /log/tile/entries/{rest:.+}": Role.AUDITOR,
    "GET /metrics": Role.ADMIN,
}


async def _askers(world):
    handler = await world.person(Role.COMPLAINT_HANDLER)
    machines = {role: await world.token(role) for role in Role}
    machines[None] = NOBODY
    dpo = await world.person(Role.DPO)

    def who(name):
        if "/erasures" in name or name.endswith("/release"):
            return dpo
        return machines[MAY[name]] if name in MAY else handler

    return who


async def test_what_the_service_answers_is_what_the_description_says(world):
    who = await _askers(world)
    answered = set()
    for route in ROUTES:
        name = f"{route.method} {route.path}"
        asker = who(name)
        method, path, body, headers = await good_request(world, asker, name)
        good = await world.ask(asker, method, path, body=body, **headers)
        bad = [
            await world.ask(NOBODY, method, path, body=body, **headers),
            await world.ask(asker, method, path + "?no_such=1", body=body, **headers),
            await world.ask(asker, method, path, body=b"{", Content_Type="application/json"),
            await world.ask(asker, method, path, body=b"{", Content_Encoding="gzip"),
        ]
        if good.status < 300:
            answered.add(name)
        for answer in (good, *bad):
            _validate(answer, route)
    unanswered = {f"{route.method} {route.path}" for route in ROUTES} - answered
    # Those alone whose request has to be signed, or reports what was never opened.
    assert unanswered == {
        "POST /intake/{source}",
        "GET /intake/{source}",
        "POST /intake/{source}/k/{secret}",
        "OPTIONS /intake/{source}",
        "OPTIONS /intake/{source}/k/{secret}",
        "PUT /intake/{source}/k/{secret}/{source_id}/recordings/{name}",
        "POST /api/v1/recordings/{id}/heard",
        # And of mails, of which there is none here.
        "GET /api/v1/messages/{id}/original",
        "GET /api/v1/messages/{id}/attachments/{number}",
    }


async def test_the_query_parameters_are_those_that_the_handlers_take(world, monkeypatch):
    taken, parse = {}, queries.parse_query

    def watched(raw, allowed, **more):
        taken["now"] = set(allowed)
        return parse(raw, allowed, **more)

    monkeypatch.setattr(queries, "parse_query", watched)
    who = await _askers(world)
    for route in ROUTES:
        taken.clear()
        name = f"{route.method} {route.path}"
        method, path, body, headers = await good_request(world, who(name), name)
        await world.ask(who(name), method, path, body=body, **headers)
        assert taken.get("now", set()) == set(operation_of(route).query), name


async def test_the_description_is_served_to_anybody(world):
    answer = await world.ask(NOBODY, "GET", "/api/v1/openapi.json")
    assert answer.json == DOCUMENT
    assert answer.headers["Content-Type"] == "application/json"


def test_pages_are_no_part_of_it():
    document = describe(all_routes())
    assert not [path for path in document["paths"] if path.startswith(("/sign", "/static"))]


def test_every_code_of_a_problem_has_one_status():
    codes = [code for of_status in problem_codes().values() for code in of_status]
    assert len(codes) == len(set(codes))
