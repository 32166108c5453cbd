"""A restore brings everything back but what was erased, to an empty place only, whole or not at all."""

import hashlib
import shutil
import sqlite3
import types

import pytest

from service.archive.checks import State
from service.archive.examine import examine
from service.archive.published import PublishedLog
from service.backup.bringing_up import Site
from service.backup.manifest import KEY_FIELD, code_of
from service.backup.records import RECORDS
from service.backup.restore import Restoring
from service.config import parse_config
from service.domain.actor import Role
from service.domain.errors import InvalidInputError, TamperedError, UnavailableError
from service.log.checkpoint import decode_checkpoint
from service.log.entry import EntryType, decode_entry
from service.serving import log_keeper
from service.wiring import opened_archive, published_log
from storage.database.snapshot import SqliteSnapshots
from storage.errors import ConflictError
from storage.errors import UnavailableError as CannotError
from storage.migrations import ARCHIVE
from storage.rows import ContactRow, DeliveryRow, InviteRow, ObjectRow, SessionRow
from storage.tables import ARCHIVE as ARCHIVE_TABLES
from tests.archive.test_erase import erase
from tests.backup.conftest import DAY, PLACES, Backups, fill, opened_new, sound
from tests.conftest import CONFIG, NOW, actor

AUDITOR = actor(Role.AUDITOR)


async def contacts_of(archive):
    return {row.id: row.state for row in await archive.stores.store.find(ContactRow, {})}


async def heard(archive):
    """Return what the archive's recordings sound like, from one end to the other, by the name of their call."""
    vault, blobs, found = archive.vault, archive.stores.blobs, set()
    for row in await archive.stores.store.find(ObjectRow, {"kind": "recording"}):
        (key,) = (await vault.keys.get_keys([row.id])).values()
        file_key = vault.ring.open_header(
            int(key.wrapped_by.removeprefix("epoch:")), key.wrapped
        )
        examined = await examine(row, blobs=blobs, file_key=file_key, wants_plain_hash=True)
        found.add(examined.plain_sha256)
    return found


def hashes(*source_ids):
    return {hashlib.sha256(sound(one)).hexdigest() for one in source_ids}


async def test_a_restored_archive_is_the_one_that_was_backed_up(backups):
    async with opened_archive(backups.config) as archive:
        before = await contacts_of(archive)
    await backups.make()
    assert await backups.restore("--ledger", backups.lose()) == 0
    async with opened_archive(backups.config) as archive:
        assert await contacts_of(archive) == before
        assert await heard(archive) == hashes("c-1", "c-2")
        for contact_id in before:
            verdict = await archive.verifier.verify(contact_id, actor=AUDITOR, now=NOW)
            assert verdict.state is not State.ALTERED
    assert not list(backups.config.archive.directory.parent.glob("*.restoring"))
    assert not list(backups.config.archive.directory.glob(".*"))


async def test_the_log_goes_on_where_nothing_was_lost(backups):
    """The newest backup names everything that was signed: the same log is continued."""
    made = await backups.make()
    ledger = backups.config.archive.directory / "ledger"
    shutil.copytree(ledger, ledger.parent.parent / "then")
    backups.lose()
    await backups.restore(made.manifest.name, "--ledger", ledger.parent.parent / "then")
    async with opened_archive(backups.config) as archive:
        assert (await log_keeper(archive).publish(now=NOW)).origin == "taltio"


async def test_a_backup_older_than_what_was_signed_begins_a_new_log_that_names_the_old(backups):
    await backups.make()
    async with opened_archive(backups.config) as archive:
        await fill(archive, "c-3")
        signed = decode_checkpoint(log_keeper(archive).ledger.read("last-checkpoint"))
    await backups.restore("--ledger", backups.lose())
    async with opened_archive(backups.config) as archive:
        await log_keeper(archive).publish(now=NOW)
        last = decode_checkpoint(log_keeper(archive).ledger.read("last-checkpoint"))
        (about,) = [
            entry
            for one in await archive.stores.log.log_entries(0, 1000)
            if (entry := decode_entry(one.entry)).type is EntryType.LOG_STARTED
            and "old_size" in entry.data
        ]
        told = [decode_entry(one.entry) for one in await archive.stores.log.log_about(RECORDS)]
    assert last.origin == "taltio/2"
    assert (about.data["old_origin"], about.data["old_size"]) == ("taltio", signed.size)
    assert about.data["old_root"] == signed.root.hex()
    assert EntryType.BACKUP_RESTORED in {entry.type for entry in told}
    assert (backups.config.archive.directory / "log.1" / "checkpoint").is_file()


