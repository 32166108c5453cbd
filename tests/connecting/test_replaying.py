"""Replaying: what a mended map or adapter reads is worked in, and nothing that is archived changes."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.records import contact_of
from service.connecting.replaying import KIND, Scope
from service.domain.errors import ContradictionError, NotFoundError, UnavailableError
from service.log.entry import EntryType
from service.worker.jobs import JobRunner, Kind
from storage.ports import Put, Replace
from storage.rows import AttentionRow, ContactRow, DeliveryRow, JobRow, ReplayRow
from tests.archive.test_spine import call
from tests.conftest import NOW
from tests.connecting.conftest import ADMIN

OTHER = {
    "call": {"id": "c-9", "dir": "in", "begin": "2026-11-20T14:02:00+02:00", "q": "Laskutus"}
}
MAP = {
    "source_id": "/call/id",
    "channel": "= call",
    "direction": "/call/dir | in = inbound",
    "started_at": "/call/begin",
}


def other(source_id="c-9", **changes):
    return json.dumps({"call": {**OTHER["call"], "id": source_id, **changes}}).encode()


@pytest.fixture
async def live(site):
    await site.add()
    await site.live()
    return site


async def mend(site, **more):
    await site.sources.change_map("phones", {**MAP, **more}, actor=ADMIN, now=NOW)


async def replay(site, scope=Scope.FAILED):
    await site.replays.begin("phones", scope, actor=ADMIN, now=NOW, is_queued=False)
    await site.replays.run("phones", NOW)
    return await site.replays.find("phones")


async def contacts(site):
    return await site.store.find(ContactRow, {}, order=("created_at", "id"))


async def queue_of(site, row):
    sealers = await site.archive.vault.find_sealers([row.id])
    return contact_of(row, sealers[row.id]).queue


async def test_what_a_mended_map_reads_becomes_contacts(live):
    kept = [await live.deliver(other(f"c-{n}"), ident=f"w-{n}") for n in range(3)]
    assert {(await live.row(one)).state for one in kept} == {"failed"}
    await mend(live)
    row = await replay(live)
    assert (row.state, row.total, row.done, row.changed, row.failed) == ("done", 3, 3, 3, 0)
    assert {(await live.row(one)).state for one in kept} == {"understood"}
    assert len(await contacts(live)) == 3


async def test_what_still_cannot_be_read_stays_and_is_counted(live):
    await live.deliver(other(begin="yesterday"))
    await mend(live)
    row = await replay(live)
    assert (row.done, row.changed, row.failed) == (1, 0, 1)


async def test_what_was_understood_amends_only_what_is_empty(live):
    await mend(live)
    await live.deliver(other())
    (before,) = await contacts(live)
    assert await queue_of(live, before) is None
    await mend(live, queue="/call/q")
    row = await replay(live, Scope.ALL)
    assert (row.done, row.changed, row.failed) == (1, 1, 0)
    (after,) = await contacts(live)
    assert (await queue_of(live, after), after.version) == ("Laskutus", before.version + 1)
    # What stands there now stays, whatever is told.
    await mend(live, queue="= Myynti")
    row = await replay(live, Scope.ALL)
    assert (row.changed, row.failed) == (0, 0)
    assert await queue_of(live, (await contacts(live))[0]) == "Laskutus"


async def test_twice_is_as_once(live):
    await mend(live)
    await live.deliver(other())
    await live.deliver(call("c-1"), ident="w-2")
    await live.sources.change_map("phones", {}, actor=ADMIN, now=NOW)
    await replay(live, Scope.ALL)
    rows = await contacts(live), await live.store.find(DeliveryRow, {})
    items = await live.store.count(AttentionRow, {})
    row = await replay(live, Scope.ALL)
    assert row.changed == 0
    assert (await contacts(live), await live.store.find(DeliveryRow, {})) == rows
    assert await live.store.count(AttentionRow, {}) == items


async def test_what_a_person_settled_is_not_raised_again(live):
    await mend(live, queue="/call/q")
    await live.deliver(other())
    await mend(live, queue="= Myynti")
    await replay(live, Scope.ALL)
    (item,) = await live.store.find(AttentionRow, {"state": "open"})
    assert item.reason == "contradiction:queue"
    await live.archive.attention.settle(item.id, actor=ADMIN, now=NOW)
    await replay(live, Scope.ALL)
    assert await live.store.count(AttentionRow, {"state": "open"}) == 0


async def test_a_delivery_that_was_understood_begins_no_other_contact(live):
    await mend(live)
    kept = await live.deliver(other())
    await mend(live, source_id="/call/q")
    row = await replay(live, Scope.ALL)
    assert (row.changed, row.failed) == (0, 1)
    assert len(await contacts(live)) == 1
    assert (await live.row(kept)).state == "understood", "it is not taken back either"


async def test_a_delivery_that_was_understood_stays_so_when_it_can_be_read_no_more(live):
    kept = await live.deliver(call())
    await mend(live)
    row = await replay(live, Scope.ALL)
    assert row.failed == 1
    assert (await live.row(kept)).state == "understood"
    assert await live.store.count(AttentionRow, {}) == 0


async def test_trials_become_contacts_when_somebody_says_so(site):
    await site.add()
    kept = [await site.deliver(call(f"c-{n}"), ident=f"w-{n}") for n in range(3)]
    await site.live()
    row = await replay(site, Scope.TRIAL)
    assert (row.total, row.changed) == (3, 3)
    assert {(await site.row(one)).state for one in kept} == {"understood"}


async def test_one_delivery_is_replayed_and_only_of_its_own_source(live):
    kept = await live.deliver(other())
    await mend(live)
    await live.add("others")
    with pytest.raises(NotFoundError):
        await live.replays.replay_one("others", kept.row.id, actor=ADMIN, now=NOW)
    with pytest.raises(NotFoundError):
        await live.replays.replay_one("phones", "dl_nothing", actor=ADMIN, now=NOW)
    result = await live.replays.replay_one("phones", kept.row.id, actor=ADMIN, now=NOW)
    assert (result.is_changed, result.is_failed) == (True, False)
    last = (await live.logged(kept.row.id))[-1]
    replayed = [
        e for e in await live.logged(kept.row.id) if e.type is EntryType.SOURCE_REPLAYED
    ]
    assert len(replayed) == 1
    assert last.actor in {ADMIN.id, "system"}


async def test_many_are_done_in_steps_and_what_was_interrupted_goes_on(live, monkeypatch):
    monkeypatch.setattr("service.connecting.replaying._BATCH", 2)
    for n in range(5):
        await live.deliver(other(f"c-{n}"), ident=f"w-{n}")
    await mend(live)
    await live.replays.begin("phones", Scope.FAILED, actor=ADMIN, now=NOW, is_queued=False)
    seen = []

    class StoppedError(Exception):
        pass

    def stop(done, total):
        seen.append((done, total))
        if done == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        await live.replays.run("phones", NOW, on_progress=stop)
    assert (await live.replays.find("phones")).state == "running"
    await live.replays.run(
        "phones", NOW, on_progress=lambda done, total: seen.append((done, total))
    )
    row = await live.replays.find("phones")
    assert (row.state, row.done, row.changed) == ("done", 5, 5)
    assert seen == [(0, 5), (2, 5), (2, 5), (4, 5), (5, 5)]


async def test_a_job_does_it_beside_the_service(live):
    await live.deliver(other())
    await mend(live)
    await live.replays.begin("phones", Scope.FAILED, actor=ADMIN, now=NOW)
    with pytest.raises(ContradictionError, match="already"):
        await live.replays.begin("phones", Scope.ALL, actor=ADMIN, now=NOW)
    runner = JobRunner(
        live.store, {KIND: Kind(live.replays.run)}, lambda: NOW + timedelta(seconds=1)
    )
    assert await runner.run_one(KIND)
    assert (await live.replays.find("phones")).state == "done"
    assert await live.store.count(JobRow, {}) == 0
    await live.replays.begin("phones", Scope.FAILED, actor=ADMIN, now=NOW)


async def test_a_job_that_died_is_in_nobodys_way(live):
    await live.replays.begin("phones", Scope.FAILED, actor=ADMIN, now=NOW)
    (job,) = await live.store.find(JobRow, {})
    await live.store.commit([Put(replace(job, state="dead"))])
    await live.replays.begin("phones", Scope.ALL, actor=ADMIN, now=NOW)
    (job,) = await live.store.find(JobRow, {})
    assert job.state == "queued"


async def test_of_two_who_replay_at_once_one_stops(live, monkeypatch):
    await live.deliver(other())
    await live.replays.begin("phones", Scope.FAILED, actor=ADMIN, now=NOW, is_queued=False)
    (row,) = await live.store.find(ReplayRow, {})
    honest = live.replays._replay

    async def overtaken(rows, *, now):
        results = await honest(rows, now=now)
        await live.store.commit([Replace(replace(row, version=row.version + 1))])
        return results

    monkeypatch.setattr(
        type(live.replays), "_replay", lambda _self, rows, *, now: overtaken(rows, now=now)
    )
    with pytest.raises(UnavailableError, match="somebody else"):
        await live.replays.run("phones", NOW)


async def test_what_comes_after_the_beginning_is_not_replayed(live):
    await live.deliver(other())
    begun = NOW - timedelta(seconds=1)
    await live.replays.begin("phones", Scope.FAILED, actor=ADMIN, now=begun, is_queued=False)
    await live.replays.run("phones", NOW)
    assert (await live.replays.find("phones")).done == 0
