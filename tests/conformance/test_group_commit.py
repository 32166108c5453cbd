"""Group commit keeps each caller's outcome its own."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from storage.database.group import MOST_TOGETHER, GroupCommit, GroupKeys
from storage.errors import BrokenError, ConflictError, FullError, StorageError, UnavailableError
from storage.ports import Add, Append
from storage.rows import ContactRow, DeliveryRow, JobRow
from tests.conformance.faults import Fault, make_faulty, raising, sqlite_error


class Recorded:
    """A store or key store that notes what it is handed, and can be held up or made to fail."""

    def __init__(self, inner):
        self._inner = inner
        self.batches = []
        self.free = asyncio.Event()
        self.free.set()
        self.error = None

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def commit_each(self, changes):
        await self._note(changes)
        return await self._inner.commit_each(changes)

    async def put_keys(self, rows):
        await self._note(rows)
        await self._inner.put_keys(rows)

    async def _note(self, batch):
        self.batches.append(list(batch))
        await self.free.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
async def recorded(store):
    return Recorded(store)


@pytest.fixture
async def group(recorded):
    async with GroupCommit.opened(recorded) as opened:
        yield opened


def entry(number):
    return [Append(b"%d" % number)]


async def entries(store):
    return [one.entry for one in await store.log_entries(0, 10_000)]


async def test_a_change_is_stored_when_commit_returns(group, store, rows):
    row = rows(DeliveryRow)
    await group.commit([Add(row), Append(b"entry")])
    assert await group.find(DeliveryRow, {}) == [row]
    assert await store.log_size() == 1


async def test_what_comes_while_one_commit_syncs_shares_the_next(group, recorded, store):
    recorded.free.clear()
    tasks = [asyncio.create_task(group.commit(entry(0)))]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(group.commit(entry(n))) for n in range(1, 30)]
    await asyncio.sleep(0.01)
    recorded.free.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in recorded.batches] == [1, 29]
    assert await entries(store) == [b"%d" % n for n in range(30)]


async def test_a_batch_is_bounded(group, recorded):
    callers = MOST_TOGETHER * 2 + 10
    await asyncio.gather(*(group.commit(entry(n)) for n in range(callers)))
    assert max(len(batch) for batch in recorded.batches) == MOST_TOGETHER
    assert sum(len(batch) for batch in recorded.batches) == callers


async def test_one_bad_change_fails_none_of_its_neighbours(group, rows):
    there = rows(ContactRow)
    await group.commit([Add(there)])
    bad = {
        3: [Append(b"no"), Add(there)],
        5: [Append(b"no"), Add(rows(ContactRow, id=b"bytes"))],
        7: [Append("text")],
        9: ["no write at all"],
        11: None,
    }
    outcomes = await asyncio.gather(
        *(group.commit(bad.get(n, [Add(rows(DeliveryRow)), *entry(n)])) for n in range(20)),
        return_exceptions=True,
    )
    assert [n for n, outcome in enumerate(outcomes) if outcome is not None] == list(bad)
    assert isinstance(outcomes[3], ConflictError)
    assert all(isinstance(outcomes[n], StorageError) for n in bad)
    assert await group.count(DeliveryRow, {}) == 15


async def test_a_caller_cancelled_while_waiting_takes_its_change_back(group, recorded, store):
    recorded.free.clear()
    tasks = [asyncio.create_task(group.commit(entry(n))) for n in range(10)]
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(group.commit(entry(n))) for n in range(10, 20)]
    await asyncio.sleep(0.01)
    for task in late[::2]:
        task.cancel()
    recorded.free.set()
    await asyncio.gather(*tasks, *late, return_exceptions=True)
    assert set(await entries(store)) == {b"%d" % n for n in (*range(10), *range(11, 20, 2))}


async def test_a_caller_cancelled_while_its_change_is_stored_costs_its_neighbours_nothing(
    group, recorded, store
):
    recorded.free.clear()
    tasks = [asyncio.create_task(group.commit(entry(n))) for n in range(10)]
    await asyncio.sleep(0.01)
    tasks[4].cancel()
    await asyncio.sleep(0.01)
    recorded.free.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(asyncio.CancelledError) == 1
    assert await entries(store) == [b"%d" % n for n in range(10)]


@pytest.mark.parametrize("error", [FullError, UnavailableError, BrokenError, ZeroDivisionError])
async def test_a_failure_is_told_to_each_who_shared_it_and_the_next_is_tried(
    group, recorded, store, error
):
    recorded.error = error("told")
    outcomes = await asyncio.gather(
        *(group.commit(entry(n)) for n in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [error] * 5
    assert len({id(outcome) for outcome in outcomes}) == 5
    recorded.error = None
    await group.commit(entry(7))
    assert await entries(store) == [b"7"]


async def test_a_broken_store_stays_broken_for_every_caller(sqlite_store):
    store = sqlite_store
    make_faulty(store, Fault(raising(sqlite_error("SQLITE_IOERR_FSYNC")), 2))
    async with GroupCommit.opened(store) as group:
        outcomes = await asyncio.gather(
            *(group.commit(entry(n)) for n in range(50)), return_exceptions=True
        )
    assert {type(outcome) for outcome in outcomes} == {BrokenError}
    assert await entries(store) == []


async def test_what_was_asked_for_is_finished_on_closing(recorded, store):
    async with GroupCommit.opened(recorded) as group:
        tasks = [asyncio.create_task(group.commit(entry(n))) for n in range(600)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(await entries(store)) == 600


async def test_after_closing_nothing_is_taken(store):
    async with GroupCommit.opened(store) as group:
        pass
    with pytest.raises(UnavailableError):
        await group.commit(entry(1))


async def test_no_task_is_left_behind(store):
    before = asyncio.all_tasks()
    async with GroupCommit.opened(store) as group:
        await group.commit(entry(1))
    assert asyncio.all_tasks() <= before


async def test_a_block_that_fails_still_finishes_what_was_asked_for(recorded, store):
    tasks = []

    async def fail():
        async with GroupCommit.opened(recorded) as group:
            tasks.append(asyncio.create_task(group.commit(entry(1))))
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await asyncio.gather(*tasks)
    assert await entries(store) == [b"1"]


async def test_the_rest_of_the_store_is_reached_through_it(group, rows):
    job = rows(JobRow, kind="k", state="queued", run_at=1)
    assert await group.commit_each([[Add(job)], [Add(job)]]) is not None
    assert await group.count(JobRow, {}) == 1
    (claimed,) = await group.claim_jobs(["k"], now=5, lease=5, limit=5)
    assert claimed.id == job.id


@pytest.fixture
async def recorded_keys(keys):
    return Recorded(keys)


@asynccontextmanager
async def grouped(keys):
    async with GroupKeys.opened(keys) as opened:
        yield opened


async def test_keys_share_a_sync_and_a_bad_one_fails_alone(recorded_keys, rows):
    async with grouped(recorded_keys) as group:
        given = [[rows.key(), rows.key()] for _ in range(20)]
        given[7].append(rows.key(kind=b"bytes"))
        outcomes = await asyncio.gather(
            *(group.put_keys(some) for some in given), return_exceptions=True
        )
        assert [n for n, outcome in enumerate(outcomes) if outcome is not None] == [7]
        good = [key for some in given[:7] + given[8:] for key in some]
        ids = [key.id for some in given for key in some]
        assert await group.get_keys(ids) == {key.id: key for key in good}
        assert max(len(batch) for batch in recorded_keys.batches) == 41


@pytest.mark.parametrize("error", [FullError, BrokenError])
async def test_a_failure_of_the_key_store_is_told_to_each(recorded_keys, rows, error):
    recorded_keys.error = error("told")
    async with grouped(recorded_keys) as group:
        outcomes = await asyncio.gather(
            *(group.put_keys([rows.key()]) for _ in range(5)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [error] * 5
    assert len(recorded_keys.batches) == 1


async def test_the_rest_of_the_key_store_is_reached_through_it(keys, rows):
    async with grouped(keys) as group:
        key, other = rows.key(), rows.key()
        await group.put_keys([key, other])
        await group.replace_keys([key])
        assert await group.find_keys("epoch:1", after=key.id, limit=5) == [other]
        await group.destroy_keys([key.id])
        assert await group.count_keys() == {"epoch:1": 1}
