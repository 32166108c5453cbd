"""Opening content: on record first, verified always, refused with a trace."""

import asyncio
import dataclasses
import hashlib
from datetime import timedelta

import msgspec
import pytest

from service.archive import payload, targets
from service.archive.open import KEY_LIFE
from service.archive.openings import Openings
from service.archive.records import SealedRecording
from service.archive.targets import Asked, Rendition, Subject
from service.archive.vault import open_value, seal_value
from service.domain.errors import (
    ErasedError,
    GrantRequiredError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import new_id
from storage.errors import BrokenError, FullError
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Append, Put
from storage.rows import AttentionRow, ObjectRow, OpeningRow
from tests.archive.world import (
    ADMIN,
    AGENT,
    AUDITOR,
    DPO,
    HANDLER,
    OTHER_HANDLER,
    opened_world,
)

CHUNK = 65536
AUDIO = bytes(range(256)) * 1024


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


async def read(content, start=0, stop=None):
    stop = content.size_bytes if stop is None else stop
    parts = [bytes(part) async for part in content.payload.read_range(start, stop)]
    return b"".join(parts)


async def opened(world, contact_id, *, actor=HANDLER, grant=None, asked=None):
    grant = grant or await world.grant(contact_id, actor=actor)
    asked = asked or await world.asked(contact_id)
    return await world.opener.open(asked, actor=actor, grant_id=grant.id, now=world.now)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 9])
async def test_what_was_received_is_what_is_heard(world, size):
    original = (AUDIO * 2)[:size]
    content = await opened(world, await world.call(original))
    assert content.size_bytes == len(original)
    assert await read(content) == original


async def test_a_range_is_the_slice_that_it_names(world):
    content = await opened(world, await world.call(AUDIO))
    for start, stop in [
        (0, 1),
        (CHUNK - 1, CHUNK + 1),
        (100, 3 * CHUNK),
        (len(AUDIO) - 1, len(AUDIO)),
    ]:
        assert await read(content, start, stop) == AUDIO[start:stop]
        assert bytes(await content.payload.read(start, stop)) == AUDIO[start:stop]


async def test_a_message_opens_likewise(world):
    contact_id = await world.chat("Hei, en ole tilannut tätä.", "Selvitämme.")
    message = (await world.messages_of(contact_id))[0]
    content = await opened(world, contact_id, asked=Asked(Subject.MESSAGE, message.id))
    assert (await read(content)).decode() == "Hei, en ole tilannut tätä."
    assert content.content_type == "text/plain; charset=utf-8"


