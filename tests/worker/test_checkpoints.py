"""The published log: what others see always verifies, and of one name there is one history, whatever happens."""

import asyncio
import errno
import itertools
import logging
import shutil
import threading
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.cli.log_files import verify_log_directory
from service.databases import Alone
from service.domain.errors import TamperedError, UnavailableError
from service.log.checkpoint import (
    Checkpoint,
    decode_checkpoint,
    log_key,
    sign_checkpoint,
    verify_checkpoint,
)
from service.log.entry import EntryType, LogEntry, decode_entry, encode_entry
from service.log.merkle import leaf_hash, root_hash
from service.log.report import Outcome
from service.log.tiles import tiles_of
from service.worker.checkpoints import CHECKPOINT, LAST, STATE, LogKeeper
from storage.database.sqlite import SqliteStore
from storage.errors import FullError, MissingError
from storage.errors import UnavailableError as StorageUnavailableError
from storage.ports import Append, Turn
from storage.published import PublishedFiles

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = "2026-11-22"
NAME = "archive.example.org"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NUMBERS = itertools.count()


def anchored_as(day, size):
    return f"{day}/{NAME}-{size:012d}.checkpoint"


def entry():
    """Return a log entry unlike any other."""
    made = LogEntry(type=EntryType.LOOKUP_MADE, at=NOW, actor="us_x", data={"n": next(NUMBERS)})
    return encode_entry(made)


class Stopped(OSError):  # noqa: N818  # what happens, not what is wrong
    """Nothing more happens from here on, as after a power cut."""


@dataclass
class Faults:
    """Stops the n-th change to anything, before or after it happened; remembers every checkpoint ever written."""

    fail_at: int = 0
    is_late: bool = False
    calls: int = 0
    notes: set[bytes] = field(default_factory=set)

    def around(self, change):
        self.calls += 1
        fails = self.calls == self.fail_at
        if fails and not self.is_late:
            raise Stopped(errno.EIO, "stopped")
        change()
        if fails:
            raise Stopped(errno.EIO, "stopped")


class Files:
    """`PublishedFiles` whose changes may be stopped."""

    def __init__(self, directory, faults):
        self.real, self.faults = PublishedFiles(directory), faults
        self.directory, self.read = directory, self.real.read
        self.has, self.held = self.real.has, self.real.held

    def write(self, path, data):
        if path in {CHECKPOINT, LAST}:
            self.faults.notes.add(data)
        self.faults.around(lambda: self.real.write(path, data))

    def remove_folder(self, path):
        self.faults.around(lambda: self.real.remove_folder(path))

    def set_aside(self, name):
        self.faults.around(lambda: self.real.set_aside(name))


class Commits:
    """A store whose commits may be stopped."""

    def __init__(self, store, faults):
        self._store, self._faults = store, faults

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def commit(self, change):
        self._faults.calls += 1
        fails = self._faults.calls == self._faults.fail_at
        if not fails or self._faults.is_late:
            await self._store.commit(change)
        if fails:
            raise Stopped(errno.EIO, "stopped")


