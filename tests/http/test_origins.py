"""Requests that other sites make in somebody's name."""

import pytest

from service.domain.actor import OPERATOR, Role

OWN = object()
TOKEN = object()


@pytest.fixture
async def session(door):
    await door.person()
    return await door.sign_in()


def _headers(desk, session, extra):
    own = f"http://{desk.server.host}:{desk.server.port}"
    known = {OWN: own, TOKEN: session.session.csrf}
    return {
        "Cookie": f"taltio={session.secret}",
        **{name: known.get(value, value) for name, value in extra.items()},
    }


CHANGES = [
    ("token, no browser's headers", {"X-CSRF-Token": TOKEN}, 200),
    ("token and own origin", {"X-CSRF-Token": TOKEN, "Origin": OWN}, 200),
    (
        "as our pages do",
        {"X-CSRF-Token": TOKEN, "Origin": OWN, "Sec-Fetch-Site": "same-origin"},
        200,
    ),
    ("nothing", {}, 403),
    ("own origin, no token", {"Origin": OWN}, 403),
    ("same-origin, no token", {"Sec-Fetch-Site": "same-origin"}, 403),
    ("empty token", {"X-CSRF-Token": ""}, 403),
    ("another token", {"X-CSRF-Token": "x" * 43}, 403),
    ("a token that is not ASCII", {"X-CSRF-Token": "é"}, 403),
    ("evil origin", {"X-CSRF-Token": TOKEN, "Origin": "https://evil.example.com"}, 403),
    ("null origin", {"X-CSRF-Token": TOKEN, "Origin": "null"}, 403),
    ("empty origin", {"X-CSRF-Token": TOKEN, "Origin": ""}, 403),
    ("another port", {"X-CSRF-Token": TOKEN, "Origin": "http://127.0.0.1"}, 403),
    ("cross-site", {"X-CSRF-Token": TOKEN, "Sec-Fetch-Site": "cross-site"}, 403),
    ("same-site", {"X-CSRF-Token": TOKEN, "Sec-Fetch-Site": "same-site"}, 403),
    (
        "cross-site though with own origin",
        {"X-CSRF-Token": TOKEN, "Origin": OWN, "Sec-Fetch-Site": "cross-site"},
        403,
    ),
    (
        "a referrer proves nothing",
        {"X-CSRF-Token": TOKEN, "Referer": "https://evil.example.com/"},
        200,
    ),
]


async def test_what_a_session_may_change(desk, session, subtests):
    for name, extra, status in CHANGES:
        desk.done.clear()
        headers = _headers(desk, session, extra)
        with subtests.test(name):
            for method in ("POST", "DELETE"):
                async with desk.request(method, "/change", headers=headers) as answer:
                    assert answer.status == status
                    code = None if status == 200 else (await answer.json())["code"]
                    assert code in {None, "cross_site"}
            assert len(desk.done) == (2 if status == 200 else 0)


async def test_a_form_may_carry_the_token(desk, session):
    headers = _headers(desk, session, {"Origin": OWN})
    form = {"csrf": session.session.csrf, "purpose": "verify_contact"}
    async with desk.post("/change", data=form, headers=headers) as answer:
        assert await answer.json() == ["csrf", "purpose"]
    for wrong in ({"csrf": "x"}, {"purpose": "verify_contact"}, {}):
        async with desk.post("/change", data=wrong, headers=headers) as answer:
            assert answer.status == 403


async def test_a_query_string_does_not_carry_the_token(desk, session):
    headers = _headers(desk, session, {"Origin": OWN})
    async with desk.post(f"/change?csrf={session.session.csrf}", headers=headers) as answer:
        assert answer.status == 403


async def test_another_persons_token_does_not_count(desk, session, door):
    await door.person("eino")
    other = await door.sign_in("eino")
    headers = _headers(desk, session, {"X-CSRF-Token": other.session.csrf})
    async with desk.post("/change", headers=headers) as answer:
        assert answer.status == 403


async def test_looking_needs_no_csrf_token_whoever_links_here(desk, session):
    headers = _headers(desk, session, {"Sec-Fetch-Site": "cross-site"})
    async with desk.get("/look", headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_other_sites_cannot_sign_somebody_in(desk, headers, status):
    async with desk.post("/open", headers=headers) as answer:
        assert answer.status == status


async def test_a_machine_with_a_token_needs_no_csrf_token(desk, door):
    token = await door.tokens.create("t", role=Role.AGENT, by=OPERATOR, now=door.clock.now)
    headers = {"Authorization": f"Bearer {token.secret}", "Host": "taltio.internal"}
    async with desk.post("/change", headers=headers) as answer:
        assert answer.status == 200


async def test_a_preflight_of_another_site_gets_no_consent(desk):
    headers = {"Origin": "https://evil.example.com", "Access-Control-Request-Method": "POST"}
    async with desk.options("/change", headers=headers) as answer:
        assert answer.status == 405
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
