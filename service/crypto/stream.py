"""The age v1 payload: chunks of 64 KiB, each authenticated, opened from any of them.

A payload is a nonce of 16 bytes and at least one chunk (C2SP age, section "Payload"). Only the
last chunk carries the final flag, so a payload that was cut, extended or reordered shows it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from service.crypto.errors import PayloadError
from service.crypto.secret import FileKey, derive

CHUNK_BYTES = 65536
NONCE_BYTES = 16
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES

Bytes: TypeAlias = bytes | bytearray | memoryview

_FINAL = 1


def sealed_length(plain_bytes: int) -> int:
    """Return how many bytes a payload of ``plain_bytes`` has, its nonce included."""
    chunks = max(1, -(-plain_bytes // CHUNK_BYTES))
    return NONCE_BYTES + plain_bytes + TAG_BYTES * chunks


def plain_length(sealed_bytes: int) -> int:
    """Return how many bytes a payload of ``sealed_bytes`` claims to hold.

    Until the last chunk is verified this is only a claim.

    Raises:
        PayloadError: No payload has this length.
    """
    body = sealed_bytes - NONCE_BYTES
    plain = body - TAG_BYTES * -(-body // SEALED_CHUNK_BYTES)
    if body < TAG_BYTES or plain < 0 or sealed_length(plain) != sealed_bytes:
        raise PayloadError(f"No payload has {sealed_bytes} bytes: it was cut or extended.")
    return plain


class PayloadSealer:
    """Seals one payload as its bytes arrive. Memory: one chunk.

    A file key seals one payload; the payload key also depends on a random nonce.
    """

    __slots__ = (
        "_chunks",
        "_cipher",
        "_held",
        "_held_bytes",
        "_nonce",
        "_unsent",
        "plain_bytes",
    )

    def __init__(
        self, file_key: FileKey, *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._nonce = random(NONCE_BYTES)
        self._cipher: ChaCha20Poly1305 | None = _cipher(file_key, self._nonce)
        self._unsent = self._nonce
        self._held = bytearray(CHUNK_BYTES)
        self._held_bytes = 0
        self._chunks = 0
        self.plain_bytes = 0

    def room_bytes(self, plain_bytes: int) -> int:
        """Return exactly how much an update with ``plain_bytes`` would write."""
        return len(self._unsent) + self._ready_chunks(plain_bytes) * SEALED_CHUNK_BYTES

    def update(self, data: Bytes) -> bytearray:
        """Take ``data`` in and return what has become ready, which may be nothing."""
        out = bytearray(self.room_bytes(len(data)))
        self.update_into(data, out)
        return out

    def update_into(self, data: Bytes, out: bytearray | memoryview) -> int:
        """Take ``data`` in, write what has become ready to ``out``, return how much that is.

        ``data`` and ``out`` hold single bytes and may be used again on return.

        Raises:
            ValueError: ``out`` is smaller than ``room_bytes``. Nothing was taken in.
        """
        cipher = self._require_unfinished()
        chunks, room = self._ready_chunks(len(data)), self.room_bytes(len(data))
        if len(out) < room:
            raise ValueError(f"{len(out)} bytes are not enough for {room}")
        with (
            memoryview(data) as source,
            memoryview(out) as target,
            memoryview(self._held) as held,
        ):
            written = len(self._unsent)
            target[:written] = self._unsent
            self._unsent = b""
            taken = 0
            if chunks and self._held_bytes:
                taken = CHUNK_BYTES - self._held_bytes
                held[self._held_bytes :] = source[:taken]
                written += self._seal_chunk(cipher, held, target[written:])
                self._held_bytes, chunks = 0, chunks - 1
            for _ in range(chunks):
                chunk = source[taken : taken + CHUNK_BYTES]
                written += self._seal_chunk(cipher, chunk, target[written:])
                taken += CHUNK_BYTES
            rest_bytes = len(source) - taken
            held[self._held_bytes : self._held_bytes + rest_bytes] = source[taken:]
            self._held_bytes += rest_bytes
            self.plain_bytes += len(source)
        return written

    def finish(self) -> bytes:
        """Return the rest of the payload, and forget the key."""
        cipher = self._require_unfinished()
        self._cipher = None
        last = memoryview(self._held)[: self._held_bytes]
        return self._unsent + cipher.encrypt(_chunk_nonce(self._chunks, _FINAL), last, None)

    def _ready_chunks(self, plain_bytes: int) -> int:
        # One byte is held back at least: only at the end is it known which chunk is the final.
        return max(0, self._held_bytes + plain_bytes - 1) // CHUNK_BYTES

    def _seal_chunk(self, cipher: ChaCha20Poly1305, chunk: memoryview, out: memoryview) -> int:
        nonce = _chunk_nonce(self._chunks, 0)
        self._chunks += 1
        return cipher.encrypt_into(nonce, chunk, None, out[:SEALED_CHUNK_BYTES])

    def _require_unfinished(self) -> ChaCha20Poly1305:
        if self._cipher is None:
            raise ValueError("the payload is finished")
        return self._cipher


class Covering(NamedTuple):
    """The chunks that cover a range of plaintext, and where the payload has them.

    Read the payload's bytes ``sealed_start`` to ``sealed_stop``, open them from
    ``first_chunk`` on, and skip ``skip_bytes`` of the result.
    """

    first_chunk: int
    sealed_start: int
    sealed_stop: int
    skip_bytes: int


class PayloadOpener:
    """Opens chunks of one payload in any order. Holds the payload key, nothing else."""

    __slots__ = ("_cipher", "_is_end_verified", "_plain_bytes", "_sealed_bytes", "last_chunk")

    def __init__(self, file_key: FileKey, nonce: bytes, sealed_bytes: int) -> None:
        """Prepare for a payload of ``sealed_bytes``, which begins with ``nonce``.

        Raises:
            PayloadError: No payload has this length.
        """
        self._plain_bytes = plain_length(sealed_bytes)
        self._sealed_bytes = sealed_bytes
        self._cipher = _cipher(file_key, nonce)
        self._is_end_verified = False
        self.last_chunk = max(0, self._plain_bytes - 1) // CHUNK_BYTES

    @property
    def is_end_verified(self) -> bool:
        """Whether the final chunk has been opened, so that the length is known to be true."""
        return self._is_end_verified

    @property
    def plain_bytes(self) -> int:
        """The length of the plaintext.

        Raises:
            ValueError: The end is not verified yet; a length must not be relied on before.
        """
        if not self._is_end_verified:
            raise ValueError("verify the final chunk before relying on the length")
        return self._plain_bytes

    def end_covering(self) -> Covering:
        """Return where the final chunk is, for ``verify_end``."""
        start = NONCE_BYTES + self.last_chunk * SEALED_CHUNK_BYTES
        return Covering(self.last_chunk, start, self._sealed_bytes, 0)

    def verify_end(self, sealed: Bytes) -> None:
        """Verify the final chunk, and with it the length of the payload.

        Raises:
            PayloadError: It does not authenticate as the final chunk.
        """
        self.open_chunks(self.last_chunk, sealed)

    def covering(self, start: int, stop: int) -> Covering:
        """Return the chunks that cover the plaintext from ``start`` up to, not with, ``stop``.

        Raises:
            ValueError: The range is empty or reaches beyond the end.
        """
        if not 0 <= start < stop <= self._plain_bytes:
            raise ValueError(f"no range of the plaintext: {start} to {stop}")
        first, last = start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES
        sealed_start = NONCE_BYTES + first * SEALED_CHUNK_BYTES
        sealed_stop = NONCE_BYTES + (last + 1) * SEALED_CHUNK_BYTES
        sealed_stop = min(sealed_stop, self._sealed_bytes)
        return Covering(first, sealed_start, sealed_stop, start - first * CHUNK_BYTES)

    def open_chunks(self, first_chunk: int, sealed: Bytes) -> bytes | bytearray:
        """Return the plaintext of the whole chunks ``sealed``, the first being ``first_chunk``.

        Nothing is returned unless every one of them authenticates at its place.

        Raises:
            PayloadError: One does not, or ``sealed`` is not the chunks it should be.
        """
        self._require_whole(first_chunk, len(sealed))
        if len(sealed) <= SEALED_CHUNK_BYTES:
            return self._open_one(first_chunk, sealed)
        chunks = -(-len(sealed) // SEALED_CHUNK_BYTES)
        out = bytearray(len(sealed) - TAG_BYTES * chunks)
        self.open_chunks_into(first_chunk, sealed, out)
        return out

    def open_chunks_into(
        self, first_chunk: int, sealed: Bytes, out: bytearray | memoryview
    ) -> int:
        """As ``open_chunks``, into ``out``, returning how many bytes of it are plaintext.

        After an error ``out`` must not be used.

        Raises:
            PayloadError: As ``open_chunks``.
            ValueError: ``out`` is too small.
        """
        chunks = self._require_whole(first_chunk, len(sealed))
        plain_bytes = len(sealed) - TAG_BYTES * chunks
        if len(out) < plain_bytes:
            raise ValueError(f"{len(out)} bytes are not enough for {plain_bytes}")
        with memoryview(sealed) as source, memoryview(out) as target:
            read = written = 0
            for chunk in range(first_chunk, first_chunk + chunks):
                flag = _FINAL if chunk == self.last_chunk else 0
                part = source[read : read + SEALED_CHUNK_BYTES]
                room = target[written : written + len(part) - TAG_BYTES]
                _decrypt_into(self._cipher, _chunk_nonce(chunk, flag), part, room)
                read, written = read + len(part), written + len(room)
        self._is_end_verified |= first_chunk + chunks > self.last_chunk
        return plain_bytes

    def _open_one(self, chunk: int, sealed: Bytes) -> bytes:
        is_last = chunk == self.last_chunk
        try:
            plain = self._cipher.decrypt(_chunk_nonce(chunk, int(is_last)), sealed, None)
        except InvalidTag as error:
            raise PayloadError(f"Chunk {chunk} does not authenticate.") from error
        self._is_end_verified |= is_last
        return plain

    def _require_whole(self, first_chunk: int, sealed_bytes: int) -> int:
        """Return how many chunks these are, all whole and all within the payload."""
        chunks = -(-sealed_bytes // SEALED_CHUNK_BYTES)
        start = NONCE_BYTES + first_chunk * SEALED_CHUNK_BYTES
        stop = min(start + chunks * SEALED_CHUNK_BYTES, self._sealed_bytes)
        is_within = first_chunk >= 0 < chunks and first_chunk + chunks <= self.last_chunk + 1
        if not is_within or stop - start != sealed_bytes:
            raise PayloadError(
                f"{sealed_bytes} bytes from chunk {first_chunk} on are not whole chunks."
            )
        return chunks


def open_stream(file_key: FileKey, sealed: Iterable[Bytes]) -> Iterator[bytes]:
    """Yield the plaintext of a payload that arrives in pieces of any size.

    Every yielded byte is verified. What was verified before a fault is yielded before it is
    raised; only when the iterator ends by itself is the payload whole.

    Raises:
        PayloadError: The payload is cut short, extended, reordered or changed.
    """
    pieces = iter(sealed)
    buffer = bytearray()
    while len(buffer) < NONCE_BYTES:
        piece = next(pieces, None)
        if piece is None:
            raise PayloadError("The payload ends before its nonce does.")
        buffer += piece
    sequence = _Sequence(_cipher(file_key, bytes(buffer[:NONCE_BYTES])))
    del buffer[:NONCE_BYTES]
    while True:
        whole_bytes = len(buffer) - len(buffer) % SEALED_CHUNK_BYTES
        with memoryview(buffer) as view:
            for start in range(0, whole_bytes, SEALED_CHUNK_BYTES):
                yield sequence.open_whole(view[start : start + SEALED_CHUNK_BYTES])
        del buffer[:whole_bytes]
        piece = next(pieces, None)
        if piece is None:
            break
        buffer += piece
    yield from sequence.open_rest(bytes(buffer))


class _Sequence:
    """Chunks in order, of a payload whose length is not known beforehand."""

    __slots__ = ("_chunk", "_cipher", "_is_ended")

    def __init__(self, cipher: ChaCha20Poly1305) -> None:
        self._cipher = cipher
        self._chunk = 0
        self._is_ended = False

    def open_whole(self, sealed: Bytes) -> bytes:
        """Open a chunk of full length, which may or may not be the final one."""
        if self._is_ended:
            raise PayloadError("The payload goes on after its final chunk.")
        try:
            plain = self._cipher.decrypt(_chunk_nonce(self._chunk, 0), sealed, None)
        except InvalidTag:
            plain = self._open_final(sealed)
        self._chunk += 1
        return plain

    def open_rest(self, sealed: bytes) -> Iterator[bytes]:
        """Open what is left at the end: a short final chunk, or nothing after a full one."""
        if self._is_ended:
            if sealed:
                raise PayloadError("The payload goes on after its final chunk.")
            return
        plain = self._open_final(sealed)
        if not plain and self._chunk:
            raise PayloadError("The final chunk is empty, and not the only one.")
        yield plain

    def _open_final(self, sealed: Bytes) -> bytes:
        try:
            plain = self._cipher.decrypt(_chunk_nonce(self._chunk, _FINAL), sealed, None)
        except InvalidTag as error:
            raise PayloadError(f"Chunk {self._chunk} does not authenticate.") from error
        self._is_ended = True
        return plain


def _cipher(file_key: FileKey, nonce: bytes) -> ChaCha20Poly1305:
    if len(nonce) != NONCE_BYTES:
        raise PayloadError("The payload ends before its nonce does.")
    return ChaCha20Poly1305(derive(file_key, salt=nonce, info=b"payload"))


def _chunk_nonce(chunk: int, flag: int) -> bytes:
    # Eleven bytes of counter and one of flag; never repeats, as the payload key is fresh.
    return (chunk << 8 | flag).to_bytes(12, "big")


def _decrypt_into(
    cipher: ChaCha20Poly1305, nonce: bytes, sealed: memoryview, out: memoryview
) -> None:
    try:
        cipher.decrypt_into(nonce, sealed, None, out)
    except InvalidTag as error:
        raise PayloadError(
            f"Chunk {int.from_bytes(nonce) >> 8} does not authenticate."
        ) from error
