"""What a source delivered lately, each delivery with its checks: what is well, and what is not and how to mend it.

Nobody's data is shown here: states, counts, times, codes, and for what could not be read, what is wrong with it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.archive.receive_vcon import VCON
from service.archive.records import recording_of
from service.archive.source_book import KnownSource
from service.archive.trials import TRIAL
from service.archive.understand import Reading, Understanding
from service.connecting.sources import Sources, require_manager
from service.crypto.fields import FieldSealer
from service.domain.actor import Actor
from service.domain.contact import NOT_PLAYED, PLAYED, Channel, Direction, RecordingState
from service.domain.customer import LinkState
from service.domain.errors import TamperedError
from service.domain.notice import Traffic
from service.domain.times import from_microseconds, to_microseconds
from service.sources.kinds import KINDS, Sender
from storage.ports import Condition, Span, Store
from storage.rows import ContactRow, DeliveryRow, LinkRow, RecordingRow

MAX_DELIVERIES: Final = 25
_STEREO: Final = 2
_UNTIMELY: Final = "outside_tolerance"
# A name that the sender made up may be a person's.
_QUOTED: Final = re.compile(r"`[^`]*`")
_LIVE: Final = ("received", "understood", "waiting", TRIAL, "failed")


class Verdict(StrEnum):
    """What became of a check."""

    GOOD = "good"
    BAD = "bad"
    WAITING = "waiting"
    UNTOLD = "untold"
    """It cannot be told, or not yet."""


@dataclass(frozen=True, slots=True)
class DeliveryCheck:
    """One check: what was looked at, what became of it, and a stable code of that. ``detail`` is for who mends it."""

    name: str
    verdict: Verdict
    code: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One delivery."""

    id: str
    kind: str
    received_at: datetime
    size_bytes: int
    state: str
    contact_id: str | None
    checks: tuple[DeliveryCheck, ...]


