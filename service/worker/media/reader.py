"""The recording as the child sees it: a file that the parent holds and hands out in blocks."""

import io
import os
from collections import OrderedDict
from typing import Protocol

from service.worker.media.pipe import (
    ANSWER,
    FRAME,
    MAX_READ_BYTES,
    READ,
    REQUEST,
)

_BLOCKS_KEPT = 8


class ReadBudgetError(Exception):
    """The recording makes its decoder read it over and over."""


class Channel:
    """The child's end of the socket."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, kind: bytes, payload: bytes | memoryview = b"") -> None:
        """Send one frame."""
        rest = memoryview(FRAME.pack(kind, len(payload)) + bytes(payload))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def greeting(self) -> bytes:
        """Return what the parent says before anything else.

        Raises:
            EOFError: The parent is gone.
        """
        return self._answer()

    def ask(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes of the recording.

        Raises:
            EOFError: The parent is gone.
        """
        self.send(READ, REQUEST.pack(offset, length))
        return self._answer()

    def exchange(self, kind: bytes, payload: bytes) -> bytes:
        """Send one frame and return what the parent answers.

        Raises:
            EOFError: The parent is gone.
        """
        self.send(kind, payload)
        return self._answer()

    def _answer(self) -> bytes:
        (length,) = ANSWER.unpack(self._receive(ANSWER.size))
        return self._receive(length)

    def _receive(self, length: int) -> bytes:
        received = bytearray()
        while len(received) < length:
            piece = os.read(self._descriptor, length - len(received))
            if not piece:
                raise EOFError
            received += piece
        return bytes(received)


class RemoteFile:
    """Random access to the parent's recording, in aligned blocks, a few of them kept.

    ``most_bytes`` bounds what may be asked for in all, so that a recording cannot make its
    decoder go in circles.
    """

    def __init__(self, channel: Channel, *, size_bytes: int, most_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._channel = channel
        self._left = most_bytes
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset``; fewer only where the recording ends."""
        end = min(offset + length, self.size_bytes)
        pieces = []
        while offset < end:
            number, within = divmod(offset, MAX_READ_BYTES)
            piece = self._block(number)[within : within + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def _block(self, number: int) -> bytes:
        block = self._blocks.get(number)
        if block is None:
            start = number * MAX_READ_BYTES
            length = min(MAX_READ_BYTES, self.size_bytes - start)
            self._left -= length
            if self._left < 0:
                raise ReadBudgetError
            block = self._channel.ask(start, length)
            self._blocks[number] = block
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return block


class Readable(Protocol):
    """What a view shows a part of."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes from ``offset``; fewer only at the end."""


class View:
    """Some bytes of ours, then a stretch of the recording, as one read-only seekable file.

    Its methods are those that PyAV looks for in a file object.
    """

    def __init__(self, file: Readable, *, start: int, length: int, prefix: bytes = b"") -> None:
        self._file = file
        self._start = start
        self._prefix = prefix
        self._size = len(prefix) + max(0, length)
        self._position = 0

    def read(self, length: int) -> bytes:
        """Return the next bytes, at most ``length``; none at the end."""
        length = max(0, min(length, self._size - self._position))
        head = self._prefix[self._position : self._position + length]
        rest = length - len(head)
        offset = self._start + max(0, self._position - len(self._prefix))
        found = head + self._file.read_at(offset, rest) if rest else head
        self._position += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as ``io`` files do, never before the start, and return the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the start")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position
