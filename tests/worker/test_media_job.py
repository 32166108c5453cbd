"""A recording is examined once: facts, a waveform, a copy that plays everywhere, and a trace of having been opened."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.archive.contacts import ContactView
from service.archive.payload import find_committed, get_file_key, open_payload
from service.archive.records import SealedRecording
from service.archive.vault import open_value, seal_value
from service.crypto.stream import PayloadSealer, plain_length
from service.domain.actor import Role
from service.domain.errors import TamperedError, UnavailableError
from service.log.entry import EntryType, decode_entry
from service.worker.media.facts import MediaFacts
from service.worker.media.peaks import decode_peaks
from service.worker.media.run import MediaLimits, MediaResult, Rendition
from service.worker.media_job import MediaJob, facts_of
from storage.errors import FullError
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Remove, Replace
from storage.rows import AttentionRow, JobRow, ObjectRow, RecordingRow
from tests.archive.test_spine import call, deliver, deliver_recording
from tests.conftest import NOW, actor
from tests.fakes import FaultyStore

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
HANDLER = actor(Role.COMPLAINT_HANDLER)


async def recorded(archive, name="call-gsm.wav", *, audio=None, source_id="c-1"):
    """Archive a call with a recording; return the recording's id."""
    await deliver(archive, call(source_id), ident=source_id, now=NOW)
    audio = (SAMPLES / name).read_bytes() if audio is None else audio
    await deliver_recording(archive, audio, source_id=source_id, name=name, now=NOW)
    rows = await archive.stores.store.find(RecordingRow, {"state": "present"}, order=("id",))
    (job,) = [
        row
        for row in await archive.stores.store.find(JobRow, {"kind": "media"})
        if not await objects_of(archive, row.subject, "rendition", "peaks")
    ]
    assert job.subject in {row.id for row in rows}
    return job.subject


def media_job(archive, store=None, **more):
    stores = archive.stores
    parts = {
        "store": store or stores.store,
        "log": stores.log,
        "blobs": stores.blobs,
        "vault": archive.vault,
        **more,
    }
    return MediaJob(**parts)


async def view_of(archive, recording_id) -> ContactView:
    (row,) = await archive.stores.store.find(RecordingRow, {"id": recording_id})
    return await archive.contacts.get(row.contact_id, actor=HANDLER)


async def objects_of(archive, recording_id, *kinds):
    where = {"owner_id": recording_id, **({"kind": list(kinds)} if kinds else {})}
    return list(await archive.stores.store.find(ObjectRow, where))


async def content_of(archive, stored):
    """Return the plaintext of an object, checked against the log."""
    key = await get_file_key(archive.vault, stored.id)
    async with archive.stores.blobs.open(stored.id) as reader:
        payload = await open_payload(reader, stored, file_key=key)
        return b"".join(
            [bytes(part) async for part in payload.read_range(0, payload.size_bytes)]
        )


async def blobs_of(archive):
    return {name async for name in archive.stores.blobs.names()}


async def keys_of(archive):
    return sum((await archive.stores.keys.count_keys()).values())


async def entries(archive, *kinds):
    log = archive.stores.log
    found = [decode_entry(one.entry) for one in await log.log_entries(0, await log.log_size())]
    return [entry for entry in found if not kinds or entry.type in kinds]


async def test_a_recording_that_browsers_cannot_play_gets_facts_a_waveform_and_a_copy(archive):
    recording_id = await recorded(archive)
    await media_job(archive).run(recording_id, NOW)
    (recording,) = (await view_of(archive, recording_id)).recordings
    facts = recording.sealed.facts
    assert (facts["container"], facts["codec"], facts["channels"]) == ("wav", "gsm_ms", 1)
    assert facts["duration_seconds"] == pytest.approx(4.5, abs=0.12)
    assert (facts["flags"], facts["is_browser_playable"]) == ([], False)
    rendition = await content_of(archive, recording.rendition)
    assert rendition[:4] == b"RIFF"
    assert len(rendition) == recording.rendition.plain_bytes
    assert len(decode_peaks(await content_of(archive, recording.peaks)).channels) == 1


