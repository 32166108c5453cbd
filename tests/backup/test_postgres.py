"""Backups of an archive on PostgreSQL: made, verified, tried out and restored by PostgreSQL's own programs."""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from service.archive.checks import Outcome
from service.beginning import is_new
from service.config import parse_config
from service.serving import log_keeper
from service.wiring import opened_archive
from storage.database.postgres.temporary import PREFIX
from storage.errors import ConflictError, UnavailableError
from storage.rows import AttentionRow, ContactRow, ObjectRow
from tests.archive.test_erase import erase
from tests.backup.conftest import DAY, PLACES, Backups, fill, opened_new
from tests.backup.test_restore import contacts_of, hashes, heard
from tests.conftest import CONFIG, NOW
from tests.postgres import execute, new_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["one database", "two databases"])
async def places(request, cluster):
    """URLs of empty databases, for the rows and for the keys."""
    rows = await new_database(cluster)
    return rows, rows if request.param == "one database" else await new_database(cluster)


def config_of(tmp_path, rows, keys):
    for name in ("backups", "key-backups"):
        (tmp_path / name).mkdir(exist_ok=True)
    storage = f'[storage]\ndatabase = "{rows}"\n'
    if keys != rows:
        storage += f'keys = "{keys}"\n'
    return parse_config(PLACES + storage + CONFIG, base=tmp_path)


@pytest.fixture
async def backups(tmp_path, places):
    config = config_of(tmp_path, *places)
    async with opened_new(config) as archive:
        await fill(archive, "c-1", "c-2")
    return Backups(config)


async def fetch(url, sql):
    db = await asyncpg.connect(url)
    try:
        return [row[0] for row in await db.fetch(sql)]
    finally:
        await db.close()


async def lose(backups):
    """Lose the servers' rows and keys, and move the directory away; return where the ledger is."""
    for url in {
        backups.config.storage.database.url,
        *([backups.config.storage.keys.url] if backups.config.storage.keys else []),
    }:
        await execute(url, "DROP SCHEMA IF EXISTS taltio CASCADE")
        await execute(url, "DROP SCHEMA IF EXISTS taltio_keys CASCADE")
    return backups.lose()


async def drills_left(backups):
    url = backups.config.storage.database.url
    sql = f"SELECT datname FROM pg_database WHERE starts_with(datname, '{PREFIX}')"  # noqa: S608  # our own name
    return await fetch(url, sql)


async def test_what_was_backed_up_comes_back(backups):
    async with opened_archive(backups.config) as archive:
        before = await contacts_of(archive)
    made = await backups.make()
    assert (made.manifest.engine, made.manifest.rows["contacts"]) == ("postgresql", 2)
    verdict = await backups.verify()
    assert (verdict.outcome, verdict.blobs) == (Outcome.PASSED, 2)
    drilled = await backups.drill(made.manifest)
    assert drilled.verdict.troubles == []
    assert (drilled.hashes, drilled.opened) == (2, 1)
    assert await drills_left(backups) == []
    assert await backups.restore("--ledger", await lose(backups)) == 0
    async with opened_archive(backups.config) as archive:
        assert await contacts_of(archive) == before
        assert await heard(archive) == hashes("c-1", "c-2")
        await fill(archive, "c-3")
    assert not list(backups.config.archive.directory.parent.glob("*.restoring"))


async def test_under_load_every_row_of_a_backup_has_its_blob_its_key_and_its_log(small):
    """Calls keep coming while backups are made; each of them can be brought up whole."""
    async with opened_archive(small.config) as archive:
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
            for day in range(2):
                made.append(await small.make_of(archive, now=NOW + day * DAY))
                await fill(archive, f"after-{day}", keeper=keeper)
            is_over.set()
    assert made[0].manifest.rows["contacts"] < made[-1].manifest.rows["contacts"]
    verdict = await small.verify()
    assert (verdict.outcome, verdict.missing) == (Outcome.PASSED, [])
    drilled = await small.drill(made[-1].manifest)
    assert (drilled.verdict.troubles, drilled.opened) == ([], 1)


