"""Recordings in pieces (tus 1.0), against the whole service."""

import asyncio
import base64
import contextlib
import hashlib
from datetime import timedelta

import pytest

from service.archive import incoming
from service.archive.upload_tidying import UploadTidying
from service.archive.upload_view import LIFETIME
from service.archive.verify_rows import RowChecker
from service.domain.actor import Role
from service.domain.errors import BusyError
from service.http.uploads import read_chunks
from storage.rows import ObjectRow, UploadRow
from tests.system.world import NOBODY, contact

BASE = "/api/v1/uploads"
BYTES = "application/offset+octet-stream"
BODY = b"RIFF" + bytes(range(256)) * 800
LENGTH = len(BODY)


def _metadata(**told):
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in told.items())


class Sender:
    """A machine that speaks tus."""

    def __init__(self, world, asker):
        self.world, self.asker = world, asker

    async def ask(self, method, path=BASE, body=None, **headers):
        headers = {"Tus_Resumable": "1.0.0", **headers}
        return await self.world.ask(self.asker, method, path, body=body, **headers)

    async def begin(self, length=LENGTH, body=None, **headers):
        told = _metadata(
            source="pbx", source_id="c-tus", filename="a.wav", filetype="audio/wav"
        )
        headers = {"Upload_Length": str(length), "Upload_Metadata": told, **headers}
        answer = await self.ask("POST", body=body, **headers)
        assert answer.status == 201, answer.body
        return answer.headers["Location"]

    async def add(self, place, body, offset, **headers):
        headers = {"Upload_Offset": str(offset), "Content_Type": BYTES, **headers}
        return await self.ask("PATCH", place, body, **headers)

    async def offset(self, place):
        return int((await self.ask("HEAD", place)).headers["Upload-Offset"])


@pytest.fixture
async def sender(world):
    return Sender(world, await world.token(Role.INTEGRATION))


async def _kept(world, contact_id):
    """Return the name, type and bytes of every recording of the contact."""
    handler = await world.token(Role.COMPLAINT_HANDLER)
    shown = await world.ask(handler, "GET", f"/api/v1/contacts/{contact_id}")
    order = {"purpose": "verify_contact", "contacts": [contact_id]}
    grant = (await world.ask(handler, "POST", "/api/v1/grants", body=order)).json["id"]
    found = []
    for one in shown.json["recordings"]:
        path = f"/api/v1/recordings/{one['id']}/content"
        answer = await world.ask(handler, "GET", path, Access_Grant=grant)
        found.append((one["name"], answer.headers["Content-Type"], answer.body))
    return found


async def _left(world):
    """Return what is left of uploads: parts, uploads, and blobs that no row names."""
    store, blobs = world.archive.stores.store, world.archive.stores.blobs
    named = {row.id for row in await store.find(ObjectRow, {})}
    parts = await store.count(ObjectRow, {"kind": "part"})
    return (
        parts,
        await store.count(UploadRow, {"state": ["open", "removing"]}),
        {name async for name in blobs.names() if name not in named},
    )


async def test_a_recording_in_pieces_is_kept_as_one_that_came_whole(world, sender):
    contact_id = await world.new_contact()
    told = _metadata(contact=contact_id, filename="puhelu ä.wav", filetype="audio/wav")
    place = await sender.begin(Upload_Metadata=told)
    assert place.startswith(BASE + "/up_"), "and names no host"
    first = await sender.add(place, BODY[:70_000], 0)
    assert (first.status, first.headers["Upload-Offset"]) == (204, "70000")
    head = await sender.ask("HEAD", place)
    assert (head.status, head.headers["Upload-Offset"]) == (200, "70000")
    assert head.headers["Upload-Length"] == str(len(BODY))
    assert (head.headers["Upload-Metadata"], head.headers["Cache-Control"]) == (
        told,
        "no-store",
    )
    assert "Upload-Expires" in head.headers
    assert await _kept(world, contact_id) == []
    last = await sender.add(place, BODY[70_000:], 70_000)
    assert (last.status, last.headers["Upload-Offset"]) == (204, str(len(BODY)))
    assert await _kept(world, contact_id) == [("puhelu ä.wav", "audio/wav", BODY)]
    assert await sender.offset(place) == len(BODY), "also for who did not hear the last answer"
    assert await _left(world) == (0, 0, set())