async def test_a_recording_that_browsers_play_gets_no_copy(archive):
    recording_id = await recorded(archive, "call.opus")
    await media_job(archive).run(recording_id, NOW)
    (recording,) = (await view_of(archive, recording_id)).recordings
    assert recording.sealed.facts["is_browser_playable"] is True
    assert recording.rendition is None
    assert recording.peaks is not None


async def test_the_original_stays_as_it_was_received(archive):
    recording_id = await recorded(archive)
    (before,) = await objects_of(archive, recording_id)
    await media_job(archive).run(recording_id, NOW)
    (after,) = await objects_of(archive, recording_id, "recording")
    assert after == before
    assert await content_of(archive, after) == (SAMPLES / "call-gsm.wav").read_bytes()


async def test_the_worker_is_on_record_before_it_has_the_key(archive):
    recording_id = await recorded(archive)
    seen = []

    class Watched:
        def __init__(self, keys):
            self._keys = keys

        def __getattr__(self, name):
            return getattr(self._keys, name)

        async def get_keys(self, ids):
            if any(one.startswith("ob_") for one in ids):
                seen.append(len(await entries(archive, EntryType.OPENING_MADE)))
            return await self._keys.get_keys(ids)

    vault = replace(archive.vault, keys=Watched(archive.stores.keys))
    await media_job(archive, vault=vault).run(recording_id, NOW)
    assert seen == [1]
    (opening,) = await entries(archive, EntryType.OPENING_MADE)
    assert (opening.actor, opening.data["purpose"]) == ("system", "media")
    assert recording_id in opening.about


async def test_without_a_log_nothing_is_opened(archive):
    recording_id = await recorded(archive)
    store = FaultyStore(archive.stores.store)
    store.faults = [FullError("full")]
    with pytest.raises(FullError):
        await media_job(archive, store, vault=without_headers(archive)).run(recording_id, NOW)
    assert await entries(archive, EntryType.OPENING_MADE) == []


def without_headers(archive):
    """Return a vault whose key store knows the rows' keys and refuses to give out a header."""

    class NoHeaders:
        def __getattr__(self, name):
            return getattr(archive.stores.keys, name)

        async def get_keys(self, ids):
            assert not any(one.startswith("ob_") for one in ids), "a header was asked for"
            return await archive.stores.keys.get_keys(ids)

    return replace(archive.vault, keys=NoHeaders())


async def test_the_log_commits_to_every_derived_blob(archive):
    recording_id = await recorded(archive)
    await media_job(archive).run(recording_id, NOW)
    derived = await objects_of(archive, recording_id, "rendition", "peaks")
    assert len(derived) == 2
    for stored in derived:
        assert await find_committed(archive.stores.log, stored) == [stored.sha256.hex()]


async def test_running_twice_makes_nothing_twice_and_opens_nothing_again(archive):
    recording_id = await recorded(archive)
    await media_job(archive).run(recording_id, NOW)
    before = (await objects_of(archive, recording_id), await blobs_of(archive))
    await media_job(archive).run(recording_id, NOW)
    assert (await objects_of(archive, recording_id), await blobs_of(archive)) == before
    assert len(await entries(archive, EntryType.OPENING_MADE)) == 1


async def test_two_workers_at_once_leave_one_rendition_and_no_orphan(archive):
    recording_id = await recorded(archive)
    keys = await keys_of(archive)
    await asyncio.gather(*(media_job(archive).run(recording_id, NOW) for _ in range(2)))
    assert len(await objects_of(archive, recording_id)) == 3
    assert await blobs_of(archive) == {o.id for o in await objects_of(archive, recording_id)}
    assert await keys_of(archive) == keys + 2


@pytest.mark.parametrize(
    ("audio", "flag"),
    [
        pytest.param(b"This is no sound at all. " * 400, "unreadable", id="text"),
        pytest.param(b"", "empty", id="nothing"),
        pytest.param((SAMPLES / "call.flac").read_bytes()[:20000], "truncated", id="cut"),
        pytest.param(b"RIFF\xff\xff\xff\xffWAVEfmt ", "malformed", id="a torn header"),
    ],
)
async def test_what_cannot_be_decoded_is_examined_too_and_says_so(archive, audio, flag):
    recording_id = await recorded(archive, "x.bin", audio=audio)
    await media_job(archive).run(recording_id, NOW)
    (recording,) = (await view_of(archive, recording_id)).recordings
    assert flag in recording.sealed.facts["flags"]
    assert recording.sealed.facts["is_browser_playable"] is False


