"""Is this contact intact? Four honest answers, and every change is named."""

import asyncio
import dataclasses
import sqlite3
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.archive.anchors import anchor_name
from service.archive.checks import (
    WORDS,
    WRONG,
    Check,
    Code,
    Outcome,
    State,
    decide_state,
    words_of,
)
from service.archive.contact_checks import ContactChecker
from service.archive.digest import commit_to_rows
from service.archive.published import PublishedLog
from service.archive.verify import Verifier
from service.archive.verify_all import ArchiveVerifier
from service.domain.errors import (
    ErasedError,
    NotFoundError,
    NotPermittedError,
    UnavailableError,
)
from service.domain.ids import new_id
from service.log.checkpoint import Checkpoint, log_key, sign_checkpoint
from service.log.entry import EntryType, LogEntry, encode_entry
from service.log.merkle import leaf_hash
from service.log.proof import decode_proof, verify_proof
from service.log.tiles import decode_bundle, encode_bundle
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Add, Append, Put, Remove
from storage.rows import ContactRow, MessageRow, ObjectRow, RecordingRow
from tests.archive.world import ADMIN, AGENT, AUDITOR, HANDLER, opened_world

CHUNK = 65536
SEALED = CHUNK + 16
AUDIO = bytes(range(256)) * 1024
CODES = set(Code) - {
    Code.CUSTOMER_ROW,
    Code.GRANT_ROW,
    Code.DELIVERY_ROW,
    Code.LINKS,
    Code.CONTACT_TOKENS,
    Code.ACCOUNT,
    Code.ERASED,
}
"""Those of a contact."""


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def contact_id(world):
    made = await world.call(AUDIO)
    await world.publish()
    return made


async def verified(world, contact_id, actor=HANDLER):
    return await world.verifier.verify(contact_id, actor=actor, now=world.now)


def codes(verification, outcome):
    return {check.code for check in verification.checks if check.outcome is outcome}


async def assert_altered(world, contact_id, *expected):
    verification = await verified(world, contact_id)
    assert verification.state is State.ALTERED
    assert codes(verification, Outcome.FAILED) == set(expected)
    for check in verification.checks:
        if check.outcome is Outcome.FAILED:
            assert check.detail
    return verification


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([Outcome.PASSED], State.ANCHORED),
        ([Outcome.PASSED, Outcome.WAITING], State.PENDING),
        ([Outcome.PASSED, Outcome.WAITING, Outcome.UNKNOWN], State.UNCHECKED),
        (list(Outcome), State.ALTERED),
        ([], State.UNCHECKED),
    ],
)
def test_the_gravest_finding_decides(outcomes, state):
    assert decide_state(Check(Code.CHUNKS, outcome, "x") for outcome in outcomes) is state


def test_every_check_has_words_for_each_outcome():
    assert set(WORDS) == set(WRONG) == set(Code)
    for code in Code:
        told = {words_of(Check(code, outcome, "x")) for outcome in Outcome}
        assert len(told) == len(Outcome)


async def test_what_is_whole_and_anchored_is_verified_and_anchored(world, contact_id):
    verification = await verified(world, contact_id)
    assert verification.state is State.ANCHORED
    assert codes(verification, Outcome.PASSED) == CODES - {Code.MESSAGE_ROW}


async def test_messages_are_checked_likewise(world):
    chat = await world.chat("Hei", "Moi")
    await world.publish()
    verification = await verified(world, chat)
    assert verification.state is State.ANCHORED
    assert codes(verification, Outcome.PASSED) == CODES - {Code.RECORDING_ROW}


async def test_a_contact_without_content_is_verified_too(world):
    bare = await world.call(None)
    await world.publish()
    assert (await verified(world, bare)).state is State.ANCHORED


async def test_verifying_opening_and_finding_do_not_make_it_pending_again(world, contact_id):
    await verified(world, contact_id)
    await world.grant(contact_id)
    assert (await verified(world, contact_id)).state is State.ANCHORED


async def test_what_is_not_signed_yet_is_pending(world):
    fresh = await world.call(AUDIO)
    verification = await verified(world, fresh)
    assert verification.state is State.PENDING
    await world.publish()
    assert (await verified(world, fresh)).state is State.ANCHORED


async def test_what_came_after_the_last_checkpoint_is_pending(world, contact_id):
    later = await world.call(AUDIO, source_id="call-2")
    assert (await verified(world, later)).state is State.PENDING
    assert (await verified(world, contact_id)).state is State.ANCHORED


async def test_without_a_place_outside_it_stays_pending(world, contact_id):
    published = dataclasses.replace(world.published, anchors=None)
    verification = await Verifier(world.checker, published, world.marker).verify(
        contact_id, actor=HANDLER, now=world.now
    )
    assert verification.state is State.PENDING
    assert codes(verification, Outcome.WAITING) == {Code.ANCHORED}


