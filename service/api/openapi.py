"""``/api/v1/openapi.json``: the interface described (OpenAPI 3.1), from the routes and types that answer it.

What a route needs comes from its declaration, what it says of itself from its handler's docstring, the shapes from the
types in ``operations``; a test compares all of it with what the running service does.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from types import ModuleType
from typing import Any, Final

import msgspec
from aiohttp import web

from service.access import errors as access_errors
from service.api.operations import OPERATIONS, Operation
from service.api.shapes import ProblemDocument
from service.domain import errors as domain_errors
from service.domain.permission import PERMITTED, Permission
from service.http import errors as http_errors
from service.http.frame import ROUTES
from service.http.origins import SAFE_METHODS, TOKEN_HEADER
from service.http.problems import STATUS
from service.http.queries import read_query
from service.http.routes import Credential, Need, Route
from service.keys.errors import KeysUnavailableError

OPENAPI_VERSION: Final = "3.1.0"
API_VERSION: Final = "1"
_REFERENCE: Final = "#/components/schemas/{name}"
_PROBLEM: Final = "application/problem+json"
_JSON: Final = "application/json"
_ABOUT: Final = (
    "Every call, e-mail and chat of customer service, sealed, found, heard and proven. Machines authenticate with "
    "`Authorization: Bearer`, people with a session. Every GET answers HEAD as well. Unknown query parameters and "
    "unknown fields are refused, not ignored. Errors are problems (RFC 9457) with a stable `code`."
)
_WITHOUT_CLASS: Final[Mapping[int, tuple[str, ...]]] = {
    405: ("method_not_allowed",),
    416: ("range_not_satisfiable",),
    417: ("expectation_failed",),
    431: ("head_too_large",),
    503: (KeysUnavailableError.code, "in_doubt", "storage_failed"),
    507: ("full",),
}
"""Codes that are no error of ours, or one of the storage's, or of keys that went away."""
_ANYWHERE: Final = (400, 405, 417, 421, 431, 500, 503, 507)
"""Statuses of problems that every route may answer."""
_OF_BODIES: Final = (408, 413, 415)
_WORDS: Final = re.compile(r"^``[^`]*``(?: \([^)]*\))?:?\s*")
_PATH_PATTERN: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")

Json = dict[str, Any]


def openapi_route() -> Route:
    """Return the route of the description."""
    return Route(
        method="GET", path="/api/v1/openapi.json", handler=get_openapi, needs=Need.PUBLIC
    )


async def get_openapi(request: web.Request) -> web.Response:
    """``GET /api/v1/openapi.json``: this description."""
    read_query(request, ())
    body = _encoded(request.config_dict[ROUTES].routes)
    return web.Response(
        body=body, content_type=_JSON, headers={"Cache-Control": "public, max-age=300"}
    )


@lru_cache(maxsize=4)
def _encoded(routes: tuple[Route, ...]) -> bytes:
    return msgspec.json.encode(describe(routes))


def describe(routes: Iterable[Route]) -> Json:
    """Return the description of those of ``routes`` that programs use: pages and their files are none."""
    described = [route for route in routes if is_described(route)]
    types = [kind for route in described for kind in _types(operation_of(route))]
    shown, components = msgspec.json.schema_components(
        [*types, ProblemDocument], ref_template=_REFERENCE
    )
    schemas = dict(zip(map(id, types), shown, strict=False))
    paths: dict[str, Json] = {}
    for route in described:
        paths.setdefault(path_of(route), {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Taltio", "version": API_VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {f"Problem{status}": _problem(status) for status in problem_codes()},
            "securitySchemes": _schemes(),
        },
    }


def is_described(route: Route) -> bool:
    """Tell whether programs use the route."""
    return not route.is_page and not route.path.startswith("/static/")


def path_of(route: Route) -> str:
    """Return the path without the patterns of its parts."""
    return _PATH_PATTERN.sub(r"{\1}", route.path)


def operation_of(route: Route) -> Operation:
    """Return what the route takes and answers; nothing where nobody said it, which a test finds."""
    return OPERATIONS.get(f"{route.method} {path_of(route)}", Operation())


def problem_codes() -> Mapping[int, tuple[str, ...]]:
    """Return the codes of problems by status, in order."""
    found: dict[int, set[str]] = {}
    for error in _errors(domain_errors, http_errors, access_errors):
        status = next(STATUS[base] for base in error.__mro__ if base in STATUS)
        found.setdefault(status.value, set()).add(error.code)
    for number, codes in _WITHOUT_CLASS.items():
        found.setdefault(number, set()).update(codes)
    return {status: tuple(sorted(found[status])) for status in sorted(found)}


def _errors(*modules: ModuleType) -> Iterator[type[domain_errors.ArchiveError]]:
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, domain_errors.ArchiveError):
                yield value


