"""Errors as answers: what a client is told, and what the operator is."""

import asyncio
import logging

import aiohttp
import pytest
from aiohttp import web

from service.access import errors as access
from service.cli.journal import TextLines
from service.domain import errors as domain
from service.http import errors as http
from service.http.frame import RUNNER_OPTIONS
from service.http.problems import CODES, STATUS, problem_of
from storage import errors as storage
from tests.http.conftest import raw, route


class _NewError(domain.GrantRequiredError):
    code = "new"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (domain.InvalidInputError("say it otherwise"), 400, "invalid_input"),
        (http.MalformedQueryError("what?"), 400, "invalid_query"),
        (domain.NotSignedInError("x"), 401, "not_signed_in"),
        (access.SignInRefusedError("x"), 401, "sign_in_refused"),
        (access.InviteRefusedError("x"), 410, "invite_refused"),
        (domain.NotPermittedError("x"), 403, "not_permitted"),
        (domain.GrantRequiredError("x"), 403, "grant_required"),
        (_NewError("x"), 403, "new"),
        (http.CrossSiteError("x"), 403, "cross_site"),
        (domain.NotFoundError("x"), 404, "not_found"),
        (http.SlowRequestError("x"), 408, "too_slow"),
        (domain.ContradictionError("it was a call"), 409, "contradiction"),
        (domain.ErasedError("x"), 410, "erased"),
        (domain.TooLargeError("x"), 413, "too_large"),
        (http.UnsupportedMediaTypeError("send JSON"), 415, "unsupported_media_type"),
        (http.UnknownHostError("x"), 421, "unknown_host"),
        (access.TooManyRequestsError("x", retry_after=7), 429, "too_many_requests"),
        (domain.TamperedError("x"), 500, "altered"),
        (domain.ArchiveError("x"), 500, "internal"),
        (domain.UnavailableError("x"), 503, "unavailable"),
        (storage.UnavailableError("x"), 503, "unavailable"),
        (storage.BrokenError("x"), 503, "storage_failed"),
        (storage.DoubtfulError("x"), 503, "in_doubt"),
        (storage.FullError("x"), 507, "full"),
        (storage.ConflictError("x"), 500, "internal"),
        (ValueError("x"), 500, "internal"),
        (web.HTTPNotFound(), 404, "not_found"),
        (web.HTTPMethodNotAllowed("PUT", ["GET"]), 405, "method_not_allowed"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "too_large"),
    ],
)
def test_each_error_has_its_status_and_code(error, status, code):
    problem = problem_of(error)
    assert (problem.status, problem.code) == (status, code)
    assert (problem.incident is not None) == (status >= 500)
    assert problem.headers.get("Retry-After") == {429: "7", 503: "5"}.get(status)
    assert problem.detail != "x"
    assert code in CODES | {"new", "invalid_query", "sign_in_refused", "grant_required"}


def test_every_error_of_ours_has_a_status():
    modules = (domain, access, http)
    ours = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, domain.ArchiveError)
    ]
    assert len(ours) > 15
    for error in ours:
        assert any(base in STATUS for base in error.__mro__[:-3]), error


async def test_a_problem_is_as_rfc_9457_has_it(serve_strangers):
    async def refuse(_):
        raise domain.ContradictionError("it began at another time")

    client = await serve_strangers(route("GET", "/", refuse))
    async with client.get("/") as answer:
        assert answer.content_type == "application/problem+json"
        assert await answer.json() == {
            "type": "about:blank",
            "title": "Conflict",
            "status": 409,
            "code": "contradiction",
            "detail": "it began at another time",
        }


async def test_what_leads_nowhere_is_a_problem_too(serve_strangers):
    async def fine(_):
        return web.Response()

    client = await serve_strangers(route("GET", "/", fine))
    async with client.get("/nowhere") as answer:
        assert (await answer.json())["code"] == "not_found"
    async with client.put("/") as answer:
        assert (await answer.json())["code"] == "method_not_allowed"
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}


def journal(caplog):
    """Return what is written of the records, with every field."""
    return "".join(f"{TextLines().format(record)}\n" for record in caplog.records)


