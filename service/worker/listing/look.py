"""Reading the listing of a Chatwoot: messages that no webhook brought are kept, and what was missing is known.

Chatwoot tells each message once and tries once. What it lists is read every hour: a conversation that is not here
becomes a contact that is missing, and its messages, kept as deliveries, heal it. Each day that is over is compared as a
whole. How far that went is known by the days compared; a process remembers besides which conversations it has read, so
that only those are asked for again in which something happened.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from service.archive.receive import Intake, Kept, keep_delivery
from service.archive.reconcile import Reconciling
from service.domain.actor import SYSTEM, Actor, ActorKind, Role
from service.domain.contact import ContactFacts
from service.domain.errors import InvalidInputError, UnavailableError
from service.sources.chatwoot_listing import (
    ListedConversation,
    ListedMessage,
    deliveries_of,
    read_conversations,
    read_messages,
    statement_of,
)
from service.sources.events import SourceRule
from service.worker.listing.client import Get, ListingAddress, PausedError, asking
from storage.ports import Turn
from storage.rows import ReconciledRow

LISTED: Final = "listed"
"""The kind of the deliveries."""
EVERY: Final = timedelta(hours=1)
STAND_BY: Final = timedelta(minutes=1)
SETTLED: Final = timedelta(minutes=10)
"""A conversation that began later may still be told by a webhook."""
FIRST_DAYS: Final = 2
MOST_DAYS: Final = 31
_QUERY: Final = "?status=all&sort_by=last_activity_at_desc&page="
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True, kw_only=True)
class LookLimits:
    """How much one look takes: pages of conversations, pages of each conversation's messages, and time."""

    pages: int = 400
    message_pages: int = 200
    longest: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class _Read:
    """A conversation as it was read; ``facts`` is what a statement says of it, None where it does not."""

    active_at: datetime
    facts: ContactFacts | None