async def test_the_opening_is_in_the_log_with_who_what_and_why(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    (entry,) = await world.entries("opening.made")
    asked = await world.asked(contact_id)
    row = content.track.row
    assert entry.actor == HANDLER.id
    assert entry.about == (row.id, grant.id, asked.id, contact_id, row.object_id)
    assert entry.data["purpose"] == "handle_complaint"


async def test_one_grant_opens_one_recording_once_however_often_it_is_heard(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    for _ in range(3):
        await opened(world, contact_id, grant=grant)
    await world.openings.aclose(now=world.now)
    await opened(world, contact_id, grant=grant)
    assert len(await world.entries("opening.made")) == 1
    await opened(world, contact_id, grant=await world.grant(contact_id))
    assert len(await world.entries("opening.made")) == 2


async def test_many_at_once_make_one_opening(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    contents = await asyncio.gather(
        *(opened(world, contact_id, grant=grant) for _ in range(20))
    )
    assert len({id(content) for content in contents}) == 1
    assert len(await world.entries("opening.made")) == 1


async def test_an_opening_is_on_record_even_if_decryption_fails(world):
    contact_id = await world.call(AUDIO)
    world.blobs.blobs[(await world.recording_of(contact_id)).object_id][-1] ^= 1
    with pytest.raises(TamperedError):
        await opened(world, contact_id)
    assert len(await world.entries("opening.made")) == 1


class NoKeys:
    """A key store that must not be asked."""

    def __init__(self, keys, forbidden):
        self._keys, self._forbidden = keys, forbidden

    async def get_keys(self, ids):
        assert not set(ids) & self._forbidden, (
            "the key was asked for before the opening was on record"
        )
        return await self._keys.get_keys(ids)


@pytest.mark.parametrize(
    "fault", [StoreUnavailableError("x"), FullError("x"), BrokenError("x")]
)
async def test_no_log_no_bytes(world, fault):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    row = await world.recording_of(contact_id)
    vault = dataclasses.replace(world.vault, keys=NoKeys(world.keys, {row.object_id}))
    opener = dataclasses.replace(world.opener, vault=vault)
    world.store.fault = fault
    with pytest.raises(UnavailableError):
        await opener.open(
            Asked(Subject.RECORDING, row.id), actor=HANDLER, grant_id=grant.id, now=world.now
        )
    assert world.blobs.open_readers == 0


@pytest.mark.parametrize("actor", [AGENT, ADMIN, AUDITOR])
async def test_other_roles_open_nothing_whatever_exists(world, actor):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    for asked in (await world.asked(contact_id), Asked(Subject.RECORDING, new_id("rc"))):
        with pytest.raises(NotPermittedError):
            await world.opener.open(asked, actor=actor, grant_id=grant.id, now=world.now)
    refused = await world.entries("opening.refused")
    assert [entry.actor for entry in refused] == [actor.id] * 2
    assert {entry.data["reason"] for entry in refused} == {"not_permitted"}


async def refusal(world, contact_id, *, actor=HANDLER, grant_id=None, later=timedelta(0)):
    with pytest.raises(GrantRequiredError):
        await world.opener.open(
            await world.asked(contact_id), actor=actor, grant_id=grant_id, now=world.now + later
        )
    entry = (await world.entries("opening.refused"))[-1]
    assert (entry.actor, entry.data["reason"]) == (actor.id, "grant_required")
    assert not await world.entries("opening.made")


async def test_without_a_grant_nothing_opens(world):
    await refusal(world, await world.call())


@pytest.mark.parametrize(
    "text", ["", "gr", "gr_x", "GR_" + "a" * 26, "../../etc", "ct_" + "a" * 26]
)
async def test_a_grant_that_is_no_id_is_none(world, text):
    await refusal(world, await world.call(), grant_id=text)


async def test_a_guessed_grant_opens_nothing(world):
    await refusal(world, await world.call(), grant_id=new_id("gr"))


async def test_anothers_grant_opens_nothing(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    await refusal(world, contact_id, actor=OTHER_HANDLER, grant_id=grant.id)


async def test_a_grant_for_another_contact_opens_nothing(world):
    contact_id = await world.call()
    grant = await world.grant(await world.call(source_id="call-2"))
    await refusal(world, contact_id, grant_id=grant.id)


async def test_an_expired_grant_opens_nothing(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    await refusal(world, contact_id, grant_id=grant.id, later=timedelta(hours=8))


async def test_a_grant_from_the_future_opens_nothing(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    await refusal(world, contact_id, grant_id=grant.id, later=-timedelta(microseconds=1))


async def test_a_grant_outlives_no_role(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    demoted = dataclasses.replace(HANDLER, roles=DPO.roles)
    with pytest.raises(NotPermittedError):
        await world.opener.open(
            await world.asked(contact_id), actor=demoted, grant_id=grant.id, now=world.now
        )


async def test_what_is_open_closes_with_the_role(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    await opened(world, contact_id, grant=grant)
    demoted = dataclasses.replace(HANDLER, roles=AGENT.roles)
    with pytest.raises(NotPermittedError):
        await opened(world, contact_id, grant=grant, actor=demoted)


async def test_what_is_open_closes_with_the_purpose_of_a_role(world):
    """Whoever may still open, and not for this purpose any more, is refused at once and on record."""
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    asked = await world.asked(contact_id)
    demoted = dataclasses.replace(HANDLER, roles=DPO.roles)
    with pytest.raises(NotPermittedError):
        await world.opener.open(asked, actor=demoted, grant_id=grant.id, now=world.now)
    assert content.is_closed
    with pytest.raises(GrantRequiredError):
        await world.opener.require_standing(content, now=world.now)
    again = await opened(world, contact_id, grant=grant)
    with pytest.raises(NotPermittedError):
        await world.opener.report_heard(
            asked, ((0, 1),), actor=demoted, grant_id=grant.id, now=world.now
        )
    assert again.is_closed
    assert len(await world.entries("opening.refused")) == 2


@pytest.mark.parametrize("entry", [b"", b"{}", b"\xff"])
async def test_what_lies_in_the_log_and_is_no_entry_opens_nothing(world, entry):
    contact_id = await world.call(AUDIO)
    row = await world.recording_of(contact_id)
    await world.store.commit([Append(entry, (row.object_id,))])
    with pytest.raises(TamperedError):
        await opened(world, contact_id)
    (item,) = await world.store.find(AttentionRow, {"reason": "integrity"})
    assert item.state == "open"


async def test_what_is_open_closes_when_its_grant_expires(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    await opened(world, contact_id, grant=grant)
    world.wait(hours=8)
    with pytest.raises(GrantRequiredError):
        await opened(world, contact_id, grant=grant)


async def test_what_is_open_closes_at_once_when_its_grant_is_withdrawn(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    await world.grants.withdraw(grant.id, actor=HANDLER, now=world.now)
    assert content.is_closed
    with pytest.raises(GrantRequiredError):
        await opened(world, contact_id, grant=grant)


async def test_a_withdrawal_by_another_process_counts_a_second_later(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    elsewhere = dataclasses.replace(world.grants, on_withdrawn=lambda _: None)
    await elsewhere.withdraw(grant.id, actor=HANDLER, now=world.now)
    world.wait(seconds=1)
    with pytest.raises(GrantRequiredError):
        await opened(world, contact_id, grant=grant)
    assert content.is_closed


async def test_what_does_not_exist_is_not_found_and_asking_is_on_record(world):
    grant = await world.grant(await world.call())
    asked = Asked(Subject.RECORDING, new_id("rc"))
    with pytest.raises(NotFoundError):
        await world.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=world.now)
    (entry,) = await world.entries("opening.refused")
    assert entry.about == (asked.id,)
    assert entry.data["reason"] == "not_found"


@pytest.mark.parametrize(
    "text", ["", "rc_", "ms_" + "a" * 26, "rc_" + "A" * 26, "rc_../x", "1"]
)
def test_what_is_no_id_is_not_found(text):
    with pytest.raises(NotFoundError):
        Asked.parse(Subject.RECORDING, text)


@pytest.mark.parametrize(
    ("subject", "prefix", "rendition"),
    [
        (Subject.RECORDING, "rc", "original"),
        (Subject.RECORDING, "rc", ""),
        (Subject.MESSAGE, "ms", "playable"),
    ],
)
def test_other_renditions_are_refused(subject, prefix, rendition):
    with pytest.raises(InvalidInputError):
        Asked.parse(subject, new_id(prefix), rendition=rendition)


async def test_a_rendition_that_was_not_made_is_not_found(world):
    contact_id = await world.call()
    asked = dataclasses.replace(await world.asked(contact_id), rendition=Rendition.PLAYABLE)
    with pytest.raises(NotFoundError):
        await opened(world, contact_id, asked=asked)


async def test_what_is_erased_is_gone_also_from_what_is_open(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    await world.keys.destroy_keys([(await world.recording_of(contact_id)).object_id])
    world.openings.forget(contact_id)
    assert content.is_closed
    with pytest.raises(ErasedError):
        await opened(world, contact_id, grant=grant)


async def test_no_key_is_kept_for_longer_than_a_minute(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    await opened(world, contact_id, grant=grant)
    world.wait(seconds=KEY_LIFE.total_seconds() - 1)
    content = await opened(world, contact_id, grant=grant)
    await world.keys.destroy_keys([content.track.row.object_id])
    world.wait(seconds=1)
    with pytest.raises(ErasedError):
        await opened(world, contact_id, grant=grant)


async def test_a_key_taken_again_opens_as_before(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    first = await opened(world, contact_id, grant=grant)
    for _ in range(5):
        world.wait(seconds=30)
        content = await opened(world, contact_id, grant=grant)
        assert await read(content) == AUDIO
    assert content is first


# -- what somebody changed


def flipped(data, position, bit=0):
    data[position] ^= 1 << bit


def swapped(data):
    first, second = slice(16, 16 + CHUNK + 16), slice(16 + CHUNK + 16, 16 + 2 * (CHUNK + 16))
    data[first], data[second] = data[second], data[first]


def without_chunk(data):
    del data[16 : 16 + CHUNK + 16]


CHANGES = [
    pytest.param(lambda data: flipped(data, 0), id="nonce flipped"),
    pytest.param(lambda data: flipped(data, 16), id="first byte flipped"),
    pytest.param(lambda data: flipped(data, 16 + CHUNK), id="first tag flipped"),
    pytest.param(lambda data: flipped(data, len(data) // 2, 7), id="middle flipped"),
    pytest.param(lambda data: flipped(data, -1), id="last tag flipped"),
    pytest.param(swapped, id="chunks swapped"),
    pytest.param(without_chunk, id="chunk deleted"),
    pytest.param(lambda data: data.__delitem__(slice(-1, None)), id="last byte cut"),
    pytest.param(
        lambda data: data.__delitem__(slice(16 + 2 * (CHUNK + 16), None)), id="cut at a chunk"
    ),
    pytest.param(lambda data: data.extend(b"x"), id="a byte added"),
    pytest.param(lambda data: data.clear(), id="emptied"),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_blob_is_refused_and_raises_the_alarm(world, change):
    contact_id = await world.call(AUDIO)
    row = await world.recording_of(contact_id)
    change(world.blobs.blobs[row.object_id])
    with pytest.raises(TamperedError):
        await opened(world, contact_id)
    (alarm,) = await world.entries("integrity.alarm")
    assert alarm.about == (row.id, contact_id)
    (item,) = await world.store.find(AttentionRow, {"about": row.id})
    assert (item.reason, item.state) == ("integrity", "open")
    assert world.blobs.open_readers == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data.extend(b"x"), id="a byte added"),
        pytest.param(lambda data: data.extend(data[-CHUNK - 16 :]), id="a chunk added"),
        pytest.param(lambda data: data.__delitem__(-1), id="last byte cut"),
        pytest.param(lambda data: flipped(data, -1), id="last tag flipped"),
        pytest.param(lambda data: flipped(data, 0), id="nonce flipped"),
    ],
)
async def test_what_is_too_long_to_be_hashed_is_still_refused_by_its_length_and_end(
    world, monkeypatch, change
):
    monkeypatch.setattr(payload, "HASHED_BYTES", 0)
    contact_id = await world.call(AUDIO)
    change(world.blobs.blobs[(await world.recording_of(contact_id)).object_id])
    with pytest.raises(TamperedError):
        await opened(world, contact_id)


async def test_what_is_too_long_to_be_hashed_is_verified_chunk_by_chunk(world, monkeypatch):
    monkeypatch.setattr(payload, "HASHED_BYTES", 0)
    contact_id = await world.call(AUDIO)
    flipped(world.blobs.blobs[(await world.recording_of(contact_id)).object_id], 100_000)
    content = await opened(world, contact_id)
    assert await read(content, 0, CHUNK) == AUDIO[:CHUNK]
    with pytest.raises(TamperedError):
        await read(content, CHUNK, CHUNK + 1)


async def test_a_missing_blob_is_refused_and_raises_the_alarm(world):
    contact_id = await world.call(AUDIO)
    del world.blobs.blobs[(await world.recording_of(contact_id)).object_id]
    with pytest.raises(TamperedError):
        await opened(world, contact_id)
    assert await world.entries("integrity.alarm")


async def test_a_second_alarm_adds_to_the_log_and_not_to_the_list(world):
    contact_id = await world.call(AUDIO)
    flipped(world.blobs.blobs[(await world.recording_of(contact_id)).object_id], 20)
    for _ in range(2):
        with pytest.raises(TamperedError):
            await opened(world, contact_id)
    assert len(await world.entries("integrity.alarm")) == 2
    assert await world.store.count(AttentionRow, {"reason": "integrity"}) == 1


async def test_a_blob_that_cannot_be_read_is_no_alarm(world):
    contact_id = await world.call(AUDIO)
    world.blobs.broken = StoreUnavailableError("offline")
    with pytest.raises(UnavailableError):
        await opened(world, contact_id)
    assert not await world.entries("integrity.alarm")


async def two_recordings(world):
    a = await world.call(AUDIO)
    b = await world.call(AUDIO[::-1], source_id="call-2")
    return a, b, await world.recording_of(a), await world.recording_of(b)


async def copy_header(world, source, target):
    header = (await world.keys.get_keys([source]))[source]
    await world.keys.put_keys([dataclasses.replace(header, id=target)])


async def test_the_header_of_one_does_not_open_the_blob_of_another(world):
    a, _, row_a, row_b = await two_recordings(world)
    await copy_header(world, row_b.object_id, row_a.object_id)
    with pytest.raises(TamperedError):
        await opened(world, a)
    assert await world.entries("integrity.alarm")


async def test_header_and_blob_of_another_together_do_not_pass(world):
    a, _, row_a, row_b = await two_recordings(world)
    await copy_header(world, row_b.object_id, row_a.object_id)
    world.blobs.blobs[row_a.object_id][:] = world.blobs.blobs[row_b.object_id]
    with pytest.raises(TamperedError):
        await opened(world, a)


async def test_the_recording_of_another_does_not_pass_with_its_rows_changed_too(world):
    a, _, row_a, row_b = await two_recordings(world)
    (stored,) = await world.store.find(ObjectRow, {"id": row_b.object_id})
    await world.store.commit(
        [
            Put(dataclasses.replace(row_a, object_id=row_b.object_id)),
            Put(dataclasses.replace(stored, owner_id=row_a.id, contact_id=a)),
        ]
    )
    with pytest.raises(TamperedError):
        await opened(world, a)


async def test_a_blob_replaced_with_its_hash_in_the_row_does_not_pass(world):
    a, _, row_a, row_b = await two_recordings(world)
    await copy_header(world, row_b.object_id, row_a.object_id)
    forged = bytes(world.blobs.blobs[row_b.object_id])
    world.blobs.blobs[row_a.object_id][:] = forged
    (stored,) = await world.store.find(ObjectRow, {"id": row_a.object_id})
    await world.store.commit(
        [Put(dataclasses.replace(stored, sha256=hashlib.sha256(forged).digest()))]
    )
    with pytest.raises(TamperedError):
        await opened(world, a)


async def test_a_changed_header_is_refused(world):
    contact_id = await world.call(AUDIO)
    object_id = (await world.recording_of(contact_id)).object_id
    header = (await world.keys.get_keys([object_id]))[object_id]
    for position in (0, 25, len(header.wrapped) // 2, len(header.wrapped) - 3):
        changed = bytearray(header.wrapped)
        changed[position] ^= 1
        await world.keys.put_keys([dataclasses.replace(header, wrapped=bytes(changed))])
        with pytest.raises(TamperedError):
            await opened(world, contact_id)


@pytest.mark.parametrize("wrapped_by", ["", "epoch:", "epoch:x", "is_session", "epoch:-1"])
async def test_a_header_that_names_no_epoch_is_refused(world, wrapped_by):
    contact_id = await world.call(AUDIO)
    object_id = (await world.recording_of(contact_id)).object_id
    header = (await world.keys.get_keys([object_id]))[object_id]
    await world.keys.put_keys([dataclasses.replace(header, wrapped_by=wrapped_by)])
    with pytest.raises(TamperedError):
        await opened(world, contact_id)


async def test_a_changed_row_is_refused_before_anything_is_opened(world):
    contact_id = await world.call(AUDIO)
    row = await world.recording_of(contact_id)
    changed = bytearray(row.sealed)
    changed[20] ^= 1
    await world.store.commit([Put(dataclasses.replace(row, sealed=bytes(changed)))])
    with pytest.raises(TamperedError):
        await opened(world, contact_id)
    assert not await world.entries("opening.made")


async def test_a_message_moved_to_another_contact_does_not_open(world):
    contact_id = await world.chat("salaisuus")
    other = await world.call()
    (message,) = await world.messages_of(contact_id)
    await world.store.commit([Put(dataclasses.replace(message, contact_id=other))])
    with pytest.raises(TamperedError):
        await opened(world, other, asked=Asked(Subject.MESSAGE, message.id))


async def test_an_alarm_that_cannot_be_stored_does_not_hide_the_bad_news(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    await opened(world, contact_id, grant=grant)
    world.openings.forget(contact_id)
    flipped(world.blobs.blobs[(await world.recording_of(contact_id)).object_id], 20)
    world.store.fault = StoreUnavailableError("full")
    with pytest.raises(TamperedError):
        await opened(world, contact_id, grant=grant)


# -- sent and heard


async def opening_row(world):
    return (await world.store.find(OpeningRow, {}))[0]


async def test_what_was_sent_is_kept_after_a_flush_and_not_before(world):
    content = await opened(world, await world.call(AUDIO))
    content.track.note_sent(0, 100)
    content.track.note_sent(50, 200)
    commits = world.store.commits
    assert (await opening_row(world)).sent == ""
    await world.openings.flush(now=world.now)
    await world.openings.flush(now=world.now)
    assert (await opening_row(world)).sent == "0-200"
    assert world.store.commits == commits + 1


async def test_what_could_not_be_stored_is_stored_later(world):
    content = await opened(world, await world.call(AUDIO))
    content.track.note_sent(0, 100)
    world.store.fault = StoreUnavailableError("x")
    await world.openings.flush(now=world.now)
    world.store.fault = None
    await world.openings.flush(now=world.now)
    assert (await opening_row(world)).sent == "0-100"


async def test_two_processes_add_to_one_opening(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    here = await opened(world, contact_id, grant=grant)
    openings = Openings(world.store)
    elsewhere = dataclasses.replace(world.opener, openings=openings)
    there = await elsewhere.open(
        await world.asked(contact_id), actor=HANDLER, grant_id=grant.id, now=world.now
    )
    here.track.note_sent(0, 100)
    there.track.note_sent(200, 300)
    await world.openings.flush(now=world.now)
    await openings.aclose(now=world.now)
    here.track.note_sent(300, 301)
    await world.openings.flush(now=world.now)
    assert (await opening_row(world)).sent == "0-100,200-301"


async def test_an_idle_opening_closes_and_the_log_says_what_was_sent(world):
    content = await opened(world, await world.call(AUDIO))
    content.track.note_sent(0, 100)
    content.track.note_sent(0, 100)
    await world.openings.flush(now=world.wait(seconds=61))
    assert content.is_closed
    assert world.blobs.open_readers == 0
    (entry,) = await world.entries("opening.closed")
    assert dict(entry.data) == {"sent_bytes": 200, "covered_bytes": 100, "heard_ms": 0}


async def test_what_is_in_use_is_not_closed_under_its_user(world):
    content = await opened(world, await world.call(AUDIO))
    with world.openings.using(content):
        await world.openings.flush(now=world.wait(seconds=61))
        world.openings.retire(content)
        await world.openings.flush(now=world.now)
        assert world.blobs.open_readers == 1
        assert await read(content) == AUDIO
    await world.openings.flush(now=world.now)
    assert world.blobs.open_readers == 0


async def test_only_so_many_are_open_at_once(world):
    openings = Openings(world.store, max_open=2)
    opener = dataclasses.replace(world.opener, openings=openings)
    contacts = [await world.call(AUDIO, source_id=f"call-{i}") for i in range(4)]
    grant = await world.grant(*contacts)
    for contact_id in contacts:
        asked = await world.asked(contact_id)
        await opener.open(asked, actor=HANDLER, grant_id=grant.id, now=world.now)
    await openings.flush(now=world.now)
    assert world.blobs.open_readers == 2
    await openings.aclose(now=world.now)
    assert world.blobs.open_readers == 0


async def test_the_flusher_closes_everything_when_it_is_stopped(world):
    content = await opened(world, await world.call(AUDIO))
    content.track.note_sent(0, 7)
    task = asyncio.create_task(
        world.openings.run(clock=lambda: world.now, every=timedelta(milliseconds=5))
    )
    await asyncio.sleep(0.05)
    assert (await opening_row(world)).sent == "0-7"
    content.track.note_sent(7, 9)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await opening_row(world)).sent == "0-9"
    assert len(await world.entries("opening.closed")) == 1


async def examined(world, contact_id, *, seconds):
    """Give the recording a duration, as its examination would."""
    row = await world.recording_of(contact_id)
    sealer = await world.vault.get_sealer(contact_id)
    place = {"table": "recordings", "row": row.id}
    sealed = open_value(sealer, row.sealed, SealedRecording, **place, version=row.version)
    sealed = msgspec.structs.replace(sealed, facts={"duration_seconds": seconds})
    version = row.version + 1
    row = dataclasses.replace(
        row, version=version, sealed=seal_value(sealer, sealed, **place, version=version)
    )
    await world.store.commit([Put(row)])


async def heard(world, contact_id, grant, told, *, actor=HANDLER):
    return await world.opener.report_heard(
        await world.asked(contact_id), told, actor=actor, grant_id=grant.id, now=world.now
    )


async def test_heard_is_never_more_than_sent(world):
    contact_id = await world.call(AUDIO)
    await examined(world, contact_id, seconds=60)
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    content.track.note_sent(0, len(AUDIO) // 2)
    world.wait(minutes=10)
    assert await heard(world, contact_id, grant, ((0, 60_000),)) == ((0, 30_000),)
    assert (await opening_row(world)).heard.startswith("0-30000@")


async def test_heard_is_never_more_than_the_clock_allows(world):
    contact_id = await world.call(AUDIO)
    await examined(world, contact_id, seconds=60)
    grant = await world.grant(contact_id)
    content = await opened(world, contact_id, grant=grant)
    content.track.note_sent(0, len(AUDIO))
    world.wait(seconds=5)
    assert await heard(world, contact_id, grant, ((0, 60_000),)) == ((0, 10_000),)
    assert await heard(world, contact_id, grant, ((0, 60_000),)) == ((0, 10_000),)


async def test_a_report_after_the_opening_closed_still_counts(world):
    contact_id = await world.call(AUDIO)
    await examined(world, contact_id, seconds=60)
    grant = await world.grant(contact_id)
    (await opened(world, contact_id, grant=grant)).track.note_sent(0, len(AUDIO))
    await world.openings.flush(now=world.wait(seconds=61))
    assert await heard(world, contact_id, grant, ((0, 30_000),)) == ((0, 30_000),)


async def test_what_was_not_opened_was_not_heard(world):
    contact_id = await world.call(AUDIO)
    await examined(world, contact_id, seconds=60)
    grant = await world.grant(contact_id)
    with pytest.raises(NotFoundError):
        await heard(world, contact_id, grant, ((0, 1),))
    with pytest.raises(GrantRequiredError):
        await heard(world, contact_id, grant, ((0, 1),), actor=OTHER_HANDLER)
    with pytest.raises(NotPermittedError):
        await heard(world, contact_id, grant, ((0, 1),), actor=AGENT)


async def test_nothing_counts_as_heard_before_the_length_is_known(world):
    contact_id = await world.call(AUDIO)
    grant = await world.grant(contact_id)
    await opened(world, contact_id, grant=grant)
    with pytest.raises(NotFoundError):
        await heard(world, contact_id, grant, ((0, 1),))


@pytest.mark.parametrize(
    ("name", "content_type", "is_original", "filename"),
    [
        ("call.wav", "audio/wav", True, "call.wav"),
        ("call", "audio/x-wav", True, "call.wav"),
        ("", "audio/ogg; codecs=opus", True, "recording.ogg"),
        ("call", "application/octet-stream", True, "call"),
        ("call.gsm", "audio/wav", False, "call.wav"),
        ("call.", "audio/wav", True, "call.wav"),
        (".wav", "audio/wav", False, ".wav.wav"),
    ],
)
def test_a_download_is_called_what_it_is(name, content_type, is_original, filename):
    assert targets._filename(name, content_type, is_original=is_original) == filename
