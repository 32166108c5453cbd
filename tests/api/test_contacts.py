"""``/api/v1/contacts`` over HTTP: adding, completing, finding."""

import asyncio
import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from service.domain.actor import OPERATOR, Role
from service.http.frame import RUNNER_OPTIONS
from service.serving import build_service
from storage.rows import ContactRow, DeliveryRow, ObjectRow
from tests.archive.test_spine import import_customers
from tests.conftest import NOW

CONTACT = {
    "source": "pbx",
    "source_id": "c-1",
    "channel": "call",
    "direction": "inbound",
    "started_at": "2026-01-20T14:02:00+02:00",
    "queue": "Asiakaspalvelu",
    "recording": "expected",
    "parties": [
        {"role": "customer", "phone": "+358 40 123 4567"},
        {"role": "agent", "agent_id": "A-17"},
    ],
}


class Api:
    def __init__(self, archive, client):
        self.archive, self.client, self.tokens = archive, client, {}

    async def headers(self, role=Role.INTEGRATION, source=None):
        if (role, source) not in self.tokens:
            made = await self.archive.access.tokens.create(
                "test", role=role, by=OPERATOR, now=datetime.now(UTC), source=source
            )
            self.tokens[role, source] = made.secret
        return {"Authorization": f"Bearer {self.tokens[role, source]}"}

    async def ask(self, method, path, *, role=Role.INTEGRATION, source=None, **more):
        headers = {**await self.headers(role, source), **more.pop("headers", {})}
        url = URL(path, encoded=True)
        async with self.client.request(method, url, headers=headers, **more) as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if body else None

    async def add(self, *, by=Role.INTEGRATION, bound_to=None, **changes):
        body = {name: v for name, v in {**CONTACT, **changes}.items() if v is not ...}
        path = "/api/v1/contacts"
        return await self.ask("POST", path, role=by, source=bound_to, json=body)

    async def put(self, contact_id, data=b"RIFF", *, name="a.wav", **more):
        path = f"/api/v1/contacts/{contact_id}/recordings/{quote(name, safe='')}"
        more.setdefault("headers", {"Content-Type": "audio/wav"})
        return await self.ask("PUT", path, data=data, **more)

    async def find(self, query=""):
        path = f"/api/v1/contacts?{query}"
        return await self.ask("GET", path, role=Role.COMPLAINT_HANDLER)

    async def get(self, contact_id):
        path = f"/api/v1/contacts/{contact_id}"
        return await self.ask("GET", path, role=Role.COMPLAINT_HANDLER)


@pytest.fixture
async def api(archive):
    server = TestServer(build_service(archive).app)
    await server.start_server(**RUNNER_OPTIONS)
    async with TestClient(server) as client:
        yield Api(archive, client)


async def ids(api, query):
    status, page = await api.find(query)
    assert status == 200, page
    return [contact["source_id"] for contact in page["contacts"]]


# -- adding


async def test_a_new_contact_is_201_the_same_again_200_and_amended_where_it_was_empty(api):
    status, made = await api.add()
    assert status == 201
    assert (made["source_id"], made["recording"]) == ("c-1", "expected")
    assert made["parties"][0]["phone"] == "+358401234567"
    assert made["started_at"] == "2026-01-20T12:02:00Z"
    assert made["started_at_as_sent"] == "2026-01-20T14:02:00+02:00"
    known = {name: made[name] for name in ("id", "source", "source_id")}
    assert await api.add() == (200, known)
    answered = {"answered_at": "2026-01-20T14:03:00+02:00", "outcome": "answered"}
    status, more = await api.add(
        subject="Lasku", ended_at="2026-01-20T14:11:00+02:00", **answered
    )
    assert (status, more) == (200, known)
    assert await api.add() == (200, known)
    _, shown = await api.get(made["id"])
    assert (shown["answered_at"], shown["outcome"]) == ("2026-01-20T12:03:00Z", "answered")
    assert (shown["subject"], shown["ended_at_as_sent"]) == (
        "Lasku",
        "2026-01-20T14:11:00+02:00",
    )