async def test_its_contact_may_come_later(world, sender):
    place = await sender.begin(Upload_Length=str(len(BODY)))
    assert (await sender.add(place, BODY, 0)).status == 204
    made = await sender.ask("POST", "/api/v1/contacts", contact("c-tus"))
    for _ in range(200):
        if kept := await _kept(world, made.json["id"]):
            break
        await asyncio.sleep(0.02)
        await world.archive.understanding.catch_up(now=world.now, received_before=None)
    assert kept == [("a.wav", "audio/wav", BODY)]


async def test_nothing_of_it_is_in_the_clear_on_disk(world, sender):
    secret = b"card number 4242 4242 4242 4242 " * 4000
    told = _metadata(source="pbx", source_id="c-s", filename="seen-nowhere.wav")
    place = await sender.begin(length=len(secret) + 1, Upload_Metadata=told)
    assert (await sender.add(place, secret, 0)).status == 204
    files = [one for one in world.archive.config.archive.directory.rglob("*") if one.is_file()]
    stored = b"".join(one.read_bytes() for one in files)
    assert len(stored) > len(secret)
    assert secret[:32] not in stored
    assert b"seen-nowhere" not in stored


async def test_what_is_asked_otherwise_is_refused(world, sender):
    place = await sender.begin()
    await sender.add(place, BODY[:10], 0)
    ask, most = sender.ask, world.archive.config.intake.max_recording_bytes
    told = _metadata(source="pbx", source_id="c", filename="a")
    long = {"Upload_Length": str(most + 1), "Upload_Metadata": told}
    answers = [
        (412, await ask("HEAD", place, Tus_Resumable="0.2.2")),
        (412, await ask("POST", Tus_Resumable="")),
        (409, await sender.add(place, b"x", 0)),
        (400, await sender.add(place, b"x", "ten")),
        (415, await ask("PATCH", place, b"x", Upload_Offset="10", Content_Type="text/plain")),
        (400, await sender.add(place, b"x", 10, Upload_Checksum="md5 YQ==")),
        (400, await sender.add(place, b"x", 10, Upload_Length="11")),
        (413, await sender.ask("POST", **long)),
        (400, await ask("POST", Upload_Length="9")),
        (400, await ask("POST", Upload_Length="9", Upload_Metadata="")),
        (400, await ask("POST", Upload_Metadata=told)),
        (400, await ask("POST", Upload_Length="9", Upload_Metadata="filename !")),
        (404, await ask("HEAD", f"{BASE}/up_{'a' * 26}")),
        (404, await ask("HEAD", f"{BASE}/x")),
        (400, await ask("POST", place, X_HTTP_Method_Override="GET")),
    ]
    for number, (expected, answer) in enumerate(answers):
        assert answer.status == expected, (number, answer.status, answer.body)
    assert answers[0][1].headers["Tus-Version"] == "1.0.0"
    assert await sender.offset(place) == 10


async def test_the_protocol_is_told_to_anybody(world):
    answer = await world.ask(NOBODY, "OPTIONS", BASE)
    assert (answer.status, answer.headers["Tus-Version"]) == (204, "1.0.0")
    assert "concatenation" in answer.headers["Tus-Extension"]
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"
    assert (
        int(answer.headers["Tus-Max-Size"]) == world.archive.config.intake.max_recording_bytes
    )


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_bytes_that_went_wrong_on_their_way_are_discarded(world, sender, algorithm):
    place = await sender.begin()
    digest = hashlib.new(algorithm, BODY[:9]).digest()
    told = f"{algorithm} {base64.b64encode(digest).decode()}"
    wrong = await sender.add(place, BODY[1:10], 0, Upload_Checksum=told)
    assert (wrong.status, wrong.code) == (460, "checksum_mismatch")
    assert await sender.offset(place) == 0
    assert await _left(world) == (0, 1, set())
    assert (await sender.add(place, BODY[:9], 0, Upload_Checksum=told)).status == 204
    assert await sender.offset(place) == 9