@dataclass(frozen=True, slots=True)
class _Around:
    """What is stored of the contacts of the deliveries."""

    contacts: Mapping[str, ContactRow]
    links: Mapping[str, list[LinkRow]]
    recordings: Mapping[str, list[RecordingRow]]
    sealers: Mapping[str, FieldSealer]


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The use cases of what was delivered."""

    store: Store
    understanding: Understanding
    sources: Sources

    async def find(
        self, name: str, *, actor: Actor, now: datetime, limit: int = MAX_DELIVERIES
    ) -> Sequence[Delivered]:
        """Return the newest deliveries of a source, newest first.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is no such source.
        """
        source = await self.sources.get(name, actor=actor)
        rows = await self._newest(name, limit)
        around = await self._around(rows)
        return [await self._delivered(row, source, around, now=now) for row in rows]

    async def fingerprint(self, name: str, *, actor: Actor) -> tuple[tuple[str, int], ...]:
        """Return what is another when there is news of a source: the newest deliveries and their versions.

        Raises:
            NotPermittedError: The actor does not manage sources.
        """
        require_manager(actor)
        return tuple((row.id, row.version) for row in await self._newest(name, MAX_DELIVERIES))

    async def count(
        self, name: str, *, states: Sequence[str] = _LIVE, since: datetime | None = None
    ) -> int:
        """Return how many deliveries of a source are in one of ``states``, received ``since`` then."""
        where: dict[str, Condition] = {"source": name, "state": list(states)}
        if since is not None:
            where["received_at"] = Span(to_microseconds(since))
        return await self.store.count(DeliveryRow, where)

    async def last_at(self, name: str) -> datetime | None:
        """Return when a source delivered last."""
        where = {"source": name}
        rows = await self.store.find(DeliveryRow, where, order=("-received_at",), limit=1)
        return from_microseconds(rows[0].received_at) if rows else None

    async def _newest(self, name: str, limit: int) -> Sequence[DeliveryRow]:
        where = {"source": name}
        rows = await self.store.find(
            DeliveryRow, where, order=("-received_at",), limit=min(limit, MAX_DELIVERIES)
        )
        return [row for row in rows if row.state in _LIVE]

    async def _around(self, rows: Sequence[DeliveryRow]) -> _Around:
        ids = sorted({row.contact_id for row in rows if row.contact_id})
        if not ids:
            return _Around({}, {}, {}, {})
        links: dict[str, list[LinkRow]] = {}
        for link in await self.store.find(LinkRow, {"contact_id": ids}):
            links.setdefault(link.contact_id, []).append(link)
        recordings: dict[str, list[RecordingRow]] = {}
        for recording in await self.store.find(RecordingRow, {"contact_id": ids}):
            recordings.setdefault(recording.contact_id, []).append(recording)
        contacts = await self.store.find(ContactRow, {"id": ids, "state": "kept"})
        vault = self.understanding.interpreter.vault
        sealers = await vault.find_sealers(ids) if vault.ring.is_at_hand else {}
        return _Around({row.id: row for row in contacts}, links, recordings, sealers)

    async def _delivered(
        self, row: DeliveryRow, source: KnownSource, around: _Around, *, now: datetime
    ) -> Delivered:
        # What was understood needs no reading, and a vCon may be large.
        is_read = row.kind != VCON or row.state != "understood"
        reading = await self.understanding.read(row, now=now) if is_read else Reading()
        checks = [_sender(source), *_clock(source, row, reading), _parsed(row, reading)]
        traffic = _traffic(row, reading, around)
        if row.contact_id in around.contacts:
            checks += [_linked(row, around), *_recorded(row, around)]
        if traffic is not None:
            checks.append(self._notice(traffic, reading, now=now))
        return Delivered(
            id=row.id,
            kind=row.kind,
            received_at=from_microseconds(row.received_at),
            size_bytes=row.size_bytes,
            state=row.state,
            contact_id=row.contact_id,
            checks=tuple(checks),
        )

    def _notice(self, traffic: Traffic, reading: Reading, *, now: datetime) -> DeliveryCheck:
        today = now.astimezone(self.sources.timezone).date()
        if self.sources.notice.decide_uncovered([traffic], today=today):
            return DeliveryCheck("notice", Verdict.BAD, "not_covered")
        # Whether it was played in this call is for its source to say, and few do.
        told = {one.facts.notice for one in reading.arrivals if one.facts is not None}
        if NOT_PLAYED in told:
            return DeliveryCheck("notice", Verdict.BAD, "not_played")
        if PLAYED in told:
            return DeliveryCheck("notice", Verdict.GOOD, "played")
        return DeliveryCheck("notice", Verdict.UNTOLD, "covered")


def _sender(source: KnownSource) -> DeliveryCheck:
    is_signed = KINDS[source.kind].sender is Sender.SIGNATURE
    return DeliveryCheck("sender", Verdict.GOOD, "signed" if is_signed else "known")


def _clock(source: KnownSource, row: DeliveryRow, reading: Reading) -> list[DeliveryCheck]:
    is_signed = KINDS[source.kind].sender is Sender.SIGNATURE and row.kind == "contact"
    if not is_signed:
        return []
    if _UNTIMELY in reading.remarks:
        return [DeliveryCheck("clock", Verdict.BAD, "skewed")]
    return [DeliveryCheck("clock", Verdict.GOOD, "near")]


def _parsed(row: DeliveryRow, reading: Reading) -> DeliveryCheck:
    if row.state == "understood":
        return DeliveryCheck("parsed", Verdict.GOOD, "understood")
    if reading.fault is not None:
        told = _QUOTED.sub("…", reading.fault)
        return DeliveryCheck("parsed", Verdict.BAD, "not_understood", told)
    if row.state == TRIAL:
        return DeliveryCheck("parsed", Verdict.GOOD, "would_be_understood")
    if row.state == "waiting":
        return DeliveryCheck("parsed", Verdict.WAITING, "waits_for_contact")
    if row.state == "failed":
        return DeliveryCheck("parsed", Verdict.BAD, row.reason or "not_understood")
    return DeliveryCheck("parsed", Verdict.WAITING, "not_yet")


def _linked(row: DeliveryRow, around: _Around) -> DeliveryCheck:
    states = {link.state for link in around.links.get(row.contact_id or "", ())}
    if LinkState.LINKED.value in states:
        return DeliveryCheck("linked", Verdict.GOOD, "linked")
    if LinkState.CANDIDATE.value in states:
        return DeliveryCheck("linked", Verdict.WAITING, "candidate")
    return DeliveryCheck("linked", Verdict.UNTOLD, "no_customer")


def _recorded(row: DeliveryRow, around: _Around) -> list[DeliveryCheck]:
    contact = around.contacts[row.contact_id or ""]
    if contact.channel != Channel.CALL.value:
        return []
    recordings = around.recordings.get(contact.id, [])
    states = {one.state for one in recordings}
    verdict, code = Verdict.BAD, "none"
    if RecordingState.PRESENT.value in states:
        verdict, code = Verdict.GOOD, "present"
    elif RecordingState.EXPECTED.value in states:
        verdict, code = Verdict.WAITING, "expected"
    elif RecordingState.LOST.value in states:
        code = "lost"
    elif contact.recording_state == RecordingState.NOT_RECORDED.value:
        verdict, code = Verdict.UNTOLD, "not_recorded"
    checks = [DeliveryCheck("recording", verdict, code)]
    return [*checks, *_channels(recordings, around.sealers.get(contact.id))]


def _channels(
    recordings: Sequence[RecordingRow], sealer: FieldSealer | None
) -> list[DeliveryCheck]:
    """Return whether both sides are apart, once the recording was examined."""
    present = [one for one in recordings if one.state == RecordingState.PRESENT.value]
    if sealer is None or not present:
        return []
    counted = []
    for one in present:
        try:
            counted.append((recording_of(one, sealer).facts or {}).get("channels"))
        except TamperedError:
            return [DeliveryCheck("channels", Verdict.BAD, "altered")]
    if None in counted:
        return [DeliveryCheck("channels", Verdict.WAITING, "not_examined")]
    if all(number == _STEREO for number in counted):
        return [DeliveryCheck("channels", Verdict.GOOD, "two")]
    return [DeliveryCheck("channels", Verdict.BAD, "mixed")]


def _traffic(row: DeliveryRow, reading: Reading, around: _Around) -> Traffic | None:
    """Return the channel and direction of what was delivered, where that can be told."""
    contact = around.contacts.get(row.contact_id or "")
    if contact is not None:
        return Traffic(Channel(contact.channel), Direction(contact.direction))
    for arrival in reading.arrivals:
        facts = arrival.facts
        if facts is not None and facts.channel is not None and facts.direction is not None:
            return Traffic(facts.channel, facts.direction)
    return None
