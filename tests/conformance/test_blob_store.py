"""What `storage.ports.BlobStore` promises."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest

from storage.errors import ConflictError, MissingError
from storage.s3.multipart import PART_BYTES

SIZES = [0, 1, 65_536, 65_537, 262_144, 262_145, 3_000_000, PART_BYTES, 2 * PART_BYTES + 1]


async def put(blobs, name, *parts):
    async with blobs.create(name) as writer:
        for part in parts:
            await writer.write(part)
        await writer.finish()


async def get(blobs, name):
    async with blobs.open(name) as reader:
        return await reader.read(0, reader.size_bytes)


async def names(blobs):
    return sorted([name async for name in blobs.names()])


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_comes_back_as_it_was_written(blobs, size):
    data = os.urandom(size)
    await put(blobs, "ob_1", data)
    assert await get(blobs, "ob_1") == data
    async with blobs.open("ob_1") as reader:
        assert reader.size_bytes == size


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_parts_of_every_kind_follow_each_other(blobs, kind):
    parts = [os.urandom(size) for size in SIZES]
    await put(blobs, "ob_1", *(kind(part) for part in parts))
    assert await get(blobs, "ob_1") == b"".join(parts)


@pytest.mark.parametrize("size", [10, 1_000_000])
async def test_a_buffer_may_be_reused_once_it_is_taken(blobs, size):
    buffer = bytearray(b"a" * size)
    async with blobs.create("ob_1") as writer:
        await writer.write(buffer)
        buffer[:] = b"b" * size
        await writer.finish()
    assert await get(blobs, "ob_1") == b"a" * size


async def test_any_range_can_be_read(blobs):
    data = os.urandom(1_000_000)
    await put(blobs, "ob_1", data)
    async with blobs.open("ob_1") as reader:
        for offset, length in [(0, 0), (0, 1), (65_536, 65_552), (999_999, 9), (500, 999_000)]:
            assert await reader.read(offset, length) == data[offset : offset + length]
        assert await reader.read(1_000_000, 1) == b""
        assert await reader.read(2_000_000, 1) == b""


async def test_one_blob_serves_many_readers(blobs):
    data = os.urandom(500_000)
    await put(blobs, "ob_1", data)
    assert await asyncio.gather(*(get(blobs, "ob_1") for _ in range(20))) == [data] * 20


async def test_a_blob_is_never_replaced(blobs):
    await put(blobs, "ob_1", b"sealed")
    with pytest.raises(ConflictError):
        await put(blobs, "ob_1", b"forged")
    assert await get(blobs, "ob_1") == b"sealed"
    assert await names(blobs) == ["ob_1"]


@pytest.mark.parametrize("size", [1, PART_BYTES + 1], ids=["small", "large"])
async def test_of_many_writers_of_a_name_one_wins(blobs, size):
    given = [b"%d" % n * size for n in range(8)]
    outcomes = await asyncio.gather(
        *(put(blobs, "ob_1", data) for data in given), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(ConflictError) == 7
    assert await get(blobs, "ob_1") == given[outcomes.index(None)]


async def test_nobody_sees_a_blob_before_it_is_finished(blobs):
    async with blobs.create("ob_1") as writer:
        await writer.write(b"half")
        assert await names(blobs) == []
        with pytest.raises(MissingError):
            await get(blobs, "ob_1")
        await writer.finish()
        assert await get(blobs, "ob_1") == b"half"


async def test_a_blob_left_unfinished_leaves_nothing(blobs):
    async with blobs.create("ob_1") as writer:
        await writer.write(b"half")
    assert await names(blobs) == []
    await put(blobs, "ob_1", b"whole")


async def test_a_blob_left_by_an_error_leaves_nothing(blobs):
    async def half_put():
        async with blobs.create("ob_1") as writer:
            await writer.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_put()
    assert await names(blobs) == []


async def test_a_missing_blob_is_missing(blobs):
    with pytest.raises(MissingError):
        await get(blobs, "ob_1")


async def test_a_removed_blob_is_gone_and_its_name_is_free(blobs):
    await put(blobs, "ob_1", b"first")
    assert await get(blobs, "ob_1") == b"first"
    await blobs.remove("ob_1")
    with pytest.raises(MissingError):
        await get(blobs, "ob_1")
    assert await names(blobs) == []
    await put(blobs, "ob_1", b"second")
    assert await get(blobs, "ob_1") == b"second"


async def test_removing_what_is_not_there_is_not_an_error(blobs):
    await blobs.remove("ob_1")


async def test_who_reads_a_blob_that_is_removed_reads_on_or_learns_of_it(blobs):
    await put(blobs, "ob_1", b"sealed")
    async with blobs.open("ob_1") as reader:
        await blobs.remove("ob_1")
        try:
            assert await reader.read(0, 6) == b"sealed"
        except MissingError:
            assert await names(blobs) == []


async def test_all_names_are_told(blobs):
    given = sorted(["ob_1", "A", "b-", "ob_aaaaaaaaaaaaaaaaaaaaaaaaaa", "x" * 200])
    for name in given:
        await put(blobs, name, b"")
    assert await names(blobs) == given


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../a", "/etc/passwd", "a.b", "a b", "a\n", "a\0", "ä", "x" * 201],
)
async def test_what_is_no_name_is_refused(blobs, name):
    with pytest.raises(ValueError, match="name of a blob"):
        await put(blobs, name, b"")
    with pytest.raises(ValueError, match="name of a blob"):
        await get(blobs, name)
    with pytest.raises(ValueError, match="name of a blob"):
        await blobs.remove(name)


async def test_a_store_that_works_has_no_fault_and_keeps_nothing_of_the_trial(blobs):
    for _ in range(2):
        assert await blobs.find_fault() is None
    assert await names(blobs) == []


async def test_tidying_touches_nothing_that_is_whole_or_just_begun(blobs):
    await put(blobs, "ob_1", b"sealed")
    async with blobs.create("ob_2") as writer:
        await writer.write(b"x" * (PART_BYTES + 1))
        assert await blobs.tidy(begun_before=datetime.now(UTC) - timedelta(hours=1)) == 0
        await writer.finish()
    assert await blobs.tidy(begun_before=datetime.now(UTC) + timedelta(hours=1)) == 0
    assert await names(blobs) == ["ob_1", "ob_2"]