async def test_creation_with_bytes_without_bytes_and_of_no_length(world, sender):
    place = await sender.begin(body=BODY[:50], Content_Type=BYTES)
    assert await sender.offset(place) == 50
    octets = await sender.begin(Content_Type="application/octet-stream")
    assert await sender.offset(octets) == 0
    told = _metadata(source="pbx", source_id="c-e", filename="empty.wav")
    empty = await sender.begin(length=0, Upload_Metadata=told)
    assert await sender.offset(empty) == 0
    rows = await world.archive.stores.store.find(UploadRow, {"state": "done"})
    assert [row.id for row in rows] == [empty.rpartition("/")[2]]
    wrong = await sender.ask(
        "POST", body=b"x", Content_Type="text/plain", Upload_Length="9", Upload_Metadata=told
    )
    assert wrong.status == 415


async def test_a_length_may_be_told_later(world, sender):
    told = _metadata(contact=await world.new_contact(), filename="a.wav")
    begun = await sender.ask("POST", Upload_Defer_Length="1", Upload_Metadata=told)
    place = begun.headers["Location"]
    await sender.add(place, BODY[:10], 0)
    head = await sender.ask("HEAD", place)
    assert (head.headers["Upload-Defer-Length"], head.headers.get("Upload-Length")) == (
        "1",
        None,
    )
    assert (await sender.add(place, b"", 10, Upload_Length="5")).status == 400
    assert (await sender.add(place, b"", 10, Upload_Length="10")).status == 204
    rows = await world.archive.stores.store.find(UploadRow, {})
    assert [row.state for row in rows] == ["done"]


async def test_partial_uploads_become_one_recording(world, sender):
    contact_id = await world.new_contact()
    pieces = [BODY[:1000], BODY[1000:70_000], BODY[70_000:]]
    places = []
    for piece in pieces:
        answer = await sender.ask(
            "POST", Upload_Length=str(len(piece)), Upload_Concat="partial"
        )
        places.append(answer.headers["Location"])
    told = _metadata(contact=contact_id, filename="a.wav")
    final = {"Upload_Concat": "final;" + " ".join(places), "Upload_Metadata": told}
    assert (await sender.ask("POST", **final)).status == 400, "none of them is whole"
    for place, piece in zip(places, pieces, strict=True):
        assert (await sender.add(place, piece, 0)).status == 204
    assert (await sender.ask("HEAD", places[0])).headers["Upload-Concat"] == "partial"
    other = Sender(world, await world.token(Role.INTEGRATION))
    assert (await other.ask("POST", **final)).status == 404
    made = await sender.ask("POST", **final)
    assert made.status == 201
    place = made.headers["Location"]
    assert (await sender.ask("HEAD", place)).headers["Upload-Length"] == str(len(BODY))
    assert (await sender.add(place, b"x", len(BODY))).status == 403
    assert await _kept(world, contact_id) == [("a.wav", "application/octet-stream", BODY)]
    assert await _left(world) == (0, 0, set())
    assert (await sender.ask("HEAD", places[0])).status == 404


async def test_an_upload_is_its_senders_own(world, sender):
    place = await sender.begin()
    bound = await world.token(Role.INTEGRATION, source="chat")
    stranger = Sender(world, bound)
    for answer in (
        await stranger.ask("HEAD", place),
        await stranger.add(place, BODY, 0),
        await stranger.ask("DELETE", place),
        await stranger.ask("POST", place, X_HTTP_Method_Override="DELETE"),
    ):
        assert answer.status == 404
    told = _metadata(source="pbx", source_id="c", filename="a")
    foreign = await stranger.ask("POST", Upload_Length="9", Upload_Metadata=told)
    assert foreign.status == 404, "another source"
    theirs = _metadata(contact=await world.new_contact(), filename="a")
    assert (await stranger.ask("POST", Upload_Length="9", Upload_Metadata=theirs)).status == 404
    assert await sender.offset(place) == 0


