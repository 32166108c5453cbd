"""Tells the service manager how it goes: sd_notify(3), a datagram of a few bytes, where there is one that listens."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_ALIVE: Final = "WATCHDOG=1"


def notify(state: str, environment: Mapping[str, str] = os.environ) -> None:
    """Send ``state``. Where nobody wants to know, or nobody listens any more, do nothing."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A leading @ stands for the zero byte of the abstract namespace (unix(7)).
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # noqa: FBT003  # the name of the argument is its position
        sender.sendto(state.encode(), name)


@asynccontextmanager
async def watched(environment: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Tell inside the block that the event loop still turns, twice as often as the manager wants to hear it."""
    seconds = _seconds_between(environment)
    if seconds is None:
        yield
        return
    telling = asyncio.create_task(_tell_every(seconds, environment), name="watchdog")
    try:
        yield
    finally:
        telling.cancel()


def _seconds_between(environment: Mapping[str, str]) -> float | None:
    """Return half of what the manager allows (sd_watchdog_enabled(3)); None when it does not watch this process."""
    allowed, whom = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    is_ours = whom in {"", str(os.getpid())}
    return int(allowed) / 2e6 if allowed.isdecimal() and int(allowed) and is_ours else None


async def _tell_every(seconds: float, environment: Mapping[str, str]) -> None:
    while True:
        notify(_ALIVE, environment)
        await asyncio.sleep(seconds)
