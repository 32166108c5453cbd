"""Staying connected to a source that tells events once: what it tells is kept, and when it could not be heard is told.

An event is durable before anything in it is read. While there is no line the source has a gap, which a person sees at
once and which ends when there is a line again. So it is when the service stops; when it is killed, what it kept last
tells since when.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.archive.gaps import Gaps
from service.archive.receive import Intake, Kept, keep_delivery
from service.domain.errors import ArchiveError, UnavailableError
from service.domain.times import from_microseconds
from service.worker.subscriptions.line import Dial, Line, RefusedError, Told
from storage.errors import StorageError
from storage.ports import Turn
from storage.rows import DeliveryRow, GapRow

FIRST_WAIT: Final = timedelta(seconds=2)
LONGEST_WAIT: Final = timedelta(minutes=1)
"""Shorter than for what can wait: what is told meanwhile is told to nobody."""
REFUSED_WAIT: Final = timedelta(minutes=5)
STEADY_AFTER: Final = timedelta(seconds=30)
TURN_EVERY: Final = timedelta(seconds=5)
UNSTEADY_WITHIN: Final = timedelta(minutes=10)
"""A line that is lost again so soon has the gap that it had: one that comes and goes is looked at once."""
_NOTE_SECONDS: Final = 2.0
_FAULTS: Final = (ArchiveError, StorageError, OSError)
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long is waited before what is done again."""

    first: timedelta = FIRST_WAIT
    longest: timedelta = LONGEST_WAIT
    refused: timedelta = REFUSED_WAIT
    turn: timedelta = TURN_EVERY


@dataclass(slots=True, kw_only=True)
class Subscription:
    """Keeps what ``source`` tells on the lines that ``dial`` opens, as deliveries of ``kind``.

    Of several processes the one whose ``turn`` it is does so. ``cause`` is the code of the gaps. ``trouble`` says in
    words why there is no line; None while there is one, or before it was tried.
    """

    name: str
    source: str
    kind: str
    cause: str
    dial: Dial
    intake: Intake
    turn: Turn
    clock: Callable[[], datetime]
    offer: Callable[[Kept], None] | None = None
    waits: Waits = field(default_factory=Waits)
    trouble: str | None = field(default=None, init=False)
    _lost_at: datetime | None = field(default=None, init=False)

    @property
    def gaps(self) -> Gaps:
        """The gaps of sources."""
        return Gaps(self.intake.store)

    async def run(self) -> None:
        """Stay connected, until cancelled."""
        wait = self.waits.first
        while True:
            begun = _now()
            pause = self.waits.turn
            try:
                if await self.turn.is_mine():
                    await self._attend()
                # Somebody else is connected now.
                self.trouble = None
            except _FAULTS as error:
                self._tell(error)
                await self._note_gap()
                if _now() - begun >= STEADY_AFTER.total_seconds():
                    wait = self.waits.first
                pause = self.waits.refused if isinstance(error, RefusedError) else wait
                wait = min(wait * 2, self.waits.longest)
            await asyncio.sleep(pause.total_seconds())

    async def _attend(self) -> None:
        """Keep what is told, until it is the turn of somebody else.

        Raises:
            ArchiveError, StorageError, OSError: There is no line, or it is lost. That there is a gap was noted.
        """
        async with self.dial() as line:
            since = await self._connected()
            try:
                if since is not None:
                    await self._catch_up(line, since)
                await self._listen(line)
            except (*_FAULTS, asyncio.CancelledError):
                self._lost_at = line.heard_at
                await self._note_gap()
                raise

    async def _catch_up(self, line: Line, since: datetime) -> None:
        try:
            missed = await line.missed(since)
        except UnavailableError as error:
            # What is told now is not to be missed as well. The gap stays for a person.
            extra = {"place": self.name, "why": str(error)}
            _log.warning("subscription.not_caught_up", extra=extra)
            return
        for told in missed:
            await self._keep(told)

    async def _connected(self) -> datetime | None:
        """End the gap that there was, or note it; return since when nothing was heard, None where never was anything.

        Raises:
            storage.errors.StorageError: It could not be noted.
        """
        now = self.clock()
        since = await self._silent_since()
        lasting = await self._lasting()
        for row in lasting:
            await self.gaps.end(row.id, at=now)
        if not lasting and since is not None and since < now:
            # Killed, or not able to note it: nobody knew that there was a gap.
            await self.gaps.note(self.source, since=since, until=now, cause=self.cause, now=now)
        self._lost_at = None
        if self.trouble is not None:
            _log.info("subscription.connected_again", extra={"place": self.name})
        self.trouble = None
        return min((from_microseconds(row.since) for row in lasting), default=since)

    async def _silent_since(self) -> datetime | None:
        if self._lost_at is not None:
            return self._lost_at
        where = {"source": self.source, "kind": self.kind}
        newest = await self.intake.store.find(
            DeliveryRow, where, order=("-received_at",), limit=1
        )
        return from_microseconds(newest[0].received_at) if newest else None

    async def _lasting(self) -> Sequence[GapRow]:
        found = await self.gaps.find_open(self.source)
        return [row for row in found if row.cause == self.cause and row.until is None]

    async def _listen(self, line: Line) -> None:
        asked = _now()
        while True:
            told = await line.receive()
            if told is not None:
                await self._keep(told)
            if _now() - asked >= self.waits.turn.total_seconds():
                if await self._is_others():
                    return
                asked = _now()

    async def _is_others(self) -> bool:
        """Tell whether it is somebody else's turn. Where nobody can tell, two who listen keep what is told once."""
        try:
            return not await self.turn.is_mine()
        except StorageError:
            return False

    async def _keep(self, told: Told) -> None:
        """Keep an event; on return it survives a power cut. While it cannot be kept, nothing more is received.

        Raises:
            UnavailableError: It could not be kept, and it is the turn of somebody else.
        """
        wait = self.waits.first
        while (kept := await self._try_to_keep(told)) is None:
            await asyncio.sleep(wait.total_seconds())
            wait = min(wait * 2, self.waits.longest)
            if await self._is_others():
                raise UnavailableError("what it tells could not be kept in time")
        if self.offer is not None:
            self.offer(kept)

    async def _try_to_keep(self, told: Told) -> Kept | None:
        try:
            return await keep_delivery(
                self.intake,
                source=self.source,
                kind=self.kind,
                ident=hashlib.sha256(told.compared).hexdigest(),
                compared=told.compared,
                body=told.body,
                now=self.clock(),
            )
        except StorageError as error:
            extra = {"place": self.name, "code": type(error).__name__}
            _log.warning("subscription.not_kept", extra=extra)
            return None

    async def _note_gap(self) -> None:
        """Note that there is a gap which lasts, unless one is noted; where that fails, the next line notes it."""
        # Whoever stops has little time.
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_NOTE_SECONDS):
                since = await self._silent_since()
                if since is not None and not await self._lasting():
                    await self.gaps.note_again(
                        self.source,
                        since=since,
                        until=None,
                        cause=self.cause,
                        now=self.clock(),
                        within=UNSTEADY_WITHIN,
                    )

    def _tell(self, error: Exception) -> None:
        is_ours = isinstance(error, StorageError | OSError)
        words = "what it tells cannot be kept now" if is_ours else str(error)
        if words != self.trouble:
            extra = {"place": self.name, "code": type(error).__name__, "why": words}
            _log.warning("subscription.lost", extra=extra)
        self.trouble = words


def _now() -> float:
    return asyncio.get_running_loop().time()
