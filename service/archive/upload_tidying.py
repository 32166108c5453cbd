"""What becomes of uploads with which nobody goes on: what is whole is kept, and what is over is removed."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.archive.upload_view import LIFETIME, is_due, sender_of
from service.archive.uploads import HOPELESS, Uploads
from service.domain.errors import ArchiveError, BusyError
from service.domain.times import to_microseconds
from storage.errors import StorageError
from storage.ports import Span
from storage.rows import UploadRow

_FINISH_AFTER: Final = timedelta(minutes=10)
"""So long the process that took the last byte is left to keep the recording itself."""

_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class UploadTidying:
    """Goes on with uploads that were interrupted, and removes those that are over."""

    uploads: Uploads

    async def tidy(self, *, now: datetime) -> int:
        """Go on with what was interrupted, and remove what is over; return how many uploads were removed.

        Raises:
            storage.errors.StorageError: Not all of it could be done; the next time goes on.
        """
        quiet = Span(None, to_microseconds(now - _FINISH_AFTER))
        over, removed = to_microseconds(now - LIFETIME), 0
        for row in await self.uploads.parts.store.find(UploadRow, {"touched_at": quiet}):
            # Whoever is busy with one, here or elsewhere, has it.
            with suppress(BusyError), self.uploads.taking(row.id):
                if row.state != "removing" and row.touched_at > over:
                    await self._go_on(row, now=now)
                else:
                    await self.uploads.end(row)
                    removed += 1
        if removed:
            _log.info("uploads.removed", extra={"count": removed})
        return removed

    async def _go_on(self, row: UploadRow, *, now: datetime) -> None:
        """Finish what has every byte, and clear what is done."""
        if row.state == "done":
            if await self.uploads.parts.last_at(row.id):
                await self.uploads.parts.clear(row)
            return
        try:
            # Somebody may have gone on with it since it was looked for.
            if not await self.uploads.parts.store.count(
                UploadRow, {"id": row.id, "version": row.version}
            ):
                return
            view = await self.uploads.view_of(row)
            if is_due(view):
                await self.uploads.finish(view, actor=sender_of(view), now=now)
        except HOPELESS as error:
            # Read and sealed again each minute it would be no nearer; its sender was told, and is told again.
            _log.warning("uploads.unfinished", extra={"upload": row.id, "code": error.code})
            await self.uploads.end(row)
        except (ArchiveError, StorageError) as error:
            code = error.code if isinstance(error, ArchiveError) else type(error).__name__
            _log.warning("uploads.unfinished", extra={"upload": row.id, "code": code})
