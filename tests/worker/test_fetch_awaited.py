"""What is not awaited any more is not kept; what was settled stays so; and no job is left of what is over."""

import asyncio
import hashlib

import pytest

from service.archive.checks import Outcome
from service.domain.actor import Role
from service.domain.contact import ContactFacts
from service.domain.fetching import FetchFault
from service.log.entry import EntryType
from service.worker.fetching.client import Fetcher
from service.worker.jobs import JobRunner
from storage.errors import FullError
from storage.rows import AttentionRow, DeliveryRow, JobRow, RecordingRow
from tests.answering import answering, ok
from tests.archive.test_erase import erase
from tests.archive.test_expect import entries
from tests.archive.test_spine import deliver_recording
from tests.conftest import NOW, actor
from tests.worker.test_fetch_job import (
    ADMIN,
    HANDLER,
    KIND,
    SOUND,
    named,
    rules,
    serving,
)

NONE = {"recording": "none", "not_recorded_reason": "objected"}


async def blobs_of(archive):
    return [name async for name in archive.stores.blobs.names()]


class Slow:
    """Answers the first request in two halves; between them a test does what it wants."""

    def __init__(self):
        self.begun, self.go_on, self.asked = asyncio.Event(), asyncio.Event(), 0

    def __call__(self, _asked):
        self.asked += 1
        return self.halves() if self.asked == 1 else ok(SOUND)

    async def halves(self):
        answer = ok(SOUND)
        yield answer[:-5]
        self.begun.set()
        await self.go_on.wait()
        yield answer[-5:]


async def work_while(desk, slow, meanwhile):
    """Let one attempt begin, then something happen, then the attempt end."""
    task = asyncio.create_task(desk.work())
    async with asyncio.timeout(5):
        await slow.begun.wait()
        result = await meanwhile()
        slow.go_on.set()
        assert await task
    return result


# -- called off


@pytest.mark.parametrize("is_lost", [False, True], ids=["expected", "lost"])
async def test_a_source_that_says_there_is_none_calls_off_what_it_named(archive, is_lost):
    async with serving(archive, ok(b"", status="410 Gone")) as (desk, server):
        await desk.announce(named(server))
        if is_lost:
            await desk.work()
        await desk.announce(ident="w-2", **NONE)
        assert not await desk.work()
        assert len(server.asked) == is_lost
    assert await desk.rows(RecordingRow) == []
    assert await desk.rows(JobRow, kind=KIND) == []
    contact = await desk.contact()
    shown = (await archive.contacts.get(contact.id, actor=HANDLER)).contact
    assert (shown.recording_state, shown.why_not_recorded) == ("not_recorded", "objected")
    (entry,) = await entries(archive, EntryType.RECORDING_CALLED_OFF)
    (expected,) = await entries(archive, EntryType.RECORDING_EXPECTED)
    assert entry.about == expected.about
    checks = (await archive.verifier.verify(contact.id, actor=HANDLER, now=NOW)).checks
    assert not [check for check in checks if check.outcome is Outcome.FAILED]
    for item in await archive.attention.find(actor=ADMIN):
        assert not (await archive.attention.retry(item.id, actor=ADMIN, now=NOW)).is_open


async def test_what_is_called_off_while_it_is_fetched_is_not_kept(archive):
    slow = Slow()
    async with serving(archive, slow) as (desk, server):
        await desk.announce(named(server))
        await work_while(desk, slow, lambda: desk.announce(ident="w-2", **NONE))
    assert await desk.rows(DeliveryRow, kind="recording") == []
    assert await blobs_of(archive) == []
    assert await desk.rows(JobRow, kind=KIND) == []
    assert await desk.reasons() == []


