"""Blobs in a bucket when the server, or what is between, does harm: a real server, stopped, slowed and interrupted."""

import asyncio
import os
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import obstore
import pytest

from storage.errors import ConflictError, MissingError, StorageError, UnavailableError
from storage.s3 import writing
from storage.s3.blobs import S3Blobs
from storage.s3.multipart import PART_BYTES, unfinished
from storage.s3.requests import Patience, Requests
from tests.middleman import Harm, between
from tests.seaweed import running_seaweed

HASTY = Patience(answer=1.0, step=4.0)
SMALL, LARGE = b"s" * 1000, os.urandom(2 * PART_BYTES + 12_345)
SIZES = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture
def prefix():
    return f"faults/{os.urandom(8).hex()}"


@pytest.fixture
async def middleman(seaweed):
    async with between(seaweed.endpoint) as one:
        yield one


@pytest.fixture
async def blobs(seaweed, middleman, prefix):
    place = seaweed.place(prefix, endpoint=middleman.address)
    async with S3Blobs.opened(place, patience=HASTY) as opened:
        await opened.find_fault()
        middleman.seen.clear()
        yield opened


async def put(blobs, name, data):
    async with blobs.create(name) as writer:
        for start in range(0, len(data), 1_000_000):
            await writer.write(data[start : start + 1_000_000])
        await writer.finish()


async def get(blobs, name):
    async with blobs.open(name) as reader:
        return await reader.read(0, reader.size_bytes)


async def left_behind(blobs):
    """Return every upload and every object that belongs to no blob."""
    uploads = [one.upload async for one in unfinished(blobs._requests)]
    objects = [one["path"] async for found in obstore.list(blobs._objects) for one in found]
    return uploads, [path for path in objects if "/" in path]


def once(harm, chosen):
    """Do ``harm`` to the first request that is ``chosen``."""
    done = []

    def decide(request):
        if not done and chosen(request):
            done.append(request)
            return harm
        return None

    return decide


def is_commit(request):
    is_blob = request.path.endswith("/ob_1") and "claims/" not in request.path
    small = request.method == "PUT" and not request.query
    complete = request.method == "POST" and "uploadId" in request.query
    return is_blob and (small or complete)


TRANSIENT = [Harm.REFUSED, Harm.DONE_AND_500, Harm.DONE_AND_CUT, Harm.CUT, Harm.SWALLOWED]


@SIZES
@pytest.mark.parametrize("harm", TRANSIENT, ids=[harm.name for harm in TRANSIENT])
async def test_a_commit_that_is_harmed_once_is_made_once(blobs, middleman, data, harm):
    middleman.harms = once(harm, is_commit)
    await put(blobs, "ob_1", data)
    assert await get(blobs, "ob_1") == data
    assert await left_behind(blobs) == ([], [])


@SIZES
@pytest.mark.parametrize("harm", [Harm.REFUSED, Harm.DONE_AND_500, Harm.DONE_AND_CUT])
async def test_any_request_of_a_blob_may_be_harmed_once(blobs, middleman, data, harm):
    await put(blobs, "ob_0", data)
    count = len(middleman.seen)
    for at in range(1, count + 1):
        numbers = iter(range(1, 1000))
        middleman.harms = lambda _, at=at, n=numbers: harm if next(n) == at else None
        name = f"ob_{at}"
        await put(blobs, name, data)
        middleman.harms = lambda _: None
        assert await get(blobs, name) == data
    uploads, objects = await left_behind(blobs)
    # An upload that was begun and whose answer was lost has an id that nobody knows; `tidy` finds it.
    assert len(uploads) <= (data is LARGE)
    assert objects == []


@SIZES
async def test_a_commit_lost_on_one_that_another_made_is_a_conflict(blobs, middleman, data):
    await put(blobs, "ob_1", b"other")
    middleman.harms = once(Harm.DONE_AND_500, is_commit)
    with pytest.raises(ConflictError):
        await put(blobs, "ob_1", data)
    assert await get(blobs, "ob_1") == b"other"
    assert await left_behind(blobs) == ([], [])


@SIZES
async def test_the_same_bytes_of_another_are_a_conflict_too(blobs, data):
    await put(blobs, "ob_1", data)
    with pytest.raises(ConflictError):
        await put(blobs, "ob_1", data)


@SIZES
async def test_a_server_that_only_refuses_is_given_up_in_time(blobs, middleman, data):
    middleman.harms = lambda _: Harm.REFUSED
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        await put(blobs, "ob_1", data)
    assert time.monotonic() - begun < 4 * HASTY.step
    middleman.harms = lambda _: None
    assert [name async for name in blobs.names()] == []
    await put(blobs, "ob_1", data)
    assert await get(blobs, "ob_1") == data


@SIZES
async def test_a_slow_server_is_waited_for(blobs, middleman, data):
    middleman.harms = lambda _: Harm.SLOW
    await put(blobs, "ob_1", data)
    assert await get(blobs, "ob_1") == data


