"""Who is let in, by role, credential and route."""

import itertools

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.domain.actor import OPERATOR, ActorKind, Role
from service.domain.permission import PERMITTED, Permission
from service.http.addresses import Site
from service.http.frame import ACTOR, SESSION, Frame, build_application
from service.http.routes import SESSION_ONLY, TOKEN_ONLY, TOKEN_OR_SESSION, Need
from tests.http.conftest import route


async def _who(request):
    actor = request.get(ACTOR)
    return web.json_response(None if actor is None else [actor.id, actor.kind, actor.source])


async def test_every_role_gets_what_the_table_permits_and_nothing_else(serve, door):
    client = await serve(
        *(route("GET", f"/{permission}", _who, permission) for permission in Permission)
    )
    for role in Role:
        token = await door.tokens.create("t", role=role, by=OPERATOR, now=door.clock.now)
        ways = [{"Authorization": f"Bearer {token.secret}"}]
        if role is not Role.INTEGRATION:
            await door.person(role.value, role)
            session = await door.sign_in(role.value)
            ways.append({"Cookie": f"taltio={session.secret}"})
        for permission, headers in itertools.product(Permission, ways):
            async with client.get(f"/{permission}", headers=headers) as answer:
                expected = 200 if permission in PERMITTED[role] else 403
                assert answer.status == expected, (role, permission, headers)


async def test_without_credentials_only_what_is_public_answers(serve):
    needs = [*Permission, Need.SIGNED_IN, Need.PUBLIC, Need.SENDER]
    client = await serve(*(route("GET", f"/{i}", _who, need) for i, need in enumerate(needs)))
    for number, need in enumerate(needs):
        async with client.get(f"/{number}") as answer:
            is_open = need in {Need.PUBLIC, Need.SENDER}
            assert answer.status == (200 if is_open else 401)
            assert is_open or answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer tlt_" + "A" * 43,
        "Bearer tlt_",
        "Bearer " + "A" * 47,
        "bearer tlt_" + "A" * 42 + "é",
        "Bearer a, Bearer b",
    ],
)
async def test_a_token_that_is_none_is_refused_though_a_session_is_there(
    serve, door, authorization
):
    client = await serve(route("GET", "/", _who, Need.SIGNED_IN))
    await door.person()
    cookie = f"taltio={(await door.sign_in()).secret}"
    headers = {"Authorization": authorization, "Cookie": cookie}
    async with client.get("/", headers=headers) as answer:
        assert answer.status == 401


async def test_two_tokens_are_no_token(serve, door):
    client = await serve(route("GET", "/", _who, Need.SIGNED_IN))
    token = await door.tokens.create("t", role=Role.DPO, by=OPERATOR, now=door.clock.now)
    good = ("Authorization", f"Bearer {token.secret}")
    async with client.get("/", headers=[good]) as answer:
        assert answer.status == 200
    async with client.get("/", headers=[good, ("Authorization", "Bearer x")]) as answer:
        assert answer.status == 401


async def test_the_password_that_a_proxy_asks_for_does_not_hide_the_session(serve, door):
    client = await serve(route("GET", "/", _who, Need.SIGNED_IN))
    aino = await door.person()
    cookie = f"taltio={(await door.sign_in()).secret}"
    headers = {"Authorization": "Basic YTpi", "Cookie": cookie}
    async with client.get("/", headers=headers) as answer:
        assert (await answer.json())[0] == aino.id


@pytest.mark.parametrize(
    ("accepts", "by_token", "by_session"),
    [(TOKEN_ONLY, 200, 401), (SESSION_ONLY, 401, 200), (TOKEN_OR_SESSION, 200, 200)],
)
async def test_a_route_takes_the_credentials_that_it_names(
    serve, door, accepts, by_token, by_session
):
    client = await serve(route("GET", "/", _who, Need.SIGNED_IN, accepts=accepts))
    await door.person()
    token = await door.tokens.create("t", role=Role.AGENT, by=OPERATOR, now=door.clock.now)
    session = await door.sign_in()
    async with client.get("/", headers={"Authorization": f"Bearer {token.secret}"}) as answer:
        assert answer.status == by_token
    async with client.get("/", headers={"Cookie": f"taltio={session.secret}"}) as answer:
        assert answer.status == by_session


async def test_a_token_brings_the_source_that_it_is_bound_to(serve, door):
    client = await serve(route("GET", "/", _who, Permission.DELIVER, accepts=TOKEN_ONLY))
    token = await door.tokens.create(
        "pbx", role=Role.INTEGRATION, source="pbx", by=OPERATOR, now=door.clock.now
    )
    async with client.get("/", headers={"Authorization": f"Bearer {token.secret}"}) as answer:
        assert await answer.json() == [token.id, ActorKind.MACHINE, "pbx"]


async def test_a_revoked_token_is_refused_by_the_next_request(serve, door):
    client = await serve(route("GET", "/", _who, Need.SIGNED_IN))
    token = await door.tokens.create("t", role=Role.AGENT, by=OPERATOR, now=door.clock.now)
    headers = {"Authorization": f"Bearer {token.secret}"}
    async with client.get("/", headers=headers) as answer:
        assert answer.status == 200
    await door.tokens.revoke(token.id, by=OPERATOR, now=door.clock.now)
    async with client.get("/", headers=headers) as answer:
        assert answer.status == 401


async def test_other_roles_hold_from_the_next_request(serve, door):
    client = await serve(route("GET", "/", _who, Permission.OPEN))
    aino = await door.person("aino", Role.COMPLAINT_HANDLER)
    headers = {"Cookie": f"taltio={(await door.sign_in()).secret}"}
    async with client.get("/", headers=headers) as answer:
        assert answer.status == 200
    await door.accounts.change_roles(aino.id, [Role.AGENT], by=OPERATOR, now=door.clock.now)
    async with client.get("/", headers=headers) as answer:
        assert answer.status == 401
    headers = {"Cookie": f"taltio={(await door.sign_in()).secret}"}
    async with client.get("/", headers=headers) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    "extra",
    [
        {"X-User": "admin"},
        {"X-Remote-User": "admin"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Original-URL": "/look"},
        {"Forwarded": "for=127.0.0.1;host=localhost"},
    ],
)
async def test_headers_that_claim_to_be_somebody_are_nothing(desk, extra):
    async with desk.post("/change?role=admin", headers=extra) as answer:
        assert answer.status == 401
    assert not desk.done


async def test_a_public_page_knows_a_session_when_it_sees_one(serve, door):
    async def seen(request):
        session = request.get(SESSION)
        return web.json_response(session and session.actor.id)

    client = await serve(route("GET", "/", seen, Need.PUBLIC, accepts=SESSION_ONLY))
    aino = await door.person()
    secret = (await door.sign_in()).secret
    for cookie, expected in ((secret, aino.id), ("x" * 43, None), ("", None)):
        async with client.get("/", headers={"Cookie": f"taltio={cookie}"}) as answer:
            assert await answer.json() == expected


async def test_an_application_with_a_route_that_says_nothing_does_not_start(door):
    frame = Frame(site=Site(), sessions=door.sessions, tokens=door.tokens)
    app = build_application(frame, [route("GET", "/", _who)])
    app.router.add_get("/forgotten", _who)
    with pytest.raises(RuntimeError, match="/forgotten"):
        await TestServer(app).start_server()


async def test_head_is_answered_as_get_is(serve):
    client = await serve(route("GET", "/", _who, Permission.OPEN))
    async with client.head("/") as answer:
        assert answer.status == 401
