"""Witnesses and the timestamp authority as the archive asks them: never in the way, never believed unverified."""

import asyncio
import logging
import shutil
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.archive.checks import AnchorKind, Code, Outcome, State
from service.archive.vouched import Vouched
from service.cli.log_files import Trusted, verify_log_directory
from service.domain.errors import ArchiveError, TamperedError, UnavailableError
from service.log.checkpoint import (
    decode_checkpoint,
    find_cosignatures,
    log_key,
    verify_checkpoint,
)
from service.log.entry import EntryType, LogEntry, decode_entry, encode_entry
from service.log.report import Outcome as LogOutcome
from service.log.timestamp import request_timestamp
from service.log.witness import UnknownLogError, format_size
from service.witness.cosigning import Witness
from service.witness.places import WitnessPlaces
from service.worker.outside import Address, Answer, Asking
from service.worker.timestamps import Stamper
from service.worker.witnesses import REASON, ContradictedError, WitnessAsker
from storage.ports import Append
from storage.rows import AttentionRow
from tests.archive.world import HANDLER, opened_world
from tests.authority import Authority


@dataclass
class Neighbour:
    """A witness next door, as its HTTP answers would be."""

    witness: Witness
    clock: object
    answers: list[Answer] = field(default_factory=list)
    asked: int = 0

    async def post(self, body):
        self.asked += 1
        if self.answers:
            return self.answers.pop(0)
        try:
            lines = self.witness.cosign(body, clock=self.clock)
        except UnknownLogError:
            return Answer(404, b"")
        except ArchiveError as error:
            size = getattr(error, "size", None)
            return Answer(422, b"") if size is None else Answer(409, format_size(size))
        return Answer(200, lines)


@dataclass
class Place:
    """An archive whose log a witness and an authority vouch for."""

    world: object
    witness: Witness
    authority: Authority

    def __post_init__(self):
        self.key = self.witness.verifier_key
        self.vouched = Vouched(self.world.keeper.published, (self.key,))
        self.restart()

    def restart(self):
        """Begin anew, as a process does that remembers nothing."""
        self.keeper = self.world.keeper = replace(self.world.keeper, vouched=self.vouched)
        self.neighbour = Neighbour(self.witness, lambda: self.world.now)
        self.asker = WitnessAsker(
            key=self.key,
            post=self.neighbour.post,
            keeper=self.keeper,
            vouched=self.vouched,
            store=self.world.store,
            clock=lambda: self.world.now,
        )
        published = replace(
            self.world.published, witnesses=(self.key,), trust=self.authority.trust
        )
        self.world.verifier = replace(self.world.verifier, published=published)
        self.stamped_at = datetime.now(UTC)
        self.stamper = Stamper(
            trust=self.authority.trust,
            post=self.stamp,
            keeper=self.keeper,
            vouched=self.vouched,
            outside=self.keeper.anchors,
            every=timedelta(hours=1),
            # The authority's clock is real, so is the one that it is held against.
            clock=lambda: self.stamped_at,
        )

    async def stamp(self, body):
        self.authority.asked += 1
        return Answer(200, self.authority.answer(body))

    def shown(self):
        return self.keeper.published.read("checkpoint")

    async def verify(self, contact_id):
        return await self.world.verifier.verify(contact_id, actor=HANDLER, now=self.world.now)

    async def items(self):
        return await self.world.store.find(AttentionRow, {"reason": REASON})

    async def alarms(self):
        stored = await self.world.store.log_entries(0, await self.world.store.log_size())
        entries = [decode_entry(one.entry) for one in stored]
        return [one for one in entries if one.type is EntryType.INTEGRITY_ALARM]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("time") / "tsa")


@pytest.fixture
async def place(tmp_path, authority):
    async with opened_world(tmp_path / "world") as world:
        world.keeper.anchors.mkdir(exist_ok=True)
        places = WitnessPlaces(tmp_path / "witness")
        places.create("witness.example.org")
        places.watch(log_key(world.keeper.name, world.ring.log_signing_key))
        yield Place(world, Witness(places, *places.load()), authority)