@SIZES
async def test_a_server_that_tells_no_checksum_is_read_back(blobs, middleman, data):
    middleman.harms = lambda _: Harm.NO_CHECKSUM
    await put(blobs, "ob_1", data)
    assert await get(blobs, "ob_1") == data
    assert middleman.answered_bytes >= 2 * len(data)


@SIZES
@pytest.mark.parametrize("tells", [True, False], ids=["by its checksum", "by reading back"])
async def test_bytes_that_are_not_those_sent_are_noticed_and_removed(
    blobs, middleman, data, tells, monkeypatch
):
    middleman.harms = lambda _: None if tells else Harm.NO_CHECKSUM
    compare = writing.S3BlobWriter._require_same

    async def after_others_came(writer, there, sent):
        parts = tuple(replace(part, sha256=bytes(32)) for part in sent.parts)
        await compare(writer, there, writing.Sent(sent.size_bytes, "other", parts))

    monkeypatch.setattr(writing.S3BlobWriter, "_require_same", after_others_came)
    with pytest.raises(UnavailableError, match="otherwise than it was sent"):
        await put(blobs, "ob_1", data)
    assert [name async for name in blobs.names()] == []
    assert await left_behind(blobs) == ([], [])


async def test_a_range_fetches_what_it_covers_and_no_more(blobs, middleman):
    await put(blobs, "ob_1", LARGE)
    middleman.ranges.clear()
    middleman.answered_bytes = 0
    async with blobs.open("ob_1") as reader:
        assert await reader.read(65_552, 131_104) == LARGE[65_552 : 65_552 + 131_104]
        assert await reader.read(len(LARGE) - 10, 4096) == LARGE[-10:]
    assert middleman.ranges == [
        "bytes=65552-196655",
        f"bytes={len(LARGE) - 10}-{len(LARGE) - 1}",
    ]
    assert middleman.answered_bytes == 131_104 + 10


@pytest.mark.parametrize("harm", [Harm.REFUSED, Harm.CUT, Harm.DONE_AND_CUT, Harm.SWALLOWED])
async def test_a_read_that_is_harmed_once_is_made_again(blobs, middleman, harm):
    await put(blobs, "ob_1", SMALL)
    middleman.harms = once(harm, lambda request: request.method == "GET")
    assert await get(blobs, "ob_1") == SMALL


async def test_reads_fail_in_time_and_as_what_passes(blobs, middleman):
    await put(blobs, "ob_1", SMALL)
    middleman.harms = lambda _: Harm.REFUSED
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        await get(blobs, "ob_1")
    assert time.monotonic() - begun < 3 * HASTY.step


async def test_a_server_that_replaces_objects_is_given_none(seaweed, prefix, monkeypatch):
    """As one that has never heard of conditions: none is sent."""
    send = Requests.once

    async def without_condition(requests, method, key="", *, headers=None, **given):
        kept = {
            name: value for name, value in (headers or {}).items() if name != "If-None-Match"
        }
        return await send(requests, method, key, headers=kept, **given)

    monkeypatch.setattr(Requests, "once", without_condition)
    async with S3Blobs.opened(seaweed.place(prefix), patience=HASTY) as blobs:
        with pytest.raises(UnavailableError, match="replaces objects"):
            await put(blobs, "ob_1", SMALL)
        with pytest.raises(UnavailableError, match="replaces objects"):
            await blobs.find_fault()
        assert [name async for name in blobs.names()] == []
        assert await left_behind(blobs) == ([], [])


async def test_a_bucket_that_is_gone_is_not_a_blob_that_is_missing(seaweed):
    seaweed.shell("s3.bucket.create -name vanishing")
    async with S3Blobs.opened(seaweed.place(bucket="vanishing"), patience=HASTY) as blobs:
        await put(blobs, "ob_1", SMALL)
        seaweed.shell("s3.bucket.delete -name vanishing")
        with pytest.raises(UnavailableError):
            await get(blobs, "ob_1")
        with pytest.raises(StorageError):
            await put(blobs, "ob_2", SMALL)


async def test_a_missing_bucket_is_an_error_and_not_a_new_one(seaweed):
    with pytest.raises(MissingError, match="no bucket nowhere"):
        async with S3Blobs.opened(seaweed.place(bucket="nowhere"), patience=HASTY):
            pass


async def test_wrong_credentials_are_refused_at_once_and_not_repeated(
    seaweed, tmp_path, caplog
):
    file = tmp_path / "credentials"
    secret = os.urandom(16).hex()
    file.write_text(
        f"[default]\naws_access_key_id = invented-access\naws_secret_access_key = {secret}\n"
    )
    caplog.set_level("DEBUG")
    place = replace(seaweed.place(), credentials_file=file)
    begun = time.monotonic()
    with pytest.raises(UnavailableError) as refused:
        async with S3Blobs.opened(place, patience=HASTY):
            pass
    assert time.monotonic() - begun < 2
    assert secret not in "".join(traceback.format_exception(refused.value))
    assert secret not in caplog.text
    assert secret not in repr(place)
    assert secret not in repr(place.credentials())