def problem_statuses(route: Route) -> tuple[int, ...]:
    """Return the statuses of the problems that the route may answer."""
    operation, needs = operation_of(route), route.needs
    statuses = {*_ANYWHERE, *operation.problems}
    if needs is not Need.PUBLIC:
        statuses |= {401, 403}
    if "{" in route.path:
        statuses.add(404)
    if operation.body is not None:
        statuses.update(_OF_BODIES)
    return tuple(sorted(statuses - operation.answers.keys()))


def _types(operation: Operation) -> Iterator[Any]:
    yield from operation.query.values()
    yield from operation.headers.values()
    for kind in (operation.body, *operation.answers.values()):
        if kind is not None and not isinstance(kind, str):
            yield kind


def _operation(route: Route, schemas: Mapping[int, Json]) -> Json:
    operation = operation_of(route)
    described: Json = {
        "operationId": getattr(route.handler, "__name__", ""),
        "summary": _summary(route.handler.__doc__ or ""),
        "tags": [_tag(route)],
        "parameters": list(_parameters(route, schemas)),
        "responses": dict(_responses(route, schemas)),
        "security": _security(route),
    }
    if isinstance(route.needs, Permission):
        described["x-permission"] = route.needs.value
        described["x-roles"] = sorted(
            role for role, may in PERMITTED.items() if route.needs in may
        )
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": _content(operation.body, schemas),
        }
    return {key: value for key, value in described.items() if value != []} | {
        "security": described["security"]
    }


def _summary(docstring: str) -> str:
    """Return the first sentence of a handler, without the route that it begins with."""
    told = _WORDS.sub("", docstring.partition("\n\n")[0]).replace("``", "`")
    words = " ".join(told.split())
    return words[:1].upper() + words[1:]


def _tag(route: Route) -> str:
    parts = route.path.strip("/").split("/")
    return parts[2] if parts[0] == "api" else parts[0]


def _parameters(route: Route, schemas: Mapping[int, Json]) -> Iterator[Json]:
    operation = operation_of(route)
    for name in _PATH_PATTERN.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for place, parameters in (("query", operation.query), ("header", operation.headers)):
        for name, kind in parameters.items():
            schema = dict(schemas[id(kind)])
            described: Json = {"name": name, "in": place, "schema": schema}
            if "description" in schema:
                described["description"] = schema.pop("description")
            yield described


def _responses(route: Route, schemas: Mapping[int, Json]) -> Iterator[tuple[str, Json]]:
    for status, kind in operation_of(route).answers.items():
        described: Json = {"description": HTTPStatus(status).phrase}
        if kind is not None:
            described["content"] = _content(kind, schemas)
        yield str(status), described
    for status in problem_statuses(route):
        yield str(status), {"$ref": f"#/components/responses/Problem{status}"}


def _content(kind: Any, schemas: Mapping[int, Json]) -> Json:  # noqa: ANN401  # a type or a media type
    if isinstance(kind, str):
        return {kind: {}}
    return {_JSON: {"schema": schemas[id(kind)]}}


def _problem(status: int) -> Json:
    codes = {"properties": {"code": {"enum": list(problem_codes()[status])}}}
    reference = {"$ref": _REFERENCE.format(name=ProblemDocument.__name__)}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {_PROBLEM: {"schema": {"allOf": [reference, codes]}}},
    }


def _security(route: Route) -> list[Json]:
    operation = operation_of(route)
    if route.needs is Need.PUBLIC:
        return []
    if route.needs is Need.SENDER:
        return [{proof.value: []} for proof in operation.proofs]
    ways: list[Json] = []
    if Credential.TOKEN in route.accepts:
        ways.append({"bearer": []})
    if Credential.SESSION in route.accepts:
        is_safe = route.method in SAFE_METHODS
        ways.append({"session": []} if is_safe else {"session": [], "csrf": []})
    return ways


def _schemes() -> Json:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of a machine."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-taltio",
            "description": "A person who has signed in. Over plain HTTP the name is `taltio`.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": TOKEN_HEADER,
            "description": "The token of the session, which its pages carry.",
        },
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "The name of a source, and its secret.",
        },
        "twilio": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Twilio-Signature",
            "description": "Twilio's signature of the URL and its parameters.",
        },
        "chatwoot": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Chatwoot-Signature",
            "description": "Chatwoot's signature of the time and the raw body.",
        },
        "meta": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Hub-Signature-256",
            "description": "Meta's signature of the raw body.",
        },
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "webhook-signature",
            "description": "A signature of the raw bytes by the source (Standard Webhooks).",
        },
        "zendesk": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Zendesk-Webhook-Signature",
            "description": "Zendesk's signature of the time and the raw body.",
        },
    }
