"""What is easy to get wrong with SQLite and its asynchronous driver."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from storage.database.durable import CHECKPOINT_BYTES, CHECKPOINT_ROWS, LONGEST_BYTES
from storage.database.sqlite import SqliteStore
from storage.errors import FullError, MissingError, UnavailableError
from storage.ports import Add, Append
from storage.rows import JobRow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(sqlite_store):
    return sqlite_store


async def test_a_missing_file_is_an_error_and_is_not_made(tmp_path):
    with pytest.raises(MissingError):
        async with SqliteStore.opened(tmp_path / "taltio.db", create=False):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_what_was_committed_is_there_after_closing(fresh):
    path = fresh("taltio.db")
    async with SqliteStore.opened(path, create=False) as store:
        await store.commit([Append(b"kept")])
    async with SqliteStore.opened(path, create=False) as store:
        assert await store.log_size() == 1


async def test_every_commit_is_synced(store):
    def settings(db):
        names = ("synchronous", "journal_mode", "wal_autocheckpoint")
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await store._writer.run(settings) == [2, "wal", 0]


async def test_a_claim_cancelled_half_way_leaves_no_statement_in_the_way(store, rows):
    await store.commit([Add(rows(JobRow, kind="k", state="queued"))])
    for _ in range(20):
        claiming = asyncio.create_task(store.claim_jobs(["k"], now=5, lease=0, limit=5))
        await asyncio.sleep(0)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        await store.commit([Append(b"next")])
    assert await store.log_size() == 20


async def test_opening_cancelled_at_any_moment_leaves_nothing_open(fresh):
    path = fresh("taltio.db")

    async def open_and_close():
        async with SqliteStore.opened(path, create=False):
            pass

    for delay in range(12):
        opening = asyncio.create_task(open_and_close())
        await asyncio.sleep(delay / 2000)
        opening.cancel()
        await asyncio.wait([opening])
    # The last connection to close removes these; one left open would keep them.
    assert [other.name for other in path.parent.iterdir()] == ["taltio.db"]


async def test_another_writer_is_waited_for(fresh):
    path = fresh("taltio.db")
    async with SqliteStore.opened(path, create=False) as store:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        committing = asyncio.create_task(store.commit([Append(b"waits")]))
        await asyncio.sleep(0.05)
        assert not committing.done()
        other.execute("COMMIT")
        await committing
        other.close()


async def test_another_writer_is_not_waited_for_for_ever(fresh):
    path = fresh("taltio.db")
    async with SqliteStore.opened(path, create=False) as store:
        await store._writer.run(lambda db: db.execute("PRAGMA busy_timeout=50").fetchone())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError):
            await store.commit([Append(b"waits")])
        other.close()
        await store.commit([Append(b"goes on")])


async def test_readers_do_not_wait_for_a_writer(fresh):
    path = fresh("taltio.db")
    async with SqliteStore.opened(path, create=False) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert await store.log_size() == 0
        other.close()


async def test_a_full_database_is_full_and_recovers(store):
    pages = await store._writer.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await store._writer.run(lambda db: db.execute(f"PRAGMA max_page_count={pages}").fetchone())
    for _ in range(2):
        with pytest.raises(FullError):
            await store.commit([Append(bytes(100_000))])
    await store._writer.run(lambda db: db.execute("PRAGMA max_page_count=100000").fetchone())
    await store.commit([Append(bytes(100_000))])
    assert await store.log_size() == 1


async def test_the_write_ahead_log_does_not_grow_for_ever(fresh):
    path = fresh("taltio.db")
    async with SqliteStore.opened(path, create=False) as store:
        for _ in range(4 * LONGEST_BYTES // 1_000_000):
            await store.commit([Append(bytes(1_000_000))])
        assert Path(f"{path}-wal").stat().st_size < LONGEST_BYTES * 1.1
        assert path.stat().st_size > LONGEST_BYTES


async def test_many_rows_are_carried_over_once_and_not_on_each_commit_after(fresh):
    path = fresh("taltio.db")

    async with SqliteStore.opened(path, create=False) as store:
        await store.commit(
            [Append(bytes(2 * CHECKPOINT_BYTES // CHECKPOINT_ROWS))] * CHECKPOINT_ROWS
        )
        assert path.stat().st_size < CHECKPOINT_BYTES
        await store.commit([Append(b"one more")])
        carried = path.stat()
        assert carried.st_size > CHECKPOINT_BYTES
        for _ in range(20):
            await store.commit([Append(b"and another")])
        assert path.stat().st_mtime_ns == carried.st_mtime_ns


WRITER = """
import asyncio, sys
from pathlib import Path
from storage.database.group import GroupCommit
from storage.database.sqlite import SqliteStore
from storage.ports import Append

async def main(path, name):
    async with SqliteStore.opened(path, create=False) as store, GroupCommit.opened(store) as group:
        async def write(start):
            for n in range(start, start + 50):
                await group.commit([Append(f"{name} {n}".encode(), (name,))])
        await asyncio.gather(*(write(start) for start in range(0, 200, 50)))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def test_processes_that_write_at_the_same_time_leave_no_gap_in_the_log(fresh):
    path = fresh("taltio.db")
    names = ["first", "second", "third"]
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, path, name, cwd=ROOT)
        for name in names
    ]
    assert [await writer.wait() for writer in writers] == [0, 0, 0]
    async with SqliteStore.opened(path, create=False) as store:
        stored = await store.log_entries(0, 10_000)
        assert [one.index for one in stored] == list(range(600))
        assert {one.entry for one in stored} == {
            f"{name} {n}".encode() for name in names for n in range(200)
        }
        for name in names:
            about = [one.entry for one in await store.log_about(name)]
            for start in range(0, 200, 50):
                own = [f"{name} {n}".encode() for n in range(start, start + 50)]
                assert [entry for entry in about if entry in own] == own