async def test_an_empty_anchor_directory_is_pending(world, contact_id):
    for path in (world.directory / "anchors").glob("*/*"):
        path.unlink()
    verification = await verified(world, contact_id)
    assert verification.state is State.PENDING
    assert codes(verification, Outcome.WAITING) == {Code.ANCHORED}


async def test_each_proof_convinces_somebody_who_has_only_the_key(world, contact_id):
    verification = await verified(world, contact_id)
    key = log_key("archive.example.org", world.ring.log_signing_key)
    assert len(verification.proofs) == 3
    for one in verification.proofs:
        verify_proof(decode_proof(one.proof), entry=one.entry, key=key)


async def test_verifying_is_on_record(world, contact_id):
    await verified(world, contact_id)
    (entry,) = await world.entries("verification.made")
    assert (entry.actor, entry.about) == (HANDLER.id, (contact_id,))
    assert dict(entry.data) == {"state": "anchored", "failed": ()}


@pytest.mark.parametrize("actor", [AGENT, ADMIN])
async def test_who_may_not_verify_is_refused(world, contact_id, actor):
    with pytest.raises(NotPermittedError):
        await verified(world, contact_id, actor)


async def test_an_auditor_verifies_without_opening(world, contact_id):
    assert (await verified(world, contact_id, AUDITOR)).state is State.ANCHORED


async def test_what_never_was_is_not_found(world):
    for text in (new_id("ct"), "ct_1", ""):
        with pytest.raises(NotFoundError):
            await verified(world, text)


# -- altered: the blob


@pytest.mark.parametrize("position", [0, 16, 16 + CHUNK, 100_000, -17, -1])
@pytest.mark.parametrize("bit", [0, 7])
async def test_one_flipped_bit_of_a_blob_is_altered(world, contact_id, position, bit):
    blob = world.blobs.blobs[(await world.recording_of(contact_id)).object_id]
    blob[position] ^= 1 << bit
    await assert_altered(world, contact_id, Code.BLOB_HASH, Code.CHUNKS)
    assert await world.entries("integrity.alarm")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda blob: blob.__delitem__(slice(16, 16 + SEALED)), id="chunk deleted"),
        pytest.param(
            lambda blob: blob.__delitem__(slice(16 + SEALED, None)), id="cut at a chunk"
        ),
        pytest.param(lambda blob: blob.__delitem__(-1), id="last byte cut"),
        pytest.param(lambda blob: blob.append(0), id="a byte added"),
        pytest.param(lambda blob: blob.extend(blob[-SEALED:]), id="last chunk repeated"),
        pytest.param(lambda blob: blob.__delitem__(slice(5, None)), id="nearly emptied"),
        pytest.param(lambda blob: blob.clear(), id="emptied"),
    ],
)
async def test_a_blob_of_another_length_is_altered(world, contact_id, change):
    change(world.blobs.blobs[(await world.recording_of(contact_id)).object_id])
    verification = await assert_altered(world, contact_id, Code.BLOB_HASH, Code.CHUNKS)
    assert Code.RECEIVED not in codes(verification, Outcome.PASSED)


async def test_a_missing_blob_is_altered(world, contact_id):
    del world.blobs.blobs[(await world.recording_of(contact_id)).object_id]
    await assert_altered(world, contact_id, Code.BLOB_PRESENT)


async def damage(world, object_id):
    world.blobs.blobs[object_id][-1] ^= 1


async def take_away(world, object_id):
    del world.blobs.blobs[object_id]


async def take_the_key(world, object_id):
    await world.keys.destroy_keys([object_id])


@pytest.mark.parametrize("harm", [damage, take_away, take_the_key])
async def test_bytes_that_do_not_open_are_never_said_to_be_what_was_delivered(
    world, contact_id, harm
):
    assert Code.RECEIVED in codes(await verified(world, contact_id), Outcome.PASSED)
    await harm(world, (await world.recording_of(contact_id)).object_id)
    verification = await verified(world, contact_id)
    assert Code.RECEIVED in codes(verification, Outcome.UNKNOWN)
    assert Code.RECEIVED not in codes(verification, Outcome.PASSED)


async def test_a_flipped_bit_of_a_message_is_altered(world):
    chat = await world.chat("Hei", "Moi")
    await world.publish()
    message = (await world.messages_of(chat))[1]
    world.blobs.blobs[message.object_id][-3] ^= 4
    verification = await assert_altered(world, chat, Code.BLOB_HASH, Code.CHUNKS)
    about = {c.about for c in verification.checks if c.outcome is Outcome.FAILED}
    assert about == {message.object_id}


