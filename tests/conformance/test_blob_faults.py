"""A blob that fails, is cancelled or stops at any step is whole or absent, and leaves nothing behind."""

import asyncio
import errno
import fcntl
import itertools
import os
import threading
from pathlib import Path

import pytest

from storage.errors import BrokenError, FullError, MissingError, StorageError, UnavailableError
from storage.files import FileBlobs
from tests.conformance.faults import Fault, raising

STEPS = ("open", "mkdir", "write", "fdatasync", "link", "fsync", "unlink", "flock")
SMALL, LARGE = b"s" * 1000, b"l" * 600_000


@pytest.fixture
def faulty(monkeypatch):
    """Let the system calls that change files be steps of a fault."""
    homes = {name: fcntl if name == "flock" else os for name in STEPS}
    whole = {name: getattr(home, name) for name, home in homes.items()}

    def make(fault, names=STEPS):
        for name in names:

            def call(*args, _step=whole[name], **kwargs):
                return fault.around(lambda: _step(*args, **kwargs))

            monkeypatch.setattr(homes[name], name, call)

    def mend():
        for name, home in homes.items():
            monkeypatch.setattr(home, name, whole[name])

    make.mend = mend
    return make


@pytest.fixture
def places(tmp_path):
    numbers = itertools.count()
    return lambda: tmp_path / f"blobs-{next(numbers)}"


async def put(blobs, name, data):
    async with blobs.create(name) as writer:
        await writer.write(data[:500])
        await writer.write(data[500:])
        await writer.finish()


async def get(blobs, name):
    async with blobs.open(name) as reader:
        return await reader.read(0, reader.size_bytes)


def leftovers(place):
    return list((place / "incoming").iterdir())


def count_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


FAILURES = [
    pytest.param(errno.ENOSPC, FullError, id="no room"),
    pytest.param(errno.EDQUOT, FullError, id="no room left to us"),
    pytest.param(errno.EROFS, UnavailableError, id="read-only"),
    pytest.param(errno.EMFILE, UnavailableError, id="no handles"),
    pytest.param(errno.EFBIG, UnavailableError, id="too large for the system"),
    pytest.param(errno.EIO, BrokenError, id="failed disk"),
]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("number", "raised"), FAILURES)
async def test_a_blob_that_fails_at_any_step_leaves_nothing(
    faulty, places, number, raised, data
):
    for at in itertools.count(1):
        async with FileBlobs.opened(place := places(), create=True) as blobs:
            fault = Fault(raising(OSError(number, os.strerror(number))), at)
            faulty(fault)
            try:
                await put(blobs, "ob_1", data)
                outcome = None
            except StorageError as error:
                outcome = error
            faulty.mend()
            if not fault.has_happened:
                assert outcome is None
                assert at > 10
                return
            there = [name async for name in blobs.names()]
            if outcome is None:
                # Only tidying up can fail unnoticed; the blob is whole and durable by then.
                assert await get(blobs, "ob_1") == data
                continue
            assert type(outcome) is raised
            assert there == []
            if raised is BrokenError:
                with pytest.raises(BrokenError):
                    await put(blobs, "ob_2", data)
            else:
                await put(blobs, "ob_1", data)
                assert await get(blobs, "ob_1") == data
        async with FileBlobs.opened(place, create=False):
            assert leftovers(place) == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_a_blob_cancelled_at_any_step_is_whole_or_absent(faulty, places, data):
    loop = asyncio.get_running_loop()
    for at in itertools.count(1):
        async with FileBlobs.opened(place := places(), create=True) as blobs:
            reached, go_on = asyncio.Event(), threading.Event()

            def wait(reached=reached, go_on=go_on):
                if threading.current_thread() is not threading.main_thread():
                    loop.call_soon_threadsafe(reached.set)
                    go_on.wait(10)

            fault = Fault(wait, at)
            faulty(fault)
            putting = asyncio.create_task(put(blobs, "ob_1", data))
            arriving = asyncio.create_task(reached.wait())
            await asyncio.wait([putting, arriving], return_when=asyncio.FIRST_COMPLETED)
            arriving.cancel()
            if not putting.done():
                putting.cancel()
                await asyncio.sleep(0)
                go_on.set()
                with pytest.raises(asyncio.CancelledError):
                    await putting
            faulty.mend()
            if not fault.has_happened:
                assert await get(blobs, "ob_1") == data
                return
            if [name async for name in blobs.names()]:
                assert await get(blobs, "ob_1") == data
            assert leftovers(place) == []
            await put(blobs, "ob_2", data)


async def test_a_caller_cancelled_again_and_again_leaves_nothing_half_done(faulty, places):
    async with FileBlobs.opened(place := places(), create=True) as blobs:
        go_on = threading.Event()
        faulty(Fault(lambda: go_on.wait(10), 1), ("fdatasync",))
        putting = asyncio.create_task(put(blobs, "ob_1", SMALL))
        for _ in range(5):
            await asyncio.sleep(0.01)
            putting.cancel()
        assert not putting.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert leftovers(place) == []
        assert await get(blobs, "ob_1") == SMALL


