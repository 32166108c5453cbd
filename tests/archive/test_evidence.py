"""Whoever wrote a row of a contact last: the log commits to every column of it as it is now."""

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.archive.checks import Outcome
from service.archive.contact_checks import ContactChecker
from service.domain.actor import Role
from service.domain.customer import LinkState
from service.log.entry import EntryType, decode_entry
from service.worker.media_job import MediaJob
from storage.ports import Put, Remove
from storage.rows import ContactRow, CustomerRow, MessageRow, RecordingRow
from tests.archive.test_spine import call, deliver, deliver_recording, import_customers
from tests.conftest import NOW, actor

PROVEN = (ContactRow, RecordingRow, MessageRow)
WAVE = (Path(__file__).resolve().parents[1] / "samples" / "call-gsm.wav").read_bytes()


async def rows_of(archive):
    return [row for kind in PROVEN for row in await archive.stores.store.find(kind, {})]


async def faults(archive):
    stores = archive.stores
    checker = ContactChecker(stores.store, stores.log, stores.blobs, archive.vault)
    contacts = await stores.store.find(ContactRow, {})
    found = []
    for rows in (await checker.read([row.id for row in contacts])).values():
        evidence, broken = await checker.get_evidence(rows)
        checks = await checker.check(rows, evidence, wants_plain_hash=False)
        found += [one for one in (*broken, *checks) if one.outcome is Outcome.FAILED]
    return found


def row_contact(row):
    return row.id if isinstance(row, ContactRow) else row.contact_id


def flipped(value):
    if value is None:
        return 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return value ^ 1 if isinstance(value, int) else chr(ord(value[0]) ^ 1) + value[1:]


async def assert_every_column_is_proven(archive):
    assert await faults(archive) == []
    store = archive.stores.store
    for row in await rows_of(archive):
        for column in fields(row):
            changed = replace(row, **{column.name: flipped(getattr(row, column.name))})
            remove = [Remove(type(row), (row.id,))] if column.name == "id" else []
            await store.commit([*remove, Put(changed)])
            told = await faults(archive)
            assert told, f"{type(row).__name__}.{column.name}"
            assert any(one.about in {row.id, changed.id, row_contact(row)} for one in told)
            await store.commit([Remove(type(row), (changed.id,)), Put(row)])
    assert await faults(archive) == []


def media_job(archive):
    stores = archive.stores
    return MediaJob(store=stores.store, log=stores.log, blobs=stores.blobs, vault=archive.vault)


async def examined(archive, audio):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver_recording(archive, audio, now=NOW)
    (row,) = await archive.stores.store.find(RecordingRow, {})
    await media_job(archive).run(row.id, NOW)
    (after,) = await archive.stores.store.find(RecordingRow, {})
    assert after.version == row.version + 1


async def lost(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    assert await archive.expectations.give_up(now=NOW + timedelta(hours=1)) == 1


async def chatted(archive):
    message = {"from": "Maija", "at": "2026-11-20T14:02:00Z", "text": "Hei"}
    body = call(messages=[message], channel="chat", recording=None)
    await deliver(archive, body, ident="w-1", now=NOW)


@pytest.mark.parametrize(
    "audio", [WAVE, b"no sound at all"], ids=["derived", "nothing derived"]
)
async def test_after_the_media_job_every_column_is_proven(archive, audio):
    await examined(archive, audio)
    await assert_every_column_is_proven(archive)


async def test_after_a_recording_was_given_up_every_column_is_proven(archive):
    await lost(archive)
    await assert_every_column_is_proven(archive)


async def test_after_a_lost_recording_came_late_every_column_is_proven(archive):
    await lost(archive)
    await deliver_recording(archive, WAVE, now=NOW + timedelta(hours=2))
    await assert_every_column_is_proven(archive)


async def test_a_chat_is_proven_in_every_column(archive):
    await chatted(archive)
    await assert_every_column_is_proven(archive)


async def test_an_announcement_that_was_taken_back_leaves_proven_rows(archive):
    await deliver(archive, call(ended_at=None), ident="w-1", now=NOW)
    await deliver(archive, call(), ident="w-2", now=NOW)
    await assert_every_column_is_proven(archive)


async def test_linking_and_customers_leave_the_proven_rows_as_they_are(archive):
    await examined(archive, WAVE)
    before = await rows_of(archive)
    await import_customers(archive, NOW)
    (contact,) = await archive.stores.store.find(ContactRow, {})
    customer = (await archive.stores.store.find(CustomerRow, {}))[0]
    await archive.contacts.link(
        contact.id,
        customer.id,
        state=LinkState.UNLINKED,
        actor=actor(Role.COMPLAINT_HANDLER),
        now=NOW,
    )
    assert await rows_of(archive) == before
    assert await faults(archive) == []


@pytest.mark.parametrize("step", [1, -1], ids=["newer", "older"])
async def test_a_version_that_the_log_does_not_commit_to_is_altered(archive, step):
    await examined(archive, b"no sound at all")
    for row in await rows_of(archive):
        await archive.stores.store.commit([Put(replace(row, version=row.version + step))])
        (told, *_) = await faults(archive)
        assert told.about == row.id
        assert f"the log knows version {row.version}" in told.detail
        await archive.stores.store.commit([Put(row)])


async def test_the_media_job_says_that_it_examined_the_recording(archive):
    await examined(archive, b"no sound at all")
    log = archive.stores.log
    stored = await log.log_entries(0, await log.log_size())
    entries = [decode_entry(one.entry) for one in stored]
    (entry,) = [one for one in entries if one.type is EntryType.RECORDING_EXAMINED]
    assert entry.data["derived"] == 0
    assert len(entry.data["rows"]) == 1