async def replaced_whole(world, contact_id):
    """Put another's recording, a valid age file with its own header, in the place of this one."""
    other = await world.recording_of(await world.call(AUDIO[::-1], source_id="call-2"))
    row = await world.recording_of(contact_id)
    header = (await world.keys.get_keys([other.object_id]))[other.object_id]
    await world.keys.put_keys([dataclasses.replace(header, id=row.object_id)])
    world.blobs.blobs[row.object_id][:] = world.blobs.blobs[other.object_id]


async def test_a_recording_replaced_by_a_valid_one_is_altered(world, contact_id):
    await replaced_whole(world, contact_id)
    await assert_altered(world, contact_id, Code.BLOB_HASH, Code.RECEIVED)


# -- altered: header, rows


@pytest.mark.parametrize("position", [3, 30, 60, 120, -5])
async def test_a_flipped_bit_of_a_header_is_altered(world, contact_id, position):
    object_id = (await world.recording_of(contact_id)).object_id
    header = (await world.keys.get_keys([object_id]))[object_id]
    wrapped = bytearray(header.wrapped)
    wrapped[position] ^= 1
    await world.keys.put_keys([dataclasses.replace(header, wrapped=bytes(wrapped))])
    await assert_altered(world, contact_id, Code.HEADER)


async def test_a_header_of_another_is_altered(world, contact_id):
    other = await world.recording_of(await world.call(AUDIO[::-1], source_id="call-2"))
    header = (await world.keys.get_keys([other.object_id]))[other.object_id]
    object_id = (await world.recording_of(contact_id)).object_id
    await world.keys.put_keys([dataclasses.replace(header, id=object_id)])
    await assert_altered(world, contact_id, Code.CHUNKS)


async def rows_of(world, table, contact_id):
    where = {"id" if table is ContactRow else "contact_id": contact_id}
    return list(await world.store.find(table, where))


def with_flip(data, position=20):
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("table", "code"),
    [(ContactRow, Code.CONTACT_ROW), (RecordingRow, Code.RECORDING_ROW)],
)
async def test_a_flipped_bit_of_a_sealed_field_is_altered(world, contact_id, table, code):
    (row,) = await rows_of(world, table, contact_id)
    await world.store.commit([Put(dataclasses.replace(row, sealed=with_flip(row.sealed)))])
    assert code in codes(await verified(world, contact_id), Outcome.FAILED)


async def test_the_sealed_field_of_another_contact_is_altered(world, contact_id):
    other = await world.call(None, source_id="call-2")
    (row,) = await rows_of(world, ContactRow, contact_id)
    (its,) = await rows_of(world, ContactRow, other)
    await world.store.commit([Put(dataclasses.replace(row, sealed=its.sealed))])
    assert Code.CONTACT_ROW in codes(await verified(world, contact_id), Outcome.FAILED)


@pytest.mark.parametrize(
    "change",
    [{"sha256": bytes(32)}, {"sealed_bytes": 17}, {"plain_bytes": 17}],
    ids=lambda change: next(iter(change)),
)
async def test_a_changed_record_of_the_bytes_is_altered(world, contact_id, change):
    (row,) = await rows_of(world, ObjectRow, contact_id)
    await world.store.commit([Put(dataclasses.replace(row, **change))])
    await assert_altered(world, contact_id, Code.BLOB_HASH)


@pytest.mark.parametrize("table", [ContactRow, RecordingRow, ObjectRow])
async def test_a_row_that_was_removed_is_altered(world, contact_id, table):
    (row,) = await rows_of(world, table, contact_id)
    await world.store.commit([Remove(table, (row.id,))])
    assert Code.COMPLETE in codes(await verified(world, contact_id), Outcome.FAILED)


async def test_a_message_that_was_removed_is_altered(world):
    chat = await world.chat("Hei", "Moi")
    await world.publish()
    (row, _) = await world.messages_of(chat)
    await world.store.commit([Remove(MessageRow, (row.id,))])
    assert Code.COMPLETE in codes(await verified(world, chat), Outcome.FAILED)


async def test_a_recording_marked_as_lost_is_altered(world, contact_id):
    row = await world.recording_of(contact_id)
    await world.store.commit([Put(dataclasses.replace(row, state="lost"))])
    await assert_altered(world, contact_id, Code.COMPLETE, Code.RECORDING_ROW)


async def test_a_recording_moved_to_another_contact_is_altered_in_both(world, contact_id):
    other = await world.call(None, source_id="call-2")
    await world.publish()
    row = await world.recording_of(contact_id)
    await world.store.commit([Put(dataclasses.replace(row, contact_id=other))])
    assert Code.COMPLETE in codes(await verified(world, contact_id), Outcome.FAILED)
    assert Code.COMPLETE in codes(await verified(world, other), Outcome.FAILED)


