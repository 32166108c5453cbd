"""What is fetched is the same as what is delivered; what cannot be had is never lost in silence."""

import asyncio
import hashlib
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from service.archive.checks import Outcome
from service.archive.draft_recordings import FETCHED_WITHIN
from service.archive.receive import keep_delivery
from service.archive.records import recording_of
from service.config.fetching import MAX_FETCH_MINUTES
from service.domain.actor import Role
from service.domain.contact import AnnouncedRecording, Channel, ContactFacts, Direction
from service.domain.errors import TamperedError, UnavailableError
from service.domain.fetching import FetchError, FetchFault
from service.domain.times import to_microseconds
from service.domain.urls import Origin
from service.fetching import fetching_of
from service.keys.errors import KeysUnavailableError
from service.log.entry import EntryType
from service.worker.fetching.client import MOST_PATIENCE, Fetcher
from service.worker.fetching.job import PAUSES, is_final
from service.worker.fetching.rules import FetchRules
from service.worker.jobs import JobRunner
from storage.ports import Put
from storage.rows import AttentionRow, ContactRow, DeliveryRow, JobRow, ObjectRow, RecordingRow
from tests.answering import answering, moved, ok
from tests.archive.test_expect import entries
from tests.archive.test_spine import deliver_recording
from tests.conftest import NOW, actor
from tests.fakes import Clock

ADMIN = actor(Role.ADMIN)
HANDLER = actor(Role.COMPLAINT_HANDLER)
LOOPBACK = [ip_network("127.0.0.0/8")]
KIND = "fetch:pbx"
SOUND = b"RIFF-sound" * 100


def rules(*origins, **more):
    return FetchRules(
        **{
            "origins": {Origin.parse(origin): None for origin in origins},
            "networks": LOOPBACK,
            **more,
        }
    )


class Desk:
    """An archive whose source ``pbx`` names recordings by URL, and a worker that fetches them."""

    def __init__(self, archive, *origins, **more):
        self.archive, self.clock = archive, Clock()
        self.store = archive.stores.store
        self.fetching = replace(
            fetching_of(archive), fetchers={"pbx": Fetcher(rules(*origins, **more))}
        )
        self.runner = JobRunner(
            self.store,
            self.fetching.kinds,
            lambda: self.clock.now,
            poll_every=timedelta(0),
            chance=lambda: 0.0,
        )

    async def announce(
        self, *recordings, source="pbx", source_id="c-1", ident="w-1", **changes
    ):
        told = {
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-22T11:00:00Z",
            "ended_at": "2026-11-22T11:05:00Z",
            "parties": [{"role": "customer", "phone": "+358401234567"}],
            "recordings": list(recordings),
            **changes,
        }
        kept = await keep_delivery(
            self.archive.intake,
            source=source,
            kind="contact",
            ident=ident,
            body=json.dumps(told).encode(),
            now=self.clock.now,
        )
        await self.archive.understanding.understand(
            [(kept.row, kept.delivery)], now=self.clock.now
        )

    async def work(self):
        return await self.runner.run_one(KIND)

    async def work_until_dead(self):
        """Try until nothing is due any more within two days; return how often it was tried."""
        tries = 0
        for _ in range(40):
            tries += await self.work()
            self.clock.wait(hours=2)
        return tries

    async def rows(self, table, **where):
        return list(await self.store.find(table, where))

    async def recording(self):
        (row,) = await self.rows(RecordingRow)
        return row, recording_of(row, await self.archive.vault.get_sealer(row.contact_id))

    async def contact(self):
        (row,) = await self.rows(ContactRow)
        return row

    async def reasons(self, state="open"):
        return sorted(row.reason for row in await self.rows(AttentionRow, state=state))


def named(server, target="/a.wav", **more):
    return {"name": "a.wav", "url": server.url(target), **more}


@asynccontextmanager
async def serving(archive, answer, **more):
    async with answering(answer) as server:
        yield Desk(archive, server.origin, **more), server


