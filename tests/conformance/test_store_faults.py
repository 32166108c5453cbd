"""A change that fails or is cancelled at any step is whole or absent, and the store goes on or says that it cannot."""

import asyncio
import itertools
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from storage.database.sqlite import SqliteStore
from storage.errors import BrokenError, FullError, StorageError, UnavailableError
from storage.ports import Add, Append, Put, Remove, Replace
from storage.rows import ContactRow, ContactTokenRow, DeliveryRow, JobRow
from tests.conformance.faults import Fault, make_faulty, raising, sqlite_error


@pytest.fixture
def prepared(fresh, rows):
    """Open a fresh store, with a change to make to it that has every kind of write."""

    @asynccontextmanager
    async def opened():
        async with SqliteStore.opened(fresh("taltio.db"), create=False) as store:
            delivery, job = rows(DeliveryRow), rows(JobRow, kind="k", state="queued")
            await store.commit([Add(delivery), Add(job), Append(b"before")])
            yield (
                store,
                [
                    Add(rows(ContactRow)),
                    Put(rows(ContactTokenRow)),
                    Replace(replace(delivery, version=2, state="understood")),
                    Remove(JobRow, (job.id,)),
                    Append(b"change", ("ct_1",)),
                ],
            )

    return opened


async def traces(store):
    """Tell of each write of the change whether it was done."""
    return {
        await store.count(ContactRow, {}) == 1,
        await store.count(ContactTokenRow, {}) == 1,
        await store.count(DeliveryRow, {"state": "understood"}) == 1,
        await store.count(JobRow, {}) == 0,
        await store.log_size() == 2,
        len(await store.log_about("ct_1")) == 1,
    }


async def outcome_of(work):
    try:
        return await work
    except StorageError as error:
        return error


PASSING = [
    pytest.param("SQLITE_FULL", FullError, id="no room"),
    pytest.param("SQLITE_BUSY", UnavailableError, id="another writer"),
    pytest.param("SQLITE_NOMEM", UnavailableError, id="no memory"),
    pytest.param("SQLITE_READONLY", UnavailableError, id="read-only"),
    pytest.param("SQLITE_CANTOPEN", UnavailableError, id="no handles"),
]
LASTING = ["SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"]


@pytest.mark.parametrize(("name", "raised"), PASSING)
async def test_a_change_that_fails_at_any_step_leaves_nothing_and_can_be_made_again(
    prepared, name, raised
):
    for at in itertools.count(1):
        async with prepared() as (store, change):
            fault = Fault(raising(sqlite_error(name)), at)
            mend = make_faulty(store, fault)
            outcome = await outcome_of(store.commit(change))
            mend()
            if not fault.has_happened:
                assert outcome is None
                assert at > 8
                return
            assert type(outcome) is raised
            assert await traces(store) == {False}
            await store.commit(change)
            assert await traces(store) == {True}


@pytest.mark.parametrize("name", LASTING)
async def test_after_a_failed_sync_a_store_takes_nothing_more(prepared, name):
    for at in itertools.count(1):
        async with prepared() as (store, change):
            fault = Fault(raising(sqlite_error(name)), at)
            mend = make_faulty(store, fault)
            outcome = await outcome_of(store.commit(change))
            mend()
            if not fault.has_happened:
                return
            assert type(outcome) is BrokenError
            for _ in range(2):
                with pytest.raises(BrokenError):
                    await store.commit(change)
            with pytest.raises(BrokenError):
                await store.claim_jobs(["k"], now=9, lease=9, limit=9)
            assert await traces(store) == {False}


async def test_any_failure_of_the_disk_while_committing_is_lasting(prepared):
    async with prepared() as (store, _):
        at = await steps_of(store, [Append(b"counted")])
        make_faulty(store, Fault(raising(sqlite_error("SQLITE_IOERR_READ")), at))
        for _ in range(2):
            with pytest.raises(BrokenError):
                await store.commit([Append(b"lost")])


async def steps_of(store, change):
    counted = Fault(lambda: None, 0)
    mend = make_faulty(store, counted)
    await store.commit(change)
    mend()
    return counted.steps


async def test_a_failed_sync_of_one_change_is_told_to_all(prepared):
    async with prepared() as (store, change):
        make_faulty(store, Fault(raising(sqlite_error("SQLITE_IOERR_FSYNC")), 2))
        with pytest.raises(BrokenError):
            await store.commit_each([change, [Append(b"neighbour")]])
        assert await store.log_size() == 1


async def test_a_transaction_that_cannot_be_rolled_back_breaks_the_store(prepared):
    async with prepared() as (store, change):
        fault = Fault(raising(sqlite_error("SQLITE_FULL")), 3)
        make_faulty(store, fault)
        broken = store._writer._driver._connection

        class Stuck:
            def __getattr__(self, name):
                return getattr(broken, name)

            def execute(self, sql, *args):
                if sql == "ROLLBACK":
                    raise sqlite_error("SQLITE_IOERR_READ")
                return broken.execute(sql, *args)

        store._writer._driver._connection = Stuck()
        for _ in range(2):
            with pytest.raises(BrokenError):
                await store.commit(change)


async def test_a_change_cancelled_at_any_step_is_whole_and_the_next_goes_on(prepared):
    for at in itertools.count(1):
        async with prepared() as (store, change):
            loop, reached, go_on = (
                asyncio.get_running_loop(),
                asyncio.Event(),
                threading.Event(),
            )

            def wait(loop=loop, reached=reached, go_on=go_on):
                loop.call_soon_threadsafe(reached.set)
                go_on.wait(10)

            fault = Fault(wait, at)
            mend = make_faulty(store, fault)
            committing = asyncio.create_task(store.commit(change))
            arriving = asyncio.create_task(reached.wait())
            await asyncio.wait([committing, arriving], return_when=asyncio.FIRST_COMPLETED)
            if not fault.has_happened:
                arriving.cancel()
                return
            committing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await committing
            go_on.set()
            await store.commit([Append(b"next")])
            mend()
            assert [one.entry for one in await store.log_entries(1, 9)] == [b"change", b"next"]
            assert await store.count(ContactRow, {}) == 1


async def test_a_change_cancelled_while_it_waits_its_turn_does_no_harm(prepared):
    async with prepared() as (store, change):
        tasks = [asyncio.create_task(store.commit([Append(b"%d" % n)])) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.commit(change)
        entries = [one.entry for one in await store.log_entries(1, 99)]
        assert {b"%d" % n for n in range(1, 20, 2)} <= set(entries)
        assert len(entries) == len(set(entries)) == await store.log_size() - 1


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
async def test_a_change_whose_reply_is_lost_may_have_happened(prepared, is_after):
    async with prepared() as (store, _):
        at = await steps_of(store, [Append(b"counted")])
        error = sqlite_error("SQLITE_IOERR_FSYNC")
        make_faulty(store, Fault(raising(error), at, is_after=is_after))
        with pytest.raises(BrokenError):
            await store.commit([Append(b"doubtful")])
        assert await store.log_size() == 2 + is_after


async def test_reading_goes_on_when_writing_is_broken(prepared):
    async with prepared() as (store, change):
        make_faulty(store, Fault(raising(sqlite_error("SQLITE_IOERR_FSYNC")), 1))
        with pytest.raises(BrokenError):
            await store.commit(change)
        assert await store.count(DeliveryRow, {}) == 1


async def test_a_reader_that_fails_is_unavailable(prepared):
    async with prepared() as (store, _):
        for reader in store._readers:
            await reader.run(lambda db: db.close())
        with pytest.raises(StorageError):
            await store.count(DeliveryRow, {})