async def test_who_delivers_reads_nothing_back_of_what_others_told(api):
    """A token may send the number of a call that is known, and learns that it is; the caller stays unknown to it."""
    await api.add(subject="Lasku", customer_number="40017")
    bare = {"parties": [], "queue": ..., "recording": ...}
    status, told = await api.add(bound_to="pbx", **bare)
    assert (status, sorted(told)) == (200, ["id", "source", "source_id"])
    status, problem = await api.add(bound_to="pbx", queue="Laskutus", customer_number="1")
    assert status == 409
    for personal in ("+358401234567", "A-17", "Asiakaspalvelu", "Lasku", "40017"):
        assert personal not in json.dumps(problem).replace("Laskutus", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"queue": "Laskutus"},
        {"channel": "chat"},
        {"direction": "outbound"},
        {"started_at": "2026-01-20T14:02:01+02:00"},
    ],
    ids=str,
)
async def test_a_contradiction_is_409_and_changes_nothing(api, changes):
    _, made = await api.add()
    status, problem = await api.add(subject="Lasku", **changes)
    assert (status, problem["code"]) == (409, "contradiction")
    assert next(iter(changes)) in problem["detail"]
    _, shown = await api.get(made["id"])
    assert "subject" not in shown
    assert shown["queue"] == "Asiakaspalvelu"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": ...}, "source"),
        ({"source": "PBX!"}, "source"),
        ({"source": "../x"}, "source"),
        ({"source_id": ...}, "source_id"),
        ({"source_id": ""}, "source_id"),
        ({"channel": "fax"}, "channel"),
        ({"started_at": "yesterday"}, "started_at"),
        ({"started_at": "2026-01-20T14:02:00"}, "started_at"),
        ({"ended_at": "2026-01-20T14:01:00+02:00"}, "ended_at"),
        ({"parties": "Maija"}, "parties"),
        ({"parties": [{"role": "customer", "email": "maija"}]}, "e-mail"),
        ({"metering_point": "12"}, "18"),
        ({"recording": "lost"}, "recording"),
        ({"id": "ct_1"}, "id"),
        ({"role": "admin"}, "role"),
    ],
    ids=str,
)
async def test_a_malformed_contact_is_400_and_says_what_is_wrong(api, changes, words):
    status, problem = await api.add(**changes)
    assert (status, problem["code"]) == (400, "invalid_input")
    assert words in problem["detail"]
    assert await api.archive.stores.store.count(ContactRow, {}) == 0


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json; charset=utf-16", 415),
        (b"[" * 100_000, "application/json", 400),
        (b" " * (1024**2), "application/json", 400),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_a_body_that_is_no_contact_is_refused(api, body, content_type, status):
    answer = await api.ask(
        "POST", "/api/v1/contacts", data=body, headers={"Content-Type": content_type}
    )
    assert answer[0] == status


async def test_a_body_that_is_too_large_is_413(api):
    async def pieces():
        for _ in range(17):
            yield b" " * 65536

    headers = {"Content-Type": "application/json"}
    assert (await api.ask("POST", "/api/v1/contacts", data=pieces(), headers=headers))[0] == 413


async def test_a_token_of_one_source_adds_to_no_other(api):
    status, made = await api.add(bound_to="pbx")
    assert status == 201
    assert (await api.add(bound_to="chat", source="chat"))[0] == 201
    status, problem = await api.add(bound_to="chat", subject="x")
    assert (status, problem["code"]) == (404, "not_found")
    assert (await api.put(made["id"], source="chat"))[0] == 404
    assert "subject" not in (await api.get(made["id"]))[1]


@pytest.mark.parametrize("role", [Role.AGENT, Role.COMPLAINT_HANDLER, Role.ADMIN])
async def test_those_who_may_read_may_not_add(api, role):
    assert (await api.add(by=role))[0] == 403
    _, made = await api.add()
    assert (await api.put(made["id"], role=role))[0] == 403


