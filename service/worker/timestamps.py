"""Having checkpoints stamped by an authority (RFC 3161), every so often, beside the signing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Final

from service.archive.vouched import Stamp, Vouched, keep_stamp_outside
from service.domain.errors import ArchiveError, UnavailableError
from service.log.checkpoint import decode_checkpoint
from service.log.timestamp import Trust, request_timestamp, verify_timestamp
from service.worker.checkpoints import LogKeeper
from service.worker.outside import Post
from storage.waiting import settled

_AT_ONCE: Final = timedelta(seconds=1)
# Two clocks that are further apart cannot both be right, and nobody could say which is.
_TOLERANCE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Stamper:
    """Has the last signed checkpoint stamped when the last stamp is ``every`` old, by the authority's own time."""

    trust: Trust
    post: Post
    keeper: LogKeeper
    vouched: Vouched
    outside: Path | None
    every: timedelta
    clock: Callable[[], datetime]

    async def ask(self) -> timedelta | None:
        """Ask for a stamp if it is time and there is something new; return how long until it is time.

        On return the stamp is verified and durable, and also outside where there is such a place.

        Raises:
            UnavailableError: The authority does not answer, or not as it should.
            storage.errors.StorageError, OSError: Something cannot be read or kept.
        """
        note = await asyncio.to_thread(self.keeper.last_note)
        if note is None:
            return None
        checkpoint = decode_checkpoint(note)
        last = await asyncio.to_thread(self.vouched.last_stamp, checkpoint.origin)
        if last is not None:
            if decode_checkpoint(last.note).size >= checkpoint.size:
                return None
            remaining = self._remaining(last)
            if remaining > timedelta():
                return max(remaining, _AT_ONCE)
        request = request_timestamp(note)
        answer = await self.post(request.body)
        if answer.status != HTTPStatus.OK:
            raise UnavailableError(f"it answers {answer.status}")
        try:
            stamped = verify_timestamp(answer.body, note, self.trust, nonce=request.nonce)
        except ArchiveError as error:
            raise UnavailableError(
                "it answers something else than a timestamp that can be accepted"
            ) from error
        if abs(stamped.at - self.clock()) > _TOLERANCE:
            raise UnavailableError("its time is more than an hour from that of this machine")
        await settled(asyncio.to_thread(self._keep, note, answer.body))
        return self.every

    def _keep(self, note: bytes, answer: bytes) -> None:
        day = self.clock().date()
        self.vouched.keep_stamp(note, answer, day)
        if self.outside is not None:
            keep_stamp_outside(self.outside, note, answer, day)

    def _remaining(self, last: Stamp) -> timedelta:
        try:
            stamped = verify_timestamp(last.answer, last.note, self.trust)
        except ArchiveError:
            # Another authority by now, or a damaged file: a new stamp is due.
            return timedelta()
        return min(stamped.at + self.every - self.clock(), self.every)
