"""Content over HTTP: ranges, refusals, and never a byte that was not verified."""

import asyncio
import dataclasses
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer

from service.api import content as content_module
from service.api.content import CONTENTS, Contents, content_routes
from service.api.grants import GRANTS, grant_routes
from service.archive.records import SealedRecording
from service.archive.vault import open_value, seal_value
from service.domain.errors import NotSignedInError
from service.domain.ids import new_id
from service.http.addresses import Site
from service.http.frame import RUNNER_OPTIONS, Frame, build_application
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Put
from storage.rows import OpeningRow
from tests.archive.world import AGENT, DPO, HANDLER, OTHER_HANDLER, opened_world

CHUNK = 65536
SEALED = CHUNK + 16
AUDIO = bytes(range(256)) * 1024
LONG = bytes(i * 7 % 251 for i in range(256 * 1024)) * 10
ACTORS = {"handler": HANDLER, "other": OTHER_HANDLER, "agent": AGENT}


class KnownTokens:
    async def authenticate(self, token):
        if token not in ACTORS:
            raise NotSignedInError(token)
        return ACTORS[token]


class KnownSessions:
    async def find(self, secret, **_):
        actor = ACTORS.get(secret)
        return actor and SimpleNamespace(actor=actor, csrf="csrf")


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def serving(world):
    frame = Frame(
        site=Site(), sessions=KnownSessions(), tokens=KnownTokens(), clock=lambda: world.now
    )
    app = build_application(frame, [*content_routes(), *grant_routes()])
    app[CONTENTS], app[GRANTS] = Contents(world.opener), world.grants
    async with AsyncExitStack() as stack:
        server = TestServer(app)
        await server.start_server(**RUNNER_OPTIONS)
        yield await stack.enter_async_context(TestClient(server))


@pytest.fixture
async def client(world):
    async with serving(world) as opened:
        yield opened


def bearer(who="handler", **headers):
    return {"Authorization": f"Bearer {who}", **headers}


@dataclasses.dataclass
class Call:
    contact_id: str
    recording_id: str
    object_id: str
    grant_id: str
    client: TestClient

    @property
    def path(self):
        return f"/api/v1/recordings/{self.recording_id}/content"

    async def get(self, *, who="handler", method="GET", path=None, grant=True, **headers):
        if grant:
            headers = {"Access-Grant": self.grant_id, **headers}
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(
            method, path or self.path, headers=bearer(who, **headers)
        )


async def arranged(world, client, audio=AUDIO, **more):
    contact_id = await world.call(audio, **more)
    row = await world.recording_of(contact_id)
    grant = await world.grant(contact_id)
    return Call(contact_id, row.id, row.object_id, grant.id, client)


@pytest.fixture
async def call(world, client):
    return await arranged(world, client)


async def test_a_recording_is_what_was_received(call):
    response = await call.get()
    assert response.status == 200
    assert await response.read() == AUDIO
    assert response.headers["Content-Length"] == str(len(AUDIO))
    assert response.headers["Accept-Ranges"] == "bytes"


async def test_a_long_recording_is_sent_in_batches(world, client):
    call = await arranged(world, client, LONG)
    response = await call.get()
    assert await response.read() == LONG


async def test_nothing_caches_runs_or_guesses_what_is_sent(call):
    headers = (await call.get()).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["Content-Disposition"] == 'attachment; filename="call.wav"'
    assert headers["Content-Type"] == "audio/wav"


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=65535-65536", 65535, 65537),
        ("bytes=-5", len(AUDIO) - 5, len(AUDIO)),
        (f"bytes={len(AUDIO) - 1}-", len(AUDIO) - 1, len(AUDIO)),
        ("bytes=0-99999999", 0, len(AUDIO)),
    ],
)
async def test_a_range_is_206_and_exactly_that(call, text, start, stop):
    response = await call.get(Range=text)
    assert response.status == 206
    assert await response.read() == AUDIO[start:stop]
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(AUDIO)}"


