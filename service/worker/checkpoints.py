"""Publishing the log: tiles first, then a signed checkpoint, then its anchor outside.

The last signed checkpoint lies in the ledger, which no restore brings back, and is durable before anybody sees it. A
log that does not continue it (a database of yesterday) is never signed under the same name: a new log begins, whose
first entry names the old one. So there are never two histories of one name.

A crash between any two steps leaves tiles that no checkpoint covers yet, or a checkpoint that is published next time.
One process at a time publishes the log of an archive; where several share a database, the others look on, and one of
them takes over when that one ends. One that was paused and lost its turn unawares is kept off by locks in the ledger.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.archive.anchors import Anchors, anchor_name
from service.archive.vouched import Vouched
from service.domain.errors import ArchiveError, NotFoundError
from service.domain.ids import new_id
from service.log.checkpoint import Checkpoint, decode_checkpoint, log_key, sign_checkpoint
from service.log.entry import EntryType, LogEntry, decode_entry, encode_entry
from service.log.errors import FormatError
from service.log.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    prove_consistency,
    verify_consistency,
)
from service.log.tiles import (
    TILE_WIDTH,
    Tile,
    build_bundles,
    build_tiles,
    read_hashes,
    subtree_from_tiles,
)
from service.worker.edge import frontier_of
from service.worker.signed import CHECKPOINT, LAST, STATE, LogState, Signed
from storage.errors import MissingError, StorageError
from storage.ports import Append, LogStore, Store, Turn
from storage.published import PublishedFiles
from storage.waiting import settled

VERIFIER_KEY: Final = "vkey"

_LOCK: Final = "publishing.lock"
_SHOWING: Final = "showing.lock"
_STEP: Final = 4096
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class Standing:
    """What everybody can see of the log: everything before ``position`` in the store.

    At ``at`` that was last all there was, or more than before.
    """

    position: int
    at: datetime


@dataclass(slots=True)
class LogKeeper:
    """Publishes the log of one archive.

    ``turn`` tells whose turn it is to publish, and ``is_able`` whether the keys are at hand. ``vouched`` knows the
    cosignatures that are published with a checkpoint; ``on_release`` is called after each.
    """

    store: Store
    log: LogStore
    published: PublishedFiles
    ledger: PublishedFiles
    anchors: Path | None
    name: str
    signing_key: Callable[[], Ed25519PrivateKey] = field(repr=False)
    turn: Turn
    is_able: Callable[[], bool]
    vouched: Vouched | None = None
    on_release: list[Callable[[], None]] = field(default_factory=list, repr=False)
    standing: Standing | None = field(default=None, init=False)
    _writing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _publishing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _is_recalled: bool = field(default=False, init=False, repr=False)
    _anchored: bytes = field(default=b"", init=False, repr=False)
    _trouble: str = field(default="", init=False, repr=False)
    _troubled_at: float = field(default=0.0, init=False, repr=False)

    async def run(self, *, clock: Callable[[], datetime], every: timedelta) -> None:
        """Publish what is new every so often, until cancelled. What cannot be done now is done next time."""
        told = ""
        while True:
            code = ""
            try:
                await self._take_turn(now=clock())
            except (ArchiveError, StorageError, OSError) as error:
                code = type(error).__name__
                if code != told:
                    _log.exception("log.not_published", extra={"code": code})
            told = code
            await asyncio.sleep(every.total_seconds())

    async def _take_turn(self, *, now: datetime) -> None:
        """Publish or look on. Who cannot publish lets another process have the turn."""
        if not self.is_able():
            await self.turn.give_back()
            await self.look_on(now=now)
        elif await self.turn.is_mine():
            try:
                await self.publish(now=now)
            except Exception:
                # Another process may have room, or its files at hand.
                await self.turn.give_back()
                raise
        else:
            await self.look_on(now=now)

    async def look_on(self, *, now: datetime) -> None:
        """Note what another process has published, as far as it can be seen from here.

        While it publishes nothing of what waits, the standing is as old as it is.

        Raises:
            UnavailableError: The ledger is damaged.
        """
        self._is_recalled = False
        # Whoever publishes knows what the anchors take now.
        self._trouble = ""
        signed = self._signed()
        last = await asyncio.to_thread(signed.last)
        state = await asyncio.to_thread(signed.state)
        if last is None or state is None or last.origin != state.origin:
            return
        position, known = state.first + last.size, self.standing
        has_moved = known is None or known.position != position
        if has_moved or position >= await self.log.log_size():
            self.standing = Standing(position, now)

    async def publish(self, *, now: datetime) -> Checkpoint:
        """Publish what is new; return the checkpoint that stands.

        Raises:
            UnavailableError: The ledger is damaged. Nothing was signed.
            TamperedError: The tiles changed while they were extended. Nothing was signed.
            storage.errors.StorageError, OSError: Something cannot be read or written, or another process is at it.
        """
        async with self._publishing:
            with ExitStack() as held:
                await settled(asyncio.to_thread(held.enter_context, self.ledger.held(_LOCK)))
                return await self._publish(now=now)

    async def _publish(self, *, now: datetime) -> Checkpoint:
        signed = self._signed()
        if not self._is_recalled:
            await settled(asyncio.to_thread(signed.recall))
        known = await asyncio.to_thread(signed.state)
        state = known or LogState(origin=self.name, first=0, generation=1)
        last = await asyncio.to_thread(signed.last)
        if last is not None and last.origin != state.origin:
            last = None
        if not await self._continues(last, state):
            state, last = await self._begin_again(last, state, now=now), None
        elif not self._is_recalled:
            await self._begin(state, now=now)
        size = await self.log.log_size() - state.first
        note = None
        if last is None or size > last.size:
            last, note = await self._extend_and_sign(state, last, size)
        await settled(asyncio.to_thread(self._release, last, note, now.date()))
        self._is_recalled = True
        self.standing = Standing(state.first + last.size, now)
        for released in self.on_release:
            released()
        return last

    def _signed(self) -> Signed:
        return Signed(self.ledger, self.published, self.anchors, self.name, self.signing_key)

    # -- which log it is

    async def _begin(self, state: LogState, *, now: datetime) -> None:
        """Note which log is written, and see to it that it has an entry."""
        if await self.log.log_size() == 0:
            entry = LogEntry(
                type=EntryType.LOG_STARTED,
                at=now,
                actor="system",
                data={"origin": state.origin},
            )
            await self.store.commit([Append(encode_entry(entry))])
        await settled(asyncio.to_thread(self._signed().keep_state, state))

    async def _begin_again(
        self, last: Checkpoint | None, state: LogState, *, now: datetime
    ) -> LogState:
        """Begin a new log, because the store does not continue what was signed.

        Order: its first entry, the old files out of the way, then the ledger. Interrupted, it is begun once more; what
        was appended before lies before the beginning of the new log.
        """
        generation = state.generation + 1
        origin = self._signed().origin_of(generation)
        old = last or Checkpoint(state.origin, 0, EMPTY_ROOT)
        _log.error("log.begun_again", extra={"origin": origin, "old_size": old.size})
        entry = LogEntry(
            type=EntryType.LOG_STARTED,
            at=now,
            actor="system",
            about=(new_id("lg"),),
            data={
                "origin": origin,
                "old_origin": old.origin,
                "old_size": old.size,
                "old_root": old.root.hex(),
            },
        )
        await self.store.commit([Append(encode_entry(entry), entry.about)])
        (started,) = await self.log.log_about(entry.about[0])
        begun = LogState(origin=origin, first=started.index, generation=generation)
        await settled(asyncio.to_thread(self.published.set_aside, f"log.{state.generation}"))
        await settled(asyncio.to_thread(self._signed().keep_state, begun))
        return begun

    async def _continues(self, last: Checkpoint | None, state: LogState) -> bool:
        """Tell whether the store still has what was signed, making missing tiles anew from it."""
        if state.first < 0:
            return False
        if last is None:
            return state.generation == 1 or await self._is_begun(state)
        if await self.log.log_size() - state.first < last.size:
            return False
        root = await asyncio.to_thread(self._find_root, last.size)
        if root == last.root and await self._has_last_entry(last, state):
            return True
        # The tiles are of another time than the store; only the store tells whether it continues.
        if (await frontier_of(self.log, state.first, last.size)).root != last.root:
            return False
        _log.error("log.tiles_made_anew", extra={"origin": state.origin, "size": last.size})
        await self._extend(state, 0, last.size)
        return True

    async def _is_begun(self, state: LogState) -> bool:
        """Tell whether the store has the entry that began this log."""
        found = await self.log.log_entries(state.first, state.first + 1)
        entries = [decode_entry(one.entry) for one in found]
        return any(
            entry.type is EntryType.LOG_STARTED and entry.data.get("origin") == state.origin
            for entry in entries
        )

    async def _has_last_entry(self, last: Checkpoint, state: LogState) -> bool:
        """Tell whether the last signed entry is the store's own, and not one that came after a restore."""
        position = last.size - 1
        number, offset = divmod(position, TILE_WIDTH)
        stored = await self.log.log_entries(state.first + position, state.first + last.size)
        tile = Tile(0, number, offset + 1)
        hashes = await asyncio.to_thread(read_hashes, tile, self.read_tile)
        return [leaf_hash(one.entry) for one in stored] == [hashes[offset]]

    # -- tiles and checkpoints

    async def _extend_and_sign(
        self, state: LogState, last: Checkpoint | None, size: int
    ) -> tuple[Checkpoint, bytes]:
        """Write the tiles of a longer tree and sign it; return what was signed, and the note that says so."""
        # Where the key is away, nothing is written that could not be signed.
        signing_key = self.signing_key()
        size = await self._extend(state, 0 if last is None else last.size, size)
        checkpoint = Checkpoint(
            state.origin, size, await asyncio.to_thread(self._root, last, size)
        )
        return checkpoint, sign_checkpoint(checkpoint, signing_key)

    def _root(self, last: Checkpoint | None, size: int) -> bytes:
        """Return the root of the tree of ``size`` as its tiles have it, which must continue ``last``."""
        subtree = subtree_from_tiles(size, self.read_tile)
        root = subtree(0, size)
        if last is not None:
            verify_consistency(
                old_size=last.size,
                new_size=size,
                proof=prove_consistency(last.size, size, subtree),
                old_root=last.root,
                new_root=root,
            )
        return root

    async def _extend(self, state: LogState, old_size: int, size: int) -> int:
        while old_size < size:
            stop = min(old_size + _STEP, size)
            stored = await self.log.log_entries(state.first + old_size, state.first + stop)
            if not stored:
                break
            entries = [one.entry for one in stored]
            await settled(asyncio.to_thread(self._write_tiles, old_size, entries))
            old_size += len(entries)
        return old_size

    def _write_tiles(self, old_size: int, entries: list[bytes]) -> None:
        leaves = [leaf_hash(entry) for entry in entries]
        for tile, data in (
            *build_bundles(old_size, entries, self.read_tile),
            *build_tiles(old_size, leaves, self.read_tile),
        ):
            self.published.write(tile.path, data)
            if tile.width == TILE_WIDTH:
                # Nobody needs parts of a full tile (C2SP tlog-tiles, "Partial Tiles").
                self.published.remove_folder(f"{tile.path}.p")

    def _find_root(self, size: int) -> bytes | None:
        try:
            return subtree_from_tiles(size, self.read_tile)(0, size)
        except (NotFoundError, FormatError):
            return None

    def read_tile(self, path: str) -> bytes:
        """Return a published tile.

        Raises:
            NotFoundError: There is none.
        """
        try:
            return self.published.read(path)
        except MissingError as error:
            raise NotFoundError(f"there is no {path}") from error

    # -- letting others see it

    def last_note(self) -> bytes | None:
        """Return the last signed checkpoint without cosignatures; None before the first. Blocking."""
        try:
            return self.ledger.read(LAST)
        except MissingError:
            return None

    def show_last(self) -> bytes:
        """Let everybody see the last signed checkpoint with the cosignatures that it has by now; return it without.

        Blocking; whoever has got another cosignature may call it at any time.
        """
        with self._writing, self.ledger.held(_SHOWING, waits=True):
            note = self.ledger.read(LAST)
            shown = note + (b"" if self.vouched is None else self.vouched.lines_for(note))
            if not self.published.has(CHECKPOINT, shown):
                key = log_key(decode_checkpoint(note).origin, self.signing_key())
                self.published.write(VERIFIER_KEY, f"{key.format()}\n".encode())
                self.published.write(CHECKPOINT, shown)
        return note

    def _release(self, checkpoint: Checkpoint, note: bytes | None, day: date) -> None:
        """Let everybody see the checkpoint, and put it where the archive cannot reach.

        A new ``note`` is made durable in the ledger first. One step, so that a service that ends leaves it whole.
        """
        if note is not None:
            self._signed().keep_last(note)
        note = self.show_last()
        if self.anchors is not None and self._anchored != note:
            self._tell(self._anchor(self.anchors, checkpoint, note, day))

    def _anchor(self, directory: Path, checkpoint: Checkpoint, note: bytes, day: date) -> str:
        """Write the checkpoint outside; return what went wrong, or nothing."""
        # Not made where it is missing: another machine's directory that is not mounted would be one of ours.
        if not directory.is_dir():
            return "missing"
        anchors, name = Anchors(directory), anchor_name(checkpoint.origin, checkpoint.size)
        try:
            if not anchors.has(name, note):
                PublishedFiles(directory).write(f"{anchors.folder_for(day)}/{name}", note)
        except (OSError, StorageError) as error:
            return type(error).__name__
        self._anchored = note
        return ""

    @property
    def anchor_trouble_seconds(self) -> float:
        """For how long the anchor directory has not been written to as it should; 0 when all is well."""
        return time.monotonic() - self._troubled_at if self._trouble else 0.0

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._troubled_at = time.monotonic()
        if trouble and trouble != self._trouble:
            _log.warning("log.not_anchored", extra={"code": trouble})
        elif self._trouble and not trouble:
            _log.info("log.anchored_again")
        self._trouble = trouble


__all__ = ["CHECKPOINT", "LAST", "STATE", "VERIFIER_KEY", "LogKeeper", "LogState"]