async def test_a_failed_sync_is_never_tried_again(faulty, places):
    async with FileBlobs.opened(places(), create=True) as blobs:
        await put(blobs, "ob_0", SMALL)
        async with blobs.create("ob_2") as other:
            await other.write(SMALL)
            faulty(Fault(raising(OSError(errno.EIO, "failed")), 1), ("fdatasync",))
            with pytest.raises(BrokenError):
                await put(blobs, "ob_1", SMALL)
            faulty.mend()
            with pytest.raises(BrokenError):
                await other.write(SMALL)
            with pytest.raises(BrokenError):
                await other.finish()
        with pytest.raises(BrokenError):
            await blobs.remove("ob_0")
        assert await get(blobs, "ob_0") == SMALL
        assert [name async for name in blobs.names()] == ["ob_0"]


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.EIO, UnavailableError), (errno.ESTALE, UnavailableError)]
)
async def test_a_failed_read_says_so_and_breaks_nothing(places, monkeypatch, number, raised):
    async with FileBlobs.opened(places(), create=True) as blobs:
        await put(blobs, "ob_1", LARGE)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", raising_any(OSError(number, "failed")))
            patched.setattr(os, "preadv", raising_any(OSError(number, "failed")))
            with pytest.raises(raised):
                await get(blobs, "ob_1")
        assert await get(blobs, "ob_1") == LARGE
        await put(blobs, "ob_2", SMALL)


def raising_any(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    "number", [errno.EAGAIN, errno.EOPNOTSUPP], ids=["cold", "not supported"]
)
async def test_what_cannot_be_read_at_once_is_read_on_a_thread(places, monkeypatch, number):
    async with FileBlobs.opened(places(), create=True) as blobs:
        await put(blobs, "ob_1", SMALL)
        monkeypatch.setattr(os, "preadv", raising_any(OSError(number, "not now")))
        assert await get(blobs, "ob_1") == SMALL


async def test_a_read_that_comes_in_pieces_is_put_together(places, monkeypatch):
    async with FileBlobs.opened(places(), create=True) as blobs:
        await put(blobs, "ob_1", LARGE)
        whole = os.pread
        monkeypatch.setattr(os, "preadv", lambda *_: 7)
        monkeypatch.setattr(os, "pread", lambda f, n, at: whole(f, min(n, 100_000), at))
        assert await get(blobs, "ob_1") == LARGE


async def test_a_write_that_comes_in_pieces_is_put_together(places, monkeypatch):
    async with FileBlobs.opened(places(), create=True) as blobs:
        whole = os.write
        monkeypatch.setattr(os, "write", lambda f, data: whole(f, data[:777]))
        await put(blobs, "ob_1", SMALL)
        assert await get(blobs, "ob_1") == SMALL


async def test_a_start_removes_what_a_crash_left_and_nothing_that_is_being_written(places):
    place = places()
    async with FileBlobs.opened(place, create=True) as first:
        (place / "incoming" / "left").write_bytes(b"half")
        async with first.create("ob_1") as writer:
            await writer.write(SMALL)
            async with FileBlobs.opened(place, create=False) as second:
                assert len(leftovers(place)) == 1
                await writer.finish()
                assert await get(second, "ob_1") == SMALL


async def test_a_writer_whose_file_another_start_removed_begins_again(places, monkeypatch):
    async with FileBlobs.opened(place := places(), create=True) as blobs:
        flock, times = fcntl.flock, itertools.count()

        def too_late(file, how):
            if not next(times):
                leftovers(place)[0].unlink()
            flock(file, how)

        monkeypatch.setattr(fcntl, "flock", too_late)
        await put(blobs, "ob_1", SMALL)
        assert await get(blobs, "ob_1") == SMALL


async def test_a_folder_is_synced_before_the_first_blob_in_it_is_told_of(places, monkeypatch):
    """Also where another process made the folder, for that may have stopped before its sync."""
    async with FileBlobs.opened(place := places(), create=True) as blobs:
        (place / "_1").mkdir()
        synced, fsync = [], os.fsync

        def note(file):
            synced.append(Path(f"/proc/self/fd/{file}").readlink())
            fsync(file)

        monkeypatch.setattr(os, "fsync", note)
        await put(blobs, "ob_1", SMALL)
        await put(blobs, "oc_1", SMALL)
        assert synced == [place, place / "_1", place / "_1"]


async def test_few_files_stay_open_and_none_after_closing(places):
    before = count_open_files()
    async with FileBlobs.opened(places(), create=True) as blobs:
        for n in range(200):
            await put(blobs, f"ob_{n}", SMALL)
            assert await get(blobs, f"ob_{n}") == SMALL
        assert count_open_files() <= before + 128
        assert await get(blobs, "ob_0") == SMALL
    assert count_open_files() == before


async def test_a_blob_that_another_process_removed_is_not_read_from_an_open_file(places):
    place = places()
    async with (
        FileBlobs.opened(place, create=True) as here,
        FileBlobs.opened(place, create=False) as elsewhere,
    ):
        await put(here, "ob_1", SMALL)
        assert await get(here, "ob_1") == SMALL
        await elsewhere.remove("ob_1")
        with pytest.raises(MissingError):
            await get(here, "ob_1")


async def test_a_link_in_the_place_of_a_blob_is_not_followed(places, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    async with FileBlobs.opened(place := places(), create=True) as blobs:
        await put(blobs, "ob_1", SMALL)
        (place / "_1" / "oc_1").symlink_to(secret)
        with pytest.raises(UnavailableError):
            await get(blobs, "oc_1")


async def test_only_the_owner_can_read_and_nobody_write_a_blob(places):
    async with FileBlobs.opened(place := places(), create=True) as blobs:
        await put(blobs, "ob_1", SMALL)
        assert (place / "_1" / "ob_1").stat().st_mode & 0o777 == 0o400
        assert place.stat().st_mode & 0o777 == 0o700


async def test_a_missing_directory_is_an_error_and_not_a_new_one(places):
    with pytest.raises(MissingError, match=r"/.* has no blobs: is it mounted\?"):
        async with FileBlobs.opened(place := places(), create=False):
            pass
    assert not place.exists()


async def test_an_empty_directory_is_a_mount_that_is_missing(places):
    (place := places()).mkdir()
    with pytest.raises(MissingError, match="is it mounted"):
        async with FileBlobs.opened(place, create=False):
            pass
    assert list(place.iterdir()) == []
