"""What runs beside requests, kept running: a loop that fails is told of and begun again, and the others go on."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from service.worker.interpretation import Interpretation
from storage.waiting import settled

Loop = Callable[[], Awaitable[None]]
"""Runs until it is cancelled."""

RESTART_AFTER: Final = timedelta(seconds=5)
DRAIN_FOR: Final = timedelta(seconds=5)
STEADY_AFTER: Final = timedelta(seconds=30)
"""A loop that has run for so long since it failed is in order again."""
_log: Final = logging.getLogger("taltio")


@dataclass(slots=True)
class Watch:
    """Remembers when each loop failed last. ``timer`` gives seconds that never go back."""

    timer: Callable[[], float] = time.monotonic
    _failed: dict[str, float] = field(default_factory=dict, init=False)

    def note(self, name: str) -> None:
        """Remember that the loop ``name`` failed now."""
        self._failed[name] = self.timer()

    def failing(self) -> list[str]:
        """Return the loops that failed and have not run steadily since, by name."""
        since = self.timer() - STEADY_AFTER.total_seconds()
        return sorted(name for name, at in self._failed.items() if at > since)


@asynccontextmanager
async def supervised(
    loops: Mapping[str, Loop],
    *,
    interpretation: Interpretation | None = None,
    watch: Watch | None = None,
    restart_after: timedelta = RESTART_AFTER,
    drain_for: timedelta = DRAIN_FOR,
) -> AsyncIterator[None]:
    """Run ``loops``, by name, for as long as the block lasts.

    On leaving it, deliveries that wait in ``interpretation`` are understood first, for ``drain_for`` at the most; the
    rest is durable and found again at the next start. Then every loop is cancelled and has ended on return. ``watch``
    is told of every failure.
    """
    watch = watch or Watch()
    # No task group: it would wrap what the block raises, and none of these tasks ends by failing.
    tasks = [
        asyncio.create_task(_kept_running(name, loop, restart_after, watch), name=name)
        for name, loop in loops.items()
    ]
    try:
        yield
        if interpretation is not None:
            await _drain(interpretation, drain_for)
    finally:
        for task in tasks:
            task.cancel()
        await settled(asyncio.gather(*tasks, return_exceptions=True))


async def _kept_running(name: str, loop: Loop, restart_after: timedelta, watch: Watch) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001  # the edge of the work beside requests: told here, once
            _log.exception("worker.failed", extra={"loop": name})
        else:
            _log.error("worker.ended", extra={"loop": name})
        watch.note(name)
        await asyncio.sleep(restart_after.total_seconds())


async def _drain(interpretation: Interpretation, limit: timedelta) -> None:
    try:
        async with asyncio.timeout(limit.total_seconds()):
            await interpretation.drained()
    except TimeoutError:
        _log.warning("worker.not_drained", extra={"deliveries": interpretation.backlog})