async def test_a_long_range_is_exact_too(world, client):
    call = await arranged(world, client, LONG)
    response = await call.get(Range="bytes=70000-2000000")
    assert response.status == 206
    assert await response.read() == LONG[70000:2000001]


@pytest.mark.parametrize("text", ["bytes=-0", "bytes=99999999-", "bytes=" + "9" * 23 + "-"])
async def test_an_unsatisfiable_range_is_416_with_the_size(call, text):
    response = await call.get(Range=text)
    assert response.status == 416
    assert response.headers["Content-Range"] == f"bytes */{len(AUDIO)}"
    assert (await response.json())["code"] == "range_not_satisfiable"


@pytest.mark.parametrize(
    "text",
    [
        "bytes=9-2",
        "bytes=-",
        "items=0-1",
        "bytes=0-1,3-4",
        "bytes=" + ",".join(["0-"] * 1000),
        "x",
    ],
)
async def test_a_range_that_may_be_ignored_is_200_and_everything(call, text):
    response = await call.get(Range=text)
    assert response.status == 200
    assert await response.read() == AUDIO


async def test_two_range_headers_are_ignored(call):
    headers = [
        ("Authorization", "Bearer handler"),
        ("Access-Grant", call.grant_id),
        ("Range", "bytes=0-1"),
        ("Range", "bytes=2-3"),
    ]
    response = await call.client.get(call.path, headers=headers)
    assert response.status == 200


async def test_if_range_with_the_same_tag_gives_the_range(call):
    etag = (await call.get()).headers["ETag"]
    response = await call.get(Range="bytes=0-1", If_Range=etag)
    assert response.status == 206


@pytest.mark.parametrize(
    "condition", ['"old"', "W/{etag}", "Sun, 22 Nov 2026 10:00:00 GMT", ""]
)
async def test_if_range_with_anything_else_gives_everything(call, condition):
    etag = (await call.get()).headers["ETag"]
    response = await call.get(Range="bytes=0-1", If_Range=condition.format(etag=etag))
    assert response.status == 200


async def test_the_tag_tells_nothing_of_the_content(world, call):
    again = await arranged(world, call.client, source_id="call-2")
    first, second = (await call.get()).headers["ETag"], (await again.get()).headers["ETag"]
    assert first != second
    assert not first.startswith("W/")


async def test_head_is_get_without_the_bytes(call):
    response = await call.get(method="HEAD", Range="bytes=0-1")
    assert response.status == 200
    assert response.headers["Content-Length"] == str(len(AUDIO))
    assert await response.read() == b""


async def test_an_empty_recording_is_empty(world, client):
    call = await arranged(world, client, b"")
    response = await call.get()
    assert (response.status, await response.read()) == (200, b"")
    assert (await call.get(Range="bytes=0-")).status == 416
    assert (await call.get(Range="bytes=-5")).status == 200


async def test_a_message_is_text(world, client):
    contact_id = await world.chat("<img src=x onerror=alert(1)> äö")
    (message,) = await world.messages_of(contact_id)
    grant = await world.grant(contact_id)
    response = await client.get(
        f"/api/v1/messages/{message.id}/content", headers=bearer(**{"Access-Grant": grant.id})
    )
    assert await response.text() == "<img src=x onerror=alert(1)> äö"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"].startswith("attachment")


# -- who may


async def test_nobody_is_not_let_in(call):
    assert (await call.client.get(call.path)).status == 401
    assert (await call.get(who="wrong")).status == 401


async def test_without_a_grant_it_is_403(call):
    response = await call.get(grant=False)
    assert response.status == 403
    assert (await response.json())["code"] == "grant_required"


@pytest.mark.parametrize(
    ("who", "code"), [("agent", "not_permitted"), ("other", "grant_required")]
)
async def test_anothers_grant_is_403_and_on_record(world, call, who, code):
    response = await call.get(who=who)
    assert (response.status, (await response.json())["code"]) == (403, code)
    (entry,) = await world.entries("opening.refused")
    assert (entry.actor, entry.data["reason"]) == (ACTORS[who].id, code)


