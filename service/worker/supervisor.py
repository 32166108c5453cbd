"""What runs beside requests, kept running: a loop that fails is told of and begun again, and the others go on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from service.worker.interpretation import Interpretation
from storage.waiting import settled

Loop = Callable[[], Awaitable[None]]
"""Runs until it is cancelled."""

RESTART_AFTER: Final = timedelta(seconds=5)
DRAIN_FOR: Final = timedelta(seconds=5)
_log: Final = logging.getLogger("taltio")


@asynccontextmanager
async def supervised(
    loops: Mapping[str, Loop],
    *,
    interpretation: Interpretation | None = None,
    restart_after: timedelta = RESTART_AFTER,
    drain_for: timedelta = DRAIN_FOR,
) -> AsyncIterator[None]:
    """Run ``loops``, by name, for as long as the block lasts.

    On leaving it, deliveries that wait in ``interpretation`` are understood first, for ``drain_for`` at the most; the
    rest is durable and found again at the next start. Then every loop is cancelled and has ended on return.
    """
    # No task group: it would wrap what the block raises, and none of these tasks ends by failing.
    tasks = [
        asyncio.create_task(_kept_running(name, loop, restart_after), name=name)
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


async def _kept_running(name: str, loop: Loop, restart_after: timedelta) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001  # the edge of the work beside requests: told here, once
            _log.exception("worker.failed", extra={"loop": name})
        else:
            _log.error("worker.ended", extra={"loop": name})
        await asyncio.sleep(restart_after.total_seconds())


async def _drain(interpretation: Interpretation, limit: timedelta) -> None:
    try:
        async with asyncio.timeout(limit.total_seconds()):
            await interpretation.drained()
    except TimeoutError:
        _log.warning("worker.not_drained", extra={"deliveries": interpretation.backlog})