async def test_a_cosigned_checkpoint_is_what_everybody_sees(place):
    await place.world.call()
    await place.world.publish()
    bare = place.shown()
    await place.asker.ask()
    assert place.shown().startswith(bare)
    (cosignature,) = find_cosignatures(place.shown(), [place.key])
    assert cosignature.at == place.world.now
    verify_checkpoint(
        place.shown(), log_key(place.keeper.name, place.world.ring.log_signing_key)
    )
    # What was cosigned stays, whoever publishes again and after whatever start.
    await place.world.publish()
    place.restart()
    await place.world.publish()
    assert find_cosignatures(place.shown(), [place.key]) == (cosignature,)
    await place.asker.ask()
    assert place.neighbour.asked == 0


async def test_growth_is_proven_to_the_witness_across_tiles(place):
    for count in (1, 200, 60, 300):
        for number in range(count):
            await place.world.store.commit(
                [_append(place.world.now, number)],
            )
        await place.world.publish()
        await place.asker.ask()
    assert place.neighbour.asked == 4
    assert decode_checkpoint(place.shown()).size == await place.world.store.log_size()
    assert find_cosignatures(place.shown(), [place.key])


def _append(now, number):
    from storage.ports import Append  # noqa: PLC0415  # only here

    entry = LogEntry(type=EntryType.LOOKUP_MADE, at=now, actor="us_x", data={"n": number})
    return Append(encode_entry(entry))


async def test_an_archive_that_forgot_what_was_cosigned_is_told_and_goes_on(place):
    await place.world.call()
    await place.world.publish()
    await place.asker.ask()
    shutil.rmtree(place.keeper.published.directory / "anchors")
    await place.world.call(source_id="call-2")
    await place.world.publish()
    await place.asker.ask()
    assert place.neighbour.asked == 3
    assert find_cosignatures(place.shown(), [place.key])


async def test_until_everyone_outside_vouches_the_anchor_is_pending_and_then_named(place):
    contact = await place.world.call()
    await place.world.publish()
    verified = await place.verify(contact)
    assert verified.state is State.PENDING
    assert [one.kind for one in verified.anchors] == [AnchorKind.DIRECTORY]

    await place.world.publish()
    await place.asker.ask()
    await place.stamper.ask()
    verified = await place.verify(contact)
    assert verified.state is State.ANCHORED
    directory, witness, stamp = verified.anchors
    assert directory.name.startswith("2026-11-22/archive.example.org-0000")
    assert (witness.kind, witness.name, witness.at) == (
        AnchorKind.WITNESS, "witness.example.org", place.world.now,
    )  # fmt: skip
    assert (stamp.kind, stamp.name) == (AnchorKind.TIMESTAMP, "Example Time")
    assert abs(stamp.at - datetime.now(UTC)) < timedelta(minutes=2)
    assert all(b"witness.example.org" in one.proof for one in verified.proofs)

    # Down: what came since is pending, and says whose word is missing.
    later = await place.world.call(source_id="call-2")
    await place.world.publish()
    assert (await place.verify(contact)).state is State.ANCHORED
    verified = await place.verify(later)
    assert verified.state is State.PENDING
    waits = [one for one in verified.checks if one.outcome is Outcome.WAITING]
    assert [one.about for one in waits] == ["witness.example.org"]


def _flipped(data):
    return data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]


@pytest.mark.parametrize(
    ("path", "change", "state"),
    [
        pytest.param("witness-*.checkpoint", _flipped, State.ALTERED, id="cosignature changed"),
        pytest.param("witness-*.checkpoint", lambda _: b"x", State.ALTERED, id="no checkpoint"),
        pytest.param("2026-*/*.tsr", _flipped, State.ALTERED, id="timestamp changed"),
        pytest.param("2026-*/*.tsr", lambda _: b"0", State.ALTERED, id="no timestamp"),
        pytest.param(
            "2026-*/*.checkpoint", _flipped, State.ALTERED, id="stamped bytes changed"
        ),
    ],
)
async def test_what_others_said_is_checked_every_time(place, path, change, state):
    contact = await place.world.call()
    await place.world.publish()
    await place.asker.ask()
    await place.stamper.ask()
    assert (await place.verify(contact)).state is State.ANCHORED
    (file,) = (place.keeper.published.directory / "anchors").glob(path)
    file.write_bytes(change(file.read_bytes()))
    verified = await place.verify(contact)
    assert verified.state is state
    failed = [one for one in verified.checks if one.outcome is Outcome.FAILED]
    assert {one.code for one in failed} == {Code.ANCHORED}
    trusted = Trusted(
        witnesses=[place.witness.places.directory / "vkey"],
        authorities=place.authority.certificates,
    )
    exported = verify_log_directory(place.keeper.published.directory, trusted=trusted)
    # A file that cannot be read as a checkpoint speaks neither for nor against an exported log.
    assert exported.outcome is not LogOutcome.VERIFIED