async def test_an_upload_is_removed_when_asked_and_when_its_time_is_over(world, sender):
    place, other = await sender.begin(), await sender.begin()
    for one in (place, other):
        await sender.add(one, BODY[:1000], 0)
    answer = await sender.ask("POST", place, X_HTTP_Method_Override="DELETE")
    assert answer.status == 204
    assert (await sender.ask("HEAD", place)).status == 404
    uploads = world.service.resumable
    assert (
        await UploadTidying(uploads).tidy(now=world.now + LIFETIME - timedelta(minutes=1)) == 0
    )
    assert await sender.offset(other) == 1000
    assert await UploadTidying(uploads).tidy(now=world.now + LIFETIME) == 1
    assert (await sender.ask("HEAD", other)).status == 404
    assert await _left(world) == (0, 0, set())
    ids = [one.rpartition("/")[2] for one in (place, other)]
    assert await world.archive.stores.keys.get_keys(ids) == {}


async def test_what_was_whole_before_a_crash_is_kept_by_who_comes_next(
    world, sender, monkeypatch
):
    contact_ids = [await world.new_contact(), await world.new_contact()]
    uploads, places = world.service.resumable, []

    async def crash(*_, **__):
        raise ConnectionResetError

    for contact_id in contact_ids:
        places.append(
            await sender.begin(Upload_Metadata=_metadata(contact=contact_id, filename="a.wav"))
        )
        with monkeypatch.context() as patched:
            patched.setattr(type(uploads), "finish", crash)
            with contextlib.suppress(Exception):
                await sender.add(places[-1], BODY, 0)
        assert await _kept(world, contact_id) == []
    assert await sender.offset(places[0]) == len(BODY)
    assert await _kept(world, contact_ids[0]) == [("a.wav", "application/octet-stream", BODY)]
    await UploadTidying(uploads).tidy(now=world.now + timedelta(minutes=11))
    assert await _kept(world, contact_ids[1]) == [("a.wav", "application/octet-stream", BODY)]
    assert await _left(world) == (0, 0, set())


async def test_who_comes_late_to_the_end_makes_no_empty_recording(world, sender, monkeypatch):
    contact_id, uploads = await world.new_contact(), world.service.resumable
    place = await sender.begin(Upload_Metadata=_metadata(contact=contact_id, filename="a.wav"))
    with monkeypatch.context() as patched:
        patched.setattr(type(uploads), "finish", None)
        await sender.add(place, BODY, 0)
    secret = sender.asker.headers["Authorization"].removeprefix("Bearer ")
    actor = await world.archive.access.tokens.authenticate(secret)
    late = await uploads.get(place.rpartition("/")[2], actor=actor, now=world.now)
    assert await sender.offset(place) == len(BODY)
    with pytest.raises(BusyError):
        await uploads.finish(late, actor=actor, now=world.now)
    assert await _kept(world, contact_id) == [("a.wav", "application/octet-stream", BODY)]


async def test_who_reads_what_another_process_ends_meanwhile_raises_no_alarm(world, sender):
    contact_id, uploads = await world.new_contact(), world.service.resumable
    place = await sender.begin(Upload_Metadata=_metadata(contact=contact_id, filename="a.wav"))
    await sender.add(place, BODY[:-1], 0)

    class Late(type(uploads.parts)):
        async def find(self, upload_id):
            parts = await super().find(upload_id)
            assert (await sender.add(place, BODY[-1:], LENGTH - 1)).status == 204
            return parts

    late = Late(uploads.parts.store, uploads.parts.blobs, uploads.parts.vault)
    with pytest.raises(BusyError):
        await anext(late.read([place.rpartition("/")[2]], size_bytes=LENGTH - 1))
    assert await _kept(world, contact_id) == [("a.wav", "application/octet-stream", BODY)]


async def _begin_patch(world, asker, place, body, *, length):
    """Send the head of a PATCH and ``body``, which need not be all of it."""
    host, port = world.address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = [f"PATCH {place} HTTP/1.1", f"Host: {host}", "Tus-Resumable: 1.0.0"]
    head += [f"{name}: {value}" for name, value in asker.headers.items()]
    head += ["Upload-Offset: 0", f"Content-Type: {BYTES}", f"Content-Length: {length}"]
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    await writer.drain()
    return writer


async def _hang_up(writer):
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _until_at_least(sender, place, offset):
    for _ in range(250):
        if (found := await sender.offset(place)) >= offset:
            break
        await asyncio.sleep(0.02)
    return found


