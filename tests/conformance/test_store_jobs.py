"""What `storage.ports.Store` promises of jobs."""

import asyncio
from dataclasses import replace

import pytest

from storage.ports import Add, Put
from storage.rows import JobRow

NOW = 1_000


@pytest.fixture
def job(rows):
    def made(**given):
        due = {"kind": "k", "state": "queued", "run_at": NOW, "attempts": 0, "claimed_until": 0}
        return rows(JobRow, **{**due, **given})

    return made


async def claim(store, *kinds, now=NOW, lease=60, limit=10):
    return await store.claim_jobs(kinds or ("k",), now=now, lease=lease, limit=limit)


async def test_a_job_that_is_due_is_claimed_until_the_lease_ends(store, job):
    queued = job()
    await store.commit([Add(queued)])
    claimed = replace(queued, state="claimed", claimed_until=NOW + 60, attempts=1)
    assert await claim(store) == [claimed]
    assert await store.find(JobRow, {}) == [claimed]


async def test_a_claimed_job_goes_to_nobody_else(store, job):
    await store.commit([Add(job())])
    await claim(store)
    assert await claim(store, now=NOW + 59) == []


async def test_a_job_whose_lease_has_run_out_is_due_again(store, job):
    await store.commit([Add(job())])
    await claim(store)
    (again,) = await claim(store, now=NOW + 60)
    assert (again.attempts, again.claimed_until) == (2, NOW + 120)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"run_at": NOW + 1}, id="later"),
        pytest.param({"kind": "other"}, id="of another kind"),
        pytest.param({"state": "dead"}, id="dead"),
    ],
)
async def test_other_jobs_are_left_alone(store, job, given):
    await store.commit([Add(job(**given))])
    assert await claim(store) == []


DAY = 24 * 3600 * 1_000_000


@pytest.mark.parametrize(
    ("given", "lies"),
    [
        ({"run_at": NOW + DAY}, "within a day"),
        ({"run_at": NOW + DAY + 1}, "further"),
        ({"state": "claimed", "claimed_until": NOW + DAY}, "within a day"),
        ({"state": "claimed", "claimed_until": NOW + DAY + 1}, "further"),
    ],
)
async def test_what_lies_more_than_a_day_ahead_is_due(store, job, given, lies):
    await store.commit([Add(job(**given))])
    assert [one.claimed_until for one in await claim(store)] == (
        [NOW + 60] if lies == "further" else []
    )


async def test_the_oldest_come_first_and_no_more_than_asked_for(store, job):
    waiting = [
        job(run_at=at, kind=kind) for at, kind in ((3, "k"), (1, "l"), (2, "k"), (4, "l"))
    ]
    stuck = job(run_at=0, state="claimed", claimed_until=NOW - 1, attempts=1)
    await store.commit([Add(one) for one in (*waiting, stuck)])
    first = await claim(store, "k", "l", limit=3)
    assert [one.run_at for one in first] == [0, 1, 2]
    assert [one.run_at for one in await claim(store, "k", "l", limit=3)] == [3, 4]


async def test_a_backlog_of_one_kind_hides_no_other(store, job):
    await store.commit([Add(job(run_at=1, kind="slow")) for _ in range(30)])
    await store.commit([Add(job(run_at=2, kind="fast"))])
    assert [one.kind for one in await claim(store, "fast", limit=1)] == ["fast"]


async def test_no_kinds_claim_nothing(store, job):
    await store.commit([Add(job())])
    assert await store.claim_jobs((), now=NOW, lease=1, limit=9) == []


async def test_of_many_workers_each_job_goes_to_one(store, job):
    await store.commit([Add(job()) for _ in range(40)])
    claims = await asyncio.gather(*(claim(store, limit=3) for _ in range(20)))
    ids = [one.id for claimed in claims for one in claimed]
    assert len(ids) == len(set(ids)) == 40


async def test_a_job_can_be_put_back_for_later(store, job):
    await store.commit([Add(job())])
    (claimed,) = await claim(store)
    await store.commit(
        [Put(replace(claimed, state="queued", run_at=NOW + 500, last_error="x"))]
    )
    assert await claim(store, now=NOW + 499) == []
    assert [one.attempts for one in await claim(store, now=NOW + 500)] == [2]
