"""Verifying the whole archive: a flipped bit of what is checked is named, and by contact."""

import dataclasses
import sqlite3

import pytest

from service.archive import verify_rows
from service.archive.checks import Code, Outcome
from service.archive.contact_checks import ContactChecker
from service.archive.customers import customer_tokens
from service.archive.intake_memory import Sessions
from service.archive.receive import Intake, keep_delivery, keep_recording
from service.archive.records import customer_row
from service.archive.verify_all import ArchiveVerifier
from service.cli.verify_command import EXIT_CODES, report_lines
from service.domain.customer import Customer
from service.domain.ids import new_id
from service.log.entry import EntryType, LogEntry, encode_entry
from service.log.merkle import leaf_hash
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Append, Put, Remove
from storage.rows import ContactRow, GrantRow, ObjectRow, RecordingRow
from tests.archive.world import opened_world

AUDIO = bytes(range(256)) * 1024


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


@dataclasses.dataclass
class Stock:
    call: str
    other: str
    chat: str


@pytest.fixture
async def stock(world):
    """Three contacts, a grant, an opening, all signed."""
    made = Stock(
        await world.call(AUDIO),
        await world.call(AUDIO[::-1], source_id="call-2"),
        await world.chat("Hei", "Moi"),
    )
    await world.grant(made.call)
    await world.publish()
    return made


async def verified(world, checker=None, marker=None):
    verifier = ArchiveVerifier(
        checker or world.checker, world.published, workers=2, marker=marker
    )
    return await verifier.verify()


def found(report, outcome=Outcome.FAILED):
    return {
        (finding.contact_id, finding.check.code)
        for finding in report.findings
        if finding.check.outcome is outcome
    }


@pytest.mark.usefixtures("stock")
async def test_what_is_whole_is_verified(world):
    report = await verified(world)
    assert report.findings == []
    assert EXIT_CODES[report.outcome] == 0
    assert (report.contacts, report.recordings, report.messages, report.objects) == (3, 2, 2, 4)
    text = "\n".join(report_lines(report, seconds=1))
    assert f"Read 3 contacts, 2 recordings, 2 messages and {report.entries} log entries" in text
    assert report.sealed_bytes > 2 * len(AUDIO)
    assert report.entries == await world.store.log_size()


@pytest.mark.usefixtures("stock")
async def test_progress_is_told(world):
    told = []
    verifier = ArchiveVerifier(world.checker, world.published)
    await verifier.verify(on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)
    assert told == sorted(told)


async def test_one_flipped_bit_of_a_blob_is_named_by_its_contact(world, stock):
    row = await world.recording_of(stock.other)
    world.blobs.blobs[row.object_id][100_000] ^= 1
    report = await verified(world)
    assert found(report) == {(stock.other, Code.BLOB_HASH), (stock.other, Code.CHUNKS)}
    assert EXIT_CODES[report.outcome] == 1
    text = "\n".join(report_lines(report, seconds=1))
    assert f"{stock.other}:\n  ALTERED: {row.object_id} (blob_hash)." in text
    assert stock.call not in text


async def test_a_missing_blob_is_named(world, stock):
    del world.blobs.blobs[(await world.messages_of(stock.chat))[0].object_id]
    assert found(await verified(world)) == {(stock.chat, Code.BLOB_PRESENT)}


async def test_a_changed_header_is_named(world, stock):
    object_id = (await world.recording_of(stock.call)).object_id
    header = (await world.keys.get_keys([object_id]))[object_id]
    wrapped = bytearray(header.wrapped)
    wrapped[60] ^= 1
    await world.keys.put_keys([dataclasses.replace(header, wrapped=bytes(wrapped))])
    assert found(await verified(world)) == {(stock.call, Code.HEADER)}


async def test_a_changed_row_is_named(world, stock):
    row = await world.recording_of(stock.call)
    sealed = bytearray(row.sealed)
    sealed[30] ^= 1
    await world.store.commit([Put(dataclasses.replace(row, sealed=bytes(sealed)))])
    assert found(await verified(world)) == {(stock.call, Code.RECORDING_ROW)}