@pytest.mark.parametrize("has_ledger", [True, False])
async def test_what_was_erased_stays_erased_after_restoring_yesterday_s_backup(
    small, has_ledger
):
    async with opened_archive(small.config) as archive:
        await fill(archive, "c-2")
        made = await small.make_of(archive)
        contact_id, other = sorted(await contacts_of(archive))
        await erase(archive, contact_id)
        await small.make_of(archive, now=NOW + DAY)
    ledger = await lose(small)
    words = ("--ledger", ledger) if has_ledger else ("--without-ledger",)
    assert await small.restore(made.manifest.name, *words) == 0
    async with opened_archive(small.config) as archive:
        assert await contacts_of(archive) == {contact_id: "erased", other: "kept"}
        assert await archive.stores.keys.get_keys([contact_id]) == {}
        assert len([name async for name in archive.stores.blobs.names()]) == 1
        assert len(await archive.stores.store.find(ObjectRow, {})) == 1


@pytest.fixture
async def small(tmp_path, cluster):
    """As ``backups``, in one database."""
    rows = await new_database(cluster)
    config = config_of(tmp_path, rows, rows)
    async with opened_new(config) as archive:
        await fill(archive, "c-1")
    return Backups(config)


async def test_a_database_that_is_not_empty_is_refused_and_left_as_it_is(small):
    await small.make()
    ledger = small.lose()
    with pytest.raises(ConflictError, match="not empty"):
        await small.restore("--ledger", ledger)
    assert await fetch(small.config.storage.database.url, "SELECT id FROM taltio.contacts")
    assert not await fetch(
        small.config.storage.database.url,
        "SELECT tablename FROM pg_tables WHERE tablename = 'restoring'",
    )


class KilledError(BaseException):
    """Nobody handles it, as nobody handles ``kill -9``."""


@pytest.mark.parametrize(
    "where",
    [
        "storage.database.postgres.snapshot.prepare",
        "service.cli.backup_restore.replay_erasures",
        "service.cli.backup_restore.begin_placing",
        "service.cli.backup_restore.place",
        "storage.database.postgres.restoring.Claim.release",
        "service.cli.backup_restore.end_placing",
    ],
)
async def test_nobody_opens_an_archive_whose_restore_was_killed_and_the_next_finishes_it(
    small, monkeypatch, where
):
    await small.make()
    ledger = await lose(small)

    def killed(*_, **__):
        raise KilledError

    async def nothing(_):
        """What a process that is killed does not do any more."""

    with monkeypatch.context() as patched:
        patched.setattr(where, killed)
        patched.setattr("service.cli.backup_restore._give_up", nothing)
        with pytest.raises(KilledError):
            await small.restore("--ledger", ledger)
    if not where.endswith("end_placing"):
        with pytest.raises(UnavailableError, match="being restored"):
            await is_new(small.config)
        with pytest.raises(UnavailableError, match="being restored"):
            async with opened_archive(small.config, create=True):
                pass
    assert await small.restore("--ledger", ledger) == 0
    async with opened_archive(small.config) as archive:
        assert len(await archive.stores.store.find(ContactRow, {})) == 1
        assert await heard(archive) == hashes("c-1")


async def test_a_restore_that_fails_leaves_the_database_as_empty_as_it_was(small):
    made = await small.make()
    path = small.places.archive.file(made.manifest.name, "archive.dump.age")
    sound = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(sound[:-40] + bytes(40))
    ledger = await lose(small)
    with pytest.raises(Exception, match=r"archive\.dump\.age"):
        await small.restore("--ledger", ledger)
    tables = "SELECT tablename FROM pg_tables WHERE schemaname LIKE 'taltio%'"
    assert await fetch(small.config.storage.database.url, tables) == []
    path.write_bytes(sound)
    assert await small.restore("--ledger", ledger) == 0


async def test_two_restores_at_once_are_one(small, monkeypatch):
    await small.make()
    ledger = await lose(small)
    with monkeypatch.context() as patched:
        patched.setattr("service.backup.restore.Target.require_empty", lambda _: None)
        async with asyncio.TaskGroup() as both:
            tasks = [
                both.create_task(one)
                for one in (refused(small, ledger), refused(small, ledger))
            ]
    assert sorted(task.result() for task in tasks) == [0, 1]


async def refused(backups, ledger):
    try:
        return await backups.restore("--ledger", ledger)
    except UnavailableError as error:
        assert "somebody else" in str(error)  # noqa: PT017  # one of two
        return 1


async def test_a_drill_that_was_killed_leaves_a_database_that_the_next_one_drops(
    small, monkeypatch
):
    made = await small.make()

    async def nothing(*_):
        """What a process that is killed does not do any more."""

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("storage.database.postgres.temporary._drop", nothing)
        patched.setattr("service.backup.drill.Drill._count", killed)
        with pytest.raises(KilledError):
            await small.drill(made.manifest)
    assert len(await drills_left(small)) == 2
    assert (await small.drill(made.manifest)).verdict.troubles == []
    assert await drills_left(small) == []


