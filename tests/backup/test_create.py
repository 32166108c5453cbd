"""A backup is of one moment, sealed, and holds everything that its rows name; the next one brings only what is new."""

import asyncio
import json
import shutil
import sqlite3
import subprocess

import pytest

from service.archive.checks import Outcome
from service.backup.create import BackupMaker
from service.backup.manifest import Kind
from service.backup.places import find_backups
from service.backup.records import find_records
from service.backup.working import no_progress
from service.crypto.recipients import HybridIdentity
from service.domain.errors import InvalidInputError
from service.log.checkpoint import decode_checkpoint
from service.serving import log_keeper
from service.wiring import opened_archive
from service.wiring_backups import opened_maker
from storage.errors import UnavailableError
from storage.ports import Remove
from storage.rows import AttentionRow, ObjectRow
from tests.backup.conftest import DAY, fill, flip
from tests.conftest import NOW


def files_of(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


async def objects_of(archive):
    return {row.id: row for row in await archive.stores.store.find(ObjectRow, {})}


async def test_a_backup_is_listed_with_what_it_holds(backups):
    made = await backups.make()
    (listed,) = find_backups(backups.places, Kind.ARCHIVE, None)
    assert listed.name == made.manifest.name == "20261122T120000Z"
    assert listed.manifest.rows["contacts"] == 2
    assert listed.manifest.objects == made.copied.new == 2
    assert listed.manifest.damaged == listed.manifest.unnamed == []


async def test_nothing_of_a_backup_can_be_read_without_a_key(backups):
    await backups.make()
    for name, data in files_of(backups.config.backup.directory).items():
        assert b"SQLite format 3" not in data, name
        assert b'"contact.created"' not in data, name
    for name, data in files_of(backups.config.backup.keys_directory).items():
        assert b"age-encryption.org" in data or not name.endswith(".age")
        assert b"SQLite format 3" not in data, name


async def test_no_key_lies_with_the_backups_of_the_archive(backups):
    await backups.make()
    assert not any("keys" in name for name in files_of(backups.config.backup.directory))
    secrets = [path.read_bytes() for path in backups.config.keys.directory.glob("*.key")]
    kept = files_of(backups.config.backup.directory) | files_of(
        backups.config.backup.keys_directory
    )
    for secret in secrets:
        assert not any(
            line in data for line in secret.splitlines()[2:] if line for data in kept.values()
        )


async def test_nothing_in_the_clear_is_left_behind_while_or_after(backups):
    before = {path.name for path in backups.config.archive.directory.iterdir()}
    await backups.make()
    assert {path.name for path in backups.config.archive.directory.iterdir()} - before <= {
        f"{name}{end}" for name in ("taltio.db", "keys.db") for end in ("-wal", "-shm")
    }


async def test_blobs_that_are_there_are_not_written_again(backups):
    await backups.make()
    kept = {path: path.stat().st_ino for path in backups.places.pool.rglob("ob_*")}
    async with opened_archive(backups.config) as archive:
        await fill(archive, "c-3")
        made = await backups.make_of(archive, now=NOW + DAY)
    assert (made.copied.objects, made.copied.new) == (3, 1)
    assert {path: path.stat().st_ino for path in kept} == kept


async def test_a_blob_that_was_cut_in_the_backup_is_brought_again(backups):
    await backups.make()
    blob = next(backups.places.pool.rglob("ob_*"))
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1])
    made = await backups.make(now=NOW + DAY)
    assert made.copied.new == 1
    assert (await backups.verify()).outcome is Outcome.PASSED


async def test_a_damaged_blob_is_named_raises_an_alarm_and_leaves_the_good_copy(backups):
    await backups.make()
    name = next(backups.places.pool.rglob("ob_*")).name
    (live,) = backups.config.storage.blobs.path.rglob(name)
    flip(live)
    (other,) = [p for p in backups.config.storage.blobs.path.rglob("ob_*") if p.name != name]
    other.unlink()
    next(backups.places.pool.rglob(other.name)).unlink()
    async with opened_archive(backups.config) as archive:
        made = await backups.make_of(archive, now=NOW + DAY)
        raised = await archive.stores.store.find(AttentionRow, {"reason": "integrity"})
    # The copy of the altered one is from before; the missing one is nowhere.
    assert made.manifest.damaged == [other.name]
    assert [row.about for row in raised] == [other.name]
    assert (await backups.verify()).outcome is Outcome.FAILED