async def test_a_contact_that_was_slipped_in_is_altered(world, contact_id):
    (row,) = await rows_of(world, ContactRow, contact_id)
    forged = dataclasses.replace(row, id=new_id("ct"), source_token=b"forged")
    await world.store.commit([Add(forged)])
    verification = await verified(world, forged.id)
    assert verification.state is State.ALTERED
    assert Code.COMPLETE in codes(verification, Outcome.FAILED)


@pytest.mark.parametrize(
    "change",
    [
        {"started_at": 1},
        {"ended_at": None},
        {"channel": "chat"},
        {"direction": "outbound"},
        {"source": "pbx2"},
        {"created_at": 1},
        {"recording_state": "lost"},
        {"state": "hidden"},
        {"source_token": b"x"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_no_column_that_the_log_commits_to_can_be_changed(world, contact_id, change):
    (row,) = await rows_of(world, ContactRow, contact_id)
    entry = LogEntry(
        type=EntryType.CONTACT_AMENDED,
        at=world.now,
        actor="system",
        about=(contact_id,),
        data={"rows": commit_to_rows([row])},
    )
    await world.store.commit([Append(encode_entry(entry), entry.about)])
    await world.publish()
    assert (await verified(world, contact_id)).state is State.ANCHORED
    await world.store.commit([Put(dataclasses.replace(row, **change))])
    await assert_altered(world, contact_id, Code.CONTACT_ROW)


async def test_an_older_version_of_a_row_put_back_is_altered(world, contact_id):
    (row,) = await rows_of(world, ContactRow, contact_id)
    newer = dataclasses.replace(row, version=row.version + 1)
    entry = LogEntry(
        type=EntryType.CONTACT_AMENDED,
        at=world.now,
        actor="system",
        about=(contact_id,),
        data={"rows": commit_to_rows([newer])},
    )
    await world.store.commit([Append(encode_entry(entry), entry.about)])
    await world.publish()
    await assert_altered(world, contact_id, Code.CONTACT_ROW)


# -- altered: the log


def database(world):
    return sqlite3.connect(world.directory / "data" / "taltio.db")


def execute(world, sql, *values):
    db = database(world)
    with db:
        assert db.execute(sql, values).rowcount == 1
    db.close()


async def stored_entry(world, contact_id):
    return (await world.store.log_about(contact_id))[0]


async def test_a_changed_log_entry_is_altered(world, contact_id):
    stored = await stored_entry(world, contact_id)
    changed = stored.entry.replace(b'"channel":"call"', b'"channel":"chat"')
    assert changed != stored.entry
    execute(world, "UPDATE log SET entry = ? WHERE position = ?", changed, stored.index)
    verification = await assert_altered(world, contact_id, Code.LOG_ENTRY)
    (check,) = (c for c in verification.checks if c.outcome is Outcome.FAILED)
    assert check.about == f"entry-{stored.index}"


async def test_a_flipped_bit_that_makes_an_entry_unreadable_is_altered(world, contact_id):
    stored = await stored_entry(world, contact_id)
    execute(
        world,
        "UPDATE log SET entry = ? WHERE position = ?",
        with_flip(stored.entry, 0),
        stored.index,
    )
    assert Code.LOG_ENTRY in codes(await verified(world, contact_id), Outcome.FAILED)


async def test_an_entry_that_somebody_added_does_not_pass(world, contact_id):
    """A forged entry is not in the signed tree; before it can be signed, it is only waiting."""
    entry = LogEntry(
        type=EntryType.CONTACT_AMENDED, at=world.now, actor="x", about=(contact_id,)
    )
    await world.store.commit([Append(encode_entry(entry), entry.about)])
    assert (await verified(world, contact_id)).state is State.PENDING


async def test_a_log_that_was_cut_is_altered(world, contact_id):
    size = await world.store.log_size()
    execute(world, "DELETE FROM log WHERE position = ?", size - 1)
    verification = await verified(world, contact_id)
    assert Code.CONSISTENT in codes(verification, Outcome.FAILED)


def change_file(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))


def flip_last(data):
    data[-2] ^= 1


async def test_a_flipped_bit_of_a_tile_is_altered(world, contact_id):
    (tile,) = (world.directory / "data" / "log" / "tile" / "0" / "000.p").iterdir()
    change_file(tile, flip_last)
    verification = await verified(world, contact_id)
    assert Code.LOG_ENTRY in codes(verification, Outcome.FAILED)


async def test_a_missing_tile_is_altered(world, contact_id):
    (tile,) = (world.directory / "data" / "log" / "tile" / "0" / "000.p").iterdir()
    tile.unlink()
    assert (await verified(world, contact_id)).state is State.ALTERED


@pytest.mark.parametrize("position", [0, 22, 40, -3])
async def test_a_flipped_bit_of_the_checkpoint_is_altered(world, contact_id, position):
    path = world.directory / "data" / "log" / "checkpoint"

    def flip(data):
        data[position] ^= 1

    change_file(path, flip)
    assert Code.CHECKPOINT in codes(await verified(world, contact_id), Outcome.FAILED)


async def test_a_missing_checkpoint_is_altered(world, contact_id):
    (world.directory / "data" / "log" / "checkpoint").unlink()
    await assert_altered(world, contact_id, Code.CHECKPOINT)


async def test_a_history_other_than_the_one_outside_is_altered(world, contact_id):
    """The log is written anew with another past, and signed with the stolen key; the anchor remembers."""
    (anchor,) = (world.directory / "anchors").glob("*/*")
    size = await world.store.log_size()
    other = Checkpoint("archive.example.org", size, bytes(32))
    anchor.write_bytes(sign_checkpoint(other, world.ring.log_signing_key))
    await assert_altered(world, contact_id, Code.ANCHORED)


async def test_a_changed_anchor_that_bears_our_name_is_altered(world, contact_id):
    (anchor,) = (world.directory / "anchors").glob("*/*")
    anchor.write_bytes(anchor.read_bytes().replace(b"\n3\n", b"\n4\n"))
    await assert_altered(world, contact_id, Code.ANCHORED)


FOREIGN = sign_checkpoint(
    Checkpoint("archive.example.org", 9, bytes(32)),
    Ed25519PrivateKey.from_private_bytes(bytes(32)),
)


STRAYS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\xff\x00\xfe", id="binary"),
    pytest.param(b"a note to the next administrator\n", id="text"),
    pytest.param(b"archive.example.org\n9\n", id="unsigned"),
    pytest.param(FOREIGN, id="signed by a stranger"),
]


@pytest.mark.parametrize("stray", STRAYS)
async def test_a_stray_file_among_the_anchors_changes_nothing(world, contact_id, stray):
    (anchor,) = (world.directory / "anchors").glob("*/*")
    later = world.directory / "anchors" / "2030-01-01"
    later.mkdir()
    for name in (anchor.name, anchor_name("archive.example.org", 99), "README"):
        (later / name).write_bytes(stray)
    assert (await verified(world, contact_id)).state is State.ANCHORED
    report = await ArchiveVerifier(world.checker, world.published).verify()
    assert report.outcome is Outcome.UNKNOWN
    assert all("2030-01-01" in one.check.about for one in report.findings)


@pytest.mark.parametrize("stray", STRAYS)
async def test_what_lies_in_the_place_of_the_anchor_and_is_not_ours_proves_nothing(
    world, contact_id, stray
):
    (anchor,) = (world.directory / "anchors").glob("*/*")
    anchor.write_bytes(stray)
    await assert_unchecked(world, contact_id, world.verifier, Code.ANCHORED)


# -- unchecked: a fault in checking


async def assert_unchecked(world, contact_id, verifier, *expected):
    verification = await verifier.verify(contact_id, actor=HANDLER, now=world.now)
    assert verification.state is State.UNCHECKED
    assert not codes(verification, Outcome.FAILED)
    assert codes(verification, Outcome.UNKNOWN) == set(expected)
    assert all(c.detail for c in verification.checks if c.outcome is Outcome.UNKNOWN)
    assert not await world.entries("integrity.alarm")


async def test_without_keys_it_is_unchecked_and_never_altered(world, contact_id):
    checker = ContactChecker(world.store, world.store, world.blobs, None)
    verifier = Verifier(checker, world.published, world.marker)
    expected = {Code.CONTACT_ROW, Code.RECORDING_ROW, Code.HEADER, Code.CHUNKS}
    await assert_unchecked(world, contact_id, verifier, *expected)


async def test_a_header_that_is_not_there_is_unchecked(world, contact_id):
    await world.keys.destroy_keys([(await world.recording_of(contact_id)).object_id])
    await assert_unchecked(
        world, contact_id, world.verifier, Code.HEADER, Code.CHUNKS, Code.RECEIVED
    )


async def test_a_row_key_that_is_not_there_is_unchecked(world, contact_id):
    await world.keys.destroy_keys([contact_id])
    await assert_unchecked(
        world, contact_id, world.verifier, Code.CONTACT_ROW, Code.RECORDING_ROW
    )


async def test_an_epoch_that_is_not_at_hand_is_unchecked(world, contact_id):
    object_id = (await world.recording_of(contact_id)).object_id
    header = (await world.keys.get_keys([object_id]))[object_id]
    await world.keys.put_keys([dataclasses.replace(header, wrapped_by="epoch:9")])
    await assert_unchecked(
        world, contact_id, world.verifier, Code.HEADER, Code.CHUNKS, Code.RECEIVED
    )


async def test_a_row_key_of_an_epoch_that_is_not_at_hand_is_unchecked(world, contact_id):
    key = (await world.keys.get_keys([contact_id]))[contact_id]
    await world.keys.put_keys([dataclasses.replace(key, wrapped_by="epoch:999999")])
    expected = {Code.CONTACT_ROW, Code.RECORDING_ROW}
    await assert_unchecked(world, contact_id, world.verifier, *expected)


@pytest.mark.parametrize(
    "wrapped_by",
    [
        "epoch:0",
        "epoch:-1",
        "epoch:+1",
        "epoch:1_0",
        "epoch:\u0661",
        "epoch:x",
        "epoch:",
        "1",
        "s:1",
    ],
)
async def test_a_key_that_names_no_epoch_is_altered(world, contact_id, wrapped_by):
    object_id = (await world.recording_of(contact_id)).object_id
    for an_id, code in ((object_id, Code.HEADER), (contact_id, Code.CONTACT_ROW)):
        key = (await world.keys.get_keys([an_id]))[an_id]
        await world.keys.put_keys([dataclasses.replace(key, wrapped_by=wrapped_by)])
        assert code in codes(await verified(world, contact_id), Outcome.FAILED)
        await world.keys.put_keys([key])


async def test_blobs_that_cannot_be_read_are_unchecked(world, contact_id):
    world.blobs.broken = StoreUnavailableError("offline")
    await assert_unchecked(world, contact_id, world.verifier, Code.BLOB_PRESENT, Code.RECEIVED)


class Unreadable:
    """Published files on a disk that fails."""

    def read(self, path):
        raise PermissionError(path)


async def test_a_published_log_that_cannot_be_read_is_unchecked(world, contact_id):
    published = dataclasses.replace(world.published, published=Unreadable())
    verifier = Verifier(world.checker, published, world.marker)
    await assert_unchecked(world, contact_id, verifier, Code.CHECKPOINT)


async def test_a_store_that_does_not_answer_is_an_error_and_no_answer(world, contact_id):
    world.store.fault = StoreUnavailableError("offline")
    with pytest.raises(UnavailableError):
        await verified(world, contact_id)


async def test_an_alteration_outweighs_what_could_not_be_checked(world, contact_id):
    await world.keys.destroy_keys([contact_id])
    world.blobs.blobs[(await world.recording_of(contact_id)).object_id][20] ^= 1
    assert (await verified(world, contact_id)).state is State.ALTERED


async def test_what_was_erased_is_said_to_be_erased(world, contact_id):
    entry = LogEntry(
        type=EntryType.CONTACT_ERASED, at=world.now, actor="x", about=(contact_id,)
    )
    await world.store.commit([Append(encode_entry(entry), entry.about)])
    with pytest.raises(ErasedError):
        await verified(world, contact_id)


# -- the index of the log: which entry is about what


def unlist(world, position):
    db = database(world)
    with db:
        assert db.execute("DELETE FROM log_about WHERE position = ?", (position,)).rowcount
    db.close()


async def put_back(world, contact_id, rows, *, since):
    """Put a contact's rows back as they were, and hide every entry about it that came since."""
    for table in (ContactRow, RecordingRow, MessageRow, ObjectRow):
        for row in await rows_of(world, table, contact_id):
            await world.store.commit([Remove(table, (row.id,))])
    await world.store.commit([Put(row) for row in rows])
    db = database(world)
    with db:
        hidden = db.execute("DELETE FROM log_about WHERE position >= ?", (since,)).rowcount
    db.close()
    assert hidden


async def kept_rows(world, contact_id):
    tables = (ContactRow, RecordingRow, MessageRow, ObjectRow)
    return [row for table in tables for row in await rows_of(world, table, contact_id)]


@pytest.mark.parametrize("is_published", [True, False], ids=["published", "not yet published"])
async def test_a_contact_set_back_with_its_newest_entries_hidden_is_altered(
    world, is_published
):
    contact_id = await world.call(None)
    rows, size = await kept_rows(world, contact_id), await world.store.log_size()
    await world.publish()
    await world.interpreter.interpret(
        [await world.recording(AUDIO, source_id="call-1")], now=world.now
    )
    if is_published:
        await world.publish()
    assert (await verified(world, contact_id)).state is not State.ALTERED
    await put_back(world, contact_id, rows, since=size)
    verification = await verified(world, contact_id)
    assert verification.state is State.ALTERED
    assert {Code.LOG_ENTRY, Code.COMPLETE, Code.CONTACT_ROW} <= codes(
        verification, Outcome.FAILED
    )


async def test_an_entry_taken_out_of_the_index_is_named(world, contact_id):
    stored = (await world.store.log_about(contact_id))[-1]
    unlist(world, stored.index)
    verification = await assert_altered(world, contact_id, Code.LOG_ENTRY)
    (check,) = (c for c in verification.checks if c.outcome is Outcome.FAILED)
    assert (check.about, contact_id in check.detail) == (f"entry-{stored.index}", True)


async def test_the_whole_published_log_is_searched(world):
    """Bundles of 256 entries, the newest of them partial, and one that a partial one grew into."""
    contact_id = await world.call(None)
    await world.publish()
    for number in range(150):
        await world.call(None, source_id=f"other-{number}")
    stored = (await world.store.log_about(contact_id))[-1]
    await world.interpreter.interpret(
        [await world.recording(AUDIO, source_id="call-1")], now=world.now
    )
    for number in range(150, 300):
        await world.call(None, source_id=f"other-{number}")
    await world.publish()
    later = (await world.store.log_about(contact_id))[-1]
    assert later.index - stored.index > 100
    unlist(world, later.index)
    verification = await verified(world, contact_id)
    assert f"entry-{later.index}" in {c.about for c in verification.checks}
    assert verification.state is State.ALTERED


async def test_an_entry_that_came_while_it_was_verified_is_no_alteration(world, contact_id):
    class Amended(ContactChecker):
        """Somebody amends the contact after its rows were read."""

        async def get_evidence(self, rows, also=()):
            if not amended:
                amended.append(rows.id)
                recording = await world.recording(AUDIO[:9000], source_id="call-1")
                name = msgspec.structs.replace(recording.recording[0], name="second.wav")
                recording = dataclasses.replace(
                    recording, recording=(name, recording.recording[1])
                )
                await world.interpreter.interpret([recording], now=world.now)
            return await super().get_evidence(rows, also)

    amended = []
    checker = Amended(world.store, world.store, world.blobs, world.vault)
    verification = await Verifier(checker, world.published, world.marker).verify(
        contact_id, actor=HANDLER, now=world.now
    )
    assert amended
    assert len(await rows_of(world, RecordingRow, contact_id)) == 2
    assert verification.state is State.PENDING


async def test_the_erasure_of_another_contact_does_not_make_this_one_erased(world, contact_id):
    entry = LogEntry(
        type=EntryType.CONTACT_ERASED, at=world.now, actor="x", about=(new_id("ct"),)
    )
    await world.store.commit([Append(encode_entry(entry), entry.about)])
    await world.publish()
    last = await world.store.log_size() - 1
    execute(world, "INSERT INTO log_about (subject, position) VALUES (?, ?)", contact_id, last)
    await assert_altered(world, contact_id, Code.LOG_ENTRY)


async def test_a_published_bundle_that_is_missing_is_named(world, contact_id):
    (bundle,) = (world.directory / "data" / "log" / "tile" / "entries" / "000.p").iterdir()
    bundle.unlink()
    await assert_altered(world, contact_id, Code.LOG_ENTRY)


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00", id="not text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"[" * 60_000, id="deep"),
        pytest.param(b'{"v":1}', id="too few fields"),
        pytest.param(
            b'{"about":1,"actor":"x","at":1,"data":[],"type":[],"v":true}', id="types"
        ),
        pytest.param(
            b'{"about":[],"actor":"system","at":"2026-11-22T12:00:00.000000Z","data":{},'
            b'"type":"recording.attached","v":1}',
            id="an arrival of nothing",
        ),
        pytest.param(
            b'{"about":["%s","rc_1"],"actor":"system","at":"2026-11-22T12:00:00.000000Z",'
            b'"data":{},"type":"message.archived","v":1}',
            id="an arrival without its object",
        ),
        *(
            pytest.param(
                b'{"about":["%s"],"actor":"system","at":"2026-11-22T12:00:00.000000Z",'
                b'"data":{"rows":' + rows + b'},"type":"contact.amended","v":1}',
                id=f"rows {rows.decode()}",
            )
            for rows in (b'"x"', b"1", b"[1]", b'["x"]', b'["ct_1:x:y"]', b'["a:b:c:d"]')
        ),
    ],
)
async def test_what_lies_in_the_log_and_is_no_entry_is_altered(world, contact_id, stored):
    """It is named, and neither a verification nor that of the whole archive ends by it."""
    stored = stored.replace(b"%s", contact_id.encode())
    last = (await world.store.log_about(contact_id))[-1]
    execute(world, "UPDATE log SET entry = ? WHERE position = ?", stored, last.index)
    verification = await verified(world, contact_id)
    assert verification.state is State.ALTERED
    assert f"entry-{last.index}" in {
        c.about for c in verification.checks if c.outcome is Outcome.FAILED
    }
    report = await ArchiveVerifier(world.checker, world.published).verify()
    assert report.outcome is Outcome.FAILED
    assert f"entry-{last.index}" in {one.check.about for one in report.findings}