@dataclass
class World:
    """One archive's log: its database, which can be exchanged, and what is published of it."""

    directory: Path
    store: SqliteStore
    faults: Faults = field(default_factory=Faults)
    has_anchors: bool = True
    turn: Turn = field(default_factory=Alone)
    is_able: bool = True

    def __post_init__(self):
        self.anchors.mkdir(exist_ok=True)
        self.published = Files(self.directory / "log", self.faults)
        self.ledger = Files(self.directory / "ledger", self.faults)
        self.restart()

    @property
    def anchors(self):
        return self.directory / "anchors"

    def anchored(self):
        """Return the anchors by path."""
        return {
            path.relative_to(self.anchors).as_posix(): path.read_bytes()
            for path in sorted(self.anchors.rglob("*"))
            if path.is_file()
        }

    def restart(self):
        """Begin anew, as a process does that remembers nothing."""
        self.keeper = LogKeeper(
            store=Commits(self.store, self.faults),
            log=self.store,
            published=self.published,
            ledger=self.ledger,
            anchors=self.anchors if self.has_anchors else None,
            name=NAME,
            signing_key=lambda: SECRET,
            turn=self.turn,
            is_able=lambda: self.is_able,
        )

    async def append(self, count):
        await self.store.commit([Append(entry()) for _ in range(count)])

    async def entries(self):
        stored = await self.store.log_entries(0, await self.store.log_size())
        return [one.entry for one in stored]

    async def publish(self, now=NOW):
        return await self.keeper.publish(now=now)

    def require_verified(self):
        verdict = verify_log_directory(self.published.directory)
        assert verdict.outcome is Outcome.VERIFIED, verdict.lines

    def require_one_history(self):
        """No two checkpoints of one name were ever signed that do not agree on a size."""
        notes = self.faults.notes | set(self.anchored().values())
        roots = {}
        for checkpoint in map(decode_checkpoint, notes):
            place = (checkpoint.origin, checkpoint.size)
            assert roots.setdefault(place, checkpoint.root) == checkpoint.root

    async def require_checkpoints_true(self, *, first=0):
        """Every checkpoint of the log that stands is the root of the store's own entries."""
        standing = decode_checkpoint(self.published.read(CHECKPOINT))
        leaves = [leaf_hash(one) for one in (await self.entries())[first:]]
        for note in self.faults.notes:
            checkpoint = decode_checkpoint(note)
            if checkpoint.origin == standing.origin:
                assert checkpoint.root == root_hash(leaves[: checkpoint.size])
        assert standing.size == len(leaves)

    @asynccontextmanager
    async def restored(self, entries):
        """Put another database in the place of this one, with ``entries``, as a restore does."""
        path = self.directory / f"other-{next(NUMBERS)}.db"
        async with SqliteStore.opened(path, create=True) as other:
            if entries:
                await other.commit([Append(one) for one in entries])
            before, self.store = self.store, other
            self.restart()
            yield
            self.store = before


@pytest.fixture
async def world(tmp_path):
    async with SqliteStore.opened(tmp_path / "taltio.db", create=True) as store:
        yield World(tmp_path, store)


