"""Readiness: each part that fails is named, within two seconds, and the others are not."""

import asyncio
import shutil
from datetime import timedelta
from types import SimpleNamespace

import pytest

from service.archive.receive import keep_delivery
from service.serving import log_keeper
from service.wiring import published_files
from service.worker.readiness import LIMIT, Limited, Readiness, resident_bytes
from service.worker.supervisor import Watch, supervised
from storage.errors import BrokenError, FullError, UnavailableError
from storage.soundness import Soundness
from tests.conftest import NOW


class Failing:
    """A port of which one method fails."""

    def __init__(self, port, method, error):
        self._port, self._method, self._error = port, method, error

    def __getattr__(self, name):
        return self._fail if name == self._method else getattr(self._port, name)

    async def _fail(self, *_args, **_options):
        raise self._error


class FullBlobs:
    """A blob store on a disk without room."""

    async def find_fault(self):
        raise FullError("no room")


@pytest.fixture
def parts(archive):
    """Everything of a sound service."""
    stores = archive.stores
    return {
        "store": stores.store,
        "log": stores.log,
        "keys": stores.keys,
        "blobs": stores.blobs,
        "ring": archive.vault.ring,
        "keeper": log_keeper(archive),
        "watch": Watch(),
        "directories": (archive.config.archive.directory,),
        "publish_every": timedelta(seconds=5),
        "clock": lambda: NOW,
        "begun_at": NOW,
    }


async def problems(parts):
    found = {}
    for name, check in Readiness(**parts).checks().items():
        why = await check()
        if why is not None:
            found[name] = why
    return found


async def put_in(archive):
    """Let something come that the log tells of."""
    await keep_delivery(archive.intake, source="pbx", kind="x", ident="1", body=b"{}", now=NOW)


async def test_a_sound_service_is_ready_and_asking_leaves_nothing_behind(archive, parts):
    assert await problems(parts) == {}
    assert [name async for name in archive.stores.blobs.names()] == []
    assert not list((archive.config.storage.blobs.path / "incoming").iterdir())
    assert await archive.stores.log.log_size() == 0


async def test_a_database_that_cannot_be_read_is_named(archive, parts):
    parts["log"] = Failing(archive.stores.log, "log_size", UnavailableError("/secret/path"))
    found = await problems(parts)
    assert found == {"store": "it cannot be used now", "log": "it cannot be used now"}


async def test_a_key_store_that_cannot_be_read_is_named(archive, parts):
    parts["keys"] = Failing(archive.stores.keys, "get_keys", UnavailableError("x"))
    assert set(await problems(parts)) == {"keys"}


async def test_a_ring_without_its_current_epoch_is_named(parts):
    class Ring:
        current_epoch = 2
        epochs = parts["ring"].epochs

    parts["ring"] = Ring()
    assert set(await problems(parts)) == {"keys"}


async def test_blobs_without_room_are_named(parts, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=63 * 1024**2))
    assert await problems(parts) == {"blobs": "only 63 MiB are free"}


async def test_blobs_that_cannot_be_written_are_named(parts):
    parts["blobs"] = FullBlobs()
    assert await problems(parts) == {"blobs": "there is no room left"}


async def test_a_missing_directory_is_named(parts, tmp_path):
    parts["directories"] = (tmp_path / "gone",)
    assert set(await problems(parts)) == {"blobs"}


@pytest.mark.parametrize(("port", "method"), [("store", "commit"), ("keys", "put_keys")])
async def test_a_store_whose_sync_failed_is_named(parts, port, method):
    parts[port] = Failing(parts[port], method, BrokenError("x"))
    (why,) = (await problems(parts)).values()
    assert "a sync failed" in why


@pytest.mark.parametrize("port", ["store", "keys"])
async def test_the_stores_refuse_a_change_of_nothing_once_a_sync_failed(archive, parts, port):
    """The real stores: what durability is asked with is refused where it was lost."""
    stores = archive.stores
    backend = stores.log if port == "store" else stores.keys.keys._keys
    backend._durable._soundness = Soundness()
    backend._durable._soundness.lose(BrokenError("x"))
    assert set(await problems(parts)) == {"durability"}


async def test_a_sync_that_failed_in_one_store_ends_writing_in_all(archive, parts):
    archive.stores.blobs.blobs.soundness.lose(BrokenError("x"))
    assert set(await problems(parts)) == {"blobs", "durability"}
    for write in (archive.stores.store.commit, archive.stores.keys.put_keys):
        with pytest.raises(BrokenError):
            await write([])
    with pytest.raises(BrokenError):
        published_files(archive.config, archive.stores.soundness).write("checkpoint", b"")


async def test_a_log_that_is_not_published_for_a_minute_is_named(archive, parts):
    await put_in(archive)
    size = await archive.stores.log.log_size()
    assert await Readiness(**parts).unpublished() == size > 0
    assert await problems(parts) == {}
    parts["clock"] = lambda: NOW + timedelta(seconds=66)
    assert set(await problems(parts)) == {"log"}
    await parts["keeper"].publish(now=NOW)
    assert await problems(parts) == {}, "nothing is newer"
    assert await Readiness(**parts).unpublished() == 0


async def test_a_loop_that_failed_is_named_until_it_has_run_steadily(parts):
    now = 0.0
    parts["watch"] = watch = Watch(lambda: now)
    failed = asyncio.Event()

    async def failing():
        if failed.is_set():
            await asyncio.Event().wait()
        failed.set()
        raise ZeroDivisionError

    async with supervised({"jobs": failing}, watch=watch, restart_after=timedelta(0)):
        await asyncio.wait_for(failed.wait(), 5)
        await asyncio.sleep(0)
        assert await problems(parts) == {"loops": "failed and begun again: jobs"}
    now = 31.0
    assert await problems(parts) == {}


async def test_what_does_not_answer_in_time_is_told_of_and_asked_only_once():
    asked, go = 0, asyncio.Event()

    async def stuck():
        nonlocal asked
        asked += 1
        await go.wait()

    check = Limited(stuck, timedelta(milliseconds=10))
    assert [await check(), await check()] == ["no answer within 0.01 s"] * 2
    assert asked == 1
    go.set()
    assert [await check(), await check()] == [None, None]
    assert asked == 2
    assert timedelta(seconds=2) == LIMIT


async def test_a_check_that_fails_itself_is_a_problem_and_in_the_journal(caplog):
    async def broken():
        raise ZeroDivisionError

    assert await Limited(broken)() == "it cannot be used now"
    assert "readiness.failed" in caplog.text


def test_the_memory_of_the_process_is_told():
    assert resident_bytes() > 10**6