async def test_what_is_announced_is_expected_fetched_and_then_as_if_it_had_been_delivered(
    archive,
):
    async with serving(archive, ok(SOUND, "Content-Type: audio/wav")) as (desk, server):
        await desk.announce(named(server))
        row, sealed = await desk.recording()
        assert (row.state, sealed.name, (await desk.contact()).recording_state) == (
            "expected",
            "a.wav",
            "expected",
        )
        assert await desk.work()
        row, sealed = await desk.recording()
    assert (row.state, row.expected_until) == ("present", None)
    assert (sealed.name, sealed.content_type) == ("a.wav", "audio/wav")
    assert sealed.sha256 == hashlib.sha256(SOUND).hexdigest()
    assert (await desk.contact()).recording_state == "present"
    assert await desk.rows(JobRow, kind=KIND) == []
    assert len(await desk.rows(JobRow, kind="media")) == 1
    (delivery,) = await desk.rows(DeliveryRow, kind="recording")
    assert (delivery.state, delivery.source) == ("understood", "pbx")
    (stored,) = await desk.rows(ObjectRow)
    assert (stored.owner_id, stored.plain_bytes) == (row.id, len(SOUND))
    for kind in ("RECORDING_EXPECTED", "RECORDING_RECEIVED", "RECORDING_ATTACHED"):
        assert len(await entries(archive, EntryType[kind])) == 1
    assert await desk.reasons() == []


# -- announced


async def test_what_is_announced_again_is_fetched_once(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        await desk.announce(named(server), queue="Laskutus", ident="w-2")
        await desk.announce({**named(server), "name": "b.wav"}, ident="w-3")
        assert await desk.work()
        await desk.announce(named(server), subject="Lasku", ident="w-4")
        await desk.announce({**named(server), "name": "b.wav"}, ident="w-5")
        assert not await desk.work()
        assert len(server.asked) == 1
    row, _ = await desk.recording()
    assert row.state == "present"


async def test_what_is_announced_again_meanwhile_is_not_asked_for_more_often(archive):
    async with serving(archive, ok(b"", status="503 Busy")) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        await desk.announce(named(server), queue="Laskutus", ident="w-2")
        assert not await desk.work()
        (job,) = await desk.rows(JobRow, kind=KIND)
        assert job.attempts == 1


async def test_another_url_for_the_same_recording_takes_the_place_of_the_first(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server, "/old"))
        await desk.announce(named(server, "/new"), ident="w-2")
        assert await desk.work()
        assert not await desk.work()
        assert [asked.target for asked in server.asked] == ["/new"]
        assert (await desk.recording())[0].state == "present"


async def test_a_new_url_begins_what_was_given_up_anew(archive):
    def answer(asked):
        return ok(SOUND) if asked.target == "/new" else ok(b"", status="410 Gone")

    async with serving(archive, answer) as (desk, server):
        await desk.announce(named(server, "/old"))
        assert await desk.work()
        assert (await desk.recording())[0].state == "lost"
        await desk.announce(named(server, "/new"), ident="w-2")
        row, sealed = await desk.recording()
        assert (row.state, sealed.cause) == ("expected", "")
        assert await desk.reasons() == ["fetch_gone"]
        assert await desk.work()
        assert (await desk.recording())[0].state == "present"
        assert await desk.reasons() == []