def files_of(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@dataclass
class Shared:
    """The turn of several processes, as one database gives it."""

    holder: object = None


@dataclass(eq=False)
class OneOf:
    """One process's part in it."""

    shared: Shared

    async def is_mine(self):
        if self.shared.holder is None:
            self.shared.holder = self
        return self.shared.holder is self

    async def give_back(self):
        if self.shared.holder is self:
            self.shared.holder = None


def processes(world, shared, count):
    """Return what publishes, once for each of several processes that share a turn."""
    keepers = []
    for _ in range(count):
        world.turn = OneOf(shared)
        world.restart()
        keepers.append(world.keeper)
    return keepers


# -- publishing


async def test_an_empty_log_begins_with_an_entry_that_says_so(world):
    checkpoint = await world.publish()
    (first,) = await world.entries()
    assert decode_entry(first).type is EntryType.LOG_STARTED
    assert (checkpoint.origin, checkpoint.size) == (NAME, 1)
    world.require_verified()


async def test_a_log_that_has_entries_already_begins_with_them(world):
    await world.append(3)
    assert (await world.publish()).size == 3
    world.require_verified()


@pytest.mark.parametrize("step", [1, 7, 100, 255, 256, 257])
async def test_published_bit_by_bit_the_files_are_those_published_at_once(
    world, tmp_path, step
):
    for _ in range(min(12, 800 // step + 1)):
        await world.append(step)
        await world.publish()
    world.require_verified()
    await world.require_checkpoints_true()
    size = await world.store.log_size()
    at_once = World(tmp_path, world.store)
    at_once.published = Files(tmp_path / "at-once", Faults())
    at_once.ledger = Files(tmp_path / "at-once-ledger", Faults())
    at_once.has_anchors = False
    at_once.restart()
    await at_once.publish()
    ours, theirs = files_of(world.published.directory), files_of(at_once.published.directory)
    wanted = {tile.path for tile in tiles_of(size)} | {CHECKPOINT, "vkey"}
    assert set(theirs) == wanted
    assert {path: ours[path] for path in wanted} == theirs


async def test_parts_of_a_full_tile_are_not_kept(world):
    for count in (100, 100, 56, 10):
        await world.append(count)
        await world.publish()
    paths = set(files_of(world.published.directory))
    assert not [
        path for path in paths if path.startswith(("tile/0/000.p", "tile/entries/000.p"))
    ]
    assert "tile/0/001.p/10" in paths
    world.require_verified()


async def test_nothing_new_changes_nothing(world):
    await world.append(5)
    first = await world.publish()
    before = world.faults.calls
    assert await world.publish() == first
    assert world.faults.calls == before


async def test_a_long_log_is_published_in_steps(world, monkeypatch):
    monkeypatch.setattr("service.worker.checkpoints._STEP", 100)
    await world.append(777)
    assert (await world.publish()).size == 777
    world.require_verified()


# -- stopped anywhere


@pytest.mark.parametrize("is_late", [False, True], ids=["before it", "after it"])
async def test_stopped_at_any_step_the_next_publishing_makes_it_whole(world, is_late):
    world.faults.is_late = is_late
    await world.append(250)
    stopped = 0
    for fail_at in itertools.count(1):
        world.faults.calls, world.faults.fail_at = 0, fail_at
        try:
            await world.publish()
        except Stopped:
            stopped += 1
            world.faults.fail_at = 0
            if (world.published.directory / CHECKPOINT).exists():
                world.require_verified()
            world.restart()
            await world.publish()
        else:
            break
        world.require_verified()
        world.require_one_history()
        await world.require_checkpoints_true()
        # Beyond the next full tile, so that all kinds of steps come up each time.
        await world.append(260)
    assert stopped >= 10


@pytest.mark.parametrize("is_late", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("fail_at", range(1, 10))
async def test_beginning_again_can_be_stopped_at_any_step(world, fail_at, is_late):
    await world.append(300)
    await world.publish()
    async with world.restored((await world.entries())[:200]):
        world.faults.calls, world.faults.fail_at = 0, fail_at
        world.faults.is_late = is_late
        for _ in range(2):
            try:
                await world.publish()
            except Stopped:
                world.restart()
        world.faults.fail_at = 0
        checkpoint = await world.publish()
        assert checkpoint.origin == f"{NAME}/2"
        world.require_verified()
        world.require_one_history()
        position = len(await world.entries()) - checkpoint.size
        await world.require_checkpoints_true(first=position)
        (aside,) = world.directory.glob("log.1*")
        assert verify_log_directory(aside).outcome is Outcome.VERIFIED


async def test_a_full_disk_leaves_what_stands_and_is_healed(world):
    await world.append(10)
    await world.publish()
    before = files_of(world.published.directory)

    class Full:
        def __getattr__(self, name):
            return getattr(world.published, name)

        def write(self, _path, _data):
            raise OSError(errno.ENOSPC, "no room")

    await world.append(10)
    world.keeper.published = Full()
    with pytest.raises(OSError, match="no room"):
        await world.publish()
    assert files_of(world.published.directory) == before
    world.keeper.published = world.published
    assert (await world.publish()).size == 20


# -- never two histories


@pytest.mark.parametrize(
    ("kept", "added"),
    [
        pytest.param(200, 0, id="yesterday's"),
        pytest.param(200, 100, id="yesterday's, grown to the same size"),
        pytest.param(200, 300, id="yesterday's, grown beyond"),
        pytest.param(299, 1, id="the last entry is another"),
        pytest.param(0, 300, id="nothing of it"),
        pytest.param(0, 0, id="an empty one"),
    ],
)
async def test_a_database_that_does_not_continue_what_was_signed_begins_a_new_log(
    world, kept, added
):
    await world.append(300)
    signed = await world.publish()
    async with world.restored((await world.entries())[:kept]):
        if added:
            await world.append(added)
        checkpoint = await world.publish()
        assert (checkpoint.origin, checkpoint.size) == (f"{NAME}/2", 1)
        first = decode_entry((await world.entries())[-1])
        assert first.type is EntryType.LOG_STARTED
        assert first.data == {
            "origin": f"{NAME}/2",
            "old_origin": NAME,
            "old_size": 300,
            "old_root": signed.root.hex(),
        }
        await world.append(20)
        assert (await world.publish()).size == 21
        world.require_verified()
        world.require_one_history()
    old = verify_log_directory(world.directory / "log.1")
    assert old.outcome is Outcome.VERIFIED
    assert world.ledger.read(STATE)


async def test_set_back_a_second_time_it_begins_a_third_log(world):
    await world.append(30)
    await world.publish()
    first = await world.entries()
    async with world.restored(first[:20]):
        await world.publish()
        await world.append(5)
        await world.publish()
        second = await world.entries()
    for restored in (first[:25], second[:22], []):
        async with world.restored(restored):
            checkpoint = await world.publish()
            await world.append(3)
            await world.publish()
            world.require_verified()
            world.require_one_history()
    assert checkpoint.origin == f"{NAME}/5"


async def test_set_back_before_a_new_log_was_ever_signed_another_one_begins(world):
    await world.append(30)
    await world.publish()
    first = await world.entries()
    async with world.restored(first[:20]):
        # Entry, old files aside, ledger: and then nothing was signed any more.
        world.faults.calls, world.faults.fail_at, world.faults.is_late = 0, 3, True
        with pytest.raises(Stopped):
            await world.publish()
        world.faults.fail_at = 0
    async with world.restored(first[:10]):
        await world.append(40)
        checkpoint = await world.publish()
        assert (checkpoint.origin, checkpoint.size) == (f"{NAME}/3", 1)
        world.require_verified()


async def test_the_right_database_again_continues_the_log(world):
    await world.append(300)
    await world.publish()
    async with world.restored(await world.entries()):
        await world.append(5)
        checkpoint = await world.publish()
        assert (checkpoint.origin, checkpoint.size) == (NAME, 305)
        world.require_verified()


@pytest.mark.parametrize("knows", ["the published log", "the anchors"])
async def test_a_machine_set_back_with_its_ledger_is_known_by_what_lies_outside(world, knows):
    await world.append(100)
    await world.publish()
    yesterday = {"log", "ledger"} if knows == "the anchors" else {"ledger"}
    for name in yesterday:
        shutil.copytree(world.directory / name, world.directory / f"{name}.copy")
    entries = await world.entries()
    await world.append(100)
    await world.publish()
    for name in yesterday:
        shutil.rmtree(world.directory / name)
        (world.directory / f"{name}.copy").rename(world.directory / name)
    if knows != "the anchors":
        shutil.rmtree(world.anchors)
        world.anchors.mkdir()
    async with world.restored(entries):
        await world.append(150)
        checkpoint = await world.publish()
        assert (checkpoint.origin, checkpoint.size) == (f"{NAME}/2", 1)
        assert decode_entry((await world.entries())[-1]).data["old_size"] == 200
        world.require_one_history()


@pytest.mark.parametrize("lost", [{LAST}, {STATE}, {LAST, STATE}])
async def test_a_ledger_that_was_lost_is_remembered_by_what_lies_outside(world, lost):
    await world.append(100)
    await world.publish()
    for name in lost:
        (world.ledger.directory / name).unlink()
    await world.append(5)
    world.restart()
    checkpoint = await world.publish()
    assert (checkpoint.origin, checkpoint.size) == (NAME, 105)
    world.require_verified()
    world.require_one_history()
    assert world.ledger.read(STATE)


async def test_where_it_is_forgotten_where_a_later_log_began_another_one_begins(world):
    await world.append(30)
    await world.publish()
    async with world.restored((await world.entries())[:20]):
        await world.publish()
        (world.ledger.directory / STATE).unlink()
        world.restart()
        assert (await world.publish()).origin == f"{NAME}/3"
        world.require_one_history()


@pytest.mark.parametrize("name", [LAST, STATE])
async def test_with_a_damaged_ledger_nothing_is_signed(world, name):
    await world.append(10)
    await world.publish()
    await world.append(10)
    (world.ledger.directory / name).write_bytes(b"{")
    with pytest.raises(UnavailableError):
        await world.publish()
    assert decode_checkpoint(world.published.read(CHECKPOINT)).size == 10


async def test_a_strangers_checkpoint_among_the_anchors_is_not_believed(world):
    await world.append(10)
    await world.publish()
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    forged = sign_checkpoint(Checkpoint(NAME, 99, bytes(32)), other)
    (world.anchors / DAY / f"{NAME}-000000000099.checkpoint").write_bytes(forged)
    (world.anchors / DAY / f"{NAME}-000000000098.checkpoint").write_bytes(
        b"nothing of the kind"
    )
    world.restart()
    await world.append(10)
    assert (await world.publish()).origin == NAME


# -- tiles that are not as they were


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda log: shutil.rmtree(log / "tile"), id="all removed"),
        pytest.param(lambda log: (log / "tile/0/001.p/44").write_bytes(b"short"), id="cut"),
        pytest.param(
            lambda log: (log / "tile/0/001.p/44").write_bytes(bytes(44 * 32)), id="other"
        ),
        pytest.param(lambda log: (log / "tile/1/000.p/1").unlink(), id="one removed"),
    ],
)
async def test_damaged_tiles_are_made_anew_from_the_store_and_told_of(world, damage, caplog):
    await world.append(300)
    await world.publish()
    damage(world.published.directory)
    await world.append(5)
    with caplog.at_level(logging.ERROR):
        checkpoint = await world.publish()
    assert (checkpoint.origin, checkpoint.size) == (NAME, 305)
    assert "log.tiles_made_anew" in caplog.text
    world.require_verified()


async def test_a_tile_changed_while_the_log_grows_is_not_signed(world, monkeypatch):
    await world.append(300)
    await world.publish()
    await world.append(5)
    write = LogKeeper._write_tiles

    def meddled(self, old_size, entries):
        write(self, old_size, entries)
        (world.published.directory / "tile/1/000.p/1").write_bytes(bytes(32))

    monkeypatch.setattr(LogKeeper, "_write_tiles", meddled)
    with pytest.raises(TamperedError):
        await world.publish()
    assert decode_checkpoint(world.ledger.read(LAST)).size == 300


# -- anchors


async def test_each_checkpoint_is_anchored_outside(world):
    for _ in range(3):
        await world.append(4)
        await world.publish()
    assert list(world.anchored()) == [anchored_as(DAY, size) for size in (4, 8, 12)]
    key = log_key(NAME, SECRET)
    for note in world.anchored().values():
        verify_checkpoint(note, key)


async def test_each_day_has_its_folder_of_anchors(world):
    for days in (0, 1, 1, 5):
        await world.append(1)
        await world.publish(now=NOW + timedelta(days=days))
    days = [(NOW + timedelta(days=n)).date().isoformat() for n in (0, 1, 1, 5)]
    assert list(world.anchored()) == [anchored_as(day, n) for n, day in enumerate(days, 1)]


async def test_a_clock_that_was_set_back_puts_no_anchor_into_an_earlier_folder(world):
    for days in (3, 0):
        await world.append(1)
        await world.publish(now=NOW + timedelta(days=days))
    day = (NOW + timedelta(days=3)).date().isoformat()
    assert list(world.anchored()) == [anchored_as(day, 1), anchored_as(day, 2)]


async def test_a_checkpoint_that_stands_for_days_is_anchored_once(world):
    await world.append(1)
    for days in range(3):
        world.restart()
        await world.publish(now=NOW + timedelta(days=days))
    assert list(world.anchored()) == [anchored_as(DAY, 1)]


@pytest.mark.parametrize("folder", [".", "2020-01-01"])
async def test_an_anchor_of_any_age_is_remembered_at_the_start(world, folder):
    await world.append(9)
    await world.publish()
    (path,) = (world.anchors / DAY).iterdir()
    (world.anchors / folder).mkdir(exist_ok=True)
    path.rename(world.anchors / folder / path.name)
    for lost in (world.published, world.ledger):
        shutil.rmtree(lost.directory)
    world.restart()
    await world.append(1)
    await world.publish()
    world.require_one_history()
    assert decode_checkpoint(world.published.read(CHECKPOINT)).size == 10


async def test_a_missing_anchor_directory_is_told_of_once_and_made_good_when_it_is_back(
    world, caplog
):
    world.anchors.rmdir()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await world.append(1)
            await world.publish()
        assert not world.anchors.exists(), "it is not made on the wrong machine"
        world.anchors.mkdir()
        await world.publish()
    assert [record.message for record in caplog.records] == [
        "log.not_anchored",
        "log.anchored_again",
    ]
    (anchored,) = world.anchored().values()
    assert decode_checkpoint(anchored).size == 3


class FullDirectory:
    """`PublishedFiles` on a disk without room."""

    def __init__(self, _directory):
        pass

    def read(self, path):
        raise MissingError(path)

    def write(self, _path, _data):
        raise FullError("no room")


async def test_a_full_anchor_directory_holds_up_nothing_and_is_made_good(
    world, monkeypatch, caplog
):
    with monkeypatch.context() as patched:
        patched.setattr("service.worker.checkpoints.PublishedFiles", FullDirectory)
        await world.append(2)
        assert (await world.publish()).size == 2
    assert "log.not_anchored" in caplog.text
    assert decode_checkpoint(world.published.read(CHECKPOINT)).size == 2
    assert not world.anchored()
    await world.publish()
    assert len(world.anchored()) == 1


# -- the files


def test_what_is_no_path_of_a_published_file_is_not_there(tmp_path):
    files = PublishedFiles(tmp_path / "log")
    (tmp_path / "secret").write_text("x")
    files.write("tile/0/000", b"x")
    for path in (
        "../secret",
        "/etc/passwd",
        "tile//0",
        ".hidden",
        "tile/0",
        "a" * 300,
        "",
        "é",
    ):
        with pytest.raises(MissingError):
            files.read(path)


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    files = PublishedFiles(tmp_path / "log")
    files.write("a/b", b"one")
    files.write("a/b", b"two")
    assert files_of(tmp_path / "log") == {"a/b": b"two"}


def test_setting_aside_never_replaces_anything(tmp_path):
    files = PublishedFiles(tmp_path / "log")
    for content in (b"one", b"two"):
        files.write("a", content)
        files.set_aside("log.1")
        files.set_aside("log.1")
    assert files_of(tmp_path) == {"log.1/a": b"one", "log.1-2/a": b"two"}
    assert (tmp_path / "log").is_dir()


async def test_the_loop_publishes_and_outlives_what_goes_wrong(world, caplog):
    await world.append(2)
    world.faults.fail_at = 1
    task = asyncio.create_task(world.keeper.run(clock=lambda: NOW, every=timedelta(0)))
    while not (world.published.directory / CHECKPOINT).exists():  # noqa: ASYNC110  # a file tells nobody
        await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert caplog.text.count("log.not_published") == 1
    world.require_verified()


async def test_of_several_processes_the_one_whose_turn_it_is_publishes(world):
    """The others look on, and one of them goes on when that one has ended."""
    shared = Shared()
    await world.append(3)
    first, second = processes(world, shared, 2)
    await turned(first)
    await turned(second)
    assert second.standing.position == first.standing.position == 3
    await world.append(2)
    await turned(second)
    assert second.standing.position == 3
    await first.turn.give_back()
    await turned(second)
    await turned(first)
    assert first.standing.position == second.standing.position == 5


async def test_whose_keys_are_away_lets_another_process_publish(world):
    await world.append(3)
    first, second = processes(world, Shared(), 2)
    await turned(first)
    await turned(second)
    await world.append(2)
    first.is_able = lambda: False
    await turned(first)
    assert first.standing.position == 3
    await turned(second)
    assert second.standing.position == 5
    first.is_able = lambda: True
    await world.append(1)
    await turned(first)
    assert first.standing.position == 5, "it is another's turn now"


async def test_who_fails_to_publish_lets_another_process_do_it(world, caplog):
    await world.append(3)
    first, second = processes(world, Shared(), 2)
    await turned(first)
    await turned(second)
    await world.append(2)
    world.faults.calls, world.faults.fail_at = 0, 1
    await ran(first, until=lambda: "log.not_published" in caplog.text)
    await turned(second)
    assert second.standing.position == 5
    world.require_verified()


@dataclass
class Paused:
    """Files of a process that is paused before it writes one of them."""

    files: Files
    path: str
    is_here: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name):
        return getattr(self.files, name)

    def write(self, path, data):
        if path == self.path:
            self.is_here.set()
            assert self.goes_on.wait(10)
        self.files.write(path, data)