async def test_an_integration_adds_and_finds_nothing(api):
    _, made = await api.add()
    for path in ["/api/v1/contacts", f"/api/v1/contacts/{made['id']}", "/api/v1/attention"]:
        assert (await api.ask("GET", path))[0] == 403


async def test_a_time_that_cannot_be_right_is_taken_and_shown(api):
    assert (await api.add(started_at="1601-01-01T00:00:00Z"))[0] == 201
    _, page = await api.ask("GET", "/api/v1/attention", role=Role.ADMIN)
    assert [item["reason"] for item in page["items"]] == ["time_out_of_window"]


async def test_the_same_contact_at_the_same_moment_is_one(api):
    answers = await asyncio.gather(*(api.add() for _ in range(10)))
    assert sorted(status for status, _ in answers) == [200] * 9 + [201]
    assert len({made["id"] for _, made in answers}) == 1


# -- completing


async def test_recordings_are_201_the_same_again_200_and_others_409(api):
    _, made = await api.add()
    status, first = await api.put(made["id"], b"one")
    assert status == 201
    assert (first["size_bytes"], len(first["sha256"])) == (3, 64)
    assert await api.put(made["id"], b"one") == (200, first)
    status, problem = await api.put(made["id"], b"two")
    assert (status, problem["code"]) == (409, "contradiction")
    assert (await api.put(made["id"], b"two", name="b.wav"))[0] == 201
    _, shown = await api.get(made["id"])
    assert [r["state"] for r in shown["recordings"]] == ["present"] * 2
    assert shown["recording"] == "present"
    assert await api.archive.stores.store.count(ObjectRow, {}) == 2


@pytest.mark.parametrize(
    "contact_id", ["ct_" + "a" * 26, "ct_x", "cu_" + "a" * 26, "..", "%2e%2e%2fx", "ct_%00"]
)
async def test_there_is_nothing_to_complete_where_there_is_no_contact(api, contact_id):
    status, problem = await api.put(contact_id)
    assert (status, problem["code"]) == (404, "not_found")
    assert [name async for name in api.archive.stores.blobs.names()] == []


async def test_a_recording_that_came_before_its_contact_is_attached(api):
    path = "/intake/pbx/c-1/recordings/a.wav"
    assert (await api.ask("PUT", path, data=b"RIFF"))[0] == 200
    await api.archive.understanding.catch_up(now=NOW, received_before=2**60)
    (row,) = await api.archive.stores.store.find(DeliveryRow, {})
    assert row.state == "waiting"
    _, made = await api.add()
    _, shown = await api.get(made["id"])
    assert shown["recording"] == "present"
    assert [r["name"] for r in shown["recordings"]] == ["a.wav"]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "%2e%2e%2f",
        "100%.wav",
        "%25",
        "a/b",
        "..",
        "C:\\x",
        "ääni.wav",
        "a?b#c",
        '"; x="',
    ],
)
async def test_any_name_is_shown_as_it_was_given(api, name):
    _, made = await api.add()
    # As a client sends it that escapes everything, the dots too.
    escaped = quote(name, safe="").replace(".", "%2E")
    path = f"/api/v1/contacts/{made['id']}/recordings/{escaped}"
    status, _ = await api.ask("PUT", path, data=b"RIFF")
    assert status == 201
    _, shown = await api.get(made["id"])
    assert [r["name"] for r in shown["recordings"]] == [name]


@pytest.mark.parametrize("name", ["\u202egnp.wav", "\u200b", "a\nb", "\x00", " ", "a" * 4096])
async def test_a_name_that_cannot_be_seen_is_refused(api, name):
    _, made = await api.add()
    assert (await api.put(made["id"], name=name))[0] == 400
    assert await api.archive.stores.store.count(ObjectRow, {}) == 0


