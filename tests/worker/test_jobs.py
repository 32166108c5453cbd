"""Jobs are done once, tried again with growing pauses, and end before a person's eyes, never in silence."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.jobs import Jobs, JobState
from service.domain.actor import Role
from service.domain.errors import (
    ContradictionError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.keys.errors import KeysUnavailableError
from service.worker.jobs import PAUSES, Ending, JobRunner, Kind, raise_dead
from storage.errors import FullError, StaleError
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Add, Put
from storage.rows import AttentionRow, JobRow
from tests.conftest import NOW, actor
from tests.fakes import Clock, FaultyStore

ADMIN = actor(Role.ADMIN)
SUBJECT = new_id("rc")


class Work:
    """A handler that raises what is planned, then succeeds."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.subjects = []

    async def __call__(self, subject, now):
        self.subjects.append((subject, now))
        if self.faults:
            raise self.faults.pop(0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(archive):
    return FaultyStore(archive.stores.store)


def runner(store, clock, work, **more):
    return JobRunner(
        store, {"k": Kind(work, **more)}, lambda: clock.now, poll_every=timedelta(0)
    )


def job(**given):
    due = {"kind": "k", "state": "queued", "run_at": to_microseconds(NOW), "attempts": 0}
    return JobRow(
        **{
            "id": new_id("jb"),
            "subject": SUBJECT,
            "claimed_until": 0,
            "last_error": None,
            **due,
            **given,
        }
    )


async def jobs_of(store):
    return list(await store.find(JobRow, {}))


async def holds(condition, store):
    """Return once ``condition`` is true of the jobs that there are."""
    while not condition(await jobs_of(store)):  # noqa: ASYNC110  # the store tells nobody
        await asyncio.sleep(0.002)


async def test_a_job_that_is_done_is_gone(store, clock):
    work = Work()
    await store.commit([Add(job())])
    assert await runner(store, clock, work).run_one("k")
    assert work.subjects == [(SUBJECT, NOW)]
    assert await jobs_of(store) == []
    assert not await runner(store, clock, work).run_one("k")


async def test_a_job_of_an_unknown_kind_waits_for_a_worker_that_knows_it(store, clock):
    other = job(kind="other")
    await store.commit([Add(other)])
    assert not await runner(store, clock, Work()).run_one("k")
    assert await jobs_of(store) == [other]


async def test_a_failed_job_is_tried_again_after_growing_pauses_and_then_needs_attention(
    store, clock
):
    work = Work(*(UnavailableError("x") for _ in range(len(PAUSES) + 1)))
    running = runner(store, clock, work)
    await store.commit([Add(job())])
    for pause in PAUSES:
        assert await running.run_one("k")
        (row,) = await jobs_of(store)
        assert (row.state, row.last_error) == ("queued", "unavailable")
        clock.now += pause - timedelta(microseconds=1)
        assert not await running.run_one("k"), "it is not due yet"
        clock.now += timedelta(microseconds=1)
    assert await running.run_one("k")
    (row,) = await jobs_of(store)
    assert (row.state, row.attempts) == ("dead", len(PAUSES) + 1)
    (item,) = await store.find(AttentionRow, {})
    assert (item.reason, item.about, item.state) == ("job_dead", SUBJECT, "open")
    clock.now += timedelta(days=30)
    assert not await running.run_one("k"), "nothing brings the dead back but a person"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(UnavailableError("private"), "unavailable", id="one of ours"),
        pytest.param(FullError("private"), "full", id="of the store"),
        pytest.param(TimeoutError("private"), "timed_out", id="time"),
        pytest.param(ZeroDivisionError("private"), "internal_error", id="a mistake"),
    ],
)
async def test_what_went_wrong_is_kept_as_a_code_never_as_its_text(store, clock, error, code):
    await store.commit([Add(job())])
    await runner(store, clock, Work(error)).run_one("k")
    (row,) = await jobs_of(store)
    assert row.last_error == code


async def test_altered_bytes_are_not_looked_at_again_and_again(store, clock):
    await store.commit([Add(job())])
    await runner(store, clock, Work(TamperedError("x"))).run_one("k")
    (row,) = await jobs_of(store)
    assert (row.state, row.last_error, row.attempts) == ("dead", "altered", 1)


async def test_a_job_for_which_the_keys_are_away_waits_for_them_however_long(store, clock):
    work = Work(*[KeysUnavailableError("away")] * 20)
    await store.commit([Add(job())])
    jobs = runner(store, clock, work)
    for _ in range(20):
        assert await jobs.run_one("k")
        (waiting,) = await store.find(JobRow, {})
        assert (waiting.state, waiting.attempts) == ("queued", 0)
        assert waiting.last_error == "keys_unavailable"
        clock.now += PAUSES[0]
    assert await jobs.run_one("k")
    assert not await store.find(JobRow, {})


