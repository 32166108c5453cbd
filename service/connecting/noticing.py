"""Sources that are live although the notice does not cover them: nothing of theirs is lost, and a person is told.

Those of the settings are live because the settings name them; of the others this is so when the notice was changed.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.archive.remarks import raise_attention, settle_attention
from service.archive.source_book import KnownSource
from service.connecting.sources import Sources
from service.domain.actor import SYSTEM
from storage.errors import StaleError
from storage.ports import Store
from storage.rows import AttentionRow

NOT_COVERED: Final = "notice_not_covering"
"""The reason under which a source needs attention that the notice does not cover."""
LOOK_EVERY: Final = timedelta(hours=1)
_log: Final = logging.getLogger("taltio")


@dataclass(slots=True)
class NoticeWatch:
    """Holds the sources that are live against the notice."""

    store: Store
    sources: Sources
    _told: dict[str, tuple[bool, bool]] = field(default_factory=dict)

    async def run(self, now: datetime) -> None:
        """Raise attention to each source that the notice does not cover, once; settle what is mended.

        A source that does not say what it carries is told of in the journal alone.

        Raises:
            storage.errors.StorageError: Not all of it could be done; the next run goes on.
        """
        await self.sources.book.refresh()
        where = {"reason": NOT_COVERED, "state": "open"}
        items = {row.about: row for row in await self.store.find(AttentionRow, where)}
        for name, source in sorted(self.sources.book.all().items()):
            if source.is_connecting:
                continue
            is_covered = not self.sources.find_uncovered(source, now=now)
            item = items.pop(name, None)
            self._tell(source, is_covered=is_covered)
            if not is_covered and item is None:
                await self.store.commit(
                    raise_attention(
                        NOT_COVERED, about=name, source=name, actor=SYSTEM.id, now=now
                    )
                )
            elif is_covered and item is not None:
                await self._settle(item, now=now)
        for item in items.values():
            # Its source is no more, or not live.
            await self._settle(item, now=now)

    async def _settle(self, item: AttentionRow, *, now: datetime) -> None:
        try:
            await self.store.commit(settle_attention(item, actor=SYSTEM.id, now=now))
        except StaleError:
            _log.info("sources.settled_meanwhile", extra={"item": item.id})

    def _tell(self, source: KnownSource, *, is_covered: bool) -> None:
        extra = {"source": source.name}
        told = (bool(source.carries), is_covered)
        if self._told.get(source.name) != told:
            if not source.carries:
                _log.warning("sources.carries_not_told", extra=extra)
            elif not is_covered:
                _log.warning("sources.not_covered", extra=extra)
        self._told[source.name] = told