@pytest.mark.parametrize("table", [ContactRow, RecordingRow, ObjectRow])
async def test_a_missing_row_is_named(world, stock, table):
    where = {"id" if table is ContactRow else "contact_id": stock.call}
    (row,) = await world.store.find(table, where)
    await world.store.commit([Remove(table, (row.id,))])
    assert found(await verified(world)) == {(stock.call, Code.COMPLETE)}


async def test_a_contact_that_was_slipped_in_is_named(world, stock):
    (row,) = await world.store.find(ContactRow, {"id": stock.call})
    forged = dataclasses.replace(row, id=new_id("ct"), source_token=b"forged")
    await world.store.commit([Put(forged)])
    assert (forged.id, Code.COMPLETE) in found(await verified(world))


@pytest.mark.usefixtures("stock")
async def test_a_changed_grant_is_named(world):
    (row,) = await world.store.find(GrantRow, {})
    await world.store.commit([Put(dataclasses.replace(row, actor_id="us_other"))])
    report = await verified(world)
    assert found(report) == {(None, Code.GRANT_ROW)}
    assert report.findings[0].check.about == row.id


# -- the log


def execute(world, sql, *values):
    db = sqlite3.connect(world.directory / "data" / "taltio.db")
    with db:
        assert db.execute(sql, values).rowcount == 1
    db.close()


