"""Reconciling: what a source says it handled is compared with what it delivered, day by day.

A contact that was not delivered becomes one all the same, so that the customer's history shows that it was, and why
there is no more of it. A recording that should be there is expected, and lost when its time is over. What comes late
heals by itself (`service.archive.draft`). The same statement again changes nothing; stopped in between, it goes on.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from service.archive.arrivals import Arrival
from service.archive.gaps import Gaps
from service.archive.interpret import Interpreter
from service.domain.actor import Actor
from service.domain.contact import EXPECTED, ContactFacts, RecordingState
from service.domain.permission import Permission, require_permission, require_source
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Append, Put, Span, Store, Write
from storage.rows import ContactRow, ReconciledRow

_BATCH: Final = 500
_WITHOUT: Final = frozenset({RecordingState.EXPECTED.value, RecordingState.LOST.value})
# Said to be recorded, although nothing was announced: it should be expected now.
_UNTOLD: Final = frozenset({None, RecordingState.NOT_RECORDED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciledDay:
    """What came of one day.

    Attributes:
        said: The contacts that the source says it handled.
        missing: Those that it did not deliver.
        without_recording: Those that it says were recorded, and whose recording is not here.
        unknown: Those that it delivered, and does not say.
    """

    day: date
    said: int
    missing: int
    without_recording: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Reconciling:
    """Compares statements. Days are those of ``timezone``."""

    store: Store
    interpreter: Interpreter
    gaps: Gaps
    timezone: ZoneInfo

    async def reconcile(
        self,
        source: str,
        statement: Sequence[ContactFacts],
        *,
        actor: Actor,
        now: datetime,
        is_trial: bool = False,
    ) -> tuple[ReconciledDay, ...]:
        """Compare a statement, which is whole for each of its days; with ``is_trial`` only say what would come of it.

        Raises:
            NotPermittedError, NotFoundError: The actor may not, or is another source's.
            UnavailableError: Keys or store are not at hand; the same statement again goes on.
        """
        require_permission(actor, Permission.RECONCILE)
        require_source(actor, source)
        said: Counter[date] = Counter(self._day(facts.started_at) for facts in statement)
        missing: Counter[date] = Counter()
        without: Counter[date] = Counter()
        tokens: set[bytes] = set()
        for start in range(0, len(statement), _BATCH):
            batch = statement[start : start + _BATCH]
            known = await self._known(source, batch)
            tokens |= {self._token(source, facts) for facts in batch}
            arrivals = []
            for facts in batch:
                row = known.get(self._token(source, facts))
                if row is None:
                    missing[self._day(facts.started_at)] += 1
                    arrivals.append(facts)
                elif facts.recording == EXPECTED and row.recording_state in _WITHOUT | _UNTOLD:
                    without[self._day(facts.started_at)] += 1
                    if row.recording_state in _UNTOLD:
                        arrivals.append(_recorded(facts))
            if arrivals and not is_trial:
                await self._work_in(source, arrivals, actor=actor, now=now)
        days = [
            ReconciledDay(
                day=day,
                said=said[day],
                missing=missing[day],
                without_recording=without[day],
                unknown=await self._count_unknown(source, day, tokens),
            )
            for day in sorted(said)
        ]
        if days and not is_trial:
            await self._note(source, days, actor=actor, now=now)
        return tuple(days)

    async def state(
        self, source: str, facts: ContactFacts, *, actor: Actor, now: datetime
    ) -> bool:
        """Let a contact that is not here become one that is missing; tell whether that was so.

        For a source that says what it handles before a statement is whole; ``reconcile`` counts it then.

        Raises:
            NotPermittedError, NotFoundError: The actor may not, or is another source's.
            UnavailableError: Keys or store are not at hand; the same again goes on.
        """
        require_permission(actor, Permission.RECONCILE)
        require_source(actor, source)
        if await self._known(source, [facts]):
            return False
        await self._work_in(source, [facts], actor=actor, now=now)
        return True

    async def _known(
        self, source: str, batch: Iterable[ContactFacts]
    ) -> dict[bytes, ContactRow]:
        tokens = [self._token(source, facts) for facts in batch]
        rows = await self.store.find(ContactRow, {"source_token": tokens})
        return {row.source_token: row for row in rows if row.source == source}

    async def _work_in(
        self, source: str, told: Sequence[ContactFacts], *, actor: Actor, now: datetime
    ) -> None:
        arrivals = [
            Arrival(source=source, source_id=facts.source_id, facts=facts, actor=actor.id)
            for facts in told
        ]
        await self.interpreter.interpret(arrivals, now=now)

    async def _count_unknown(self, source: str, day: date, tokens: set[bytes]) -> int:
        """Return how many contacts of the day are here that the statement does not have."""
        since, until = self._span(day)
        count, after = 0, ""
        where = {"source": source, "started_at": Span(since, until)}
        while rows := await self.store.find(
            ContactRow, {**where, "id": Span(f"{after}\0")}, order=("id",), limit=_BATCH
        ):
            count += sum(row.source_token not in tokens for row in rows)
            after = rows[-1].id
        return count

    async def _note(
        self, source: str, days: Sequence[ReconciledDay], *, actor: Actor, now: datetime
    ) -> None:
        """Remember what was compared, and let it be in the log."""
        writes: list[Write] = [
            Put(
                ReconciledRow(
                    source=source,
                    day=one.day.isoformat(),
                    said=one.said,
                    unknown=one.unknown,
                    compared_at=to_microseconds(now),
                    compared_by=actor.id,
                )
            )
            for one in days
        ]
        entry = LogEntry(
            type=EntryType.STATEMENT_COMPARED,
            at=now,
            actor=actor.id,
            data={
                "source": source,
                "first_day": days[0].day.isoformat(),
                "last_day": days[-1].day.isoformat(),
                "said": sum(one.said for one in days),
                "missing": sum(one.missing for one in days),
                "without_recording": sum(one.without_recording for one in days),
                "unknown": sum(one.unknown for one in days),
            },
        )
        writes.append(Append(encode_entry(entry), entry.about))
        await self.store.commit(writes)
        spans = [tuple(map(from_microseconds, self._span(one.day))) for one in days]
        await self.gaps.close_within(source, spans, actor=actor, now=now)

    def _token(self, source: str, facts: ContactFacts) -> bytes:
        return self.interpreter.token_of(source, facts.source_id)

    def _day(self, at: datetime | None) -> date:
        if at is None:
            raise ValueError("what a statement tells has its start")
        return at.astimezone(self.timezone).date()

    def _span(self, day: date) -> tuple[int, int]:
        """Return the first microsecond of a day and of the next one."""
        first, last = (
            datetime.combine(one, time(), self.timezone)
            for one in (day, day + timedelta(days=1))
        )
        return to_microseconds(first), to_microseconds(last)


def _recorded(facts: ContactFacts) -> ContactFacts:
    """Return what a statement adds to a contact that was delivered: that there was a recording."""
    return replace(ContactFacts(source_id=facts.source_id, is_stated=True), recording=EXPECTED)
