"""What listens: authenticates, keeps, and only then answers."""

import asyncio
import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from yarl import URL

from service.domain.actor import Role
from service.domain.contact import RecordingState
from service.intake.app_keys import OFFER
from storage.errors import FullError, UnavailableError
from storage.rows import ContactRow, DeliveryRow, ObjectRow
from tests.archive.test_receive import Faulty
from tests.archive.test_spine import call
from tests.conftest import actor
from tests.intake.conftest import KEY, OLD_KEY, signed

HANDLER = actor(Role.COMPLAINT_HANDLER)


async def deliveries(door):
    return await door.archive.stores.store.find(DeliveryRow, {})


async def reasons(door):
    await door.understand()
    items = await door.archive.attention.find(actor=HANDLER)
    return sorted(reason for item in items for reason in item.reasons)


async def contacts(door):
    await door.understand()
    return await door.archive.stores.store.find(ContactRow, {})


# -- who may


async def test_a_signed_delivery_is_kept_and_becomes_a_contact(door):
    answer = await door.post()
    assert (answer.status, await answer.json()) == (200, {"kept": True})
    assert len(await contacts(door)) == 1
    assert await reasons(door) == []


async def test_it_is_offered_to_be_understood_at_once(door):
    offered = []
    door.service.app._state[OFFER] = offered.append
    await door.post()
    assert [kept.row for kept in offered] == await deliveries(door)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"webhook-signature": ""}, id="no signature"),
        pytest.param({"webhook-signature": "v1,AAAA"}, id="another"),
        pytest.param({"webhook-id": "msg_2"}, id="another id"),
        pytest.param({"webhook-id": "msg.1"}, id="a full stop in the id"),
        pytest.param({"webhook-timestamp": "1"}, id="another time"),
        pytest.param({"webhook-timestamp": "now"}, id="no time"),
    ],
)
async def test_without_a_valid_signature_nothing_is_kept(door, change):
    answer = await door.post(headers={**signed(call()), **change})
    assert answer.status == 401
    assert (await answer.json())["code"] == "not_signed_in"
    assert await deliveries(door) == []


async def test_the_raw_bytes_are_signed_not_what_they_mean(door):
    headers = signed(json.dumps({"a": 1}).encode())
    answer = await door.client.post("/intake/hook", data=b'{"a":1}', headers=headers)
    assert answer.status == 401


async def test_the_old_secret_is_taken_until_it_is_gone(door, config):
    assert (await door.post(key=OLD_KEY, ident="a")).status == 200
    assert (await door.post(key=KEY, ident="b")).status == 200
    assert (await door.post(key=b"x" * 32, ident="c")).status == 401
    assert len(await deliveries(door)) == 2
    assert config.sources[0].previous_secret_file is not None


@pytest.mark.parametrize("source", ["pbx", "nobody", "HOOK", "hook%2F..", "..%2fhook", "%00"])
async def test_a_source_that_signs_nothing_is_not_told_from_one_that_is_not(door, source):
    answer = await door.client.post(f"/intake/{source}", data=call(), headers=signed(call()))
    known = await door.client.post("/intake/hook", data=call(), headers={})
    assert (answer.status, await answer.json()) == (known.status, await known.json())
    assert answer.status == 401


async def test_a_token_does_not_stand_for_a_signature(door):
    bearer = {"Authorization": f"Bearer {await door.token()}"}
    assert (await door.post(headers=bearer)).status == 401


# -- again, late, and otherwise


async def test_the_same_again_is_answered_and_kept_once(door):
    await door.post()
    for later in [0, 60, 299]:
        at = datetime.now(UTC) + timedelta(seconds=later)
        answer = await door.post(at=at)
        assert (answer.status, await answer.json()) == (200, {"kept": True, "duplicate": True})
    assert len(await deliveries(door)) == 1
    assert await reasons(door) == []


async def test_identical_deliveries_at_the_same_moment_are_one(door):
    headers = signed(call())
    answers = await asyncio.gather(*(door.post(headers=headers) for _ in range(16)))
    assert {answer.status for answer in answers} == {200}
    assert sum(["duplicate" not in await answer.json() for answer in answers]) == 1
    assert len(await deliveries(door)) == 1
    assert len(await contacts(door)) == 1


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24 * 3, 60 * 24 * 3])
async def test_outside_of_the_tolerance_it_is_kept_and_shown(door, minutes):
    answer = await door.post(at=datetime.now(UTC) + timedelta(minutes=minutes))
    assert answer.status == 200
    assert len(await contacts(door)) == 1
    assert await reasons(door) == ["outside_tolerance"]


async def test_a_replay_of_what_is_known_is_a_duplicate_however_late(door):
    old = datetime.now(UTC) - timedelta(days=2)
    await door.post(at=old)
    assert "duplicate" in await (await door.post(at=old)).json()
    assert await reasons(door) == ["outside_tolerance"]