async def test_many_messages_are_verified_without_holding_others_up(world):
    """What takes longest is done in threads: the loop is never held for long, and the work grows with the messages."""
    chat = await world.chat(*(f"message {number}" for number in range(400)))
    await world.publish()
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            # Processor time of the loop's own thread: another program may hold the machine.
            begun = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - begun)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        verification = await verified(world, chat)
        watching.cancel()
    assert verification.state is State.ANCHORED
    assert len([c for c in verification.checks if c.code is Code.MESSAGE_ROW]) == 400
    # It was 600 ms when each message was held against the entries of all.
    assert longest < 0.3


# -- what somebody wrote who has the database, and no keys


def forged_erasure(world, contact_id):
    entry = LogEntry(
        type=EntryType.CONTACT_ERASED, at=world.now, actor="us_x", about=(contact_id,)
    )
    return encode_entry(entry)


async def test_a_signed_entry_overwritten_with_an_erasure_is_altered(world, contact_id):
    last = (await world.store.log_about(contact_id))[-1]
    erasure = forged_erasure(world, contact_id)
    execute(
        world,
        "UPDATE log SET entry = ?, leaf = ? WHERE position = ?",
        erasure,
        leaf_hash(erasure),
        last.index,
    )
    verification = await verified(world, contact_id)
    assert verification.state is State.ALTERED
    assert f"entry-{last.index}" in {
        c.about for c in verification.checks if c.outcome is Outcome.FAILED
    }


