"""Openings in use: what is open in this process, for whom, and until when.

The opening itself is on record before anything here begins. A crash loses at most the note of what was sent in
the last seconds, never the opening.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.archive.payload import Payload
from service.archive.targets import Asked
from service.archive.tracking import Track
from service.domain.errors import UnavailableError
from service.domain.purpose import Grant
from storage.errors import StorageError
from storage.ports import Store

FLUSH_EVERY: Final = timedelta(seconds=2)
IDLE_LIFE: Final = timedelta(seconds=60)
"""After this long without a request an opening is closed; the next request opens it again."""

MAX_OPEN: Final = 256

_log: Final = logging.getLogger("taltio.openings")

Key = tuple[str, str, Asked]
"""Actor, grant, and what was asked for."""


@dataclass(slots=True, eq=False)
class OpenedContent:
    """One object, opened for one actor under one grant.

    ``checked_at`` is when the grant was last seen to stand, ``unwrapped_at`` when the key was taken from the
    key store. Once ``is_closed``, no further byte is to be sent.
    """

    key: Key
    track: Track
    payload: Payload = field(repr=False)
    grant: Grant = field(repr=False)
    unwrapped_at: datetime
    checked_at: datetime
    used_at: datetime
    stack: AsyncExitStack = field(repr=False)
    is_closed: bool = False
    users: int = 0

    @property
    def size_bytes(self) -> int:
        """The true length of the content."""
        return self.payload.size_bytes

    @property
    def content_type(self) -> str:
        """The media type that the sender claimed, or that of the rendition. Nothing vouches for it."""
        return self.track.target.content_type

    @property
    def filename(self) -> str:
        """The name that the sender gave. Nothing vouches for it."""
        return self.track.target.filename

    @property
    def etag(self) -> str:
        """A strong entity tag, in its quotes; it names the object and tells nothing of its content."""
        return f'"{self.track.target.object.id}"'


class Openings:
    """What is open in this process. Bounded: the least recently used closes first."""

    def __init__(
        self, store: Store, *, max_open: int = MAX_OPEN, idle_life: timedelta = IDLE_LIFE
    ) -> None:
        self._store = store
        self._max_open = max_open
        self._idle_life = idle_life
        self._open: OrderedDict[Key, OpenedContent] = OrderedDict()
        self._closing: list[OpenedContent] = []

    def find(self, key: Key, now: datetime) -> OpenedContent | None:
        """Return what is open as ``key``, unless its grant has expired."""
        content = self._open.get(key)
        if content is None:
            return None
        if now >= content.grant.expires_at:
            self.retire(content)
            return None
        content.used_at = now
        self._open.move_to_end(key)
        return content

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def add(self, content: OpenedContent) -> None:
        """Take over ``content``, and with it the duty to close it."""
        self._open[content.key] = content
        while len(self._open) > self._max_open:
            self.retire(next(iter(self._open.values())))

    def retire(self, content: OpenedContent) -> None:
        """Close ``content``; a transfer under way ends with the batch at hand."""
        content.is_closed = True
        if self._open.get(content.key) is content:
            del self._open[content.key]
            self._closing.append(content)

    def forget(self, an_id: str) -> None:
        """Close at once what is open under the grant, or of the contact or thing, ``an_id``."""
        for content in list(self._open.values()):
            row = content.track.row
            if an_id in (row.grant_id, row.contact_id, row.object_id, content.key[2].id):
                self.retire(content)

    @contextlib.contextmanager
    def using(self, content: OpenedContent) -> Iterator[None]:
        """Keep ``content`` readable meanwhile, even when it is retired."""
        content.users += 1
        try:
            yield
        finally:
            content.users -= 1

    async def flush(self, *, now: datetime) -> None:
        """Store what was sent and close what is idle. What fails is logged, and tried again."""
        for content in list(self._open.values()):
            if now - content.used_at >= self._idle_life and not content.users:
                self.retire(content)
            else:
                await self._save(content)
        waiting, self._closing = self._closing, []
        for content in waiting:
            if content.users:
                self._closing.append(content)
            else:
                await self._close(content, now=now)

    async def run(
        self, *, clock: Callable[[], datetime], every: timedelta = FLUSH_EVERY
    ) -> None:
        """Flush every few seconds until cancelled; then close everything."""
        try:
            while True:
                await asyncio.sleep(every.total_seconds())
                await self.flush(now=clock())
        finally:
            await self.aclose(now=clock())

    async def aclose(self, *, now: datetime) -> None:
        """Close everything, storing what was sent."""
        for content in list(self._open.values()):
            self.retire(content)
        waiting, self._closing = self._closing, []
        for content in waiting:
            await self._close(content, now=now)

    async def _close(self, content: OpenedContent, *, now: datetime) -> None:
        try:
            await self._save(content)
            if content.track.sent_bytes:
                await self._store.commit([content.track.closed_entry(now=now)])
        except StorageError:
            _log.exception("opening.not_closed", extra={"opening": content.track.row.id})
        finally:
            await content.stack.aclose()

    async def _save(self, content: OpenedContent) -> None:
        try:
            await content.track.save(self._store)
        except UnavailableError:
            _log.exception("opening.not_stored", extra={"opening": content.track.row.id})
