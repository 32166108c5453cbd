"""Large age files, as they stream: sealed and hashed on the way to a disk, opened on the way back. Blocking."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from service.backup.working import create_private
from service.crypto.age import MAX_HEADER_BYTES, open_header, parse_header, seal_header
from service.crypto.recipients import Identity, Recipient
from service.crypto.secret import FileKey
from service.crypto.stream import PayloadSealer, open_stream

PIECE_BYTES: Final = 1024**2


class SealedFile(msgspec.Struct, frozen=True):
    """The length and the SHA-256, in hexadecimal, of a file as it is stored."""

    bytes: int
    sha256: str


class Sealing:
    """A new file at ``path`` that takes what is written to it, sealed to ``recipients``."""

    def __init__(self, path: Path, recipients: Sequence[Recipient]) -> None:
        """Begin the file.

        Raises:
            InvalidInputError: The recipients do not mix, or there are none.
            OSError: It cannot be written.
        """
        file_key = FileKey.generate()
        header = seal_header(file_key, recipients)
        self._sealer = PayloadSealer(file_key)
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._file = create_private(path)
        self._add(header)

    def write(self, data: bytes) -> int:
        """Take the next bytes."""
        self._add(self._sealer.update(data))
        return len(data)

    def finish(self) -> SealedFile:
        """End the file. On return its bytes survive a power cut; its name does once its folder is synced."""
        self._add(self._sealer.finish())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return SealedFile(self._bytes, self._hash.hexdigest())

    def close(self) -> None:
        """Give the file up, unless it is finished."""
        self._file.close()

    def _add(self, data: bytes | bytearray) -> None:
        self._hash.update(data)
        self._bytes += len(data)
        self._file.write(data)


class Opened:
    """The plain bytes of a sealed file that is read from one end to the other; what is read is authentic."""

    def __init__(self, source: BinaryIO, identities: Sequence[Identity]) -> None:
        """Read the header.

        Raises:
            service.crypto.errors.HeaderError: It is none, or was changed.
            service.crypto.errors.NoMatchError: None of ``identities`` opens it.
        """
        begin = source.read(MAX_HEADER_BYTES)
        header = parse_header(begin)
        file_key = open_header(header, identities)
        self.sha256 = hashlib.sha256(begin)
        self.bytes = len(begin)
        self._source = source
        self._pieces = open_stream(file_key, self._payload(begin[header.length_bytes :]))
        self._left = b""

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than ``size`` only at the end.

        Raises:
            service.crypto.errors.PayloadError: The file was changed or cut.
        """
        parts, missing = [], size
        while missing:
            piece = self._left or next(self._pieces, b"")
            if not piece:
                break
            parts.append(piece[:missing])
            self._left = piece[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    @property
    def seen(self) -> SealedFile:
        """What was read of the file so far."""
        return SealedFile(self.bytes, self.sha256.hexdigest())

    def _payload(self, begin: bytes) -> Iterator[bytes]:
        yield begin
        while piece := self._source.read(PIECE_BYTES):
            self.sha256.update(piece)
            self.bytes += len(piece)
            yield piece