@pytest.mark.parametrize("column", ["entry", "leaf"])
@pytest.mark.parametrize("which", [0, 3, -1])
@pytest.mark.usefixtures("stock")
async def test_a_flipped_bit_of_a_stored_entry_is_named(world, column, which):
    size = await world.store.log_size()
    index = which % size
    stored = (await world.store.log_entries(index, index + 1))[0]
    changed = bytearray(getattr(stored, column))
    changed[len(changed) // 2] ^= 1
    sql = {
        "entry": "UPDATE log SET entry = ? WHERE position = ?",
        "leaf": "UPDATE log SET leaf = ? WHERE position = ?",
    }
    execute(world, sql[column], bytes(changed), index)
    report = await verified(world)
    about = {finding.check.about for finding in report.findings}
    assert f"entry-{index}" in about


@pytest.mark.usefixtures("stock")
async def test_an_entry_and_its_leaf_changed_together_are_named(world):
    stored = (await world.store.log_entries(1, 2))[0]
    forged = stored.entry.replace(b'"actor":"', b'"actor":"x')
    execute(
        world,
        "UPDATE log SET entry = ?, leaf = ? WHERE position = 1",
        forged,
        leaf_hash(forged),
    )
    about = {finding.check.about for finding in (await verified(world)).findings}
    assert "entry-1" in about


@pytest.mark.usefixtures("stock")
async def test_a_missing_entry_is_named(world):
    execute(world, "DELETE FROM log WHERE position = 2")
    about = {finding.check.about for finding in (await verified(world)).findings}
    assert "entry-2" in about


@pytest.mark.usefixtures("stock")
async def test_a_log_rolled_back_is_named(world):
    size = await world.store.log_size()
    execute(world, "DELETE FROM log WHERE position = ?", size - 1)
    report = await verified(world)
    assert (None, Code.CONSISTENT) in found(report)


def files_of(world):
    directory = world.directory / "data" / "log"
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.usefixtures("stock")
async def test_one_flipped_bit_of_any_published_file_is_named(world):
    for path in files_of(world):
        data = bytearray(path.read_bytes())
        for position in (1, len(data) // 2, len(data) - 2):
            changed = bytearray(data)
            changed[position] ^= 1
            path.write_bytes(bytes(changed))
            report = await verified(world)
            assert EXIT_CODES[report.outcome] == 1, (path, position)
            assert report.findings
        path.write_bytes(bytes(data))
    assert (await verified(world)).findings == []


@pytest.mark.parametrize("has_tiles", [True, False])
async def test_what_was_signed_and_is_not_published_yet_counts_if_its_tiles_do(
    world, has_tiles
):
    await world.call(AUDIO)
    await world.publish()
    log = world.published.published.directory
    before = (log / "checkpoint").read_bytes()
    tiles = {path for path in log.rglob("*") if path.is_file()}
    await world.call(AUDIO[::-1], source_id="call-2")
    await world.publish()
    # Stopped after the ledger knew of it.
    (log / "checkpoint").write_bytes(before)
    if not has_tiles:
        for path in {path for path in log.rglob("*") if path.is_file()} - tiles:
            path.unlink()
    report = await verified(world)
    assert bool(found(report)) is not has_tiles
    assert report.outcome is (Outcome.PASSED if has_tiles else Outcome.FAILED)


@pytest.mark.usefixtures("stock")
async def test_a_missing_published_file_is_named(world):
    for path in files_of(world):
        data = path.read_bytes()
        path.unlink()
        assert EXIT_CODES[(await verified(world)).outcome] == 1, path
        path.write_bytes(data)


@pytest.mark.usefixtures("stock")
async def test_a_changed_anchor_is_named(world):
    (path,) = (world.directory / "anchors").glob("*/*")
    lines = path.read_bytes().split(b"\n")
    lines[2] = (b"B" if lines[2].startswith(b"A") else b"A") + lines[2][1:]
    path.write_bytes(b"\n".join(lines))
    report = await verified(world)
    assert EXIT_CODES[report.outcome] == 1
    assert path.name in report.findings[0].check.about


@pytest.mark.usefixtures("stock")
async def test_an_anchor_that_is_no_checkpoint_any_more_is_named_and_proves_nothing(world):
    (path,) = (world.directory / "anchors").glob("*/*")
    path.write_bytes(path.read_bytes()[:-3])
    report = await verified(world)
    assert EXIT_CODES[report.outcome] == 2
    assert path.name in report.findings[0].check.about


# -- faults in checking


@pytest.mark.usefixtures("stock")
async def test_blobs_that_cannot_be_read_are_no_alteration(world):
    world.blobs.broken = StoreUnavailableError("offline")
    report = await verified(world)
    assert EXIT_CODES[report.outcome] == 2
    assert found(report) == set()
    text = "\n".join(report_lines(report, seconds=1))
    assert "Nothing was found to be altered." in text


async def test_without_keys_the_bytes_are_still_held_against_the_log(world, stock):
    checker = ContactChecker(world.store, world.store, world.blobs, None)
    report = await verified(world, checker)
    assert EXIT_CODES[report.outcome] == 2
    assert found(report) == set()
    world.blobs.blobs[(await world.recording_of(stock.call)).object_id][50] ^= 1
    report = await verified(world, checker)
    assert found(report) == {(stock.call, Code.BLOB_HASH)}
    assert EXIT_CODES[report.outcome] == 1


async def test_a_log_that_was_never_signed_could_not_be_checked(world):
    await world.call(AUDIO)
    report = await verified(world)
    assert EXIT_CODES[report.outcome] == 2
    assert found(report) == set()


@pytest.mark.usefixtures("stock")
async def test_blobs_that_belong_to_nothing_are_counted_and_do_no_harm(world):
    world.blobs.blobs[new_id("ob")] = bytearray(b"left over")
    report = await verified(world)
    assert (report.orphans, EXIT_CODES[report.outcome]) == (1, 0)


async def test_many_contacts_are_paged_through(world, monkeypatch):
    monkeypatch.setattr(verify_rows, "PAGE", 2)
    for i in range(5):
        await world.call(None, source_id=f"call-{i}")
    await world.publish()
    report = await verified(world)
    assert (report.contacts, report.findings) == (5, [])


# -- what belongs to no contact


async def chunks(data):
    yield data


@pytest.fixture
def intake(world):
    ring = world.ring
    return Intake(
        store=world.store,
        keys=world.keys,
        blobs=world.blobs,
        intake_keys=ring.intake_keys,
        index=ring.intake_keys().blind_index(),
        sessions=Sessions(ring.intake_keys),
        max_recording_bytes=1 << 30,
    )


async def test_a_changed_delivery_is_named(world, intake):
    kept = await keep_delivery(
        intake, source="pbx", kind="contact", ident="w-1", body=b"{}", now=world.now
    )
    await world.publish()
    assert (await verified(world)).findings == []
    sealed = bytearray(kept.row.sealed)
    sealed[-1] ^= 1
    await world.store.commit([Put(dataclasses.replace(kept.row, sealed=bytes(sealed)))])
    report = await verified(world)
    assert found(report) == {(None, Code.DELIVERY_ROW)}
    assert report.findings[0].check.about == kept.row.id


async def test_a_recording_that_waits_for_its_contact_is_checked_too(world, intake):
    kept = await keep_recording(
        intake,
        chunks(AUDIO),
        source="pbx",
        source_id="c-9",
        name="a.wav",
        content_type="audio/wav",
        now=world.now,
    )
    await world.publish()
    report = await verified(world)
    assert (report.objects, report.findings) == (1, [])
    world.blobs.blobs[kept.row.object_id][100] ^= 1
    assert found(await verified(world)) == {(None, Code.BLOB_HASH), (None, Code.CHUNKS)}


async def test_a_changed_customer_is_named(world):
    customer = Customer(id=new_id("cu"), version=1, number="1001", name="Maija Esimerkki")
    key = world.vault.new_key(customer.id, now=world.now)
    await world.vault.put([key])
    token = world.vault.index.token("customer_number", "1001")
    row = customer_row(customer, number_token=token, sealer=key.sealer, now=world.now)
    tokens = customer_tokens(customer, world.vault.index, timezone="UTC")
    await world.store.commit([Put(row), *map(Put, tokens)])
    entry = LogEntry(type=EntryType.CUSTOMERS_IMPORTED, at=world.now, actor="system")
    await world.store.commit([Append(encode_entry(entry))])
    await world.publish()
    assert (await verified(world)).findings == []
    sealed = bytearray(row.sealed)
    sealed[-1] ^= 1
    await world.store.commit([Put(dataclasses.replace(row, sealed=bytes(sealed)))])
    report = await verified(world)
    assert found(report) == {(None, Code.CUSTOMER_ROW)}
    assert report.findings[0].check.about == customer.id


# -- an erasure that somebody wrote who has the database, and no keys


async def forge_erasure(world, contact_id):
    entry = LogEntry(
        type=EntryType.CONTACT_ERASED, at=world.now, actor="us_x", about=(contact_id,)
    )
    await world.store.unmarked.commit([Append(encode_entry(entry), entry.about)])
    return f"entry-{await world.store.log_size() - 1}"


async def test_a_forged_erasure_is_named_and_hides_nothing(world, stock):
    about = await forge_erasure(world, stock.call)
    execute(world, "DELETE FROM recordings WHERE contact_id = ?", stock.call)
    report = await verified(world, marker=world.marker)
    wrong = {
        (one.contact_id, one.check.about)
        for one in report.findings
        if one.check.outcome is Outcome.FAILED
    }
    assert (stock.call, about) in wrong
    assert (stock.call, Code.COMPLETE) in found(report)


async def test_a_forged_erasure_does_not_explain_a_missing_record(world, stock):
    await forge_erasure(world, stock.call)
    execute(world, "DELETE FROM contacts WHERE id = ?", stock.call)
    assert (stock.call, Code.COMPLETE) in found(await verified(world))


async def test_without_keys_an_erasure_that_is_not_signed_is_said_to_be_unproven(world, stock):
    about = await forge_erasure(world, stock.call)
    report = await verified(world)
    unproven = {
        one.check.about
        for one in report.findings
        if one.check.outcome is Outcome.UNKNOWN and "without the keys" in one.check.detail
    }
    assert unproven == {about}