async def test_what_is_there_is_not_called_off(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        await desk.announce(ident="w-2", **NONE)
    assert (await desk.recording())[0].state == "present"
    assert await desk.reasons() == ["recorded_though_none"]


async def test_what_is_named_after_it_was_said_that_there_is_none_is_fetched_and_shown(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(**NONE)
        await desk.announce(named(server), ident="w-2")
        await desk.announce(ident="w-3", queue="Laskutus")
        assert await desk.work()
    assert (await desk.recording())[0].state == "present"
    assert await desk.reasons() == ["recorded_though_none"]


@pytest.mark.parametrize("of", ["is_part", "is_stated", "is_of_one"])
async def test_what_is_said_of_one_part_or_recording_calls_off_no_other(archive, of):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        facts = ContactFacts(source_id="c-1", recording="none", **{of: True})
        machine = actor(Role.INTEGRATION)
        await archive.contacts.add(facts, source="pbx", actor=machine, now=NOW)
        assert await desk.work()
    assert (await desk.recording())[0].state == "present"


# -- otherwise meanwhile


async def test_what_is_erased_while_it_is_fetched_is_not_kept(archive):
    slow = Slow()
    async with serving(archive, slow) as (desk, server):
        await desk.announce(named(server))
        contact = await desk.contact()
        await work_while(desk, slow, lambda: erase(archive, contact.id))
    assert await desk.rows(DeliveryRow, kind="recording") == []
    assert await blobs_of(archive) == []
    assert await desk.rows(JobRow, kind=KIND) == []
    assert "erased" not in await desk.reasons()


async def test_what_is_delivered_while_it_is_fetched_is_the_one(archive):
    slow = Slow()
    async with serving(archive, slow) as (desk, server):
        await desk.announce(named(server))
        other = b"RIFF-delivered" * 50
        await work_while(desk, slow, lambda: deliver_recording(archive, other, now=NOW))
    row, sealed = await desk.recording()
    assert (row.state, sealed.sha256) == ("present", hashlib.sha256(other).hexdigest())
    assert await blobs_of(archive) == [row.object_id]
    assert await desk.reasons() == []


@pytest.mark.parametrize(
    ("told", "asked"),
    [({"sha256": hashlib.sha256(SOUND).hexdigest()}, ["/a.wav", "/new"]), ({}, ["/a.wav"])],
    ids=["with a hash", "by another URL alone"],
)
async def test_what_was_begun_before_other_bytes_were_announced_is_not_kept(
    archive, told, asked
):
    """But a new URL for the same is no reason to throw away what comes: many are signed anew each time."""
    slow = Slow()
    async with serving(archive, slow) as (desk, server):
        await desk.announce(named(server))
        anew = named(server, "/new", **told)
        await work_while(desk, slow, lambda: desk.announce(anew, ident="w-2"))
        assert await desk.work()
        assert not await desk.work()
        assert [one.target for one in server.asked] == asked
    assert (await desk.recording())[0].state == "present"
    assert await desk.reasons() == []


# -- what is over


@pytest.mark.parametrize("how", ["settled", "delivered", "erased"])
async def test_nothing_is_left_of_what_was_given_up(archive, how):
    async with serving(archive, ok(b"", status="410 Gone")) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        assert await desk.rows(JobRow) == []
        (item,) = await archive.attention.find(actor=ADMIN)
        if how == "settled":
            await archive.attention.settle(item.id, actor=ADMIN, now=NOW)
        elif how == "delivered":
            await deliver_recording(archive, SOUND, now=NOW)
            await archive.attention.retry(item.id, actor=ADMIN, now=NOW)
        else:
            await erase(archive, (await desk.contact()).id)
            await desk.work()
        assert len(server.asked) == 1
    assert await desk.rows(JobRow, kind=KIND) == []
    assert await desk.rows(AttentionRow, reason="fetch_gone", state="open") == []


async def test_a_success_settles_no_alarm_of_an_address(archive):
    """Else whoever answers first inside and then outside would see to it that nobody looks."""
    async with serving(archive, ok(SOUND), networks=()) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        desk.fetching.fetchers["pbx"] = Fetcher(rules(server.origin))
        desk.clock.wait(minutes=1)
        assert await desk.work()
    assert (await desk.recording())[0].state == "present"
    assert await desk.reasons() == ["fetch_address_refused"]


async def test_what_is_given_up_is_fetched_when_somebody_says_so_also_of_several(archive):
    is_there = False

    def answer(asked):
        return ok(asked.target.encode()) if is_there else ok(b"", status="410 Gone")

    async with serving(archive, answer) as (desk, server):
        parts = [{"name": f"{n}.wav", "url": server.url(f"/{n}")} for n in range(2)]
        await desk.announce(*parts)
        for _ in parts:
            assert await desk.work()
        is_there = True
        (item,) = await archive.attention.find(actor=ADMIN)
        assert not (await archive.attention.retry(item.id, actor=ADMIN, now=NOW)).is_open
        for _ in parts:
            assert await desk.work()
    assert [row.state for row in await desk.rows(RecordingRow)] == ["present"] * 2


# -- patience and room


async def test_a_server_that_wishes_to_be_left_alone_is(archive):
    async with serving(archive, ok(b"", "Retry-After: 600", status="503 Busy")) as (
        desk,
        server,
    ):
        await desk.announce(named(server))
        assert await desk.work()
        desk.clock.wait(seconds=599)
        assert not await desk.work()
        desk.clock.wait(seconds=1)
        assert await desk.work()
        assert len(server.asked) == 2


async def test_a_disk_that_is_full_is_counted_and_tried_again(archive, monkeypatch):
    async def full(*_args, **_more):
        raise FullError("no space")

    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        with monkeypatch.context() as patched:
            patched.setattr("service.worker.fetching.job.keep_recording", full)
            assert await desk.work()
        assert +desk.fetching.outcomes == {FetchFault.FAILED: 1}
        desk.clock.wait(minutes=1)
        assert await desk.work()
    assert (await desk.recording())[0].state == "present"


async def test_a_source_whose_server_is_slow_keeps_no_other_waiting(archive):
    """Though it has more to be fetched than there are places, and all of it for longer."""
    until = asyncio.Event()

    async def never(_asked):
        await until.wait()
        yield b""

    async with answering(never) as stuck, serving(archive, ok(SOUND)) as (desk, server):
        desk.fetching.fetchers["chat"] = Fetcher(rules(stuck.origin))
        for n in range(8):
            url = stuck.url(f"/{n}")
            await desk.announce(
                {"name": "a.wav", "url": url}, source="chat", source_id=f"s-{n}", ident=f"s-{n}"
            )
        desk.clock.wait(seconds=1)
        await desk.announce(named(server))
        runner = JobRunner(
            desk.store, desk.fetching.kinds, lambda: desk.clock.now, chance=lambda: 0.0
        )
        task = asyncio.create_task(runner.run())
        async with asyncio.timeout(5):
            while not await desk.rows(RecordingRow, state="present"):  # noqa: ASYNC110  # the store has no event
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(stuck.asked) == 4
        until.set()
    waiting = await desk.rows(JobRow, kind="fetch:chat")
    assert {(job.state, job.attempts) for job in waiting} == {("queued", 0)}