async def test_an_exported_log_names_who_vouches_for_it(place, tmp_path):
    await place.world.call()
    await place.world.publish()
    await place.asker.ask()
    await place.stamper.ask()
    exported = tmp_path / "exported"
    shutil.copytree(place.keeper.published.directory, exported)
    trusted = Trusted(
        witnesses=[place.witness.places.directory / "vkey"],
        authorities=place.authority.certificates,
    )
    verdict = verify_log_directory(exported, trusted=trusted)
    assert verdict.outcome is LogOutcome.VERIFIED, verdict.lines
    assert any("Cosigned by the witness witness.example.org" in one for one in verdict.lines)
    assert any("Timestamps by Example Time: 1" in one for one in verdict.lines)
    shell = await asyncio.create_subprocess_shell(
        verdict.lines[-1],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await shell.communicate()
    assert b"Verification: OK" in said
    stranger = WitnessPlaces(tmp_path / "stranger")
    stranger.create("stranger.example.org")
    unknown = Trusted(witnesses=[stranger.directory / "vkey"])
    assert verify_log_directory(exported, trusted=unknown).outcome is LogOutcome.UNCHECKED


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([Answer(422, b"")], id="another history"),
        pytest.param([Answer(409, b"900\n")], id="a longer log"),
        pytest.param([Answer(409, b"0\n")], id="another log of that size"),
        pytest.param([Answer(409, b"1\n"), Answer(409, b"2\n")], id="twice another size"),
    ],
)
async def test_a_refusal_for_inconsistency_raises_one_alarm(place, answers, caplog):
    caplog.set_level(logging.ERROR)
    contact = await place.world.call()
    await place.world.publish()
    for _ in range(2):
        place.neighbour.answers = list(answers)
        with pytest.raises(ContradictedError):
            await place.asker.ask()
        await place.world.publish()
    assert len(await place.alarms()) == 1
    (item,) = await place.items()
    assert item.state == "open"
    assert "witness.refused" in caplog.messages
    assert (await place.verify(contact)).state is State.PENDING
    assert find_cosignatures(place.shown(), [place.key]) == ()
    # A new start tells the log again, and the open item is enough.
    place.restart()
    place.neighbour.answers = list(answers)
    with pytest.raises(TamperedError):
        await place.asker.ask()
    assert len(await place.alarms()) == 2
    assert len(await place.items()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b""),
        Answer(200, b"hello"),
        Answer(200, "— witness.example.org AAAAAAAA\n".encode()),
        Answer(403, b""),
        Answer(404, b""),
        Answer(409, b"many\n"),
        Answer(500, b""),
        Answer(302, b""),
    ],
)
async def test_any_other_answer_is_trouble_and_no_alarm(place, answer):
    await place.world.call()
    await place.world.publish()
    place.neighbour.answers = [answer]
    with pytest.raises(UnavailableError):
        await place.asker.ask()
    assert await place.alarms() == []
    assert find_cosignatures(place.shown(), [place.key]) == ()


async def test_a_restored_archive_without_its_ledger_is_refused(place, tmp_path):
    await place.world.call()
    await place.world.publish()
    await place.asker.ask()
    directory = place.world.directory
    old = tmp_path / "old"
    shutil.copytree(directory / "data" / "log", old / "log")
    entries = [one.entry for one in await place.world.store.log_entries(0, 1000)]
    for number in range(3):
        await place.world.call(source_id=f"call-new-{number}")
    await place.world.publish()
    await place.asker.ask()
    longer = decode_checkpoint(place.shown()).size

    async with opened_world(tmp_path / "restored") as other:
        # The same keys and name, the entries of yesterday, and nothing that remembers today.
        other.ring = place.world.ring

        await other.store.commit([Append(one) for one in entries])
        restored = Place(other, place.witness, place.authority)
        restored.key, restored.witness = place.key, place.witness
        signing = place.world.ring.log_signing_key
        restored.keeper.signing_key = lambda: signing
        await other.publish()
        assert decode_checkpoint(restored.shown()).size < longer
        with pytest.raises(ContradictedError, match="only"):
            await restored.asker.ask()
        for number in range(longer):
            await other.store.commit([_append(other.now, number)])
        await other.publish()
        with pytest.raises(ContradictedError, match="not those"):
            await restored.asker.ask()
        assert len(await restored.items()) == 1