async def test_a_job_that_takes_its_worker_down_each_time_dies_at_last(store, clock):
    work = Work()
    await store.commit(
        [Add(job(state="claimed", attempts=len(PAUSES) + 1, claimed_until=1, run_at=0))]
    )
    assert await runner(store, clock, work).run_one("k")
    (row,) = await jobs_of(store)
    assert (row.state, row.last_error, work.subjects) == ("dead", "abandoned", [])


async def test_a_job_that_takes_too_long_is_stopped_and_tried_again(store, clock):
    async def endless(_subject, _now):
        await asyncio.Event().wait()

    await store.commit([Add(job())])
    await runner(store, clock, endless, limit=timedelta(milliseconds=5)).run_one("k")
    (row,) = await jobs_of(store)
    assert (row.state, row.last_error) == ("queued", "timed_out")


async def test_a_worker_that_stops_gives_back_what_it_had_begun(store, clock):
    begun = asyncio.Event()

    async def endless(_subject, _now):
        begun.set()
        await asyncio.Event().wait()

    queued = job()
    await store.commit([Add(queued)])
    task = asyncio.create_task(runner(store, clock, endless).run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await jobs_of(store) == [queued]


async def test_a_job_whose_worker_was_killed_is_soon_done_by_another(store, clock):
    await store.commit([Add(job())])
    await store.claim_jobs(["k"], now=to_microseconds(NOW), lease=120_000_000, limit=1)
    work = Work()
    assert not await runner(store, clock, work).run_one("k")
    clock.wait(minutes=2)
    assert await runner(store, clock, work).run_one("k")
    assert len(work.subjects) == 1


async def test_the_lease_is_renewed_while_the_work_lasts(store, clock, monkeypatch):
    monkeypatch.setattr("service.worker.jobs._RENEW_EVERY", timedelta(milliseconds=1))
    renewed = asyncio.Event()

    async def long(_subject, _now):
        clock.wait(minutes=1)
        until = to_microseconds(clock.now + timedelta(minutes=2))
        await holds(lambda jobs: jobs[0].claimed_until >= until, store)
        renewed.set()

    await store.commit([Add(job())])
    await runner(store, clock, long).run_one("k")
    assert renewed.is_set()
    assert await jobs_of(store) == []


async def test_a_store_that_fails_for_a_while_does_not_end_the_worker(store, clock, caplog):
    work = Work()
    await store.commit([Add(job())])
    store.faults = [StoreUnavailableError("no"), StaleError("no")]
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(runner(store, clock, work).run())
        await holds(lambda jobs: clock.wait(minutes=5) and not jobs, store)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "jobs.unavailable" in caplog.text
    assert len(work.subjects) == 3


async def test_kinds_do_not_wait_for_each_other_and_one_kind_keeps_its_concurrency(
    store, clock
):
    running, most, fast_done = 0, 0, asyncio.Event()

    async def slow(_subject, _now):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await fast_done.wait()
        running -= 1

    async def fast(_subject, _now):
        fast_done.set()

    await store.commit([Add(job(subject=new_id("rc"), kind="slow")) for _ in range(3)])
    await store.commit([Add(job(kind="fast"))])
    kinds = {"slow": Kind(slow), "fast": Kind(fast)}
    task = asyncio.create_task(
        JobRunner(store, kinds, lambda: clock.now, poll_every=timedelta(0)).run()
    )
    await holds(lambda jobs: not jobs, store)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert most == 1


# -- how a kind ends


async def test_a_kind_says_how_long_it_is_tried_and_what_is_stored_in_the_end(store, clock):
    buried = []

    async def bury(dead, now):
        buried.append((dead.subject, dead.last_error))
        return await raise_dead(dead, now)

    pauses = (timedelta(minutes=1), timedelta(hours=1))
    work = Work(*(UnavailableError("x") for _ in range(3)))
    running = runner(store, clock, work, ending=Ending(pauses=pauses, bury=bury))
    await store.commit([Add(job())])
    for pause in pauses:
        assert await running.run_one("k")
        clock.now += pause
    assert buried == []
    assert await running.run_one("k")
    assert buried == [(SUBJECT, "unavailable")]
    (row,) = await jobs_of(store)
    (item,) = await store.find(AttentionRow, {})
    assert (row.state, item.reason) == ("dead", "job_dead")


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
async def test_pauses_are_spread_at_random(store, clock, chance):
    running = runner(store, clock, Work(UnavailableError("x")), ending=Ending(spread=0.5))
    await store.commit([Add(job())])
    await replace(running, chance=lambda: chance).run_one("k")
    (row,) = await jobs_of(store)
    assert row.run_at == to_microseconds(NOW + PAUSES[0] * (1 + chance / 2))


async def test_what_changes_while_a_job_is_buried_is_decided_again(store, clock):
    work = Work(TamperedError("x"))
    await store.commit([Add(job())])
    store.faults = [StaleError("x"), StaleError("x")]
    assert await runner(store, clock, work).run_one("k")
    (row,) = await jobs_of(store)
    assert row.state == "dead"
    assert len(await store.find(AttentionRow, {})) == 1


async def test_a_job_of_which_nothing_is_left_in_the_end_is_gone(store, clock):
    async def bury(_dead, _now):
        return None

    running = runner(store, clock, Work(TamperedError("x")), ending=Ending(bury=bury))
    await store.commit([Add(job())])
    assert await running.run_one("k")
    assert await jobs_of(store) == []
    assert await store.find(AttentionRow, {}) == []


async def test_keys_that_go_away_while_a_job_is_buried_put_it_off(store, clock):
    async def bury(_dead, _now):
        raise KeysUnavailableError("away")

    running = runner(store, clock, Work(TamperedError("x")), ending=Ending(bury=bury))
    await store.commit([Add(job())])
    assert await running.run_one("k")
    (row,) = await jobs_of(store)
    assert (row.state, row.attempts, row.last_error) == ("queued", 0, "keys_unavailable")


@pytest.mark.parametrize(
    "error", [UnavailableError("x"), TamperedError("x"), None], ids=["put off", "ended", "done"]
)
async def test_a_job_that_was_begun_anew_meanwhile_stays_as_it_is(store, clock, error):
    fresh = job()

    async def anew(_subject, _now):
        await store.commit([Put(fresh)])
        if error is not None:
            raise error

    await store.commit([Add(fresh)])
    assert await runner(store, clock, anew).run_one("k")
    assert await jobs_of(store) == [fresh]
    assert await store.find(AttentionRow, {}) == []


async def test_a_job_that_is_begun_anew_while_it_is_buried_stays_as_it_is(store, clock):
    fresh = job()

    async def bury(dead, now):
        await store.commit([Put(fresh)])
        return await raise_dead(dead, now)

    running = runner(store, clock, Work(TamperedError("x")), ending=Ending(bury=bury))
    await store.commit([Add(fresh)])
    assert await running.run_one("k")
    assert await jobs_of(store) == [fresh]
    assert await store.find(AttentionRow, {}) == []


@pytest.mark.parametrize(("seconds", "wait"), [(5, 10), (20, 20)])
async def test_a_failure_may_ask_for_a_longer_pause_and_for_no_shorter_one(
    store, clock, seconds, wait
):
    ending = Ending(spread=0.5, at_least=lambda _error: timedelta(seconds=seconds))
    running = runner(store, clock, Work(UnavailableError("x")), ending=ending)
    await store.commit([Add(job())])
    await replace(running, chance=lambda: 1.0).run_one("k")
    (row,) = await jobs_of(store)
    assert row.run_at == to_microseconds(NOW + timedelta(seconds=wait) * 1.5)


async def test_a_backlog_of_one_kind_holds_up_no_other(store, clock):
    """However much of the slow kind has been due for longer."""
    release, done = asyncio.Event(), []

    async def slow(_subject, _now):
        await release.wait()

    async def quick(subject, _now):
        done.append(subject)
        if len(done) == 3:
            release.set()

    await store.commit(
        [Add(job(subject=new_id("rc"), kind="slow", run_at=0)) for _ in range(5)]
    )
    await store.commit([Add(job(subject=new_id("rc"), kind="quick")) for _ in range(3)])
    kinds = {"slow": Kind(slow, concurrency=2), "quick": Kind(quick)}
    running = JobRunner(store, kinds, lambda: clock.now, poll_every=timedelta(0))
    async with asyncio.timeout(5):
        task = asyncio.create_task(running.run())
        await holds(lambda jobs: not jobs, store)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(done) == 3


# -- as people see them


async def test_jobs_are_listed_counted_and_a_dead_one_begins_anew_when_told(store, clock):
    await store.commit([Add(job())])
    await runner(store, clock, Work(TamperedError("x"))).run_one("k")
    jobs = Jobs(store)
    (dead,) = await jobs.find(actor=ADMIN, state=JobState.DEAD)
    assert (dead.subject, dead.last_error) == (SUBJECT, "altered")
    assert (await jobs.count(actor=ADMIN))[JobState.DEAD] == 1
    again = await jobs.retry(dead.id, actor=ADMIN, now=NOW)
    assert (again.state, again.attempts) == (JobState.QUEUED, 0)
    (item,) = await store.find(AttentionRow, {})
    assert (item.state, item.settled_by) == ("settled", ADMIN.id)
    work = Work()
    assert await runner(store, clock, work).run_one("k")
    assert len(work.subjects) == 1


async def test_only_a_dead_job_that_exists_can_be_retried_and_only_by_some(store):
    queued = job()
    await store.commit([Add(queued)])
    jobs = Jobs(store)
    with pytest.raises(ContradictionError):
        await jobs.retry(queued.id, actor=ADMIN, now=NOW)
    with pytest.raises(NotFoundError):
        await jobs.retry(new_id("jb"), actor=ADMIN, now=NOW)
    with pytest.raises(NotPermittedError):
        await jobs.retry(queued.id, actor=actor(Role.AGENT), now=NOW)
    with pytest.raises(NotPermittedError):
        await jobs.find(actor=actor(Role.INTEGRATION))
