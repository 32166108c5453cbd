"""Every route asked by every role, with a token, with a session, and by nobody.

The table is written by hand and read from no code: who may do what is what it says. A route without a row here, or
a row without a route, fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from service.domain.actor import OPERATOR, Role
from service.sharing_out import all_routes
from tests.fakes import PASSWORD
from tests.system.world import (
    AUDIO,
    FORM,
    NOBODY,
    contact,
    good_request,
    session_headers,
    signed,
)

LETTERS = {
    "I": Role.INTEGRATION,
    "A": Role.AGENT,
    "H": Role.COMPLAINT_HANDLER,
    "R": Role.QUALITY_REVIEWER,
    "L": Role.QUALITY_LEAD,
    "D": Role.DPO,
    "M": Role.ADMIN,
    "U": Role.AUDITOR,
}

# The roles that may with a token, with a session (".": none of them, "x": such credentials do not count here and are
# answered like nobody), what nobody is answered, and what those are answered who may. A recording of which nothing was
# opened yet cannot be heard: those who may report it are told so; no source goes live of which no notice speaks.
TABLE = """
POST   /intake/{source}                                   x        x       401  -
GET    /intake/{source}                                   x        x       401  -
OPTIONS /intake/{source}                                  x        x       401  -
OPTIONS /intake/{source}/k/{secret}                       x        x       401  -
PUT    /intake/{source}/{source_id}/recordings/{name}     I        x       401  200
POST   /intake/{source}/k/{secret}                        x        x       401  -
PUT    /intake/{source}/k/{secret}/{source_id}/recordings/{name} x x       401  -
POST   /api/v1/contacts                                   I        x       401  201
PUT    /api/v1/contacts/{contact_id}/recordings/{name}    I        x       401  200
OPTIONS /api/v1/uploads                                   IAHRLDMU AHRLDMU 204  204
POST   /api/v1/uploads                                    I        x       401  201
HEAD   /api/v1/uploads/{upload_id}                        I        x       401  200
PATCH  /api/v1/uploads/{upload_id}                        I        x       401  204
DELETE /api/v1/uploads/{upload_id}                        I        x       401  204
POST   /api/v1/uploads/{upload_id}                        I        x       401  204
GET    /api/v1/contacts                                   AHD      AHD     401  200
GET    /api/v1/contacts/{contact_id}                      AHD      AHD     401  200
PUT    /api/v1/contacts/{contact_id}/links/{customer_id}  x        HD      401  200
GET    /api/v1/customers/{customer_id}                    AHD      AHD     401  200
GET    /api/v1/customers/{customer_id}/contacts           AHD      AHD     401  200
POST   /api/v1/sources/{source}/statements                IM       M       401  200
GET    /api/v1/sources/completeness                       DMU      DMU     401  200
GET    /completeness                                      x        DMU     303  200
GET    /api/v1/attention                                  HDM      HDM     401  200
GET    /api/v1/attention/{item_id}/explanation            HDM      HDM     401  200
POST   /api/v1/attention/{item_id}/retry                  HDM      HDM     401  200
POST   /api/v1/attention/{item_id}/settle                 x        HDM     401  200
POST   /api/v1/grants                                     HD       HD      401  201
GET    /api/v1/grants                                     HD       HD      401  200
DELETE /api/v1/grants/{id}                                HD       HD      401  204
POST   /api/v1/holds                                      HD       HD      401  201
GET    /api/v1/holds                                      HD       HD      401  200
GET    /api/v1/holds/{hold_id}                            HD       HD      401  200
POST   /api/v1/holds/{hold_id}/release-request            x        HD      401  200
POST   /api/v1/holds/{hold_id}/release                    x        D       401  200
POST   /api/v1/erasures                                   x        D       401  201
GET    /api/v1/erasures                                   D        D       401  200
POST   /api/v1/erasures/{erasure_id}/approve              x        D       401  200
DELETE /api/v1/erasures/{erasure_id}                      x        D       401  204
GET    /api/v1/recordings/{id}/content                    HD       HD      401  200
GET    /api/v1/messages/{id}/content                      HD       HD      401  200
GET    /api/v1/messages/{id}/original                     HD       HD      401  404
GET    /api/v1/messages/{id}/attachments/{number}         HD       HD      401  404
POST   /api/v1/recordings/{id}/heard                      HD       HD      401  404
GET    /api/v1/contacts/{id}/verification                 HDU      HDU     401  200
GET    /log/tile/entries/{rest:.+}                        U        U       401  200
GET    /metrics                                           M        M       401  200
GET    /log/checkpoint                                    IAHRLDMU AHRLDMU 200  200
GET    /log/vkey                                          IAHRLDMU AHRLDMU 200  200
GET    /log/tile/{rest:.+}                                IAHRLDMU AHRLDMU 200  200
GET    /healthz                                           IAHRLDMU AHRLDMU 200  200
GET    /readyz                                            IAHRLDMU AHRLDMU 200  200
GET    /api/v1/openapi.json                               IAHRLDMU AHRLDMU 200  200
GET    /static/{name}                                     IAHRLDMU AHRLDMU 200  200
GET    /language/{language}                               IAHRLDMU AHRLDMU 303  303
GET    /sign-in                                           x        AHRLDMU 200  303
POST   /sign-in                                           IAHRLDMU AHRLDMU 401  401
POST   /sign-in/code                                      x        AHRLDMU 401  303
POST   /sign-in/undertaking                               x        AHRLDMU 401  303
POST   /sign-in/second-factor                             x        AHRLDMU 401  303
GET    /account                                           x        AHRLDMU 303  200
POST   /account/second-factor                             x        AHRLDMU 303  200
POST   /account/second-factor/set                         x        AHRLDMU 303  400
POST   /account/second-factor/remove                      x        AHRLDMU 303  400
POST   /account/recovery-codes                            x        AHRLDMU 303  400
POST   /account/sessions                                  x        AHRLDMU 303  303
GET    /first-password/{invite}                           IAHRLDMU AHRLDMU 410  410
POST   /first-password/{invite}                           IAHRLDMU AHRLDMU 410  410
GET    /                                                  x        AHRLDMU 303  200
GET    /search                                            x        AHD     303  200
GET    /verification                                      x        HDU     303  400
GET    /customers/{customer_id}                           x        AHD     303  200
GET    /contacts/{contact_id}                             x        AHD     303  200
GET    /contacts/{contact_id}/messages/{message_id}       x        AHD     303  303
GET    /contacts/{contact_id}/verification                x        HDU     303  200
POST   /contacts/{contact_id}/grants                      x        HD      303  303
POST   /contacts/{contact_id}/unmasked                    x        HD      303  200
POST   /contacts/{contact_id}/links                       x        HD      303  303
POST   /contacts/{contact_id}/holds                       x        HD      303  303
POST   /holds/{hold_id}/release-request                   x        HD      303  303
POST   /holds/{hold_id}/release                           x        D       303  303
POST   /contacts/{contact_id}/erasures                    x        D       303  303
POST   /erasures/{erasure_id}/approve                     x        D       303  303
POST   /erasures/{erasure_id}/withdraw                    x        D       303  303
POST   /grants/{grant_id}/withdraw                        x        HD      303  303
GET    /attention                                         x        HDM     303  200
GET    /sources                                           x        M       303  200
POST   /sources                                           x        M       303  200
GET    /sources/{name}                                    x        M       303  200
GET    /sources/{name}/deliveries                         x        M       303  200
GET    /sources/{name}/events                             x        M       303  200
POST   /sources/{name}/secret                             x        M       303  200
POST   /sources/{name}/live                               x        M       303  409
POST   /sources/{name}/replay                             x        M       303  303
POST   /sources/{name}/map                                x        M       303  303
POST   /sources/{name}/remove                             x        M       303  303
POST   /attention/{item_id}/retry                         x        HDM     303  303
POST   /attention/{item_id}/settle                        x        HDM     303  303
POST   /sign-out                                          x        AHRLDMU 303  303
"""


@dataclass(frozen=True)
class Row:
    tokens: str
    sessions: str
    nobody: int
    done: int

    def expected(self, asker):
        """Return the status that the asker is to get."""
        letters = {"token": self.tokens, "session": self.sessions, "nobody": "x"}[asker.kind]
        if letters == "x":
            return self.nobody
        return self.done if asker.role in {LETTERS[one] for one in letters.strip(".")} else 403


def _read(line):
    method, path, tokens, sessions, nobody, done = line.split()
    return f"{method} {path}", Row(tokens, sessions, int(nobody), int(done.replace("-", "0")))


ORACLE: Mapping[str, Row] = dict(_read(line) for line in TABLE.strip().splitlines())


def test_every_route_has_a_row_and_every_row_a_route():
    assert {f"{route.method} {route.path}" for route in all_routes()} == set(ORACLE)


@pytest.mark.slow
async def test_every_role_gets_from_every_route_what_the_table_says(world):
    askers, wrong = await world.everybody(), []
    # Whoever signs out can ask nothing more.
    for route in sorted(ORACLE, key="POST /sign-out".__eq__):
        for asker in askers:
            method, path, body, headers = await good_request(world, asker, route)
            expected = ORACLE[route].expected(asker)
            answer = await world.ask(asker, method, path, body=body, **headers)
            if answer.status != expected:
                wrong.append((route, str(asker), expected, answer.status, answer.body[:200]))
            if method == "GET" and asker.kind != "session":
                head = await world.ask(asker, "HEAD", path, **headers)
                if head.status != expected or head.body:
                    wrong.append(("HEAD", route, str(asker), expected, head.status))
    assert not wrong, "\n".join(map(str, wrong))


async def test_a_delivery_that_its_source_signed_is_kept_from_anybody(world):
    body = b'{"source_id": "w"}'
    answer = await world.ask(
        NOBODY, "POST", "/intake/hook", body=body, **signed(body, "w-9", world.now)
    )
    assert answer.status == 200


async def test_administrators_open_nothing_whatever_else_they_are(world):
    handler, content = await world.token(Role.COMPLAINT_HANDLER), world.ids["recording"]
    order = {"purpose": "verify_contact", "contacts": [world.ids["contact"]]}
    stolen = await world.grant(handler)
    both = await world.person([Role.ADMIN, Role.COMPLAINT_HANDLER, Role.DPO], "both")
    for admin in (await world.person(Role.ADMIN), await world.token(Role.ADMIN), both):
        granted = await world.ask(admin, "POST", "/api/v1/grants", body=order)
        assert (granted.status, granted.code) == (403, "not_permitted"), admin
        path = f"/api/v1/recordings/{content}/content"
        opened = await world.ask(admin, "GET", path, Access_Grant=stolen)
        assert (opened.status, opened.code) == (403, "not_permitted"), admin
        assert AUDIO[:16] not in opened.body


async def test_a_grant_is_its_actors_own(world):
    mine, other = [await world.token(Role.COMPLAINT_HANDLER) for _ in range(2)]
    grant = await world.grant(mine)
    path = f"/api/v1/recordings/{world.ids['recording']}/content"
    stolen = await world.ask(other, "GET", path, Access_Grant=grant)
    assert (stolen.status, stolen.code) == (403, "grant_required")
    listed = await world.ask(other, "GET", "/api/v1/grants")
    assert listed.json["grants"] == []
    withdrawn = await world.ask(other, "DELETE", f"/api/v1/grants/{grant}")
    unknown = await world.ask(other, "DELETE", "/api/v1/grants/gr_" + "a" * 26)
    assert (withdrawn.status, withdrawn.body) == (404, unknown.body)
    assert (await world.ask(mine, "GET", path, Access_Grant=grant)).body == AUDIO


async def test_what_belongs_to_another_source_is_as_if_it_were_not_there(world):
    bound = await world.token(Role.INTEGRATION, source="chat")
    ours = f"/api/v1/contacts/{world.ids['contact']}/recordings/b.wav"
    absent = ours.replace(world.ids["contact"], "ct_" + "a" * 26)
    answers = [await world.ask(bound, "PUT", path, body=AUDIO) for path in (ours, absent)]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].body == answers[1].body
    for path in ("/intake/pbx/c-0/recordings/a.wav", "/intake/none/c-0/recordings/a.wav"):
        assert (await world.ask(bound, "PUT", path, body=AUDIO)).status == 404
    told = await world.ask(bound, "POST", "/api/v1/contacts", body=contact("c-9"))
    assert told.status == 404


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/v1/grants", {"role": "dpo"}),
        ("/api/v1/grants", {"actor": "system"}),
        ("/api/v1/grants", {"expires_at": "2099-01-01T00:00:00Z"}),
        ("/api/v1/contacts", {"id": "ct_" + "a" * 26}),
        ("/api/v1/contacts", {"version": 7}),
        ("/api/v1/contacts", {"created_at": "2020-01-01T00:00:00Z"}),
        ("/api/v1/contacts", {"links": []}),
        ("/api/v1/contacts", {"__proto__": {}}),
    ],
)
async def test_a_body_says_nothing_beyond_what_it_is_asked(world, path, more):
    is_grant = path.endswith("grants")
    asker = await world.token(Role.COMPLAINT_HANDLER if is_grant else Role.INTEGRATION)
    order = {"purpose": "verify_contact", "contacts": [world.ids["contact"]]}
    body = order if is_grant else contact("c-8")
    answer = await world.ask(asker, "POST", path, body={**body, **more})
    assert (answer.status, answer.code) == (400, "invalid_input")


SPOOFS = {
    "X-User": "admin",
    "X-Remote-User": "dpo",
    "Remote-User": "dpo",
    "X-Forwarded-User": "dpo",
    "X-Auth-Request-User": "dpo",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "evil.example.org",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "127.0.0.1",
    "X-Original-URL": "/healthz",
    "X-Rewrite-URL": "/healthz",
    "X-HTTP-Method-Override": "GET",
    "X-Method-Override": "GET",
    "X-HTTP-Method": "GET",
    "Forwarded": "for=127.0.0.1;proto=https",
    "X-Role": "dpo",
}


async def test_headers_that_name_somebody_make_nobody_of_them(world):
    agent, order = await world.person(Role.AGENT), {"purpose": "verify_contact"}
    for path in ("/api/v1/contacts", "/metrics"):
        answer = await world.ask(NOBODY, "GET", path, **SPOOFS)
        assert answer.status == 401
    answer = await world.ask(agent, "POST", "/api/v1/grants", body=order, **SPOOFS)
    assert answer.status == 403
    plain = await world.ask(agent, "GET", "/api/v1/contacts", **SPOOFS)
    assert plain.status == 200, "and they take nobody's session away"


@pytest.mark.parametrize("name", ["_method", "token", "access_token", "role", "user"])
async def test_an_address_names_neither_method_nor_anybody(world, name):
    asker = await world.token(Role.INTEGRATION)
    secret = asker.headers["Authorization"].removeprefix("Bearer ")
    answer = await world.ask(NOBODY, "GET", f"/api/v1/contacts?{name}={secret}")
    assert answer.status == 401
    handler = await world.token(Role.COMPLAINT_HANDLER)
    answer = await world.ask(handler, "GET", f"/api/v1/contacts?{name}={secret}")
    assert (answer.status, answer.code) == (400, "invalid_query")
    assert secret.encode() not in answer.body


async def test_roles_change_with_the_next_request(world):
    handler = await world.person(Role.COMPLAINT_HANDLER)
    grant = await world.grant(handler)
    path = f"/api/v1/recordings/{world.ids['recording']}/content"
    assert (await world.ask(handler, "GET", path, Access_Grant=grant)).status == 200
    access = world.archive.access
    await access.accounts.change_roles(handler.id, [Role.AGENT], by=OPERATOR, now=world.now)
    assert (await world.ask(handler, "GET", path, Access_Grant=grant)).status == 401
    begun = await access.sign_in.sign_in(
        handler.role.value, PASSWORD, address="192.0.2.7", now=world.now
    )
    headers = session_headers(begun)
    again = await world.ask(NOBODY, "GET", path, **headers, Access_Grant=grant)
    assert (again.status, again.code) == (403, "not_permitted")


async def test_a_disabled_user_and_a_revoked_token_are_nobody_at_once(world):
    handler, token = await world.person(Role.DPO), await world.token(Role.DPO)
    access = world.archive.access
    for asker in (handler, token):
        assert (await world.ask(asker, "GET", "/api/v1/contacts")).status == 200
    await access.accounts.disable(handler.id, by=OPERATOR, now=world.now)
    await access.tokens.revoke(token.id, by=OPERATOR, now=world.now)
    for asker in (handler, token):
        assert (await world.ask(asker, "GET", "/api/v1/contacts")).status == 401


async def test_a_cookie_that_was_there_before_is_not_the_session_afterwards(world):
    await world.person(Role.AGENT, "aino")
    planted = "A" * 43
    form = f"login=aino&password={PASSWORD.replace(' ', '+')}".encode()
    answer = await world.ask(
        NOBODY, "POST", "/sign-in", body=form, Cookie=f"taltio={planted}", **FORM
    )
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"]
    assert planted not in cookie
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Lax", "Path=/"))
    refused = await world.ask(NOBODY, "GET", "/api/v1/contacts", Cookie=f"taltio={planted}")
    assert refused.status == 401
    own = cookie.partition(";")[0]
    assert (await world.ask(NOBODY, "GET", "/api/v1/contacts", Cookie=own)).status == 200


async def test_a_session_that_was_signed_out_is_nobodys(world):
    agent = await world.person(Role.AGENT)
    assert (await world.ask(agent, "POST", "/sign-out")).status == 303
    assert (await world.ask(agent, "GET", "/api/v1/contacts")).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X_CSRF_Token": ""}, id="no token"),
        pytest.param({"X_CSRF_Token": "A" * 43}, id="a token that is none"),
        pytest.param({"Origin": "https://evil.example.org"}, id="another origin"),
        pytest.param({"Origin": "null"}, id="an origin without a name"),
        pytest.param({"Sec_Fetch_Site": "cross-site"}, id="a browser says so"),
        pytest.param({"Sec_Fetch_Site": "same-site"}, id="a neighbour"),
    ],
)
async def test_no_other_site_changes_anything_in_somebodys_name(world, headers):
    handler = await world.person(Role.COMPLAINT_HANDLER)
    order = {"purpose": "verify_contact", "contacts": [world.ids["contact"]]}
    answer = await world.ask(handler, "POST", "/api/v1/grants", body=order, **headers)
    assert (answer.status, answer.code) == (403, "cross_site")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_json_is_taken_as_json_only(world, kind):
    handler = await world.person(Role.COMPLAINT_HANDLER)
    answer = await world.ask(handler, "POST", "/api/v1/grants", body=b"{}", Content_Type=kind)
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