async def test_an_altered_blob_never_gets_into_a_backup(backups):
    live = next(backups.config.storage.blobs.path.rglob("ob_*"))
    flip(live)
    made = await backups.make()
    assert made.manifest.damaged == [live.name]
    assert not list(backups.places.pool.rglob(live.name))


async def test_a_damaged_database_is_not_backed_up(backups):
    await backups.make()
    path = backups.config.storage.database.path
    with sqlite3.connect(path) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'objects'"
        ).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 64)
    async with opened_archive(backups.config) as archive:
        with pytest.raises(UnavailableError):
            await backups.make_of(archive, now=NOW + DAY)
    assert [one.name for one in find_backups(backups.places, Kind.ARCHIVE, None)] == [
        "20261122T120000Z"
    ]


async def test_under_load_every_row_of_a_backup_has_its_blob_its_key_and_its_log(backups):
    """Calls keep coming while backups are made; each of them can be brought up whole."""
    async with opened_archive(backups.config) as archive:
        is_over, keeper = asyncio.Event(), log_keeper(archive)

        async def keep_sending(first):
            number = first
            while not is_over.is_set():
                await fill(archive, f"c-{number}", keeper=keeper)
                number += 2

        async with asyncio.TaskGroup() as senders:
            for first in (10, 11):
                senders.create_task(keep_sending(first))
            made = []
            for day in range(3):
                made.append(await backups.make_of(archive, now=NOW + day * DAY))
                await asyncio.sleep(0.05)
            is_over.set()
    assert made[0].manifest.rows["contacts"] < made[-1].manifest.rows["contacts"]
    verdict = await backups.verify()
    assert (verdict.outcome, verdict.missing) == (Outcome.PASSED, [])
    for one in made:
        drilled = await backups.drill(one.manifest)
        assert drilled.verdict.troubles == []
        assert drilled.opened == 1


async def test_the_checkpoint_of_a_backup_is_not_ahead_of_its_rows(backups, tmp_path):
    async with opened_archive(backups.config) as archive:
        made = await backups.make_of(archive)
        await fill(archive, "c-9")
    unpacker = backups.bringing_up().unpacker
    unpacker.unpack_log(made.manifest, "log.tar.age", tmp_path / "out")
    checkpoint = decode_checkpoint((tmp_path / "out/log/checkpoint").read_bytes())
    assert 0 < checkpoint.size <= made.manifest.rows["log"]


async def test_old_backups_go_and_the_newest_stays_however_old(backups):
    for day in (0, 1, 13, 40):
        made = await backups.make(now=NOW + day * DAY)
    names = [one.name for one in find_backups(backups.places, Kind.ARCHIVE, None)]
    assert names == ["20261205T120000Z", "20270101T120000Z"]
    assert [one.name for one in find_backups(backups.places, Kind.KEYS, None)] == names[1:]
    assert made.removed == [
        "archive 20261122T120000Z",
        "archive 20261123T120000Z",
        "keys 20261122T120000Z",
        "keys 20261123T120000Z",
        "keys 20261205T120000Z",
    ]
    async with opened_archive(backups.config) as archive, opened_maker(archive) as maker:
        assert await maker.let_go(now=NOW + 400 * DAY) == ["archive 20261205T120000Z"]
    assert len(find_backups(backups.places, Kind.KEYS, None)) == 1


async def test_a_blob_goes_with_the_last_backup_that_names_it(backups):
    await backups.make()
    async with opened_archive(backups.config) as archive:
        gone = next(iter(await objects_of(archive)))
        await archive.stores.store.commit([Remove(ObjectRow, (gone,))])
        await archive.stores.blobs.remove(gone)
    made = await backups.make(now=NOW + 10 * DAY)
    assert made.manifest.unnamed == [gone]
    assert list(backups.places.pool.rglob(gone))
    await backups.make(now=NOW + 40 * DAY)
    assert not list(backups.places.pool.rglob(gone))
    assert len(list(backups.places.pool.rglob("ob_*"))) == 1


