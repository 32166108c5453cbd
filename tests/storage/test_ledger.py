"""The file of a ledger: what is added stays, nothing is said twice, and a disk that fails ends it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import ledger as module
from storage.errors import BrokenError, FullError, UnavailableError
from storage.ledger import FileLedger
from storage.soundness import Soundness

ROOT = Path(__file__).resolve().parents[2]
OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from storage.ledger import FileLedger
asyncio.run(FileLedger(Path(sys.argv[1])).append(lambda last: sys.argv[2].encode()))
"""


def said(line):
    """Return what a line of these tests says: all but the number after its colon."""
    return line.partition(b":")[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger" / "lines"


async def add(ledger, *texts):
    """Add one line after the other, each with the number of the line before it and one."""

    def follow(text):
        def numbered(last):
            return b"%s:%d" % (text, int(last.partition(b":")[2] or 0) + 1)

        return numbered

    for text in texts:
        await ledger.append(follow(text))


class Syncs:
    """Counts syncs of files, and lets those fail that come after the first ``sound`` ones."""

    def __init__(self, monkeypatch, *, number=errno.EIO, sound=0) -> None:
        self.count, self._sync = 0, os.fsync
        self._number, self._sound = number, sound
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, file):
        self.count += 1
        if self.count > self._sound:
            raise OSError(self._number, "failed")
        self._sync(file)


# -- a disk that fails


@pytest.mark.parametrize("sound", [0, 1, 2], ids=["the file", "its directory", "the one above"])
async def test_a_failed_sync_ends_writing_and_is_never_tried_again(path, monkeypatch, sound):
    soundness = Soundness()
    ledger = FileLedger(path, soundness)
    await add(ledger, b"first")
    syncs = Syncs(monkeypatch, sound=sound)
    with pytest.raises(BrokenError, match="ledger/lines"):
        await add(ledger, b"second")
    assert soundness.is_lost
    monkeypatch.undo()
    healthy = Syncs(monkeypatch, sound=99)
    for ledger_of_it in (ledger, FileLedger(path, soundness, say=said)):
        with pytest.raises(BrokenError):
            await add(ledger_of_it, b"third")
    assert (syncs.count, healthy.count) == (sound + 1, 0)
    assert await ledger.read() == [b"first:1"], "what nobody can vouch for was taken back"


async def test_what_failed_in_another_store_ends_the_ledger_too(path):
    soundness = Soundness()
    soundness.lose(BrokenError("blobs: failed"))
    with pytest.raises(BrokenError, match="blobs"):
        await add(FileLedger(path, soundness), b"first")
    assert not path.exists()


async def test_a_ledger_of_its_own_breaks_for_itself(path, monkeypatch):
    ledger = FileLedger(path)
    Syncs(monkeypatch)
    with pytest.raises(BrokenError):
        await add(ledger, b"first")
    monkeypatch.undo()
    with pytest.raises(BrokenError):
        await add(ledger, b"first")
    await add(FileLedger(path), b"first")


async def test_a_disk_that_fails_while_somebody_waits_for_the_lock_ends_that_too(
    path, monkeypatch
):
    soundness = Soundness()
    flock = module.fcntl.flock

    def lost_meanwhile(file, how):
        flock(file, how)
        soundness.lose(BrokenError("ledger/lines: failed"))

    monkeypatch.setattr(module.fcntl, "flock", lost_meanwhile)
    with pytest.raises(BrokenError):
        await add(FileLedger(path, soundness), b"first")
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.ENOSPC, FullError), (errno.EROFS, UnavailableError)]
)
async def test_what_may_pass_ends_nothing(path, monkeypatch, number, raised):
    soundness = Soundness()
    ledger = FileLedger(path, soundness, say=said)
    Syncs(monkeypatch, number=number)
    with pytest.raises(raised):
        await add(ledger, b"first")
    monkeypatch.undo()
    assert not soundness.is_lost
    await add(ledger, b"first")
    assert await ledger.read() == [b"first:1"]


# -- what is said once


async def test_a_line_that_says_what_is_there_already_is_not_added(path):
    ledger = FileLedger(path, say=said)
    await add(ledger, b"a", b"b", b"a", b"a", b"b", b"c", b"a")
    assert await ledger.read() == [b"a:1", b"b:2", b"c:3"]


async def test_nor_is_it_after_a_restart(path):
    await add(FileLedger(path, say=said), b"a", b"b")
    again = FileLedger(path, say=said)
    await add(again, b"a", b"b", b"c", b"a")
    assert await again.read() == [b"a:1", b"b:2", b"c:3"]


async def test_nor_is_it_when_another_process_said_it(path):
    ledger = FileLedger(path, say=said)
    await add(ledger, b"a")
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, path, "b:2"], cwd=ROOT, check=True)  # noqa: ASYNC221  # a test of its own making
    await add(ledger, b"b", b"a", b"c")
    assert await ledger.read() == [b"a:1", b"b:2", b"c:3"]


async def test_what_was_taken_out_of_the_file_is_added_again(path):
    ledger = FileLedger(path, say=said)
    await add(ledger, b"a", b"b")
    path.write_bytes(b"a:1\n")
    await add(ledger, b"b")
    assert await ledger.read() == [b"a:1", b"b:2"]


async def test_what_is_not_added_is_synced_all_the_same(path, monkeypatch):
    """A process that was killed between writing a line and syncing it leaves a line that no power cut need spare."""
    path.parent.mkdir()
    path.write_bytes(b"a:1\n")
    syncs = Syncs(monkeypatch, sound=99)
    await add(FileLedger(path, say=said), b"a")
    assert syncs.count == 3
    assert path.read_bytes() == b"a:1\n"


async def test_half_a_line_says_nothing(path):
    path.parent.mkdir()
    path.write_bytes(b"a:1\nb:")
    ledger = FileLedger(path, say=said)
    await add(ledger, b"a", b"b")
    assert await ledger.read() == [b"a:1", b"b:2"]


async def test_the_file_is_read_whole_once(path, monkeypatch):
    await add(FileLedger(path, say=said), *(b"%d" % n for n in range(50)))
    reads = []
    read_at = module._read_at
    monkeypatch.setattr(module, "_read_at", lambda *args: reads.append(1) or read_at(*args))
    ledger = FileLedger(path, say=said)
    await add(ledger, *(b"%d" % n for n in range(40, 60)), b"3")
    assert reads == [1]
    assert len(await ledger.read()) == 60


async def test_without_being_told_what_lines_say_each_is_added(path):
    ledger = FileLedger(path)
    await add(ledger, b"a", b"a")
    assert await ledger.read() == [b"a:1", b"a:2"]