async def test_it_is_the_recording_that_was_expected_without_a_name(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(recording="expected")
        await desk.announce(named(server), ident="w-2")
        await desk.announce(recording="expected", ident="w-3", queue="Laskutus")
        assert await desk.work()
        row, _ = await desk.recording()
        assert row.state == "present"


async def test_several_are_each_fetched(archive):
    def answer(asked):
        return ok(asked.target.encode() * 50)

    async with serving(archive, answer) as (desk, server):
        parts = [{"name": f"{n}.wav", "url": server.url(f"/{n}")} for n in range(3)]
        await desk.announce(*parts, recording="expected")
        for _ in parts:
            assert await desk.work()
    assert [row.state for row in await desk.rows(RecordingRow)] == ["present"] * 3


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
async def test_one_that_is_also_delivered_is_there_once(archive, is_first):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        if not is_first:
            await desk.work()
        await deliver_recording(archive, SOUND, now=NOW)
        await desk.work()
        assert len(server.asked) == (0 if is_first else 1)
    row, _ = await desk.recording()
    assert row.state == "present"
    assert await desk.reasons() == []
    assert await desk.rows(JobRow, kind=KIND) == []


async def test_other_bytes_than_those_that_were_announced_later_are_a_contradiction(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        await desk.announce(named(server, sha256="0" * 64), ident="w-2")
    assert await desk.reasons() == ["contradiction:recording"]


# -- what cannot be had


async def test_a_server_that_is_down_is_asked_for_about_a_day_and_then_it_is_shown(archive):
    desk = Desk(archive, "http://127.0.0.1:1")
    await desk.announce({"name": "a.wav", "url": "http://127.0.0.1:1/secret?key=secret"})
    for pause in PAUSES:
        assert await desk.work()
        assert not await desk.work()
        assert (await desk.recording())[0].state == "expected"
        desk.clock.now += pause
    assert await desk.reasons() == []
    assert await desk.work()
    assert timedelta(hours=18) < desk.clock.now - NOW < timedelta(hours=30)
    row, sealed = await desk.recording()
    assert (row.state, sealed.cause) == ("lost", "fetch_unreachable")
    assert (await desk.contact()).recording_state == "lost"
    assert await desk.reasons() == ["fetch_unreachable"]
    (item,) = await desk.rows(AttentionRow)
    assert (item.about, item.source) == (row.contact_id, "pbx")
    (entry,) = await entries(archive, EntryType.RECORDING_LOST)
    assert entry.data["cause"] == "fetch_unreachable"


async def test_what_failed_together_is_tried_again_apart(archive):
    desk = Desk(archive, "http://127.0.0.1:1")
    runner = replace(desk.runner, chance=lambda: 1.0)
    await desk.announce({"name": "a.wav", "url": "http://127.0.0.1:1/"})
    assert await runner.run_one(KIND)
    (job,) = await desk.rows(JobRow, kind=KIND)
    assert job.run_at == to_microseconds(NOW + PAUSES[0] * 1.25)


def test_it_is_awaited_for_longer_than_it_is_tried():
    """Also of a server that uses all the time that an answer may take, and puts us off each time."""
    pauses = [max(pause, MOST_PATIENCE) * 1.25 for pause in PAUSES]
    attempts = timedelta(minutes=MAX_FETCH_MINUTES) * (len(PAUSES) + 1)
    assert sum(pauses, timedelta()) + attempts < FETCHED_WITHIN
    assert max(pauses) < timedelta(days=1)


async def test_after_a_late_success_nothing_is_left_to_be_looked_at(archive):
    is_there = False

    def answer(_asked):
        return ok(SOUND) if is_there else ok(b"", status="404 Not Found")

    async with serving(archive, answer) as (desk, server):
        await desk.announce(named(server))
        assert await desk.work_until_dead() == 4
        assert await desk.reasons() == ["fetch_gone"]
        is_there = True
        (item,) = await archive.attention.find(actor=ADMIN)
        assert item.can_be_retried
        settled = await archive.attention.retry(item.id, actor=ADMIN, now=desk.clock.now)
        assert not settled.is_open
        assert await desk.work()
    row, sealed = await desk.recording()
    assert (row.state, sealed.cause) == ("present", "")
    assert len(await entries(archive, EntryType.RECORDING_HEALED)) == 1
    assert await desk.reasons() == []


async def test_what_fails_again_after_it_was_tried_again_is_shown_again(archive):
    async with serving(archive, ok(b"", status="410 Gone")) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        (item,) = await archive.attention.find(actor=ADMIN)
        await archive.attention.retry(item.id, actor=ADMIN, now=NOW)
        assert await desk.reasons() == []
        assert await desk.work()
        assert await desk.reasons() == ["fetch_gone"]
        assert (await desk.recording())[0].state == "lost"


async def test_one_that_was_given_up_and_is_delivered_is_settled_by_trying_again(archive):
    async with serving(archive, ok(b"", status="410 Gone")) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        await deliver_recording(archive, SOUND, now=NOW)
        assert (await desk.recording())[0].state == "present"
        (item,) = await archive.attention.find(actor=ADMIN)
        assert not (await archive.attention.retry(item.id, actor=ADMIN, now=NOW)).is_open


@pytest.mark.parametrize(
    ("answer", "reason", "tries"),
    [
        (ok(b"", status="401 Unauthorized"), "fetch_denied", 4),
        (ok(b"", status="403 Forbidden"), "fetch_denied", 4),
        (ok(b"", status="404 Not Found"), "fetch_gone", 4),
        (ok(b"", status="410 Gone"), "fetch_gone", 1),
        (ok(b"", status="500 Oops"), "fetch_unreachable", 9),
        (ok(b"", status="503 Busy"), "fetch_unreachable", 9),
        (ok(b"", status="206 Partial Content"), "fetch_wrong_answer", 9),
        (moved("https://evil.example/"), "fetch_not_allowed", 1),
        (moved("http://127.0.0.1:1/"), "fetch_not_allowed", 1),
        (ok(bytes(2000)), "fetch_too_large", 1),
    ],
)
async def test_each_fault_is_told_apart_and_tried_as_long_as_it_may_help(
    archive, answer, reason, tries
):
    async with serving(archive, answer, max_bytes=1000) as (desk, server):
        await desk.announce(named(server))
        assert await desk.work_until_dead() == tries
    assert await desk.reasons() == [reason]
    row, sealed = await desk.recording()
    assert (row.state, sealed.cause) == ("lost", reason)
    assert await desk.rows(DeliveryRow, kind="recording") == []
    assert await desk.rows(ObjectRow) == []
    assert [name async for name in archive.stores.blobs.names()] == []


async def test_another_hash_is_refused_and_said(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server, sha256="0" * 64))
        await desk.work_until_dead()
        assert await desk.reasons() == ["fetch_other_bytes"]
        assert [name async for name in archive.stores.blobs.names()] == []
        right = hashlib.sha256(SOUND).hexdigest().upper()
        await desk.announce(named(server, sha256=right, size_bytes=len(SOUND)), ident="w-2")
        await desk.work()
    assert (await desk.recording())[0].state == "present"


async def test_without_an_allow_list_nothing_is_fetched_and_the_contact_says_so(archive):
    async with answering(ok(SOUND)) as server:
        desk = Desk(archive)
        await desk.announce({"name": "a.wav", "url": "http://pbx.example/a.wav"})
        assert await desk.work()
        assert server.asked == []
    assert await desk.reasons() == ["fetch_not_allowed"]
    row, sealed = await desk.recording()
    assert (row.state, sealed.cause) == ("lost", "fetch_not_allowed")


async def test_of_a_source_that_is_not_configured_nothing_is_fetched_either(archive):
    desk = Desk(archive)
    facts = ContactFacts(
        source_id="c-1",
        channel=Channel.CALL,
        direction=Direction.INBOUND,
        started_at=NOW,
        recordings=(AnnouncedRecording(name="a.wav", url="http://pbx.example/a.wav"),),
    )
    machine = actor(Role.INTEGRATION)
    await archive.contacts.add(facts, source="unknown", actor=machine, now=NOW)
    assert await desk.runner.run_one("fetch")
    assert await desk.reasons() == ["fetch_not_allowed"]


async def test_an_internal_address_raises_the_alarm_also_without_an_allow_list(archive, caplog):
    desk = Desk(archive)
    await desk.announce({"name": "a.wav", "url": "http://169.254.169.254/latest/meta-data/"})
    assert await desk.work()
    assert await desk.reasons() == ["fetch_address_refused"]
    assert (await desk.recording())[0].state == "lost"
    assert [one.levelname for one in caplog.records if one.msg == "fetch.address_refused"]


async def test_without_its_network_loopback_is_refused_with_an_alarm_at_once(archive, caplog):
    async with serving(archive, ok(SOUND), networks=()) as (desk, server):
        await desk.announce(named(server, "/private"))
        assert await desk.work()
        assert await desk.reasons() == ["fetch_address_refused"]
        assert (await desk.recording())[0].state == "expected"
        assert await desk.work_until_dead() == 8
        assert server.asked == []
    assert await desk.reasons() == ["fetch_address_refused"]
    assert (await desk.recording())[0].state == "lost"
    (event, *_) = [one for one in caplog.records if one.msg == "fetch.address_refused"]
    assert (event.levelname, event.source) == ("ERROR", "pbx")
    assert "private" not in caplog.text


async def test_what_was_refused_for_its_address_is_tried_at_once_when_somebody_says_so(archive):
    async with serving(archive, ok(SOUND), networks=()) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        (item,) = await archive.attention.find(actor=ADMIN)
        assert not await desk.work()
        fetcher = Fetcher(rules(server.origin))
        desk.fetching.fetchers["pbx"] = fetcher
        assert not (await archive.attention.retry(item.id, actor=ADMIN, now=NOW)).is_open
        assert await desk.work()
    assert (await desk.recording())[0].state == "present"


# -- stopped anywhere


@pytest.mark.parametrize("step", ["asked", "kept", "understood", "attached"])
async def test_killed_at_any_step_it_goes_on_and_there_is_one_recording(archive, step):
    asked = 0

    def answer(_asked):
        nonlocal asked
        asked += 1
        # Of a server that encodes anew each time it is asked.
        return ok(SOUND + bytes([asked]))

    async with serving(archive, answer) as (desk, server):
        await desk.announce(named(server))
        (job,) = await desk.store.claim_jobs(
            [KIND], now=to_microseconds(NOW), lease=120_000_000, limit=1
        )
        killed = Killed(desk, step)
        with pytest.raises(KilledError):
            await killed.fetching.run(job.subject, NOW)
        desk.clock.wait(minutes=3)
        assert await desk.work()
        assert asked == (2 if step == "asked" else 1)
    row, _ = await desk.recording()
    assert row.state == "present"
    assert len(await desk.rows(DeliveryRow, kind="recording")) == 1
    assert len(await desk.rows(ObjectRow)) == 1
    assert await desk.rows(JobRow, kind=KIND) == []
    assert await desk.reasons() == []


class KilledError(BaseException):
    """The process is gone."""


class Killed:
    """The job of a process that is killed after a step, before anything else is done."""

    def __init__(self, desk, step):
        self.step = step
        self.inner = desk.fetching
        self.fetching = replace(
            desk.fetching,
            understanding=self,
            fetchers={"pbx": self} if step == "asked" else desk.fetching.fetchers,
        )

    @asynccontextmanager
    async def asked(self, announced):
        async with self.inner.fetchers["pbx"].asked(announced) as answer:
            yield _CutShort(answer)

    async def retry(self, delivery_id, *, now):
        if self.step == "kept":
            raise KilledError
        await self.inner.understanding.retry(delivery_id, now=now)
        raise KilledError


class _CutShort:
    def __init__(self, answer):
        self.answer, self.content_type = answer, answer.content_type

    async def chunks(self):
        async for chunk in self.answer.chunks():
            yield chunk[: len(chunk) // 2]
            raise KilledError


async def test_two_at_once_bring_one_recording_whatever_the_server_answers(archive):
    asked = 0

    def answer(_asked):
        nonlocal asked
        asked += 1
        return ok(SOUND + bytes([asked]))

    async with serving(archive, answer) as (desk, server):
        await desk.announce(named(server))
        row, _ = await desk.recording()
        await asyncio.gather(*(desk.fetching.run(row.id, NOW) for _ in range(4)))
    row, _ = await desk.recording()
    assert row.state == "present"
    assert len(await desk.rows(DeliveryRow, kind="recording")) == 1
    assert await desk.reasons() == []
    blobs = [name async for name in archive.stores.blobs.names()]
    assert blobs == [row.object_id]


async def test_what_was_kept_and_cannot_be_attached_is_not_asked_for_again(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))

        class Unable:
            async def retry(self, _delivery_id, *, now):
                pass

        row, _ = await desk.recording()
        unable = replace(desk.fetching, understanding=Unable())
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await unable.run(row.id, NOW)
        assert len(server.asked) == 1
        assert await desk.work()
    assert (await desk.recording())[0].state == "present"


async def test_a_new_url_is_not_put_off_by_the_old_one_that_fails_meanwhile(archive):
    async with serving(archive, ok(b"", status="503 Busy")) as (desk, server):
        await desk.announce(named(server, "/old"))

        async def meanwhile(subject, now):
            await desk.announce(named(server, "/new"), ident="w-2")
            await desk.fetching.run(subject, now)

        kind = replace(desk.fetching.kinds[KIND], handler=meanwhile)
        await replace(desk.runner, kinds={KIND: kind}).run_one(KIND)
        (job,) = await desk.rows(JobRow, kind=KIND)
        assert (job.state, job.attempts, job.run_at) == ("queued", 0, to_microseconds(NOW))


async def test_a_contact_that_is_erased_meanwhile_gets_nothing(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        contact = await desk.contact()
        await archive.stores.keys.destroy_keys([contact.id])
        assert await desk.work()
        assert server.asked == []
        assert await desk.rows(JobRow, kind=KIND) == []


async def test_an_altered_recording_raises_the_alarm_and_its_job_ends(archive):
    async with serving(archive, ok(SOUND)) as (desk, server):
        await desk.announce(named(server))
        (row,) = await desk.rows(RecordingRow)
        flipped = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])
        await desk.store.commit([Put(replace(row, sealed=flipped))])
        assert await desk.work()
        assert server.asked == []
        assert await desk.reasons() == ["integrity", "job_dead"]
        (job,) = await desk.rows(JobRow, kind=KIND)
        assert job.state == "dead"