async def test_without_a_ledger_a_new_log_begins_though_nobody_knows_what_was_signed(backups):
    await backups.make()
    backups.lose()
    await backups.restore("--without-ledger")
    async with opened_archive(backups.config) as archive:
        assert (await log_keeper(archive).publish(now=NOW)).origin == "taltio/2"
        report = published_log(backups.config, archive.vault.ring)
        assert isinstance(report, PublishedLog)
        assert report.view().position.generation == 2


@pytest.mark.parametrize("has_ledger", [True, False])
async def test_what_was_erased_stays_erased_after_restoring_yesterday_s_backup(
    backups, has_ledger
):
    """Without the ledger, newer backups of the key store know of it."""
    made = await backups.make()
    async with opened_archive(backups.config) as archive:
        contact_id, other = sorted(await contacts_of(archive))
        await erase(archive, contact_id)
        await backups.make_of(archive, now=NOW + DAY)
    ledger = backups.lose()
    words = ("--ledger", ledger) if has_ledger else ("--without-ledger",)
    assert await backups.restore(made.manifest.name, *words) == 0
    async with opened_archive(backups.config) as archive:
        assert await contacts_of(archive) == {contact_id: "erased", other: "kept"}
        assert await archive.stores.keys.get_keys([contact_id]) == {}
        assert len([name async for name in archive.stores.blobs.names()]) == 1
        assert len(await archive.stores.store.find(ObjectRow, {})) == 1
        assert len(await heard(archive)) == 1


async def test_the_newest_keys_are_taken_whatever_the_backup(backups):
    """A key that was destroyed since the older backup does not come back, even if the ledger did not know."""
    made = await backups.make()
    async with opened_archive(backups.config) as archive:
        (delivery, *_) = await archive.stores.store.find(DeliveryRow, {})
        await archive.stores.keys.destroy_keys([delivery.id])
        await backups.make_of(archive, now=NOW + DAY)
    await backups.restore(made.manifest.name, "--ledger", backups.lose())
    async with opened_archive(backups.config) as archive:
        assert await archive.stores.keys.get_keys([delivery.id]) == {}


async def test_nobody_is_signed_in_after_a_restore(backups):
    async with opened_archive(backups.config) as archive:
        await archive.access.accounts.invite_first_administrator(now=NOW)
        assert await archive.stores.store.count(InviteRow, {}) == 1
        await backups.make_of(archive)
    await backups.restore("--ledger", backups.lose())
    async with opened_archive(backups.config) as archive:
        assert await archive.stores.store.count(InviteRow, {}) == 0
        assert await archive.stores.store.count(SessionRow, {}) == 0


async def test_a_place_that_is_not_empty_is_refused_and_left_as_it_is(backups):
    await backups.make()
    ledger = backups.config.archive.directory / "ledger"
    with pytest.raises(ConflictError, match="not empty"):
        await backups.restore("--ledger", ledger)
    async with opened_archive(backups.config) as archive:
        assert len(await contacts_of(archive)) == 2


async def test_an_empty_directory_will_do(backups):
    await backups.make()
    ledger = backups.lose()
    backups.config.archive.directory.mkdir()
    assert await backups.restore("--ledger", ledger) == 0


async def test_something_else_than_a_ledger_is_refused(backups, tmp_path):
    await backups.make()
    backups.lose()
    with pytest.raises(InvalidInputError, match="no ledger"):
        await backups.restore("--ledger", tmp_path)


async def test_rows_and_blobs_outside_of_the_archive_are_put_back_where_they_were(tmp_path):
    for name in ("backups", "key-backups", "a", "b"):
        (tmp_path / name).mkdir()
    places = '[storage]\ndatabase = "sqlite:a/rows.db"\nblobs = "file:b/objects"\n'
    config = parse_config(PLACES + places + CONFIG, base=tmp_path)
    async with opened_new(config) as archive:
        await fill(archive, "c-1")
    backups = Backups(config)
    await backups.make()
    ledger = backups.lose()
    with pytest.raises(ConflictError, match="not empty"):
        await backups.restore("--ledger", ledger)
    (tmp_path / "b/objects").rename(tmp_path / "b/old")
    with pytest.raises(ConflictError, match=r"rows\.db"):
        await backups.restore("--ledger", ledger)
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    assert await backups.restore("--ledger", ledger) == 0
    async with opened_archive(config) as archive:
        assert await heard(archive) == hashes("c-1")


async def test_a_damaged_backup_is_not_restored_and_an_older_one_never_instead(backups):
    await backups.make()
    made = await backups.make(now=NOW + DAY)
    path = backups.places.archive.file(made.manifest.name, "backup.json")
    path.write_bytes(path.read_bytes().replace(b'"contacts": 2', b'"contacts": 1'))
    ledger = backups.lose()
    with pytest.raises(TamperedError):
        await backups.restore("--ledger", ledger)
    assert not backups.config.archive.directory.exists()
    assert await backups.restore("20261122T120000Z", "--ledger", ledger) == 0