async def test_other_bytes_under_the_same_id_are_kept_and_shown(door):
    await door.post(call())
    other = call(queue="Laskutus")
    for _ in range(2):
        answer = await door.post(other)
        assert answer.status == 200
    assert len(await deliveries(door)) == 2
    assert await reasons(door) == ["contradiction", "id_reused"]
    assert len(await contacts(door)) == 1


async def test_what_ended_before_it_began_to_be_told_converges(door):
    await door.post(call(subject="Lasku"), ident="ended")
    await door.post(call(ended_at=None, parties=[]), ident="started")
    (row,) = await contacts(door)
    assert row.ended_at is not None
    assert await reasons(door) == []


# -- what nobody can read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"source_id=c-1",
        b"\xff\xfe\x00\x00",
        b"\xef\xbb\xbf{}",
        call().decode().encode("utf-16"),
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b'{"source_id": NaN}',
        b'{"source_id": "a\x00b"}',
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    ],
    ids=lambda body: body[:12].hex(),
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-7"])
async def test_what_cannot_be_read_is_kept_answered_and_shown(door, body, content_type):
    answer = await door.post(body, headers=signed(body, Content_Type=content_type))
    assert answer.status == 200
    (row,) = await deliveries(door)
    assert row.size_bytes == len(body)
    assert await reasons(door) == ["not_understood"]
    (row,) = await deliveries(door)
    opened = await door.archive.understanding.opener.open([row])
    assert opened[row.id].body == body


# -- what costs too much


async def test_a_coded_body_is_refused_unread(door):
    bomb = gzip.compress(bytes(50_000_000))
    for coding in ["gzip", "deflate", "br", "gzip, identity", "GZIP", "x-unknown"]:
        answer = await door.post(bomb, headers=signed(bomb, Content_Encoding=coding))
        assert answer.status == 415
    assert (await door.post(headers=signed(call(), Content_Encoding="identity"))).status == 200
    assert len(await deliveries(door)) == 1


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_too_large_a_body_is_refused(door, is_chunked):
    most = door.archive.config.intake.max_delivery_bytes
    for size, status in [(most + 1, 413), (most, 200)]:
        body = b" " * size

        async def pieces(body=body):
            yield body

        answer = await door.client.post(
            "/intake/hook",
            data=pieces() if is_chunked else io.BytesIO(body),
            headers=signed(body, ident=f"m{size}"),
        )
        assert answer.status == status
    assert len(await deliveries(door)) == 1


