"""What every response carries, and the session's cookie."""

import pytest
from aiohttp import web

from service.http.addresses import Site
from service.http.cookies import drop_session_cookie, set_session_cookie
from service.http.frame import SITE
from service.http.routes import Need
from tests.http.conftest import route

PUBLIC = "https://archive.example.org"


async def _page(_):
    return web.Response(text="<p>", content_type="text/html")


async def _json(_):
    return web.json_response([])


async def _static(_):
    return web.Response(
        headers={"Cache-Control": "max-age=60", "Content-Security-Policy": "default-src 'none'"}
    )


async def _streamed(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write_eof()
    return response


@pytest.fixture
async def client(serve_strangers):
    return await serve_strangers(
        route("GET", "/page", _page),
        route("GET", "/json", _json),
        route("GET", "/static", _static),
        route("GET", "/streamed", _streamed),
    )


@pytest.mark.parametrize("path", ["/page", "/json", "/static", "/streamed", "/nowhere"])
async def test_every_response_says_how_it_may_be_used(client, path):
    async with client.get(path) as answer:
        headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Server"] == "taltio"
    assert "Content-Security-Policy" in headers
    assert headers["Cache-Control"] == ("max-age=60" if path == "/static" else "no-store")
    assert "Strict-Transport-Security" not in headers
    assert not [name for name in headers if name.startswith("Access-Control")]


async def test_a_page_loads_only_its_own_and_is_framed_by_nobody(client):
    async with client.get("/page") as answer:
        policy = dict(
            part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
        )
    assert policy == {
        "default-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }


async def test_what_is_no_page_runs_nothing_even_if_a_browser_shows_it(client):
    async with client.get("/json") as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert policy == "default-src 'none'; frame-ancestors 'none'; sandbox"


async def _cookies(request):
    response = web.Response()
    is_secure = request.app[SITE].is_secure(request)
    if "drop" in request.query_string:
        drop_session_cookie(response, is_secure=is_secure)
    else:
        set_session_cookie(response, "s" * 43, is_secure=is_secure)
    return response


async def test_over_https_the_cookie_is_bound_to_host_and_tls(serve_strangers):
    client = await serve_strangers(route("GET", "/", _cookies), site=Site(public_url=PUBLIC))
    async with client.get("/", headers={"Host": "archive.example.org"}) as answer:
        cookie = answer.headers["Set-Cookie"]
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert cookie.startswith("__Host-taltio=" + "s" * 43)
    assert set(cookie.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"}


async def test_on_plain_loopback_the_cookie_has_its_plain_name(serve_strangers):
    client = await serve_strangers(route("GET", "/", _cookies))
    async with client.get("/") as answer:
        cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("taltio=" + "s" * 43)
    assert set(cookie.split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Lax"}


async def test_dropping_the_cookie_names_the_one_that_was_set(serve_strangers):
    client = await serve_strangers(route("GET", "/", _cookies), site=Site(is_tls=True))
    async with client.get("/?drop") as answer:
        cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith('__Host-taltio=""')
    assert "Max-Age=0" in cookie
    assert "Secure" in cookie


async def test_a_cookie_that_a_neighbour_could_plant_is_not_read_over_https(serve, door):
    client = await serve(route("GET", "/", _json, Need.SIGNED_IN), site=Site(public_url=PUBLIC))
    await door.person()
    secret = (await door.sign_in()).secret
    for name, status in (("taltio", 401), ("__Host-taltio", 200)):
        headers = {"Host": "archive.example.org", "Cookie": f"{name}={secret}"}
        async with client.get("/", headers=headers) as answer:
            assert answer.status == status