async def test_no_blob_goes_while_a_backup_cannot_be_read(backups):
    await backups.make()
    async with opened_archive(backups.config) as archive:
        gone = next(iter(await objects_of(archive)))
        await archive.stores.store.commit([Remove(ObjectRow, (gone,))])
    made = await backups.make(now=NOW + 10 * DAY)
    manifest = backups.places.archive.file(made.manifest.name, "backup.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"contacts": 2', b'"contacts": 3'))
    await backups.make(now=NOW + 40 * DAY)
    assert list(backups.places.pool.rglob(gone))


async def test_the_log_says_which_backups_were_made(backups):
    made = [await backups.make(), await backups.make()]
    async with opened_archive(backups.config) as archive:
        records = await find_records(archive.stores.log)
    assert [one.name for one in records] == [one.manifest.name for one in made]
    assert made[1].manifest.name == "20261122T120000Z-2"


async def test_an_empty_place_where_backups_should_be_is_refused(backups):
    """As when the disk of the backups is not mounted."""
    await backups.make()
    for path in (backups.config.backup.directory, backups.config.backup.keys_directory):
        path.rename(path.with_name(f"{path.name}.elsewhere"))
    with pytest.raises(UnavailableError, match="mounted"):
        await backups.make()
    backups.config.backup.directory.mkdir()
    backups.config.backup.keys_directory.mkdir()
    with pytest.raises(Exception, match="--first"):
        await backups.make()
    assert (await backups.make(is_first=True)).manifest.objects == 2


async def test_two_at_once_are_refused(backups):
    with (
        backups.places.archive.locked(),
        pytest.raises(UnavailableError, match="somebody else"),
    ):
        await backups.make()
    assert find_backups(backups.places, Kind.ARCHIVE, None) == []


async def test_recipients_of_another_kind_than_the_epoch_are_refused(backups):
    async with opened_archive(backups.config) as archive, opened_maker(archive) as maker:
        fields = {name: getattr(maker, name) for name in maker.__dataclass_fields__}
        fields["recipients"] = [HybridIdentity.generate().recipient]
        with pytest.raises(InvalidInputError):
            await BackupMaker(**fields).create(actor="operator", now=NOW, progress=no_progress)
    assert find_backups(backups.places, Kind.ARCHIVE, None) == []


async def test_a_backup_that_is_cancelled_leaves_nothing_but_blobs(backups):
    async with opened_archive(backups.config) as archive, opened_maker(archive) as maker:

        def stop(what, _done, _total):
            if what == "keys.db":
                task.cancel()

        task = asyncio.ensure_future(maker.create(actor="operator", now=NOW, progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await task
    for places in (backups.places.archive, backups.places.keys):
        assert places.names() == []
        assert not list(places.directory.glob(".new-*"))
    assert not list(backups.config.archive.directory.glob(".backup-*"))
    assert len(list(backups.places.pool.rglob("ob_*"))) == 2


@pytest.mark.skipif(
    not all(map(shutil.which, ("age", "sqlite3"))),
    reason="the programs age and sqlite3 are absent",
)
def test_the_age_program_and_sqlite_open_a_backup(backups, tmp_path):
    asyncio.run(backups.make())
    key = backups.config.keys.directory / "epoch-000001.key"
    for folder, name in (("backups", "taltio.db"), ("key-backups", "keys.db")):
        sealed = next((tmp_path / folder).glob(f"2*/{name}.age"))
        subprocess.run(["age", "-d", "-i", key, "-o", tmp_path / name, sealed], check=True)
        asked = "PRAGMA integrity_check; SELECT count(*) > 0 FROM sqlite_master"
        said = subprocess.run(
            ["sqlite3", tmp_path / name, asked], check=True, capture_output=True, text=True
        )
        assert said.stdout == "ok\n1\n"
    manifest = json.loads(next((tmp_path / "backups").glob("2*/backup.json")).read_text())
    assert manifest["version"] == 1