async def raw(door, head, body=b""):
    """Send bytes as they are; return the first line of the answer, or nothing when none comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.client.port)
    try:
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
        async with asyncio.timeout(1):
            return await reader.readline()
    except TimeoutError:
        return b""
    finally:
        writer.close()


def request(*more, body=b"{}", path="/intake/hook", method="POST"):
    headers = [f"{name}: {value}" for name, value in signed(body).items()]
    return [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, *more]


@pytest.mark.parametrize(
    ("more", "body"),
    [
        pytest.param(["Content-Length: 10"], b"{}", id="longer than it is"),
        pytest.param(["Content-Length: -2"], b"{}", id="negative"),
        pytest.param(["Content-Length: two"], b"{}", id="no number"),
        pytest.param(["Content-Length: 2", "Content-Length: 3"], b"{}x", id="two"),
        pytest.param(
            ["Content-Length: 2", "Transfer-Encoding: chunked"],
            b"2\r\n{}\r\n0\r\n\r\n",
            id="two ways",
        ),
        pytest.param(["Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n", id="no chunk"),
        pytest.param(["Transfer-Encoding: chunked"], b"2\r\n{}\r\n", id="no last chunk"),
    ],
)
async def test_a_length_that_is_not_true_is_never_acknowledged(door, more, body):
    line = await raw(door, request(*more), body)
    assert b" 200 " not in line
    assert b" 500 " not in line
    assert await deliveries(door) == []


async def test_bytes_behind_the_announced_length_are_not_part_of_it(door):
    line = await raw(
        door,
        request("Content-Length: 2"),
        b"{}GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    assert b" 200 " in line
    (row,) = await deliveries(door)
    assert row.size_bytes == 2


@pytest.mark.parametrize(
    ("error", "status"), [(UnavailableError("busy"), 503), (FullError("no room"), 507)]
)
async def test_what_is_not_durable_is_not_acknowledged(door, archive, error, status):
    app = door.service.app
    (key,) = [key for key in app if getattr(key, "_name", "").endswith(".intake")]
    intake = app[key]
    failing = type(intake)(
        store=Faulty(intake.store, "commit", error),
        keys=intake.keys,
        blobs=intake.blobs,
        intake_keys=intake.intake_keys,
        index=intake.index,
        sessions=intake.sessions,
        max_recording_bytes=intake.max_recording_bytes,
    )
    app._state[key] = failing
    answer = await door.post()
    assert answer.status == status
    if status == 503:
        assert "Retry-After" in answer.headers
    app._state[key] = intake
    assert (await door.post()).status == 200
    assert len(await archive.stores.store.find(DeliveryRow, {})) == 1


# -- recordings


async def put(door, body=b"RIFF", *, token=None, path="pbx/c-1/recordings/a.wav", **headers):
    bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return await door.client.put(f"/intake/{path}", data=body, headers={**bearer, **more})


async def test_a_recording_before_its_contact_is_kept_and_attached_later(door):
    token = await door.token(source="hook")
    answer = await put(door, token=token, path="hook/c-1/recordings/a.wav")
    assert (answer.status, await answer.json()) == (200, {"kept": True})
    await door.understand()
    await door.post()
    (row,) = await contacts(door)
    assert row.recording_state == RecordingState.PRESENT


@pytest.mark.parametrize(
    ("role", "bound_to", "status"),
    [
        (Role.INTEGRATION, None, 200),
        (Role.INTEGRATION, "pbx", 200),
        (Role.INTEGRATION, "hook", 404),
        (Role.COMPLAINT_HANDLER, None, 403),
        (Role.ADMIN, None, 403),
        (None, None, 401),
    ],
)
async def test_only_an_integration_of_the_source_delivers_recordings(
    door, role, bound_to, status
):
    token = None if role is None else await door.token(role, bound_to)
    assert (await put(door, token=token)).status == status
    assert len(await deliveries(door)) == (status == 200)


async def test_a_token_that_was_revoked_or_invented_delivers_nothing(door):
    for token in ["", "x", "tlt_" + "a" * 43, "tlt_\u00e9"]:
        assert (await put(door, token=token)).status in {400, 401}
    assert await deliveries(door) == []


async def test_the_same_recording_again_is_a_duplicate_and_another_is_kept_beside_it(door):
    token = await door.token()
    answers = [
        await (await put(door, body, token=token)).json()
        for body in [b"one", b"one", b"two", b"two", b"one"]
    ]
    assert ["duplicate" in answer for answer in answers] == [False, True, False, True, True]
    assert len(await door.archive.stores.store.find(ObjectRow, {})) == 2


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "%2e%2e%2f",
        "%252e",
        "100%25",
        "CON",
        "a b+c&d=e?f#g",
        "ääni \N{MUSICAL NOTE}.wav",
        "'; DROP TABLE recordings; --",
        "a/b",
        ".",
        "a" * 254,
    ],
)
async def test_any_name_is_kept_as_it_is_and_is_no_path(door, name, tmp_path):
    token = await door.token()
    path = f"pbx/{quote(name, safe='')}/recordings/{quote(name, safe='')}"
    line = await raw(
        door,
        [
            f"PUT /intake/{path} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {token}",
            "Content-Length: 4",
        ],
        b"RIFF",
    )
    assert b" 200 " in line
    (row,) = await deliveries(door)
    opened = await door.archive.understanding.opener.open([row])
    assert opened[row.id].ident == f"{name}\n{name}"
    inside = {file.name for file in tmp_path.rglob("*")}
    assert not {"passwd", "boot.ini", "CON", "b"} & inside


@pytest.mark.parametrize(
    "name", ["%00", "%0a", "%E2%80%AE.wav", "%e2%80%8b", "%20", "a" * 255, "a" * 4096]
)
async def test_a_name_that_cannot_be_seen_is_refused(door, name):
    token = await door.token()
    answer = await door.client.put(
        URL(f"/intake/pbx/c-1/recordings/{name}", encoded=True),
        data=b"RIFF",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status == 400
    assert await deliveries(door) == []


async def test_a_coded_or_too_large_recording_is_refused_and_leaves_nothing(door):
    token = await door.token()
    answer = await put(door, gzip.compress(b"x"), token=token, Content_Encoding="gzip")
    assert answer.status == 415
    most = door.archive.config.intake.max_recording_bytes
    line = await raw(
        door,
        [
            "PUT /intake/pbx/c-1/recordings/a.wav HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {token}",
            f"Content-Length: {most + 1}",
        ],
    )
    assert b" 413 " in line
    assert await deliveries(door) == []


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        ("audio/wav", "audio/wav"),
        ("Audio/X-WAV; rate=8000", "audio/x-wav"),
        ("text/html<script>", "application/octet-stream"),
        ("x" * 300, "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
async def test_a_type_is_kept_when_it_is_one(door, declared, kept):
    await door.post()
    path = "hook/c-1/recordings/a.wav"
    await put(door, token=await door.token(), path=path, Content_Type=declared)
    (row,) = await contacts(door)
    view = await door.archive.contacts.get(row.id, actor=HANDLER)
    assert view.recordings[0].sealed.content_type == kept