@pytest.mark.parametrize("file", ["archive.dump.age", "log.tar.age", "backup.json", "keys"])
async def test_what_was_altered_is_found(small, file):
    made = await small.make()
    place, file = (
        (small.places.keys, "keys.dump.age") if file == "keys" else (small.places.archive, file)
    )
    path = place.file(made.manifest.name, file)
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert (await small.verify()).outcome is Outcome.FAILED
    if file.endswith(".dump.age"):
        assert (await small.drill(made.manifest)).verdict.outcome is Outcome.FAILED


async def test_a_dump_that_ends_early_makes_no_backup(small, monkeypatch):
    """As when the program is killed, or the server lost."""
    made = await small.make()
    find = "storage.database.postgres.snapshot.find_program"
    with monkeypatch.context() as patched:
        patched.setattr(find, lambda *_, **__: "/bin/false")
        with pytest.raises(UnavailableError, match="false ended with 1"):
            await small.make(now=NOW + DAY)
    assert small.places.archive.names() == [made.manifest.name]
    assert (await small.make(now=NOW + DAY)).manifest.name == "20261123T120000Z"


DYING = """
import asyncio, os, pkgutil, sys
from pathlib import Path
from tests.backup.conftest import DAY, Backups
from tests.backup.test_postgres import config_of
from tests.conftest import NOW
_, folder, url, holder, step = sys.argv
setattr(pkgutil.resolve_name(holder), step, lambda *_, **__: os._exit(9))
asyncio.run(Backups(config_of(Path(folder), url, url)).make(now=NOW + DAY))
"""


@pytest.mark.parametrize(
    ("holder", "step"),
    [
        ("storage.database.postgres.snapshot:PostgresSnapshots", "_counted"),
        ("service.backup.create:BlobCopier", "copy_all"),
        ("service.backup.create:BackupMaker", "_seal_erasures"),
        ("service.backup.create:BackupMaker", "_finish"),
    ],
)
async def test_a_process_that_dies_half_way_leaves_the_last_good_backup_the_newest(
    small, tmp_path, holder, step
):
    made = await small.make()
    url = small.config.storage.database.url
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DYING, tmp_path, url, holder, step],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 9
    assert small.places.archive.names() == [made.manifest.name]
    assert small.places.keys.names() == [made.manifest.name]
    again = await small.make(now=NOW + DAY)
    assert again.manifest.name == "20261123T120000Z"
    assert not list(small.config.backup.directory.glob(".new-*"))
    assert not list(small.config.archive.directory.glob(".backup-*"))
    assert (await small.verify()).outcome is Outcome.PASSED


async def test_of_several_services_one_makes_the_daily_backup(small):
    from service.serving import build_service  # noqa: PLC0415  # only here

    async with (
        opened_archive(small.config) as first,
        opened_archive(small.config) as second,
    ):
        both = [build_service(one).daily for one in (first, second)]
        for daily in both:
            daily.begun_at = NOW
        async with asyncio.TaskGroup() as looking:
            for daily in both:
                looking.create_task(daily.run(NOW))
        for daily in both:
            await daily.run(NOW + timedelta(hours=1))
        assert small.places.archive.names() == ["20261122T120000Z"]
        items = await first.stores.store.find(AttentionRow, {"state": "open"})
    assert items == []


async def test_a_backup_of_before_the_move_to_a_server_can_still_be_verified(tmp_path, cluster):
    """The settings name PostgreSQL by now, and the backups are of SQLite."""
    for name in ("backups", "key-backups"):
        (tmp_path / name).mkdir()
    config = parse_config(PLACES + CONFIG, base=tmp_path)
    async with opened_new(config) as archive:
        await fill(archive, "c-1")
    made = await Backups(config).make()
    rows = await new_database(cluster)
    moved = Backups(config_of(tmp_path, rows, rows))
    drilled = await moved.drill(made.manifest)
    assert (drilled.verdict.troubles, drilled.opened) == ([], 1)
    moved.lose()
    with pytest.raises(UnavailableError, match="names postgresql"):
        await moved.restore("--without-ledger")
    assert not await fetch(rows, "SELECT nspname FROM pg_namespace WHERE nspname = 'taltio'")