@pytest.fixture
def arrived(monkeypatch):
    """Return what counts the bytes that the service has taken from its connections."""
    sizes = []

    async def counted(request, **more):
        async for chunk in read_chunks(request, **more):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr("service.api.uploads.read_chunks", counted)

    async def until(size):
        async with asyncio.timeout(20):
            while sum(sizes) < size:  # noqa: ASYNC110  # what is watched is a list
                await asyncio.sleep(0.01)

    return until


async def test_what_came_before_the_connection_broke_is_kept(world, sender, arrived):
    place = await sender.begin()
    writer = await _begin_patch(world, sender.asker, place, BODY[:90_000], length=len(BODY))
    await arrived(90_000)
    busy = await sender.add(place, BODY[:10], 0)
    assert (busy.status, busy.code) == (423, "busy"), "and nobody writes between"
    await _hang_up(writer)
    assert await _until_at_least(sender, place, 90_000) == 90_000
    assert (await sender.add(place, BODY[90_000:], 90_000)).status == 204


async def test_a_long_request_is_kept_part_by_part(world, sender, arrived, monkeypatch):
    monkeypatch.setattr(incoming, "PART_BYTES", 64 * 1024)
    place = await sender.begin()
    writer = await _begin_patch(world, sender.asker, place, BODY[:150_000], length=len(BODY))
    await arrived(150_000)
    found = await _until_at_least(sender, place, 64 * 1024)
    assert 64 * 1024 <= found <= 150_000, "though the request goes on"
    await _hang_up(writer)
    assert await _until_at_least(sender, place, 150_000) == 150_000


async def test_one_sender_does_not_begin_without_end(sender, monkeypatch):
    monkeypatch.setattr("service.archive.uploads.MAX_OPEN", 2)
    for _ in range(2):
        await sender.begin()
    told = _metadata(source="pbx", source_id="c", filename="a")
    answer = await sender.ask("POST", Upload_Length="9", Upload_Metadata=told)
    assert (answer.status, answer.code) == (429, "too_many_uploads")
    assert (await sender.ask("POST", Upload_Length="9", Upload_Metadata=told)).status == 429


async def test_verifying_the_archive_finds_nothing_wrong_with_parts(world, sender):
    await sender.add(await sender.begin(), BODY[:1000], 0)
    assert await world.archive.stores.store.count(ObjectRow, {"kind": "part"}) == 1
    rows = RowChecker(world.archive.verifier.checker, world.archive.config.archive.timezone.key)
    assert [checks async for _, checks in rows.waiting()] == []


async def test_a_creation_whose_bytes_fail_leaves_nothing_behind(world, sender):
    told = _metadata(source="pbx", source_id="c", filename="a.wav")
    for checksum in ("sha1 AAAA", "md5 AAAA"):
        answer = await sender.ask(
            "POST",
            body=b"x" * 9,
            Content_Type=BYTES,
            Upload_Length="9",
            Upload_Metadata=told,
            Upload_Checksum=checksum,
        )
        assert answer.status >= 400
    assert await world.archive.stores.store.count(UploadRow, {"state": "open"}) == 0


async def test_a_final_that_cannot_be_kept_is_not_tried_for_ever(world, sender):
    told = _metadata(contact=await world.new_contact(), filename="a.wav")
    place = await sender.begin(Upload_Metadata=told)
    assert (await sender.add(place, BODY, 0)).status == 204
    part = await sender.ask("POST", Upload_Length=str(len(BODY)), Upload_Concat="partial")
    place = part.headers["Location"]
    assert (await sender.add(place, BODY[::-1], 0)).status == 204
    for _ in range(3):
        answer = await sender.ask("POST", Upload_Concat=f"final;{place}", Upload_Metadata=told)
        assert answer.status == 409
    assert (
        await world.archive.stores.store.count(UploadRow, {"kind": "final", "state": "open"})
        == 0
    )
    # The bytes are still there, for another name.
    other = _metadata(contact=await world.new_contact(), filename="b.wav")
    answer = await sender.ask("POST", Upload_Concat=f"final;{place}", Upload_Metadata=other)
    assert answer.status == 201
