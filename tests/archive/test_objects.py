"""Uploads stream: sealed and hashed in constant memory, and nothing is visible until all of it is there."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.archive.objects import seal_object
from service.crypto.age import open_header, parse_header, seal_header
from service.crypto.recipients import X25519Identity
from service.crypto.stream import SEALED_CHUNK_BYTES, PayloadOpener
from service.domain.errors import TooLargeError
from storage.errors import FullError, UnavailableError
from storage.files import FileBlobs
from tests.conftest import NOW

MIB = 1 << 20
SIZES = [0, 1, 65535, 65536, 65537, 131072, MIB - 1, MIB, MIB + 1, 3 * MIB + 7]
IDENTITY = X25519Identity.generate()


def header(file_key):
    return 1, seal_header(file_key, [IDENTITY.recipient])


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


@pytest.fixture
async def blobs(tmp_path):
    async with FileBlobs.opened(tmp_path / "blobs", create=True) as opened:
        yield opened


async def seal(blobs, chunks, *, limit=1 << 30):
    return await seal_object(
        "ob_" + "a" * 26,
        chunks,
        kind="recording",
        blobs=blobs,
        seal_header=header,
        limit_bytes=limit,
        now=NOW,
    )


async def names(blobs):
    return [name async for name in blobs.names()]


async def require_nothing(blobs, tmp_path):
    assert await names(blobs) == []
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


async def opened(blobs, stored):
    """Return the plaintext, through the header and every chunk."""
    file_key = open_header(parse_header(stored.header.wrapped), [IDENTITY])
    async with blobs.open(stored.row.id) as reader:
        sealed = await reader.read(0, reader.size_bytes)
        opener = PayloadOpener(file_key, sealed[:16], reader.size_bytes)
    room = bytearray(len(sealed))
    length = opener.open_chunks_into(0, sealed[16:], room)
    assert opener.is_end_verified
    return sealed, bytes(room[:length])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1 << 14, MIB + 3])
async def test_every_size_comes_out_as_it_went_in(blobs, size, piece):
    data = content(size)
    stored = await seal(blobs, pieces(data, piece))
    sealed, plain = await opened(blobs, stored)
    assert plain == data
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.row.sha256 == hashlib.sha256(sealed).digest()
    assert (stored.row.plain_bytes, stored.row.sealed_bytes) == (size, len(sealed))
    chunks = max(1, -(-size // 65536))
    assert len(sealed) == 16 + size + 16 * chunks
    assert -(-(len(sealed) - 16) // SEALED_CHUNK_BYTES) == chunks


async def test_the_plaintext_is_on_no_disk(blobs, tmp_path):
    mark = b"a sentence that was said"
    await seal(blobs, pieces(mark * 10_000, 4096))
    for file in (tmp_path / "blobs").rglob("*"):
        assert not file.is_file() or mark not in file.read_bytes()


async def test_more_than_the_limit_is_refused_and_leaves_nothing(blobs, tmp_path):
    with pytest.raises(TooLargeError):
        await seal(blobs, pieces(content(3 * MIB), 1 << 16), limit=3 * MIB - 1)
    await require_nothing(blobs, tmp_path)
    assert (await seal(blobs, pieces(content(3 * MIB), 1 << 16), limit=3 * MIB)).row


@pytest.mark.parametrize("after", [0, 1, 65536, MIB, MIB + 1, 3 * MIB])
async def test_a_sender_who_breaks_off_leaves_nothing(blobs, tmp_path, after):
    async def broken():
        async for piece in pieces(content(after), 1 << 15):
            yield piece
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await seal(blobs, broken())
    await require_nothing(blobs, tmp_path)


async def test_a_failure_of_the_store_while_the_sender_breaks_off_is_asked_for(blobs, tmp_path):
    """A task that failed unasked would be reported when it is collected, which is an error here."""

    class Failing(Faulty):
        async def write(self, _):
            raise FullError("no room")

    async def broken():
        yield content(MIB)
        await asyncio.sleep(0.05)
        raise ConnectionResetError

    with pytest.raises((ConnectionResetError, FullError)):
        await seal(FaultyBlobs(blobs, Failing), broken())
    await require_nothing(blobs, tmp_path)


class Faulty:
    """A writer that does what its blob's does, but for what a test says."""

    def __init__(self, writer):
        self.writer = writer

    async def write(self, data):
        await self.writer.write(data)

    async def finish(self):
        await self.writer.finish()


class FaultyBlobs:
    def __init__(self, blobs, kind):
        self.blobs, self.kind = blobs, kind

    @asynccontextmanager
    async def create(self, name):
        async with self.blobs.create(name) as writer:
            yield self.kind(writer)

    async def remove(self, name):
        await self.blobs.remove(name)


@pytest.mark.parametrize("fails_at", range(5))
async def test_a_write_that_fails_leaves_nothing(blobs, tmp_path, fails_at):
    writes = 0

    class Failing(Faulty):
        async def write(self, data):
            nonlocal writes
            writes += 1
            if writes == fails_at + 1:
                raise FullError("no room")
            await super().write(data)

    with pytest.raises(FullError):
        await seal(FaultyBlobs(blobs, Failing), pieces(content(4 * MIB), 1 << 16))
    await require_nothing(blobs, tmp_path)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_failure_at_the_end_leaves_nothing(blobs, tmp_path, is_late):
    class Failing(Faulty):
        async def finish(self):
            if is_late:
                await super().finish()
            raise UnavailableError("the answer was lost")

    with pytest.raises(UnavailableError):
        await seal(FaultyBlobs(blobs, Failing), pieces(content(100), 10))
    await require_nothing(blobs, tmp_path)


@pytest.mark.parametrize("pause", [0, 0.001, 0.003])
async def test_cancelled_at_any_step_nothing_is_left(blobs, tmp_path, pause):
    """Cancel after n turns of the loop; the disk takes its time meanwhile, not turns."""
    for turns in range(24):
        task = asyncio.create_task(seal(blobs, pieces(content(2 * MIB + 5), 1 << 18)))
        for _ in range(turns):
            await asyncio.sleep(pause)
        task.cancel()
        try:
            stored = await task
        except asyncio.CancelledError:
            await require_nothing(blobs, tmp_path)
        else:
            await blobs.remove(stored.row.id)


async def test_cancelled_while_it_becomes_visible_nothing_is_left(blobs, tmp_path):
    task = None

    class Cancelling(Faulty):
        async def finish(self):
            task.cancel()
            await super().finish()

    task = asyncio.create_task(seal(FaultyBlobs(blobs, Cancelling), pieces(content(1000), 100)))
    with pytest.raises(asyncio.CancelledError):
        await task
    await require_nothing(blobs, tmp_path)


async def test_memory_does_not_grow_with_the_recording(blobs):
    piece = bytes(1 << 16)

    async def endless(total):
        for _ in range(total // len(piece)):
            yield piece

    async def most(total):
        tracemalloc.start()
        try:
            stored = await seal(blobs, endless(total))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        await blobs.remove(stored.row.id)
        return peak

    # Two batches, plain and sealed, and what is gathered meanwhile; not the recording.
    assert await most(96 * MIB) < 12 * MIB