async def test_a_surprise_is_an_incident_whose_contents_stay_inside(serve_strangers, caplog):
    secret = "+358401234567"

    async def fail(_):
        try:
            return {}[secret]
        except KeyError as error:
            raise ValueError(f"no such number {secret}") from error

    client = await serve_strangers(route("GET", "/", fail))
    with caplog.at_level(logging.DEBUG):
        async with client.get(f"/?q={secret}") as answer:
            body = await answer.text()
            problem = await answer.json()
    assert answer.status == 500
    assert problem["detail"] == "Something went wrong on our side."
    assert problem["incident"] in journal(caplog)
    assert "test_problems.py" in journal(caplog)
    assert "builtins.KeyError" in journal(caplog)
    assert secret not in journal(caplog) + body
    assert "Traceback" not in body


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET / HTTP/1.1\r\nAuthorization: Bearer tlt_secret\0\r\n\r\n", id="NUL"),
        pytest.param(b"GET /?phone=tlt_secret\1 HTTP/1.1\r\n\r\n", id="control character"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"tlt_secret" * 999 + b"\r\n\r\n", id="long"),
        pytest.param(b"\x16\x03\x01tlt_secret\r\n\r\n", id="TLS"),
        pytest.param(b"tlt_secret\r\n\r\n", id="no HTTP"),
    ],
)
async def test_what_is_no_request_is_not_written_down(serve_strangers, caplog, request_bytes):
    client = await serve_strangers()
    with caplog.at_level(logging.DEBUG):
        answer = await raw(client, request_bytes)
    assert answer.startswith(b"HTTP/1.0 400")
    assert "http.malformed" in journal(caplog)
    assert "tlt_secret" not in journal(caplog)
    assert "127.0.0.1" not in journal(caplog)


def test_what_fails_in_the_server_itself_is_told_by_its_place(caplog):
    log, number = RUNNER_OPTIONS["logger"], "+358401234567"
    try:
        {}[number]
    except KeyError:
        log.exception("Unhandled exception from %s", "192.0.2.7")
    assert "builtins.KeyError" in journal(caplog)
    assert "test_problems.py" in journal(caplog)
    assert number not in journal(caplog)
    assert "192.0.2.7" not in journal(caplog)


async def test_refusals_are_no_incidents(serve_strangers, caplog):
    async def refuse(_):
        raise domain.NotFoundError("ct_1")

    client = await serve_strangers(route("GET", "/", refuse))
    async with client.get("/"):
        pass
    assert not caplog.records


async def _whole(client, path):
    async with client.get(path) as answer:
        return await answer.read()


async def test_an_answer_that_fails_half_way_breaks_off(serve_strangers, caplog):
    async def stream(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"verified")
        await asyncio.sleep(0.01)
        raise domain.TamperedError("blob_1 chunk 2")

    client = await serve_strangers(route("GET", "/", stream))
    with pytest.raises(aiohttp.ClientError):
        await _whole(client, "/")
    assert "blob_1 chunk 2" in journal(caplog)
    async with client.get("/nowhere") as answer:
        assert answer.status == 404


async def test_a_chunked_answer_that_fails_half_way_is_not_taken_for_whole(serve_strangers):
    async def stream(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"verified")
        raise domain.TamperedError("blob_1 chunk 2")

    client = await serve_strangers(route("GET", "/", stream))
    with pytest.raises(aiohttp.ClientError):
        await _whole(client, "/")


async def test_redirects_are_answers(serve_strangers):
    async def elsewhere(_):
        raise web.HTTPSeeOther("/sign-in")

    client = await serve_strangers(route("GET", "/", elsewhere))
    async with client.get("/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")


async def test_people_get_pages_and_programs_problems(serve_strangers):
    async def page(_, problem):
        return web.Response(
            status=problem.status, text=f"<p>{problem.code}", content_type="text/html"
        )

    async def fail(_):
        raise domain.NotFoundError("x")

    client = await serve_strangers(
        route("GET", "/page", fail, is_page=True), route("GET", "/api", fail), error_page=page
    )
    browser = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
    for path, headers, kind in (
        ("/page", {}, "text/html"),
        ("/api", browser, "application/problem+json"),
        ("/nowhere", browser, "text/html"),
        ("/nowhere", {}, "application/problem+json"),
    ):
        async with client.get(path, headers=headers) as answer:
            assert (answer.status, answer.content_type) == (404, kind), (path, headers)