async def test_what_a_stopped_process_left_is_tidied_and_nothing_else(blobs):
    await put(blobs, "ob_0", SMALL)
    writer = blobs.create("ob_1")
    begun = await writer.__aenter__()
    await begun.write(LARGE)
    while begun._sending:
        await begun._settle_part()
    assert len((await left_behind(blobs))[0]) == 1
    key = blobs._requests.place.key("claims/ob_1")
    await blobs._requests.again("PUT", key)
    now = datetime.now(UTC)
    assert await blobs.tidy(begun_before=now - timedelta(hours=1)) == 0
    assert await blobs.tidy(begun_before=now + timedelta(hours=1)) == 2
    assert await left_behind(blobs) == ([], [])
    assert await get(blobs, "ob_0") == SMALL
    await writer.__aexit__(None, None, None)


@SIZES
async def test_a_blob_cancelled_at_any_request_is_whole_or_absent(blobs, middleman, data):
    for at in range(1, 30):
        reached, numbers, name = asyncio.Event(), iter(range(1, 1000)), f"ob_{at}"

        def stop(_, at=at, numbers=numbers, reached=reached):
            if next(numbers) == at:
                reached.set()
                return Harm.SLOW
            return None

        middleman.harms = stop
        putting = asyncio.create_task(put(blobs, name, data))
        arriving = asyncio.create_task(reached.wait())
        await asyncio.wait([putting, arriving], return_when=asyncio.FIRST_COMPLETED)
        arriving.cancel()
        if not reached.is_set():
            await putting
            assert at > 2
            break
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        middleman.harms = lambda _: None
        if name in [one async for one in blobs.names()]:
            assert await get(blobs, name) == data
        else:
            await put(blobs, name, data)
        assert (await left_behind(blobs))[1] == []


async def test_memory_stays_bounded_whatever_the_size(blobs):
    async with blobs.create("ob_1") as writer:
        for _ in range(8):
            await writer.write(LARGE)
            held = len(writer._buffer) + PART_BYTES * len(writer._sending)
            assert held <= 3 * PART_BYTES


# -- the server itself


@pytest.fixture
def own_seaweed(tmp_path):
    with running_seaweed(tmp_path / "own") as server:
        yield server


@pytest.mark.slow
async def test_a_server_killed_and_started_again_has_all_that_it_acknowledged(own_seaweed):
    patient = Patience(answer=5.0, step=40.0)
    kept, going = {}, True
    async with S3Blobs.opened(own_seaweed.place("p"), patience=patient) as blobs:
        await blobs.find_fault()

        async def keep_putting(worker):
            number = 0
            while going:
                name, number = f"ob_{worker}_{number}", number + 1
                data = os.urandom(1000 if number % 3 else PART_BYTES + 1)
                try:
                    await put(blobs, name, data)
                except UnavailableError:
                    continue
                kept[name] = data

        working = [asyncio.create_task(keep_putting(worker)) for worker in range(3)]
        for _ in range(2):
            await asyncio.sleep(1.5)
            own_seaweed.kill()
            await asyncio.to_thread(own_seaweed.start)
        await asyncio.sleep(1)
        going = False
        await asyncio.gather(*working)
        assert len(kept) > 10
        for name, data in kept.items():
            assert await get(blobs, name) == data
        there = {name async for name in blobs.names()}
        assert kept.keys() <= there


async def test_a_server_that_hangs_is_given_up_and_comes_back(own_seaweed):
    async with S3Blobs.opened(own_seaweed.place("p"), patience=HASTY) as blobs:
        await put(blobs, "ob_1", SMALL)
        own_seaweed.pause()
        try:
            for asking in (put(blobs, "ob_2", SMALL), get(blobs, "ob_1"), blobs.find_fault()):
                with pytest.raises(UnavailableError):
                    await asking
        finally:
            own_seaweed.go_on()
        assert await get(blobs, "ob_1") == SMALL
        await put(blobs, "ob_3", SMALL)


async def test_whether_the_server_syncs_is_told_from_its_rules(own_seaweed):
    place, filer = own_seaweed.place("p"), own_seaweed.filer
    async with S3Blobs.opened(place, filer=filer, patience=HASTY) as blobs:
        assert await blobs.find_fault() is None
        own_seaweed.shell("fs.configure -locationPrefix=/buckets/archive/p -fsync=false -apply")
        assert "does not sync" in await blobs.find_fault()
        own_seaweed.shell("fs.configure -locationPrefix=/buckets/archive/p -delete -apply")
        assert await blobs.find_fault() is None
        own_seaweed.shell("fs.configure -locationPrefix=/ -delete -apply")
        assert "does not sync" in await blobs.find_fault()
    async with S3Blobs.opened(place, filer="http://127.0.0.1:9", patience=HASTY) as blobs:
        assert "does not tell" in await blobs.find_fault()