async def test_who_may_open_nothing_learns_nothing(call):
    """The same answer for what exists and what does not."""
    answers = []
    for path in (call.path, f"/api/v1/recordings/{new_id('rc')}/content"):
        response = await call.get(who="agent", path=path)
        answers.append((response.status, await response.json()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "guess", ["rc_1", "..%2f..%2fetc", "%00", "rc_" + "a" * 26, "ct_" + "a" * 26]
)
async def test_a_guess_is_404(call, guess):
    response = await call.get(path=f"/api/v1/recordings/{guess}/content")
    assert response.status == 404


async def test_a_recording_is_not_a_message(call):
    response = await call.get(path=f"/api/v1/messages/{call.recording_id}/content")
    assert response.status == 404


@pytest.mark.parametrize(
    "query", ["?download=1", "?rendition=loud", "?rendition=", "?grant=x&grant=y"]
)
async def test_what_is_not_understood_is_refused(call, query):
    assert (await call.get(path=call.path + query)).status == 400


async def test_a_token_does_not_put_its_grant_into_the_address(call):
    response = await call.get(path=f"{call.path}?grant={call.grant_id}", grant=False)
    assert response.status == 400


async def test_a_browser_puts_its_grant_into_the_address(call):
    cookie = {"Cookie": "taltio=handler"}
    response = await call.client.get(f"{call.path}?grant={call.grant_id}", headers=cookie)
    assert response.status == 200
    response = await call.client.get(call.path, headers=cookie)
    assert response.status == 403


async def test_no_log_no_bytes(world, call):
    world.store.fault = StoreUnavailableError("full")
    response = await call.get()
    assert response.status == 503
    assert AUDIO[:64] not in await response.read()


async def test_one_actor_gets_only_so_much_at_once(call, monkeypatch):
    monkeypatch.setattr(content_module, "MAX_PER_ACTOR", 0)
    response = await call.get()
    assert response.status == 429
    assert response.headers["Retry-After"] == "1"


# -- bad chunks


async def received(response):
    """Return the bytes that came, and whether the connection broke off."""
    data = bytearray()
    try:
        async for part in response.content.iter_any():
            data += part
    except (ClientError, ConnectionError):
        return bytes(data), True
    return bytes(data), False


def flip(world, call, chunk):
    world.blobs.blobs[call.object_id][16 + chunk * SEALED + 5] ^= 1


async def opened_before(call):
    """Open it while it is whole: its hash is compared with the log then, and not at every range."""
    assert (await call.get(Range="bytes=0-0")).status == 206


@pytest.mark.parametrize("chunk", [16, 17, 30, 38])
async def test_the_first_byte_of_a_bad_chunk_is_never_sent(world, client, chunk):
    call = await arranged(world, client, LONG)
    await opened_before(call)
    flip(world, call, chunk)
    response = await call.get()
    data, is_broken = await received(response)
    assert is_broken
    assert 0 < len(data) <= chunk * CHUNK
    assert data == LONG[: len(data)]
    assert await world.entries("integrity.alarm")


@pytest.mark.parametrize("chunk", [0, 1, 3])
async def test_a_bad_chunk_at_the_beginning_is_told_in_words(world, call, chunk):
    await opened_before(call)
    flip(world, call, chunk)
    response = await call.get()
    assert response.status == 500
    assert (await response.json())["code"] == "altered"
    assert await world.entries("integrity.alarm")


async def test_a_range_beside_a_bad_chunk_is_still_heard(world, call):
    await opened_before(call)
    flip(world, call, 2)
    response = await call.get(Range=f"bytes=0-{2 * CHUNK - 1}")
    assert await response.read() == AUDIO[: 2 * CHUNK]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda blob: blob.__delitem__(slice(16, 16 + SEALED)), id="chunk deleted"),
        pytest.param(
            lambda blob: blob.__delitem__(slice(16 + 17 * SEALED, None)), id="cut at a chunk"
        ),
        pytest.param(
            lambda blob: blob.__setitem__(
                slice(16 + 17 * SEALED, 16 + 18 * SEALED),
                blob[16 + 18 * SEALED : 16 + 19 * SEALED],
            ),
            id="chunk repeated",
        ),
        pytest.param(
            lambda blob: blob.__setitem__(
                slice(16 + 17 * SEALED, 16 + 18 * SEALED),
                blob[16 + 39 * SEALED :].ljust(SEALED, b"\0"),
            ),
            id="last chunk moved forward",
        ),
    ],
)
async def test_a_blob_that_changes_while_it_is_open_is_not_padded(world, client, change):
    call = await arranged(world, client, LONG)
    await opened_before(call)
    change(world.blobs.blobs[call.object_id])
    response = await call.get()
    if response.status == 200:
        data, is_broken = await received(response)
        assert is_broken
        assert data == LONG[: len(data)]
        assert len(data) <= 17 * CHUNK
    else:
        assert (await response.json())["code"] == "altered"
    assert await world.entries("integrity.alarm")


