"""Publishing the log: tiles first, then a signed checkpoint, then its anchor outside.

The last signed checkpoint lies in the ledger, which no restore brings back, and is durable before anybody sees it. A
log that does not continue it (a database of yesterday) is never signed under the same name: a new log begins, whose
first entry names the old one. So there are never two histories of one name.

A crash between any two steps leaves tiles that no checkpoint covers yet, or a checkpoint that is published next time.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.errors import NotFoundError
from service.log.checkpoint import Checkpoint, decode_checkpoint, log_key, sign_checkpoint
from service.log.entry import EntryType, LogEntry, encode_entry
from service.log.errors import FormatError
from service.log.merkle import leaf_hash, root_hash
from service.log.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    build_bundles,
    build_tiles,
    subtree_from_tiles,
)
from storage.errors import MissingError, StorageError
from storage.ports import Append, LogStore, Store
from storage.published import PublishedFiles

_log = logging.getLogger("taltio")

CHECKPOINT: Final = "checkpoint"
VERIFIER_KEY: Final = "vkey"
LAST: Final = "last-checkpoint"
STATE: Final = "log.json"
_STEP = 4096


class LogState(msgspec.Struct, frozen=True):
    """Which log is written: its origin, the position of its first entry in the store, and its number in a row."""

    origin: str
    first: int
    generation: int


@dataclass(frozen=True, slots=True)
class LogKeeper:
    """Publishes the log of one archive."""

    store: Store
    log: LogStore
    published: PublishedFiles
    ledger: PublishedFiles
    anchors: Path | None
    name: str
    signing_key: Callable[[], Ed25519PrivateKey]

    async def publish(self, *, now: datetime) -> Checkpoint | None:
        """Publish what is new; return the checkpoint that stands, None while there is no entry.

        Raises:
            storage.errors.StorageError, OSError: Something could not be read or written; it is done next time.
        """
        state = await asyncio.to_thread(self._state)
        if state is None:
            state = await self._begin(now=now)
        last = await asyncio.to_thread(self._last)
        size = await self.log.log_size() - state.first
        if last is not None and last.origin == state.origin:
            if not await self._continues(last, state, size):
                state = await self._begin_again(last, state, now=now)
                last, size = None, await self.log.log_size() - state.first
        else:
            last = None
        if size <= 0:
            return last
        if last is None or size > last.size:
            last = await self._sign(state, 0 if last is None else last.size, size)
        await asyncio.to_thread(self._release, last)
        return last

    # -- which log it is

    def _state(self) -> LogState | None:
        try:
            return msgspec.json.decode(self.ledger.read(STATE), type=LogState)
        except MissingError:
            return None

    def _last(self) -> Checkpoint | None:
        try:
            return decode_checkpoint(self.ledger.read(LAST))
        except MissingError:
            return None

    async def _begin(self, *, now: datetime) -> LogState:
        """Begin the first log, with whatever entries there are already."""
        state = LogState(origin=self.name, first=0, generation=1)
        if await self.log.log_size() == 0:
            entry = LogEntry(
                type=EntryType.LOG_STARTED,
                at=now,
                actor="system",
                data={"origin": state.origin},
            )
            await self.store.commit([Append(encode_entry(entry))])
        await asyncio.to_thread(self.ledger.write, STATE, msgspec.json.encode(state))
        return state

    async def _begin_again(
        self, last: Checkpoint, state: LogState, *, now: datetime
    ) -> LogState:
        """Begin a new log, because the store does not continue what was signed."""
        _log.error(
            "log.begun_again", extra={"old_size": last.size, "generation": state.generation}
        )
        generation = state.generation + 1
        origin = f"{self.name}/{generation}"
        entry = LogEntry(
            type=EntryType.LOG_STARTED,
            at=now,
            actor="system",
            data={
                "origin": origin,
                "old_origin": last.origin,
                "old_size": last.size,
                "old_root": last.root.hex(),
            },
        )
        encoded = encode_entry(entry)
        before = await self.log.log_size()
        await self.store.commit([Append(encoded)])
        first = before
        for stored in await self.log.log_entries(before, before + _STEP):
            if stored.entry == encoded:
                first = stored.index
        begun = LogState(origin=origin, first=first, generation=generation)
        await asyncio.to_thread(self.published.set_aside, f"log.{state.generation}")
        await asyncio.to_thread(self.ledger.write, STATE, msgspec.json.encode(begun))
        return begun

    async def _continues(self, last: Checkpoint, state: LogState, size: int) -> bool:
        """Tell whether the store still has what ``last`` signed, making missing tiles anew from it."""
        if size < last.size:
            return False
        try:
            root = await asyncio.to_thread(self._root_of, last.size)
        except (NotFoundError, FormatError, ValueError):
            root = b""
        if root == last.root and await self._has_last_entry(last, state):
            return True
        # The tiles are of another time than the store; only the store tells whether it continues.
        leaves = [
            leaf_hash(stored.entry)
            for start in range(0, last.size, _STEP)
            for stored in await self.log.log_entries(
                state.first + start, state.first + min(start + _STEP, last.size)
            )
        ]
        if root_hash(leaves) != last.root:
            return False
        await self._extend(state, 0, last.size)
        return True

    async def _has_last_entry(self, last: Checkpoint, state: LogState) -> bool:
        """Tell whether the last signed entry is the store's own, and not one that came after a restore."""
        stored = await self.log.log_entries(
            state.first + last.size - 1, state.first + last.size
        )
        tile = Tile(0, (last.size - 1) // TILE_WIDTH, (last.size - 1) % TILE_WIDTH + 1)
        data = await asyncio.to_thread(self._read_tile_or_full, tile)
        offset = ((last.size - 1) % TILE_WIDTH) * 32
        return bool(stored) and leaf_hash(stored[0].entry) == data[offset : offset + 32]

    # -- tiles and checkpoints

    async def _sign(self, state: LogState, old_size: int, size: int) -> Checkpoint:
        """Write the tiles of a longer tree and sign it; the signature is durable in the ledger on return."""
        size = await self._extend(state, old_size, size)
        root = await asyncio.to_thread(self._root_of, size)
        checkpoint = Checkpoint(state.origin, size, root)
        note = sign_checkpoint(checkpoint, self.signing_key())
        await asyncio.to_thread(self.ledger.write, LAST, note)
        return checkpoint

    async def _extend(self, state: LogState, old_size: int, size: int) -> int:
        while old_size < size:
            stop = min(old_size + _STEP, size)
            stored = await self.log.log_entries(state.first + old_size, state.first + stop)
            entries = [one.entry for one in stored]
            await asyncio.to_thread(self._write_tiles, old_size, entries)
            old_size += len(entries)
            if not entries:
                break
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

    def _root_of(self, size: int) -> bytes:
        return subtree_from_tiles(size, self.read_tile)(0, size)

    def read_tile(self, path: str) -> bytes:
        """Return a published tile.

        Raises:
            NotFoundError: There is none.
        """
        try:
            return self.published.read(path)
        except MissingError as error:
            raise NotFoundError(f"there is no {path}") from error

    def _read_tile_or_full(self, tile: Tile) -> bytes:
        try:
            return self.read_tile(tile.path)
        except NotFoundError:
            return self.read_tile(Tile(tile.level, tile.index).path)

    def _release(self, checkpoint: Checkpoint) -> None:
        """Let everybody see the checkpoint, and put it where the archive cannot reach."""
        note = self.ledger.read(LAST)
        if not _is_there(self.published, CHECKPOINT, note):
            key = log_key(checkpoint.origin, self.signing_key())
            self.published.write(VERIFIER_KEY, f"{key.format()}\n".encode())
            self.published.write(CHECKPOINT, note)
        if self.anchors is None:
            return
        name = f"{checkpoint.origin.replace('/', '_')}-{checkpoint.size:012d}.checkpoint"
        try:
            outside = PublishedFiles(self.anchors)
            if not _is_there(outside, name, note):
                outside.write(name, note)
        except (OSError, StorageError) as error:
            _log.warning("log.anchor_failed", extra={"code": type(error).__name__})


def _is_there(files: PublishedFiles, path: str, data: bytes) -> bool:
    try:
        return files.read(path) == data
    except MissingError:
        return False


__all__ = ["CHECKPOINT", "ENTRIES", "LAST", "STATE", "VERIFIER_KEY", "LogKeeper", "LogState"]