async def test_a_coded_recording_is_refused(api):
    _, made = await api.add()
    headers = {"Content-Encoding": "gzip"}
    assert (await api.put(made["id"], headers=headers))[0] == 415


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"recording": ...}, "not_announced"),
        ({"recording": "none"}, None),
        ({"recording": "none", "not_recorded_reason": "line_policy"}, "line_policy"),
    ],
)
async def test_a_call_that_was_not_recorded_says_why(api, told, reason):
    _, made = await api.add(**told)
    assert made["recording"] == "not_recorded"
    assert made.get("not_recorded_reason") == reason


# -- finding


@pytest.mark.parametrize(
    "query",
    [
        "phone=0401234567",
        "phone=040%20123%204567",
        "phone=%2B358401234567",
        pytest.param("phone=+358401234567", id="a plus that was read as a space"),
        pytest.param("phone=+358+40+123+4567", id="all of them"),
        "phone=00358401234567",
        "phone=040%C2%A0123%C2%A04567",
        "phone=0401234567&queue=ASIAKASPALVELU&agent=a-17&channel=call&direction=inbound",
        "from=2026-01-20&to=2026-01-21",
        "from=2026-01-20T14:02:00%2B02:00",
        pytest.param("from=2026-01-20T14:02:00+02:00", id="a plus in a time"),
        "recording=expected",
        "limit=200",
        "",
    ],
)
async def test_a_contact_is_found_however_it_is_asked_for(api, query):
    await api.add()
    assert await ids(api, query) == ["c-1"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("q=lasku", "q"),
        ("phone=abc", "phone"),
        ("phone=", "phone"),
        ("phone=0401234567&phone=0407654321", "phone"),
        ("email=maija", "email"),
        ("customer_number=*", "customer_number"),
        ("metering_point=1", "metering_point"),
        ("channel=fax", "channel"),
        ("direction=up", "direction"),
        ("recording=gone", "recording"),
        ("from=yesterday", "from"),
        ("from=2026-W03-2", "from"),
        ("from=2026-02-30", "from"),
        ("to=2026-01-20T14:02", "to"),
        ("from=2026-01-21&to=2026-01-20", "to"),
        ("from=2026-01-20&to=2026-01-20", "to"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=" + "9" * 400, "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
        ("agent=%00", "agent"),
        ("queue=%E2%80%8B", "queue"),
        ("phon=0401234567", "phone"),
        ("Phone=0401234567", ""),
        ("emotion=angry", "emotion"),
        ("phone=%zz", "%"),
        ("phone=%ff", "UTF-8"),
    ],
)
async def test_what_is_not_understood_is_refused_not_ignored(api, query, words):
    status, problem = await api.find(query)
    assert status == 400
    assert problem["code"] in {"invalid_input", "invalid_query"}
    assert words in problem["detail"]
    assert "0401234567" not in problem["detail"]


@pytest.mark.parametrize(
    ("started_at", "query", "is_found"),
    [
        ("2026-01-19T21:59:59Z", "from=2026-01-20", False),
        ("2026-01-19T22:00:00Z", "from=2026-01-20", True),
        ("2026-01-20T21:59:59Z", "to=2026-01-21", True),
        ("2026-01-20T22:00:00Z", "to=2026-01-21", False),
        pytest.param("2025-03-29T22:00:00Z", "from=2025-03-30", True, id="clocks go forward"),
        pytest.param("2025-03-30T20:59:59Z", "to=2025-03-31", True, id="a day of 23 hours"),
        pytest.param("2025-03-30T21:00:00Z", "to=2025-03-31", False, id="and its end"),
        pytest.param("2025-10-25T20:59:59Z", "from=2025-10-26", False, id="clocks go back"),
        pytest.param("2025-10-25T21:00:00Z", "from=2025-10-26", True, id="as in summer"),
        pytest.param("2025-10-26T21:59:59Z", "to=2025-10-27", True, id="a day of 25 hours"),
        pytest.param("2025-10-26T22:00:00Z", "to=2025-10-27", False, id="as in winter"),
        ("2026-01-20T12:00:00Z", "from=2026-01-20T14:00:00%2B02:00", True),
        ("2026-01-20T12:00:00Z", "to=2026-01-20T14:00:00%2B02:00", False),
    ],
)
async def test_a_period_is_half_open_in_the_time_of_helsinki(api, started_at, query, is_found):
    await api.add(started_at=started_at)
    assert bool(await ids(api, query)) is is_found