async def test_a_changed_blob_is_refused_before_the_first_byte(world, call):
    flip(world, call, 2)
    response = await call.get(Range="bytes=0-0")
    assert (response.status, (await response.json())["code"]) == (500, "altered")


# -- trace


async def saved_opening(world):
    await world.openings.flush(now=world.now)
    return (await world.store.find(OpeningRow, {}))[0]


async def test_what_was_sent_is_on_record(world, call):
    await (await call.get(Range="bytes=0-99")).read()
    await (await call.get(Range="bytes=50-149")).read()
    await call.get(method="HEAD")
    assert (await saved_opening(world)).sent == "0-150"
    assert len(await world.entries("opening.made")) == 1


async def test_a_client_that_hangs_up_leaves_a_trace_of_what_it_got(world, client):
    call = await arranged(world, client, LONG * 20)
    response = await call.get()
    await response.content.readexactly(100_000)
    response.close()
    for _ in range(200):
        await asyncio.sleep(0.01)
        if (
            world.openings.find(
                (HANDLER.id, call.grant_id, (await world.asked(call.contact_id))), world.now
            ).users
            == 0
        ):
            break
    row = await saved_opening(world)
    start, _, stop = row.sent.partition("-")
    assert start == "0"
    assert 100_000 <= int(stop) < len(LONG) * 20


@pytest.mark.parametrize(
    ("actor", "status"),
    [
        pytest.param(None, 401, id="disabled or revoked"),
        pytest.param(dataclasses.replace(HANDLER, roles=AGENT.roles), 403, id="opens no more"),
        pytest.param(dataclasses.replace(HANDLER, roles=DPO.roles), 403, id="another purpose"),
    ],
)
async def test_the_next_range_is_refused_to_who_lost_account_or_role(
    call, monkeypatch, actor, status
):
    assert (await call.get(Range="bytes=0-9")).status == 206
    if actor is None:
        monkeypatch.delitem(ACTORS, "handler")
    else:
        monkeypatch.setitem(ACTORS, "handler", actor)
    assert (await call.get(Range="bytes=10-19")).status == status


async def test_a_withdrawn_grant_ends_what_is_on_its_way(world, client):
    call = await arranged(world, client, LONG * 20)
    response = await call.get()
    await response.content.readexactly(100_000)
    withdrawn = await client.delete(f"/api/v1/grants/{call.grant_id}", headers=bearer())
    assert withdrawn.status == 204
    data, is_broken = await received(response)
    assert is_broken
    assert len(data) < len(LONG) * 20 - 100_000


