"""Deliveries are understood a moment after they are acknowledged: from memory, and after a crash from the store."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.archive.receive import Kept, SealedDelivery
from service.archive.understand import Understanding
from service.domain.errors import ArchiveError
from service.domain.times import to_microseconds
from storage.errors import StorageError
from storage.rows import DeliveryRow

_log = logging.getLogger("taltio")

BATCH = 200
WAITING_LIMIT = 10_000
"""More deliveries than this are not held in memory; they are found in the store."""
CATCH_UP_EVERY = timedelta(seconds=20)

_Item = tuple[DeliveryRow, SealedDelivery]


@dataclass(slots=True)
class Interpretation:
    """The queue between receiving and understanding."""

    understanding: Understanding
    clock: Callable[[], datetime]
    is_able: Callable[[], bool] = lambda: True
    """Whether the keys are at hand. Without them deliveries stay as received, and the store gives them again."""
    _queue: asyncio.Queue[_Item] = field(
        default_factory=lambda: asyncio.Queue(WAITING_LIMIT), repr=False
    )

    def offer(self, kept: Kept) -> None:
        """Take a kept delivery, to be understood soon. It is durable already, so a full queue loses nothing."""
        if kept.is_duplicate:
            return
        try:
            self._queue.put_nowait((kept.row, kept.delivery))
        except asyncio.QueueFull:
            _log.info("interpretation.queue_full")

    @property
    def backlog(self) -> int:
        """How many deliveries wait in memory."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Understand what is offered, in batches, until cancelled. While one is worked in, the next gathers."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._understand(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def drained(self) -> None:
        """Return when everything that was offered has been worked in, as long as ``run`` runs."""
        await self._queue.join()

    async def catch_up(self) -> None:
        """Understand what the store holds and no queue does: at once for what a crash left, then now and again."""
        is_first = True
        while True:
            now = self.clock()
            if not self.is_able():
                await asyncio.sleep(CATCH_UP_EVERY.total_seconds())
                continue
            try:
                await self._catch_up(now, is_first=is_first)
                await self.understanding.meet_waiting(now=now)
            except (ArchiveError, StorageError) as error:
                _log.warning(
                    "interpretation.catch_up_failed", extra={"code": type(error).__name__}
                )
            is_first = False
            await asyncio.sleep(CATCH_UP_EVERY.total_seconds())

    async def _catch_up(self, now: datetime, *, is_first: bool) -> None:
        if is_first:
            # Also what seems to come from the future: the clock may have been set back since.
            await self.understanding.catch_up(now=now, received_before=None)
            return
        # What has just come is in the queue; only what stays is taken from the store.
        before, ahead = now - CATCH_UP_EVERY, now + CATCH_UP_EVERY
        await self.understanding.catch_up(now=now, received_before=to_microseconds(before))
        await self.understanding.catch_up(
            now=now, received_before=None, received_since=to_microseconds(ahead)
        )

    async def _understand(self, batch: Sequence[_Item]) -> None:
        if not self.is_able():
            return
        try:
            await self.understanding.understand(batch, now=self.clock())
        except (ArchiveError, StorageError) as error:
            # It stays as received, and the store gives it again.
            _log.warning(
                "interpretation.postponed",
                extra={"code": type(error).__name__, "deliveries": len(batch)},
            )
        except Exception:  # noqa: BLE001  # one broken delivery must not stop the others; it is told below
            if len(batch) > 1:
                for item in batch:
                    await self._understand([item])
                return
            _log.exception("interpretation.failed", extra={"delivery": batch[0][0].id})
            await self.understanding.fail(batch[0][0], "internal_error", now=self.clock())