async def test_what_is_not_there_is_nothing_to_do(archive):
    recording_id = await recorded(archive)
    (row,) = await archive.stores.store.find(RecordingRow, {"id": recording_id})
    erased = replace(row, version=row.version + 1, state="erased", object_id=None)
    await archive.stores.store.commit([Replace(erased)])
    await media_job(archive).run(recording_id, NOW)
    await media_job(archive).run("rc_" + "a" * 26, NOW)
    assert await entries(archive, EntryType.OPENING_MADE) == []


async def erase(archive, recording_id):
    """Erase as a disposal does: the tombstone first, then the keys, then the blobs."""
    (row,) = await archive.stores.store.find(RecordingRow, {"id": recording_id})
    objects = await objects_of(archive, recording_id)
    erased = replace(row, version=row.version + 1, state="erased", object_id=None, sealed=b"")
    removed = [Remove(ObjectRow, (one.id,)) for one in objects]
    await archive.stores.store.commit([Replace(erased), *removed])
    await archive.stores.keys.destroy_keys([row.contact_id, *(one.id for one in objects)])
    for one in objects:
        await archive.stores.blobs.remove(one.id)


def examined_with(action, *, sample=b"sound" * 30_000, is_whole=True):
    """Return an examination that renders ``sample`` and does something in the middle of it."""

    async def examine(_source, *, sink, **_hints):
        await sink(sample)
        await action()
        await sink(sample)
        size = 2 * len(sample) if is_whole else None
        rendition = Rendition(content_type="audio/wav", size_bytes=size) if size else None
        return MediaResult(facts=MediaFacts(container="wav"), rendition=rendition)

    return examine


async def test_what_is_erased_meanwhile_leaves_nothing(archive, monkeypatch):
    recording_id = await recorded(archive)
    monkeypatch.setattr(
        "service.worker.media_job.examine", examined_with(lambda: erase(archive, recording_id))
    )
    await media_job(archive).run(recording_id, NOW)
    assert await blobs_of(archive) == set()
    assert await objects_of(archive, recording_id) == []
    assert await archive.stores.keys.find_keys("epoch:1", after="ob_", limit=9) == []


async def test_what_is_changed_meanwhile_is_decided_again(archive, monkeypatch):
    recording_id = await recorded(archive)

    async def touch():
        (row,) = await archive.stores.store.find(RecordingRow, {"id": recording_id})
        sealer = await archive.vault.get_sealer(row.contact_id)
        place = {"table": "recordings", "row": row.id}
        sealed = open_value(sealer, row.sealed, SealedRecording, version=row.version, **place)
        version = row.version + 1
        again = seal_value(sealer, sealed, version=version, **place)
        touched = replace(row, version=version, sealed=again)
        await archive.stores.store.commit([Replace(touched)])

    monkeypatch.setattr("service.worker.media_job.examine", examined_with(touch))
    await media_job(archive).run(recording_id, NOW)
    (recording,) = (await view_of(archive, recording_id)).recordings
    assert recording.sealed.facts["container"] == "wav"
    assert recording.row.version == 4


async def test_a_rendition_that_is_not_whole_is_not_kept(archive, monkeypatch):
    recording_id = await recorded(archive)

    async def nothing():
        await asyncio.sleep(0)

    monkeypatch.setattr(
        "service.worker.media_job.examine", examined_with(nothing, is_whole=False)
    )
    await media_job(archive).run(recording_id, NOW)
    (original,) = await objects_of(archive, recording_id)
    assert await blobs_of(archive) == {original.id}