async def test_keys_that_are_away_cost_no_attempt(archive):
    class Away:
        async def get_sealer(self, _row_id):
            raise KeysUnavailableError("away")

    desk = Desk(archive, "http://127.0.0.1:1")
    await desk.announce({"name": "a.wav", "url": "http://127.0.0.1:1/"})
    kind = replace(desk.fetching, vault=Away()).kinds[KIND]
    await replace(desk.runner, kinds={KIND: kind}).run_one(KIND)
    (job,) = await desk.rows(JobRow, kind=KIND)
    assert (job.state, job.attempts) == ("queued", 0)


@pytest.mark.parametrize("is_there", [True, False], ids=["is fetched", "is lost"])
async def test_what_becomes_of_it_verifies(archive, is_there):
    answer = ok(SOUND) if is_there else ok(b"", status="410 Gone")
    async with serving(archive, answer) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
    contact = await desk.contact()
    checks = (await archive.verifier.verify(contact.id, actor=HANDLER, now=NOW)).checks
    assert not [check for check in checks if check.outcome is Outcome.FAILED]


async def test_the_url_is_in_the_clear_nowhere(archive, config, caplog):
    caplog.set_level("DEBUG")
    async with serving(archive, ok(b"", status="410 Gone")) as (desk, server):
        await desk.announce(named(server, "/hush-hush?key=hush-hush"))
        await desk.work()
        _, sealed = await desk.recording()
        row, _ = await desk.recording()
        found = await desk.fetching._find(row.id)
    assert "hush-hush" in sealed.announced.url
    assert "hush-hush" not in repr(found) + repr(sealed) + caplog.text
    files = [path for path in config.archive.directory.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"hush-hush" in path.read_bytes()]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ok(b"", status="503 hush-hush"), "fetch_unreachable: status 503"),
        (moved("http://hush-hush.example/"), "its origin is none of fetch_origins"),
        (moved("hush-hush://a"), "a redirect: "),
        (ok(SOUND, "Content-Encoding: hush-hush"), "compressed, unasked"),
        (b"HTTP/1.1 hush-hush\r\n\r\n", "fetch_unreachable: "),
    ],
)
async def test_the_journal_says_why_and_nothing_that_was_sent_or_answered(
    archive, answer, why, caplog
):
    caplog.set_level("DEBUG")
    async with serving(archive, answer) as (desk, server):
        await desk.announce(named(server, "/hush-hush"))
        await desk.work()
    (event,) = [one for one in caplog.records if one.msg == "fetch.failed"]
    assert why in event.why
    assert event.source == "pbx"
    told = [vars(record) for record in caplog.records if record.name.startswith("taltio")]
    assert "hush" not in str(told)


async def test_attempts_are_counted_by_what_became_of_them(archive):
    answers = [ok(b"", status="503 Busy"), ok(SOUND)]
    async with serving(archive, lambda _asked: answers.pop(0)) as (desk, server):
        await desk.announce(named(server))
        await desk.work()
        desk.clock.wait(minutes=1)
        await desk.work()
    assert +desk.fetching.outcomes == Counter(fetch_unreachable=1, kept=1)
    assert set(desk.fetching.outcomes) == {"kept", *FetchFault}


def test_only_what_ends_by_waiting_is_tried_for_a_day():
    early = {fault for fault in FetchFault if is_final(FetchError(fault), 4)}
    assert early == {
        FetchFault.NOT_ALLOWED,
        FetchFault.TOO_LARGE,
        FetchFault.DENIED,
        FetchFault.GONE,
        FetchFault.OTHER_BYTES,
        FetchFault.NO_KEY,
    }
    assert is_final(TamperedError("x"), 1)