async def test_blobs_that_are_gone_from_the_backup_are_named_and_the_rest_is_restored(
    backups, capsys
):
    await backups.make()
    gone = next(backups.places.pool.rglob("ob_*"))
    gone.unlink()
    assert await backups.restore("--ledger", backups.lose()) == 1
    assert f"Missing or ALTERED in the backup: {gone.name}" in capsys.readouterr().out
    async with opened_archive(backups.config) as archive:
        assert len([name async for name in archive.stores.blobs.names()]) == 1


async def test_what_an_interrupted_restore_brought_is_not_brought_again(backups):
    await backups.make()
    ledger = backups.lose()
    staged = backups.config.archive.directory.with_name("data.restoring")
    await backups.restore("--ledger", ledger)
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "blobs").mkdir(parents=True)
    blob = next(backups.config.archive.directory.rglob("ob_*"))
    (staged / "blobs" / blob.parent.name).mkdir()
    kept = shutil.copy(blob, staged / "blobs" / blob.parent.name / blob.name)
    inode = kept.stat().st_ino
    stranger = staged / "blobs" / "xx"
    stranger.mkdir()
    (stranger / "ob_strangerxx").write_bytes(b"of another archive")
    (staged / "taltio.db").write_bytes(b"half")
    shutil.rmtree(backups.config.archive.directory)
    assert await backups.restore("--ledger", ledger) == 0
    assert (
        backups.config.archive.directory / blob.relative_to(blob.parents[2])
    ).stat().st_ino == inode
    assert not list(backups.config.archive.directory.rglob("ob_strangerxx"))


@pytest.mark.parametrize("kind", ["rows", "manifest"])
async def test_a_newer_program_s_backup_is_refused(backups, kind):
    made = await backups.make()
    folder = backups.config.backup.directory / made.manifest.name
    encoded = (folder / "backup.json").read_bytes()
    old, new = (
        (f'"revision": "{ARCHIVE.head}"'.encode(), b'"revision": "9999"')
        if kind == "rows"
        else (b'"version": 1', b'"version": 2')
    )
    assert old in encoded
    encoded = encoded.replace(old, new)
    (folder / "backup.json").write_bytes(encoded)
    (folder / "backup.mac").write_bytes(code_of(backups.ring.index_key(KEY_FIELD), encoded))
    with pytest.raises((UnavailableError, CannotError), match="newer"):
        await backups.restore("--ledger", backups.lose())
    assert not backups.config.archive.directory.exists()


async def test_a_backup_of_an_older_program_is_brought_up_to_date(
    backups, monkeypatch, tmp_path
):
    """A revision that comes after the backup is carried out on what it brings back."""
    made = await backups.make()
    upgraded = []

    def upgrade(connection, history):
        upgraded.append(history.name)
        connection.exec_driver_sql(f"UPDATE {history.table} SET version_num = '9998'")  # noqa: S608  # our own name

    file = __import__("storage.database.file", fromlist=["file"])
    monkeypatch.setattr(file, "upgrade", upgrade)
    history = types.SimpleNamespace(name="archive", table=ARCHIVE.table, head="9998")
    (tmp_path / "up").mkdir()
    snapshots = SqliteSnapshots(tmp_path / "up" / "rows.db", history, ARCHIVE_TABLES)
    await backups.bringing_up().put_back(
        made.manifest, Site(snapshots, tmp_path / "up", opened=lambda: None)
    )
    assert upgraded == ["archive"]
    db = sqlite3.connect(tmp_path / "up" / "rows.db")
    assert db.execute("SELECT version_num FROM archive_revision").fetchone() == ("9998",)
    db.close()


def test_where_there_is_no_backup_none_is_chosen(backups):
    with pytest.raises((UnavailableError, CannotError), match="holds no backup"):
        Restoring(backups.bringing_up()).choose(None, now=NOW)


async def test_where_this_account_may_not_write_nothing_is_begun(backups, monkeypatch):
    await backups.make()
    ledger = backups.lose()
    archive = backups.config.archive.directory
    refused = []
    monkeypatch.setattr(
        "os.access",
        lambda path, *_, effective_ids: not refused.append(path) and not effective_ids,
    )
    with pytest.raises(UnavailableError, match="is not this account's to write"):
        await backups.restore("--ledger", ledger)
    assert refused == [archive.parent]
    assert not list(archive.parent.glob(f"{archive.name}*restoring"))