async def examined(world, call, *, seconds):
    row = await world.recording_of(call.contact_id)
    sealer = await world.vault.get_sealer(call.contact_id)
    place = {"table": "recordings", "row": row.id}
    sealed = open_value(sealer, row.sealed, SealedRecording, **place, version=row.version)
    sealed = msgspec.structs.replace(sealed, facts={"duration_seconds": seconds})
    version = row.version + 1
    row = dataclasses.replace(
        row, version=version, sealed=seal_value(sealer, sealed, **place, version=version)
    )
    await world.store.commit([Put(row)])


async def report(call, body, **more):
    return await call.client.post(
        call.path.replace("/content", "/heard"),
        headers=bearer(**{"Access-Grant": call.grant_id}),
        json=body,
        **more,
    )


async def test_what_a_player_reports_is_cut_to_what_happened(world, call):
    await examined(world, call, seconds=60)
    await (await call.get(Range=f"bytes=0-{len(AUDIO) // 2 - 1}")).read()
    world.wait(seconds=5)
    response = await report(call, {"ranges": [[0, 3.5], [2, 100]]})
    assert await response.json() == {"heard": [[0.0, 10.0]], "heard_seconds": 10.0}
    world.wait(minutes=5)
    response = await report(call, {"ranges": [[0, 60]]})
    assert (await response.json())["heard_seconds"] == 30.0


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"ranges": 1},
        {"ranges": [[1]]},
        {"ranges": [[1, 2, 3]]},
        {"ranges": [["1", "2"]]},
        {"ranges": [[5, 1]]},
        {"ranges": [[-1, 1]]},
        {"ranges": [[0, 1e300]]},
        {"ranges": [[0, 1]] * 1001},
        {"ranges": [], "actor": "us_other"},
    ],
)
async def test_another_report_is_refused(call, body):
    assert (await report(call, body)).status == 400


# -- grants over HTTP


async def post_grant(client, body, who="handler"):
    return await client.post("/api/v1/grants", headers=bearer(who), json=body)


async def test_a_grant_is_made_shown_and_withdrawn(call):
    body = {"purpose": "handle_complaint", "complaint": "R-1", "contacts": [call.contact_id]}
    response = await post_grant(call.client, body)
    assert response.status == 201
    made = await response.json()
    assert made["expires_at"] == "2026-11-22T20:00:00Z"
    listed = await (await call.client.get("/api/v1/grants?limit=1", headers=bearer())).json()
    assert len(listed["grants"]) == 1
    for _ in range(2):
        response = await call.client.delete(f"/api/v1/grants/{made['id']}", headers=bearer())
        assert response.status == 204


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"purpose": "marketing"}, id="marketing is no purpose"),
        pytest.param({"purpose": "quality_development"}, id="no samples"),
        pytest.param({"complaint": None}, id="no complaint"),
        pytest.param({"request": "P-1"}, id="a request as well"),
        pytest.param({"contacts": []}, id="no contacts"),
        pytest.param({"contacts": "ct_1"}, id="not a list"),
        pytest.param({"contacts": [1]}, id="not ids"),
        pytest.param({"actor_id": "us_other"}, id="for somebody else"),
        pytest.param({"role": "dpo"}, id="with another role"),
        pytest.param({"expires_at": "2099-01-01T00:00:00Z"}, id="for ever"),
    ],
)
async def test_another_grant_is_refused(call, change):
    body = {"purpose": "handle_complaint", "complaint": "R-1", "contacts": [call.contact_id]}
    response = await post_grant(call.client, {**body, **change})
    assert response.status == 400


async def test_an_agent_makes_no_grants(call):
    body = {"purpose": "handle_complaint", "complaint": "R-1", "contacts": [call.contact_id]}
    assert (await post_grant(call.client, body, who="agent")).status == 403


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=201", "?limit=x", "?limit=-1", "?cursor=x", "?actor=us_other"]
)
async def test_another_listing_is_refused(call, query):
    assert (await call.client.get(f"/api/v1/grants{query}", headers=bearer())).status == 400
