"""Waking those who wait for work."""

import asyncio
from contextlib import suppress


class Bell:
    """Wakes everybody who waits, when rung; who begins to wait afterwards waits for the next time."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake those who wait now."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return when the bell is rung, at the latest after ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