@pytest.mark.parametrize("stop", ["cancelled", "failed", "out of memory"])
async def test_a_worker_stopped_in_the_middle_leaves_nothing_behind(archive, monkeypatch, stop):
    recording_id = await recorded(archive)
    blobs, keys = await blobs_of(archive), await keys_of(archive)
    reached = asyncio.Event()

    async def action():
        reached.set()
        if stop == "failed":
            raise UnavailableError("the child was killed")
        if stop == "out of memory":
            raise MemoryError
        await asyncio.Event().wait()

    monkeypatch.setattr("service.worker.media_job.examine", examined_with(action))
    task = asyncio.create_task(media_job(archive).run(recording_id, NOW))
    await reached.wait()
    if stop == "cancelled":
        task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    kind = {"cancelled": asyncio.CancelledError, "failed": UnavailableError}
    assert isinstance(outcome, kind.get(stop, MemoryError))
    assert (await blobs_of(archive), await keys_of(archive)) == (blobs, keys)


async def test_a_full_disk_ends_the_examination_and_leaves_nothing(archive, monkeypatch):
    recording_id = await recorded(archive)

    class Full:
        def __getattr__(self, name):
            return getattr(archive.stores.blobs, name)

        @asynccontextmanager
        async def create(self, name):
            async with archive.stores.blobs.create(name) as writer:

                class Writer:
                    async def write(self, _data):
                        raise FullError("no room")

                    finish = writer.finish

                yield Writer()

    async def endless(_source, *, sink, **_hints):
        while True:
            await sink(bytes(100_000))

    monkeypatch.setattr("service.worker.media_job.examine", endless)
    with pytest.raises(FullError):
        await media_job(archive, blobs=Full()).run(recording_id, NOW)
    assert len(await blobs_of(archive)) == 1


@pytest.mark.parametrize("step", range(2))
async def test_a_commit_that_fails_leaves_no_orphans_and_the_next_attempt_succeeds(
    archive, step
):
    recording_id = await recorded(archive)
    store = FaultyStore(archive.stores.store)
    store.faults = [*([None] * step), StoreUnavailableError("not now")]
    with pytest.raises(StoreUnavailableError):
        await media_job(archive, store).run(recording_id, NOW)
    assert len(await blobs_of(archive)) == 1
    await media_job(archive, store).run(recording_id, NOW)
    assert len(await objects_of(archive, recording_id)) == 3


def flipped(data, _key):
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def forged(data, key):
    """Return a payload of the same length that is valid under the same key, and not what was received."""
    sealer = PayloadSealer(key)
    return bytes(sealer.update(bytes(plain_length(len(data))))) + sealer.finish()


@pytest.mark.parametrize("change", [flipped, forged])
async def test_altered_bytes_raise_the_alarm_and_are_not_decoded(archive, change):
    recording_id = await recorded(archive)
    (stored,) = await objects_of(archive, recording_id)
    directory = archive.config.storage.blobs.path
    (path,) = [path for path in directory.rglob(stored.id) if path.is_file()]
    data = change(path.read_bytes(), await get_file_key(archive.vault, stored.id))
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(TamperedError):
        await media_job(archive).run(recording_id, NOW)
    (item,) = await archive.stores.store.find(AttentionRow, {"reason": "integrity"})
    assert item.about == recording_id
    assert len(await entries(archive, EntryType.INTEGRITY_ALARM)) == 1
    assert len(await objects_of(archive, recording_id)) == 1


async def test_no_plaintext_touches_the_disk(archive, tmp_path):
    recording_id = await recorded(archive)
    await media_job(archive).run(recording_id, NOW)
    (rendition,) = await objects_of(archive, recording_id, "rendition")
    sound = (await content_of(archive, rendition))[1000:1032]
    original = (SAMPLES / "call-gsm.wav").read_bytes()[1000:1032]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert sound not in data
            assert original not in data


async def test_the_limits_reach_the_child(archive, monkeypatch):
    recording_id = await recorded(archive)
    given = []

    async def examine(_source, **arguments):
        given.append(arguments["limits"])
        return MediaResult(facts=MediaFacts())

    monkeypatch.setattr("service.worker.media_job.examine", examine)
    limits = MediaLimits(cpu_seconds=7)
    await media_job(archive, limits=limits).run(recording_id, NOW)
    assert given == [limits]


def test_facts_are_kept_under_stable_names():
    assert facts_of(MediaFacts()) == {
        "container": "",
        "codec": "",
        "channels": 0,
        "sample_rate_hz": 0,
        "duration_seconds": 0.0,
        "claimed_duration_seconds": None,
        "flags": [],
        "problems": [],
        "is_browser_playable": False,
    }