@dataclass(slots=True, kw_only=True)
class Look:
    """Reads the listing of ``source`` while it is this process's ``turn``. Days are those of ``timezone``.

    ``outcomes`` counts what was read, by what became of it; ``on_read`` is called after each conversation. ``since`` is
    the day from which on is read; None: the first that was not compared.
    """

    source: str
    address: ListingAddress
    intake: Intake
    reconciling: Reconciling
    rule: Callable[[], SourceRule]
    timezone: ZoneInfo
    clock: Callable[[], datetime]
    offer: Callable[[Kept], None] | None
    turn: Turn
    limits: LookLimits = field(default_factory=LookLimits)
    since: date | None = None
    on_read: Callable[[], None] = lambda: None
    outcomes: Counter[str] = field(default_factory=Counter)
    _read: dict[str, _Read] = field(default_factory=dict, init=False, repr=False)
    _not_before: datetime | None = field(default=None, init=False)

    async def look(self) -> timedelta:
        """Read what happened since the last day that was compared; return when to look again.

        A crash at any point leaves conversations that are read again, which keeps nothing anew.

        Raises:
            UnavailableError: Chatwoot does not answer as it should, or wishes to be left alone.
            storage.errors.StorageError: The archive takes nothing now.
        """
        if not await self.turn.is_mine():
            # Whoever had the turn meanwhile has read on.
            self._read.clear()
            return STAND_BY
        now = self.clock()
        if self._not_before is not None and now < self._not_before:
            raise UnavailableError("it wishes not to be asked for a while")
        limit = asyncio.timeout(self.limits.longest.total_seconds())
        try:
            async with limit, asking(self.address) as get:
                await self._look(get, now)
        except PausedError as error:
            self._not_before = now + error.pause
            raise
        except InvalidInputError as error:
            raise UnavailableError(f"it does not answer as Chatwoot: {error.detail}") from None
        except TimeoutError:
            if not limit.expired():
                raise
            raise UnavailableError(
                "there is more than can be read at once; it goes on soon"
            ) from None
        return EVERY

    async def _look(self, get: Get, now: datetime) -> None:
        first = await self._first_day(now)
        since = datetime.combine(first, time(), self.timezone)
        heads = await self._conversations(get, since)
        self._read = {ident: one for ident, one in self._read.items() if ident in heads}
        for ident, conversation in heads.items():
            known = self._read.get(ident)
            if known is None or known.active_at != conversation.active_at:
                await self._try_to_read(get, conversation, since=since, now=now)
                self.on_read()
            if not await self.turn.is_mine():
                return
        await self._compare(first, now)

    async def _first_day(self, now: datetime) -> date:
        """Return the first day that was not compared as a whole, unless another is wished."""
        if self.since is not None:
            return self.since
        today = now.astimezone(self.timezone).date()
        rows = await self.intake.store.find(ReconciledRow, {"source": self.source})
        # Of what a person compares nobody knows whether messages are missing.
        days = [date.fromisoformat(row.day) for row in rows if row.compared_by == SYSTEM.id]
        first = max(days) + timedelta(days=1) if days else today - timedelta(days=FIRST_DAYS)
        return max(min(first, today), today - timedelta(days=MOST_DAYS))

    async def _conversations(
        self, get: Get, since: datetime
    ) -> Mapping[str, ListedConversation]:
        """Return the conversations in which something happened since then.

        Raises:
            UnavailableError: They are not in the order that was asked for, or do not end.
        """
        found: dict[str, ListedConversation] = {}
        for number in range(1, self.limits.pages + 1):
            page = read_conversations(await get(f"{_QUERY}{number}"))
            times = [one.active_at for one in page]
            if times != sorted(times, reverse=True):
                raise UnavailableError("it does not list the newest activity first")
            # One in which something happens meanwhile moves to the front, and is read the next time.
            for one in page:
                if one.active_at >= since:
                    found.setdefault(one.ident, one)
            if not page or times[-1] < since:
                return found
        raise UnavailableError("it lists more conversations than are read at once")

    async def _try_to_read(
        self, get: Get, conversation: ListedConversation, *, since: datetime, now: datetime
    ) -> None:
        """Read a conversation. One that cannot be read is in the way of no other, until something happens in it."""
        try:
            await self._read_conversation(get, conversation, since=since, now=now)
        except InvalidInputError as error:
            self.outcomes["unreadable"] += 1
            extra = {"source": self.source, "why": error.detail}
            _log.warning("listing.unreadable", extra=extra)
            self._read[conversation.ident] = _Read(conversation.active_at, None)

    async def _read_conversation(
        self, get: Get, conversation: ListedConversation, *, since: datetime, now: datetime
    ) -> None:
        """Keep the messages of a conversation; first it is missing, if it is not here."""
        rule = self.rule()
        messages, is_whole = await self._messages(get, conversation.ident, since)
        facts = statement_of(conversation, messages, rule=rule, now=now) if is_whole else None
        if facts is not None and (facts.started_at or now) > now - SETTLED:
            return
        if facts is not None and await self.reconciling.state(
            self.source, facts, actor=self._actor, now=now
        ):
            self.outcomes["missing"] += 1
            _log.warning("listing.missing", extra={"source": self.source})
        for one in deliveries_of(
            conversation, messages, rule=rule, timezone=self.timezone, now=now
        ):
            kept = await keep_delivery(
                self.intake,
                source=self.source,
                kind=LISTED,
                ident=one.ident,
                body=one.body,
                compared=one.compared,
                now=now,
            )
            self.outcomes["duplicate" if kept.is_duplicate else "kept"] += 1
            if self.offer is not None and not kept.is_duplicate:
                self.offer(kept)
        self._read[conversation.ident] = _Read(conversation.active_at, facts)

    async def _messages(
        self, get: Get, ident: str, since: datetime
    ) -> tuple[Sequence[ListedMessage], bool]:
        """Return the messages of a conversation since then, and whether it has none before.

        Raises:
            UnavailableError: The pages do not lead back.
        """
        found: dict[int, ListedMessage] = {}
        before: int | None = None
        for _ in range(self.limits.message_pages):
            rest = "" if before is None else f"?before={before}"
            page = read_messages(await get(f"/{ident}/messages{rest}"))
            if not page:
                return list(found.values()), True
            if before is not None and page[-1].number >= before:
                raise UnavailableError("its pages of messages do not lead back")
            found |= {one.number: one for one in page if one.sent_at >= since}
            if any(one.sent_at < since for one in page):
                return list(found.values()), False
            before = page[0].number
        self.outcomes["cut_short"] += 1
        _log.warning("listing.cut_short", extra={"source": self.source})
        return list(found.values()), False

    async def _compare(self, first: date, now: datetime) -> None:
        """Compare the days from ``first`` on that are over, and on which nothing can still be on its way."""
        until = (now - SETTLED).astimezone(self.timezone).date()
        statement = [
            one.facts
            for one in self._read.values()
            if one.facts is not None and first <= self._day(one.facts) < until
        ]
        if statement:
            await self.reconciling.reconcile(self.source, statement, actor=self._actor, now=now)

    def _day(self, facts: ContactFacts) -> date:
        if facts.started_at is None:
            raise ValueError("what a statement tells has its start")
        return facts.started_at.astimezone(self.timezone).date()

    @property
    def _actor(self) -> Actor:
        roles = frozenset({Role.INTEGRATION})
        return Actor(id=SYSTEM.id, kind=ActorKind.SYSTEM, roles=roles, source=self.source)