async def test_pages_follow_each_other(api):
    for n in range(5):
        await api.add(source_id=f"c-{n}", started_at=f"2026-01-2{n}T10:00:00Z")
    seen, query = [], "limit=2&phone=0401234567"
    for expected in [2, 2, 1]:
        _, page = await api.find(query)
        assert len(page["contacts"]) == expected
        assert page["unreadable"] == []
        seen += [contact["source_id"] for contact in page["contacts"]]
        query = f"limit=2&phone=0401234567&cursor={page['next']}"
    assert page["next"] is None
    assert seen == ["c-4", "c-3", "c-2", "c-1", "c-0"]


async def test_results_say_why_and_whose(api, archive):
    await import_customers(archive, NOW, "customer_number,phone\n1001,0401234567\n")
    await api.add()
    _, page = await api.find("customer_number=1001")
    (found,) = page["contacts"]
    assert found["matched_by"] == [{"criterion": "customer_number", "met_by": "link:phone"}]
    (link,) = found["links"]
    assert (link["state"], link["certainty"], link["reasons"]) == (
        "linked",
        "likely",
        ["phone"],
    )
    history = await api.ask(
        "GET", f"/api/v1/customers/{link['customer']}/contacts", role=Role.AGENT
    )
    assert [contact["source_id"] for contact in history[1]["contacts"]] == ["c-1"]


async def test_a_token_links_nothing(api, archive):
    await import_customers(archive, NOW, "customer_number,phone\n1001,0401234567\n")
    _, made = await api.add()
    (link,) = (await api.get(made["id"]))[1]["links"]
    path = f"/api/v1/contacts/{made['id']}/links/{link['customer']}"
    for role in Role:
        assert (await api.ask("PUT", path, role=role, json={"state": "linked"}))[0] in {
            401,
            403,
        }
    assert (await api.get(made["id"]))[1]["links"] == [link]


# -- what was searched, and whom it is registered with


async def test_nothing_found_says_what_was_searched_as_it_was_understood(api):
    query = "phone=040%20999%209999&email=Maija@Example.COM&queue=Laskutus&channel=call"
    status, page = await api.find(query + "&from=2026-01-20&to=2026-01-21T00:00:00Z")
    assert (status, page["contacts"]) == (200, [])
    assert page["searched"] == {
        "phone": "+358409999999",
        "email": "maija@example.com",
        "queue": "Laskutus",
        "channel": "call",
        "from": "2026-01-19T22:00:00Z",
        "to": "2026-01-21T00:00:00Z",
    }


async def test_what_was_searched_is_not_repeated_beside_what_was_found(api):
    await api.add()
    assert "searched" not in (await api.find("phone=0401234567"))[1]


async def test_a_lookup_names_the_customers_whose_number_it_is(api):
    await import_customers(
        api.archive,
        NOW,
        "customer_number,name,phone,email,protected,identity_code\n"
        "1001,Maija Esimerkki,0501112223,maija@example.com,yes,131052-9085\n",
    )
    await api.add(parties=[{"role": "customer", "email": "maija@example.com"}])
    status, page = await api.find("phone=050%20111%202223")
    assert (status, page["contacts"], page["more_customers"]) == (200, [], False)
    (maija,) = page["customers"]
    assert maija == {
        "id": maija["id"],
        "customer_number": "1001",
        "name": "Maija Esimerkki",
        "protected": True,
    }
    path = f"/api/v1/customers/{maija['id']}/contacts"
    _, history = await api.ask("GET", path, role=Role.AGENT)
    assert [one["source_id"] for one in history["contacts"]] == ["c-1"]