@pytest.mark.parametrize("kind", [EntryType.CONTACT_ERASED, EntryType.CONTACT_AMENDED])
async def test_a_newer_entry_without_the_mark_of_the_archive_is_altered(
    world, contact_id, kind
):
    entry = LogEntry(type=kind, at=world.now, actor="us_x", about=(contact_id,))
    await world.store.unmarked.commit([Append(encode_entry(entry), entry.about)])
    verification = await assert_altered(world, contact_id, Code.LOG_ENTRY)
    assert await world.entries("integrity.alarm")
    assert "did not write" in str(verification.checks)


async def test_an_erasure_that_is_signed_is_believed_of_the_signed_log(world, contact_id):
    erasure = forged_erasure(world, contact_id)
    await world.store.commit([Append(erasure, (contact_id,))])
    await world.publish()
    execute(world, "UPDATE log SET mark = x'' WHERE entry = ?", erasure)
    with pytest.raises(ErasedError):
        await verified(world, contact_id)


@pytest.mark.parametrize("others", [0, 300], ids=["partial bundle", "full bundle"])
@pytest.mark.parametrize("is_warm", [False, True], ids=["first reading", "read before"])
async def test_a_contact_set_back_with_the_bundle_changed_too_is_altered(
    world, others, is_warm
):
    """The newest entry is out of the database's index, and its name out of the published bundle."""
    contact_id = await world.call(None)
    rows, size = await kept_rows(world, contact_id), await world.store.log_size()
    await world.interpreter.interpret(
        [await world.recording(AUDIO, source_id="call-1")], now=world.now
    )
    for number in range(others):
        await world.call(None, source_id=f"other-{number}")
    await world.publish()
    if is_warm:
        assert (await verified(world, contact_id)).state is State.ANCHORED
        # Another process: what this one has read before stays right.
        world = dataclasses.replace(world)
    bundles = world.directory / "data" / "log" / "tile" / "entries"
    (bundle,) = bundles.glob("000.p/*") if not others else [bundles / "000"]
    entries = decode_bundle(bundle.read_bytes())
    other = new_id("ct").encode()
    bundle.write_bytes(
        encode_bundle(
            [
                entry.replace(contact_id.encode(), other) if position >= size else entry
                for position, entry in enumerate(entries)
            ]
        )
    )
    await put_back(world, contact_id, rows, since=size)
    assert (await verified(world, contact_id)).state is State.ALTERED


async def test_a_full_bundle_is_read_once(world):
    for number in range(300):
        await world.call(None, source_id=f"other-{number}")
    await world.publish()
    reads = []

    class Watched(PublishedLog):
        def read(self, path):
            reads.append(path)
            return super().read(path)

    watched = Watched(
        published=world.published.published,
        ledger=world.published.ledger,
        anchors=world.published.anchors,
        signing_key=world.published.signing_key,
    )
    verifier = Verifier(world.checker, watched, world.marker)
    contact_id = await world.call(None, source_id="other-7")
    for _ in range(3):
        await verifier.verify(contact_id, actor=HANDLER, now=world.now)
    assert reads.count("tile/entries/000") == 1