async def test_who_lost_the_turn_unawares_publishes_nothing_over_what_is_newer(
    world, monkeypatch
):
    """Also where the file system forgets locks of a machine that was paused."""
    await world.append(3)
    first, second = processes(world, Shared(), 2)
    await first.publish(now=NOW)
    await world.append(3)
    paused = first.published = Paused(world.published, "tile/0/000.p/6")
    publishing = asyncio.create_task(first.publish(now=NOW))
    await asyncio.to_thread(paused.is_here.wait, 10)
    await world.append(10)
    with pytest.raises(StorageUnavailableError):
        await second.publish(now=NOW)
    monkeypatch.setattr(world.ledger, "held", lambda *_, **__: nullcontext())
    assert (await second.publish(now=NOW)).size == 16
    paused.goes_on.set()
    with pytest.raises(UnavailableError):
        await publishing
    for files, name in ((world.ledger, LAST), (world.published, CHECKPOINT)):
        assert decode_checkpoint(files.read(name)).size == 16
    assert (await first.publish(now=NOW)).size == 16
    world.require_verified()


async def test_who_shows_cosignatures_shows_no_checkpoint_of_before(world):
    await world.append(3)
    first, second = processes(world, Shared(), 2)
    await first.publish(now=NOW)
    (world.published.directory / CHECKPOINT).unlink()
    paused = second.published = Paused(world.published, CHECKPOINT)
    showing = asyncio.create_task(asyncio.to_thread(second.show_last))
    await asyncio.to_thread(paused.is_here.wait, 10)
    await world.append(3)
    publishing = asyncio.create_task(first.publish(now=NOW))
    await asyncio.sleep(0.2)
    paused.goes_on.set()
    await asyncio.gather(showing, publishing)
    assert decode_checkpoint(world.published.read(CHECKPOINT)).size == 6


