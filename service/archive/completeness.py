"""Completeness: of what a source says it handled in a month, how much is here."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from service.archive.missing import LATE, MISSING
from service.domain.actor import Actor
from service.domain.contact import RecordingState
from service.domain.permission import Permission, require_permission
from service.domain.times import to_microseconds
from storage.ports import Span, Store
from storage.rows import ContactRow, MissingRow, ReconciledRow

MONTHS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month of a source, its first day being ``first``.

    Attributes:
        days: How many of its days were compared with a statement.
        said: The contacts that the source says it handled on those days.
        here: The contacts that it delivered in the month, whatever was compared.
        late: Those of them that were missing, and came since.
        missing: Those that it says it handled, and that did not come.
        recordings_lost, recordings_expected: Contacts whose recording is lost, or may still come.
    """

    source: str
    first: date
    days: int
    said: int
    here: int
    late: int
    missing: int
    recordings_lost: int
    recordings_expected: int

    @property
    def is_known(self) -> bool:
        """Whether anything was said or is here."""
        return bool(self.days or self.said or self.here or self.missing)

    @property
    def share(self) -> float | None:
        """Which share of what was said is here; None when nothing was said."""
        return None if not self.said else max(0.0, 1 - self.missing / self.said)


@dataclass(frozen=True, slots=True)
class Completeness:
    """Tells how complete the archive is. Months are those of ``timezone``."""

    store: Store
    sources: Collection[str]
    timezone: ZoneInfo

    async def find(
        self, *, actor: Actor, now: datetime, months: int = MONTHS
    ) -> Sequence[Month]:
        """Return the last months, newest first, of each source, by their names.

        Raises:
            NotPermittedError: The actor may not know.
        """
        require_permission(actor, Permission.READ_COMPLETENESS)
        firsts = _months(now.astimezone(self.timezone).date(), months)
        told = await self.store.find(ReconciledRow, {})
        return [
            await self._month(source, first, until, told)
            for source in sorted({*self.sources, *(row.source for row in told)})
            for first, until in firsts
        ]

    async def _month(
        self, source: str, first: date, until: date, told: Sequence[ReconciledRow]
    ) -> Month:
        span = Span(self._at(first), self._at(until))
        where = {"source": source, "started_at": span}
        compared = [
            row
            for row in told
            if row.source == source and first.isoformat() <= row.day < until.isoformat()
        ]
        states = Counter(row.state for row in await self.store.find(MissingRow, where))
        lost, expected = [
            await self.store.count(ContactRow, {**where, "recording_state": state.value})
            for state in (RecordingState.LOST, RecordingState.EXPECTED)
        ]
        return Month(
            source=source,
            first=first,
            days=len(compared),
            said=sum(row.said for row in compared),
            here=await self.store.count(ContactRow, where) - states[MISSING],
            late=states[LATE],
            missing=states[MISSING],
            recordings_lost=lost,
            recordings_expected=expected,
        )

    def _at(self, day: date) -> int:
        return to_microseconds(datetime.combine(day, time(), self.timezone))


def _months(today: date, count: int) -> Sequence[tuple[date, date]]:
    """Return the first days of the last months and of those after them, newest first."""
    months = []
    year, month = today.year, today.month
    for _ in range(count):
        following = date(year + month // 12, month % 12 + 1, 1)
        months.append((date(year, month, 1), following))
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
    return months