async def test_stamps_come_every_so_often_and_only_for_something_new(place):
    assert await place.stamper.ask() is None
    await place.world.call()
    await place.world.publish()
    before = place.authority.asked
    assert await place.stamper.ask() == timedelta(hours=1)
    assert await place.stamper.ask() is None
    assert place.authority.asked == before + 1
    await place.world.call(source_id="call-2")
    await place.world.publish()
    remaining = await place.stamper.ask()
    assert timedelta(minutes=50) < remaining <= timedelta(hours=1)
    assert place.authority.asked == before + 1
    # Also after a start: when the last one was made is in the last one.
    place.restart()
    assert await place.stamper.ask() == pytest.approx(remaining, abs=timedelta(seconds=30))
    inside = sorted(place.keeper.published.directory.rglob("*.tsr"))
    outside = sorted(place.keeper.anchors.rglob("*.tsr"))
    assert [one.read_bytes() for one in inside] == [one.read_bytes() for one in outside]
    assert outside[0].with_suffix(".checkpoint").is_file()


@pytest.mark.parametrize("case", ["other bytes", "old answer", "status", "clock", "nothing"])
async def test_a_stamp_that_cannot_be_accepted_is_not_kept(place, case):
    await place.world.call()
    await place.world.publish()
    earlier = None

    async def post(body):
        if case == "status":
            return Answer(503, b"")
        if case == "nothing":
            return Answer(200, b"")
        return Answer(200, earlier or place.authority.answer(body))

    stamper = replace(place.stamper, post=post)
    if case == "clock":
        stamper = replace(stamper, clock=lambda: place.stamped_at + timedelta(hours=3))
    if case in {"other bytes", "old answer"}:
        note = place.keeper.last_note() if case == "old answer" else b"something else"
        earlier = place.authority.answer(request_timestamp(note).body)
    with pytest.raises(UnavailableError):
        await stamper.ask()
    assert list(place.keeper.published.directory.rglob("*.tsr")) == []


async def test_what_does_not_answer_is_told_and_asked_again_until_it_does(monkeypatch):
    times = []

    async def sleep(seconds):
        times.append(seconds)

    class Enough(Exception):  # noqa: N818  # an end, not an error
        pass

    async def ask():
        if len(times) < 10:
            raise UnavailableError("no answer (ConnectionError)")
        assert asking.trouble == "no answer (ConnectionError)"
        raise Enough

    asking = Asking("witness", ask)
    monkeypatch.setattr("service.worker.outside.asyncio.sleep", sleep)
    with pytest.raises(Enough):
        await asking.run()
    assert times == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


async def test_signing_goes_on_while_nobody_outside_answers(place):
    never = asyncio.Event()

    async def post(_body):
        await never.wait()

    asker = replace(place.asker, post=post)
    asking = Asking("witness", asker.ask)
    place.keeper.on_release.append(asking.wake)
    await place.world.publish()
    task = asyncio.create_task(asking.run())
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        for number in range(3):
            await place.world.call(source_id=f"call-{number}")
            await place.world.publish()
    assert decode_checkpoint(place.shown()).size == await place.world.store.log_size()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("path", ["/long", "/endless", "/gone", "/elsewhere"])
async def test_an_answer_is_bounded_and_redirects_are_not_followed(path):
    async def long(_request):
        return web.Response(body=b"x" * 2000)

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 500)

    async def elsewhere(_request):
        raise web.HTTPTemporaryRedirect("/long")

    app = web.Application()
    app.router.add_post("/long", long)
    app.router.add_post("/endless", endless)
    app.router.add_post("/elsewhere", elsewhere)
    async with TestServer(app) as server:
        address = Address(str(server.make_url(path)), "text/plain", 1000)
        if path in {"/long", "/endless"}:
            with pytest.raises(UnavailableError, match="too long"):
                await address.post(b"hello")
        else:
            assert (await address.post(b"hello")).status in {307, 404}
    with pytest.raises(UnavailableError, match="no answer"):
        await address.post(b"hello")