async def test_a_publisher_that_ends_or_fails_leaves_no_lock(world):
    await world.append(3)
    first, second = processes(world, Shared(), 2)
    world.faults.fail_at = 1
    with pytest.raises(Stopped):
        await first.publish(now=NOW)
    assert (await second.publish(now=NOW)).size == 3
    await asyncio.gather(first.publish(now=NOW), first.publish(now=NOW))


async def test_who_looks_on_notices_that_what_waits_is_not_published(world):
    await world.append(3)
    await world.publish()
    world.restart()
    onlooker = world.keeper

    async def seen_at(minutes):
        await onlooker.look_on(now=NOW + timedelta(minutes=minutes))
        return onlooker.standing.at - NOW

    assert await seen_at(0) == timedelta(0)
    assert await seen_at(5) == timedelta(minutes=5), "nothing waits"
    await world.append(1)
    assert await seen_at(6) == await seen_at(60) == timedelta(minutes=5)
    world.restart()
    await world.append(1)
    await world.publish()
    await world.append(1)
    assert await seen_at(61) == timedelta(minutes=61), "it moved"
    assert await seen_at(62) == timedelta(minutes=61)


async def turned(keeper):
    """Let a keeper run for one turn."""
    keeper.standing = None
    await ran(keeper, until=lambda: keeper.standing is not None)


async def ran(keeper, *, until):
    """Let a keeper run for one turn, which ends when something holds."""
    running = asyncio.create_task(keeper.run(clock=lambda: NOW, every=timedelta(hours=1)))
    async with asyncio.timeout(10):
        while not until():  # noqa: ASYNC110  # the keeper tells nobody
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
