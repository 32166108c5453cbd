"""A process that stops dead at any step leaves what it did whole or absent, and the next start goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from storage.database.keys import SqliteKeyStore
from storage.database.sqlite import SqliteStore
from storage.files import FileBlobs
from storage.ports import Append
from storage.rows import ContactTokenRow, GrantContactRow, LinkRow
from tests.conformance.stopping import BEFORE, BLOB, CHANGE, KEYS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stopped(template, tmp_path):
    """Do something in processes that stop one step later each time; return their folders, in order."""

    def run(deed, at_least, stride=1):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.conformance.stopping",
                deed,
                template,
                tmp_path,
                f"{stride}",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        last = int(done.stdout)
        assert last > at_least
        return [tmp_path / str(at) for at in range(1, last + 1, stride)]

    return run


async def test_a_change_is_whole_or_absent(stopped):
    seen = []
    for folder in stopped("commit", 8):
        async with SqliteStore.opened(folder / "taltio.db", create=False) as store:
            traces = {
                await store.count(LinkRow, {"version": 2}) == 1,
                await store.count(GrantContactRow, {}) == 0,
                await store.count(ContactTokenRow, {}) == 1,
                await store.log_size() == 2,
                len(await store.log_about("ct_1")) == 1,
            }
            assert len(traces) == 1
            seen += traces
            if not seen[-1]:
                await store.commit(CHANGE)
            await store.commit([Append(b"next")])
            entries = [one.entry for one in await store.log_entries(0, 9)]
            assert entries == [BEFORE[-1].entry, CHANGE[-1].entry, b"next"]
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


async def test_keys_are_put_all_or_none(stopped):
    seen = []
    for folder in stopped("put_keys", 6):
        async with SqliteKeyStore.opened(folder / "keys.db", create=False) as keys:
            there = await keys.get_keys([key.id for key in KEYS])
            assert len(there) in {0, len(KEYS)}
            seen.append(bool(there))
            await keys.put_keys(KEYS)
            assert await keys.get_keys([key.id for key in KEYS]) == {
                key.id: key for key in KEYS
            }
    assert seen == sorted(seen)
    assert seen[-1]


async def test_keys_are_destroyed_all_or_none_and_asking_again_leaves_no_bytes(stopped):
    gone, left = KEYS[::2], KEYS[1::2]
    seen = []
    for folder in stopped("destroy_keys", 4):
        async with SqliteKeyStore.opened(folder / "keys.db", create=False) as keys:
            there = await keys.get_keys([key.id for key in KEYS])
            assert len(there) in {len(left), len(KEYS)}
            seen.append(len(there) == len(left))
            await keys.destroy_keys([key.id for key in gone])
            bytes_left = b"".join(path.read_bytes() for path in folder.glob("keys.db*"))
            assert not [key for key in gone if key.wrapped in bytes_left]
            assert all(key.wrapped in bytes_left for key in left)
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


async def test_a_blob_is_whole_or_absent_and_the_next_start_tidies_up(stopped):
    seen = []
    for folder in stopped("put_blob", 9):
        async with FileBlobs.opened(folder / "blobs", create=False) as blobs:
            assert list((folder / "blobs" / "incoming").iterdir()) == []
            seen.append([name async for name in blobs.names()] == ["ob_1"])
            if not seen[-1]:
                async with blobs.create("ob_1") as writer:
                    await writer.write(BLOB)
                    await writer.finish()
            async with blobs.open("ob_1") as reader:
                assert await reader.read(0, 10_000) == BLOB
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


async def test_a_new_archive_is_whole_or_absent_and_the_next_start_makes_it(stopped):
    for folder in stopped("make_archive", 50, stride=3):
        async with SqliteStore.opened(folder / "new.db", create=True) as store:
            await store.commit(BEFORE)
        left = {path.name for path in folder.iterdir()} - {"taltio.db", "keys.db"}
        assert left <= {"new.db", ".new.db.new"}
