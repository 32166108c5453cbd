"""Receiving: what was acknowledged is durable, sealed and in the log, once."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.intake_memory import Recent
from service.archive.receive import ID_REUSED, keep_delivery, keep_recording
from service.domain.errors import TooLargeError
from service.log.entry import EntryType, decode_entry
from storage.errors import ConflictError, FullError, UnavailableError
from storage.rows import DeliveryRow, KeyRow, ObjectRow
from tests.archive.test_spine import chunks
from tests.conftest import NOW


async def keep(intake, body=b"{}", *, ident="w-1", source="pbx", now=NOW, **more):
    return await keep_delivery(
        intake, source=source, kind="contact", ident=ident, body=body, now=now, **more
    )


async def keep_sound(intake, *parts, name="a.wav", source_id="c-1", now=NOW):
    return await keep_recording(
        intake,
        chunks(*parts),
        source="pbx",
        source_id=source_id,
        name=name,
        content_type="audio/wav",
        now=now,
    )


async def deliveries(archive, **where):
    return await archive.stores.store.find(DeliveryRow, where)


async def entries(archive, kind):
    stored = await archive.stores.log.log_entries(0, 1000)
    return [e for e in (decode_entry(one.entry) for one in stored) if e.type is kind]


async def key_count(archive):
    return sum((await archive.stores.keys.count_keys()).values())


async def blob_names(archive):
    return {name async for name in archive.stores.blobs.names()}


class Faulty:
    """A collaborator of which one method fails, before or after it has done its work."""

    def __init__(self, part, method, error, *, is_late=False):
        self._part, self._method, self._error, self._is_late = part, method, error, is_late

    def __getattr__(self, name):
        method = getattr(self._part, name)
        if name != self._method:
            return method

        async def failing(*args, **kwargs):
            if self._is_late:
                await method(*args, **kwargs)
            raise self._error

        return failing


async def test_a_delivery_is_sealed_and_in_the_log_and_opens_again(archive):
    body = b'{"source_id": "a secret of Maija"}'
    kept = await keep(archive.intake, body, remarks=("outside_tolerance",))
    (row,) = await deliveries(archive)
    assert row == kept.row
    assert b"Maija" not in row.sealed
    opened = await archive.understanding.opener.open([row])
    assert opened[row.id] == kept.delivery
    assert (kept.delivery.body, kept.delivery.remarks) == (body, ("outside_tolerance",))
    (entry,) = await entries(archive, EntryType.DELIVERY_RECEIVED)
    assert entry.about == (row.id,)
    assert entry.data["sealed_sha256"] == hashlib.sha256(row.sealed).hexdigest()


async def test_one_identification_is_kept_once_and_costs_no_key_more(archive):
    await keep(archive.intake)
    keys = await key_count(archive)
    assert (await keep(archive.intake, now=NOW + timedelta(minutes=1))).is_duplicate
    assert len(await deliveries(archive)) == 1
    assert await key_count(archive) == keys


async def test_another_process_finds_the_duplicate_too(archive):
    await keep(archive.intake)
    keys = await key_count(archive)
    forgetful = replace(archive.intake, recent=Recent())
    assert (await keep(forgetful)).is_duplicate
    assert len(await deliveries(archive)) == 1
    assert await key_count(archive) == keys


async def test_what_comes_twice_at_the_same_moment_is_kept_once(archive):
    kept = await asyncio.gather(*(keep(archive.intake) for _ in range(20)))
    assert sorted(one.is_duplicate for one in kept) == [False] + [True] * 19
    assert len(await deliveries(archive)) == 1
    assert len(await entries(archive, EntryType.DELIVERY_RECEIVED)) == 1


@pytest.mark.parametrize("is_forgetful", [False, True])
async def test_other_bytes_under_one_identification_are_kept_once_and_marked(
    archive, is_forgetful
):
    intake = archive.intake
    kept = []
    for body in [b"one", b"two", b"two", b"one", b"three"]:
        kept.append(await keep(intake, body))
        if is_forgetful:
            intake = replace(intake, recent=Recent())
    assert [one.is_duplicate for one in kept] == [False, False, True, True, False]
    assert [one.delivery.remarks for one in kept if not one.is_duplicate] == [
        (),
        (ID_REUSED,),
        (ID_REUSED,),
    ]
    assert len(await deliveries(archive)) == 3


async def test_sources_and_kinds_do_not_share_identifications(archive):
    await keep(archive.intake, ident="x\ny")
    assert not (await keep(archive.intake, ident="x\ny", source="chat")).is_duplicate
    assert not (await keep_sound(archive.intake, b"s", source_id="x", name="y")).is_duplicate


async def test_memory_of_the_recent_is_bounded():
    recent = Recent(most=3)
    for n in range(5):
        recent.add(bytes([n]))
    assert [bytes([n]) in recent for n in range(5)] == [False, False, True, True, True]


async def test_a_recording_is_sealed_and_committed_to(archive):
    kept = await keep_sound(archive.intake, b"RIFF", b"a spoken secret")
    (stored,) = await archive.stores.store.find(ObjectRow, {})
    assert (stored.id, stored.plain_bytes) == (kept.row.object_id, 19)
    assert await blob_names(archive) == {stored.id}
    (entry,) = await entries(archive, EntryType.RECORDING_RECEIVED)
    assert entry.data["blob_sha256"] == stored.sha256.hex()
    assert hashlib.sha256(b"RIFFa spoken secret").hexdigest() not in str(entry)
    headers = await archive.stores.keys.get_keys([stored.id])
    assert isinstance(headers[stored.id], KeyRow)


async def test_the_same_recording_again_leaves_nothing_more(archive):
    await keep_sound(archive.intake, b"one")
    keys, blobs = await key_count(archive), await blob_names(archive)
    assert (await keep_sound(archive.intake, b"on", b"e")).is_duplicate
    assert (await key_count(archive), await blob_names(archive)) == (keys, blobs)


async def test_the_same_recording_twice_at_the_same_moment_is_kept_once(archive):
    kept = await asyncio.gather(*(keep_sound(archive.intake, b"one") for _ in range(5)))
    assert sum(not one.is_duplicate for one in kept) == 1
    assert len(await archive.stores.store.find(ObjectRow, {})) == 1
    assert len(await blob_names(archive)) == 1


async def test_an_empty_recording_is_one(archive):
    await keep_sound(archive.intake)
    (stored,) = await archive.stores.store.find(ObjectRow, {})
    assert stored.plain_bytes == 0


async def test_too_large_a_recording_leaves_nothing(archive):
    intake = replace(archive.intake, max_recording_bytes=10)
    with pytest.raises(TooLargeError):
        await keep_sound(intake, b"12345", b"678901")
    assert (await key_count(archive), await blob_names(archive)) == (0, set())
    assert await deliveries(archive) == []


@pytest.mark.parametrize(
    ("part", "method"), [("keys", "put_keys"), ("store", "commit")], ids=str
)
async def test_a_failure_leaves_nothing_that_fills_the_disk(archive, part, method):
    failing = Faulty(getattr(archive.intake, part), method, FullError("no room"))
    with pytest.raises(FullError):
        await keep_sound(replace(archive.intake, **{part: failing}), b"one")
    assert await blob_names(archive) == set()
    assert await deliveries(archive) == []
    assert not (await keep_sound(archive.intake, b"one")).is_duplicate


async def test_a_commit_whose_answer_was_lost_loses_no_bytes(archive):
    late = Faulty(archive.intake.store, "commit", UnavailableError("lost"), is_late=True)
    with pytest.raises(UnavailableError):
        await keep_sound(replace(archive.intake, store=late), b"one")
    (stored,) = await archive.stores.store.find(ObjectRow, {})
    assert await blob_names(archive) == {stored.id}
    assert (await keep_sound(archive.intake, b"one")).is_duplicate
    assert await blob_names(archive) == {stored.id}


async def test_cancelled_while_it_is_committed_no_bytes_are_lost(archive):
    """The commit goes on to its end, which nobody waits for any more."""
    is_begun, tasks = asyncio.Event(), []

    class Slow:
        def __getattr__(self, name):
            return getattr(archive.stores.store, name)

        async def commit(self, change):
            async def later():
                is_begun.set()
                await asyncio.sleep(0.05)
                await archive.stores.store.commit(change)

            tasks.append(asyncio.create_task(later()))
            await asyncio.shield(tasks[0])

    task = asyncio.create_task(keep_sound(replace(archive.intake, store=Slow()), b"one"))
    await is_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await tasks[0]
    (stored,) = await archive.stores.store.find(ObjectRow, {})
    assert await blob_names(archive) == {stored.id}


async def test_a_sender_who_breaks_off_leaves_nothing(archive):
    @asynccontextmanager
    async def nothing_left():
        yield
        assert await blob_names(archive) == set()
        assert await key_count(archive) == 0
        assert await deliveries(archive) == []

    async def broken(*parts):
        for part in parts:
            yield part
        raise ConnectionResetError

    for parts in [(), (b"",), (b"a",), (bytes(70_000), b"b"), (bytes(1 << 20), bytes(9))]:
        async with nothing_left():
            with pytest.raises(ConnectionResetError):
                await keep_recording(
                    archive.intake,
                    broken(*parts),
                    source="pbx",
                    source_id="c",
                    name="n",
                    content_type="audio/wav",
                    now=NOW,
                )


async def test_deliveries_share_a_session_until_it_is_over(archive):
    for minutes in [0, 9, 11, 12]:
        await keep(archive.intake, ident=str(minutes), now=NOW + timedelta(minutes=minutes))
    rows = await deliveries(archive)
    keys = await archive.stores.keys.get_keys([row.id for row in rows])
    assert len({key.wrapped_by for key in keys.values()}) == 2
    assert len(await archive.understanding.opener.open(rows)) == 4


async def test_a_request_that_began_before_the_session_is_kept_too(archive):
    await keep(archive.intake, ident="later", now=NOW + timedelta(minutes=20))
    await keep(archive.intake, ident="earlier", now=NOW)
    await keep(archive.intake, ident="last", now=NOW + timedelta(minutes=21))
    rows = await deliveries(archive)
    assert len(await archive.understanding.opener.open(rows)) == 3


async def test_many_sessions_at_once_are_all_opened(archive):
    """More than are held: none may be taken for destroyed."""
    for hour in range(70):
        await keep(archive.intake, ident=str(hour), now=NOW + timedelta(hours=hour))
    rows = await deliveries(archive)
    opener = archive.understanding.opener
    both = await asyncio.gather(opener.open(rows), opener.open(rows[::-1]))
    assert [len(one) for one in both] == [70, 70]


@pytest.mark.parametrize("is_reused", [False, True], ids=["the first", "another under its id"])
async def test_what_is_refused_as_a_twin_that_is_not_there_is_not_acknowledged(
    archive, is_reused
):
    """Something else was in the way: to say that it is kept already would lose it."""
    if is_reused:
        await keep(archive.intake, b"{}")
    before = await deliveries(archive)
    refused = Faulty(archive.intake.store, "commit", ConflictError("the place is taken"))
    with pytest.raises(UnavailableError):
        await keep(replace(archive.intake, store=refused), b'{"a": 1}')
    assert await deliveries(archive) == before
    kept = await keep(archive.intake, b'{"a": 1}')
    assert not kept.is_duplicate
    assert len(await deliveries(archive)) == len(before) + 1
