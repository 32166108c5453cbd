"""A body that arrives in pieces of an upload: cut into parts, checked against its checksum, kept as far as it came."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from service.domain.errors import TooLargeError

PART_BYTES: Final = 8 * 1024 * 1024
"""A part is kept as soon as it is so large: a crash costs no more of a long request."""

ALGORITHMS: Final = ("sha1", "sha256")
"""How checksums of requests may be made (tus 1.0, "Checksum")."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a sender says of the bytes of one request; ``algorithm`` is one of ``ALGORITHMS``."""

    algorithm: str
    digest: bytes


class Incoming:
    """The bytes of one request, part by part. ``broken`` is what ended it before its end, if something did."""

    def __init__(
        self, chunks: AsyncIterator[bytes], *, checksum: Checksum | None, limit_bytes: int
    ) -> None:
        self._chunks = chunks
        self._next = b""
        self._left = limit_bytes
        self._checksum = checksum
        # SHA-1 finds bytes that went wrong on their way, and protects nothing (tus 1.0, "Checksum").
        self._digest = (
            None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        )
        self.broken: Exception | None = None

    async def has_more(self) -> bool:
        """Wait for the next bytes; tell whether there are any.

        What ends the body early is kept in ``broken``, so that what came before can be kept first.
        """
        while not self._next and self.broken is None:
            try:
                self._next = bytes(await anext(self._chunks))
            except StopAsyncIteration:
                return False
            except Exception as error:  # noqa: BLE001  # whatever it is: raised again once what came is kept
                self.broken = error
        if len(self._next) > self._left:
            self._next = self._next[: self._left]
            self.broken = TooLargeError("more bytes than the upload was to have")
        return bool(self._next)

    async def part(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the next part."""
        size = 0
        while size < PART_BYTES and await self.has_more():
            chunk, self._next = self._next, b""
            size += len(chunk)
            self._left -= len(chunk)
            if self._digest is not None:
                self._digest.update(chunk)
            yield chunk

    @property
    def is_checked(self) -> bool:
        """Whether the sender told a checksum, so that nothing counts before all of it came."""
        return self._checksum is not None

    def is_sound(self) -> bool:
        """Tell whether what came is what the sender says."""
        if self._checksum is None or self._digest is None:
            return True
        return hmac.compare_digest(self._digest.digest(), self._checksum.digest)
