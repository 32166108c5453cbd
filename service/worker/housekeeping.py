"""Housekeeping: what is due every few seconds, hours or days. A chore that fails stops no other."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from service.archive.erase import Erasures
from service.archive.expect import Expectations
from service.archive.expire import DeliveryExpiry
from service.archive.intake_memory import Sessions as IntakeSessions
from service.keys.epoch import Epoch, EpochState
from service.keys.errors import KeysRefusedError, KeysUnavailableError
from service.keys.provider import KeyProvider
from service.keys.ring import KeyRing
from service.worker.jobs import code_of
from service.worker.leftovers import Leftovers

_log: Final = logging.getLogger("taltio")

KEYS, PEOPLE, SOURCES = "keys", "sessions", "sources"
"""What every process with keys does, what those do to which people sign in, and what all do that know sources."""
GIVE_UP_EVERY: Final = timedelta(seconds=15)
KEYS_EVERY: Final = timedelta(seconds=5)
"""A rotation settles for longer than this before it relies on every process having taken its epoch up."""
SESSIONS_EVERY: Final = timedelta(minutes=5)
REMIND_EVERY: Final = timedelta(minutes=5)
ERASURES_EVERY: Final = timedelta(minutes=1)
EXPIRE_EVERY: Final = timedelta(hours=1)
LEFTOVERS_EVERY: Final = timedelta(days=1)
_AFTER_START: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so often, the first time ``first_after`` the start."""

    name: str
    every: timedelta
    do: Callable[[datetime], Awaitable[object]]
    first_after: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Does chores."""

    chores: Sequence[Chore]
    clock: Callable[[], datetime]

    async def run(self) -> None:
        """Do each chore when it is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for chore in self.chores:
                group.create_task(self._keep_doing(chore), name=chore.name)

    async def _keep_doing(self, chore: Chore) -> None:
        await asyncio.sleep(chore.first_after.total_seconds())
        told: str | None = None
        while True:
            code = await self._do(chore, told=told)
            if told and code is None:
                _log.info("housekeeping.recovered", extra={"chore": chore.name})
            told = code
            await asyncio.sleep(chore.every.total_seconds())

    async def _do(self, chore: Chore, *, told: str | None) -> str | None:
        """Do the chore once; return the code of what went wrong, which is told when it is news."""
        try:
            await chore.do(self.clock())
        except Exception as error:  # noqa: BLE001  # a chore is for itself; what it raises is told below
            code = code_of(error)
            if code != told:
                is_ours = code != "internal_error"
                extra = {"chore": chore.name, "code": code}
                _log.warning("housekeeping.failed", extra=extra, exc_info=not is_ours)
            return code
        return None


class Expiring(Protocol):
    """What forgets what is over, such as sessions of people."""

    async def remove_expired(self, *, now: datetime) -> None:
        """Remove it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """What the archive's own chores work on."""

    expectations: Expectations
    sessions: Expiring
    expiry: DeliveryExpiry
    erasures: Erasures
    leftovers: Leftovers
    provider: KeyProvider
    ring: KeyRing
    intake_sessions: IntakeSessions

    def chores(self) -> tuple[Chore, ...]:
        """Return every chore of the archive."""
        return (
            Chore(KEYS, KEYS_EVERY, self.refresh_keys),
            Chore("expectations", GIVE_UP_EVERY, self._give_up),
            Chore(PEOPLE, SESSIONS_EVERY, self._remove_sessions),
            Chore("reminders", REMIND_EVERY, self._remind),
            Chore("erasures", ERASURES_EVERY, self._finish_erasures),
            Chore("deliveries", EXPIRE_EVERY, self._expire),
            Chore("unused keys", LEFTOVERS_EVERY, self._destroy_unused, _AFTER_START),
            Chore("unfinished blobs", LEFTOVERS_EVERY, self._tidy, _AFTER_START),
            Chore("orphans", LEFTOVERS_EVERY, self._report, _AFTER_START),
        )

    async def refresh_keys(self, now: datetime) -> None:
        """Take up epochs that another process made or destroyed, and forget an intake session that is over.

        Raises:
            KeysRefusedError, KeysUnavailableError: The keys cannot be used as they are, or are away. Those in memory
                are dropped; those of a token when they were kept for as long as they may be. Nothing is opened until
                they are back, and what comes in is kept all the same.
        """
        before = _standing(self.ring.epochs)
        try:
            if self.ring.is_due or await asyncio.to_thread(self._has_news):
                self.ring.adopt(await asyncio.to_thread(self.provider.load))
        except (KeysRefusedError, KeysUnavailableError) as error:
            self.ring.note_trouble(error)
            if not self.ring.is_lent:
                self.ring.put_away()
            raise
        finally:
            self.ring.put_away_when_due()
            self.intake_sessions.forget_over(now)
        if before != _standing(self.ring.epochs):
            _log.info("keys.adopted", extra={"epoch": self.ring.current_epoch})

    def _has_news(self) -> bool:
        """Tell whether epochs were made or destroyed, which can be seen without a token."""
        return _standing(self.provider.load_public().epochs) != _standing(self.ring.epochs)

    async def _give_up(self, now: datetime) -> None:
        await self.expectations.give_up(now=now)

    async def _remove_sessions(self, now: datetime) -> None:
        await self.sessions.remove_expired(now=now)

    async def _remind(self, now: datetime) -> None:
        await self.expiry.remind(now=now)

    async def _finish_erasures(self, now: datetime) -> None:
        await self.erasures.finish_interrupted(now=now)

    async def _expire(self, now: datetime) -> None:
        await self.expiry.run(now=now)

    async def _destroy_unused(self, now: datetime) -> None:
        epochs = [epoch.number for epoch in self.ring.epochs]
        older_than = self.expiry.keep_for + timedelta(days=1)
        await self.leftovers.destroy_unused_keys(epochs, older_than=older_than, now=now)

    async def _tidy(self, now: datetime) -> None:
        await self.leftovers.tidy(now=now)

    async def _report(self, now: datetime) -> None:
        await self.leftovers.report(now=now)


def _standing(epochs: Sequence[Epoch]) -> list[tuple[int, EpochState]]:
    return [(epoch.number, epoch.state) for epoch in epochs]
