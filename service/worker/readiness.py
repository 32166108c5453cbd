"""What must be in order for the service to do its work, each part asked for itself. The answers name no contents."""

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from service.domain.errors import ArchiveError
from service.domain.ids import new_id
from service.keys.ring import KeyRing
from service.worker.checkpoints import LogKeeper
from service.worker.supervisor import Watch
from storage.errors import BrokenError, DoubtfulError, FullError, StorageError
from storage.ports import BlobStore, KeyStore, LogStore, Store

Check = Callable[[], Awaitable[str | None]]
"""Says what is not ready, or None."""

LIMIT: Final = timedelta(seconds=2)
LEAST_ROOM: Final = 64 * 1024**2
LOG_MAY_WAIT: Final = timedelta(seconds=60)
_log: Final = logging.getLogger("taltio")


@dataclass(slots=True)
class Limited:
    """A check that answers within ``limit``. While one is under way, all who ask wait for that one."""

    check: Check
    limit: timedelta = LIMIT
    _under_way: asyncio.Task[str | None] | None = field(default=None, init=False, repr=False)

    async def __call__(self) -> str | None:
        """Return what the check says; also when it fails, or says nothing in time."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.ensure_future(self.check())
        # Not cancelled when time is up: what waits for a disk cannot be, and a second one would only wait too.
        done, _ = await asyncio.wait({self._under_way}, timeout=self.limit.total_seconds())
        if not done:
            return f"no answer within {self.limit.total_seconds():g} s"
        error = self._under_way.exception()
        if error is None:
            return self._under_way.result()
        return _explain(error)


def _explain(error: BaseException) -> str:
    if isinstance(error, DoubtfulError):
        return "the database was lost at a commit and is not found again"
    if isinstance(error, BrokenError):
        return "a sync failed, so nothing more is taken: mend the disk and start again"
    if isinstance(error, FullError):
        return "there is no room left"
    if not isinstance(error, StorageError | ArchiveError | OSError):
        _log.error("readiness.failed", exc_info=error)
    return "it cannot be used now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The checks of a running service.

    Attributes:
        directories: Where room is needed.
        begun_at: When the service began: a log that was never published since is late from then on.
        ring, keeper: None in a process that opens nothing, or never publishes.
    """

    store: Store
    log: LogStore
    keys: KeyStore
    blobs: BlobStore
    ring: KeyRing | None
    keeper: LogKeeper | None
    watch: Watch
    directories: Sequence[Path]
    publish_every: timedelta
    clock: Callable[[], datetime]
    begun_at: datetime

    def checks(self) -> Mapping[str, Check]:
        """Return every check by name, each with its time limit."""
        checks: dict[str, Check] = {
            "store": self._store,
            "keys": self._keys,
            "blobs": self._blobs,
            "durability": self._durability,
            "log": self._published,
            "loops": self._loops,
        }
        return {name: Limited(check) for name, check in checks.items()}

    def warnings(self) -> Mapping[str, Check]:
        """Return what is told as well, and stops no delivery from being taken in."""
        return {"keys": Limited(self._away)}

    async def _away(self) -> str | None:
        if self.ring is None or self.ring.is_at_hand:
            return None
        return (
            "what opens the keys does not answer: nothing is opened and no checkpoint signed until it does;"
            " deliveries are taken and kept"
        )

    async def _store(self) -> None:
        await self.log.log_size()

    async def _keys(self) -> str | None:
        await self.keys.get_keys([new_id("ob")])
        if self.ring is None or not self.ring.is_at_hand:
            # Deliveries are taken all the same; ``warnings`` tells of it.
            return None
        current = self.ring.current_epoch
        if not any(one.number == current and one.keys is not None for one in self.ring.epochs):
            return "the key of the current epoch is not at hand"
        return None

    async def _blobs(self) -> str | None:
        free = await asyncio.to_thread(
            lambda: min(shutil.disk_usage(directory).free for directory in self.directories)
        )
        if free < LEAST_ROOM:
            return f"only {free // 1024**2} MiB are free"
        return await self.blobs.find_fault()

    async def _durability(self) -> None:
        # Changes of nothing: they write nothing, and are refused where durability was lost.
        await self.store.commit([])
        await self.keys.put_keys([])

    async def _published(self) -> str | None:
        if await self.unpublished() == 0:
            return None
        standing = None if self.keeper is None else self.keeper.standing
        since = self.begun_at if standing is None else standing.at
        waited = self.clock() - since
        allowed = LOG_MAY_WAIT + self.publish_every
        # Without the key nothing is signed, which ``warnings`` tells; once it is back, there is as much time again.
        at_hand_for = float("inf") if self.ring is None else self.ring.at_hand_for
        if min(waited.total_seconds(), at_hand_for) <= allowed.total_seconds():
            return None
        return f"new entries wait to be published, for {waited.total_seconds():.0f} s by now"

    async def _loops(self) -> str | None:
        failing = self.watch.failing()
        return f"failed and begun again: {', '.join(failing)}" if failing else None

    async def unpublished(self) -> int:
        """Return how many entries no checkpoint covers that this process saw."""
        size = await self.log.log_size()
        standing = None if self.keeper is None else self.keeper.standing
        return size if standing is None else max(0, size - standing.position)


def resident_bytes() -> int | None:
    """Return the memory that this process occupies (proc_pid_statm(5)); None where that is not told."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None
