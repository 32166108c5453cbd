"""Which entries of the published log make which contact what it is: each bundle read once, held to what was signed.

A bundle of 256 entries never changes. Of each, the root over its entries is remembered, and which contacts its entries
are about: 32 bytes a bundle and 16 a contact's entry. The roots make up the root of the whole log, so that one
comparison with the signed one tells whether every bundle, as it was read, is the one that was signed.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from service.archive.evidence import EVIDENCE
from service.domain.errors import TamperedError
from service.log.checkpoint import Checkpoint
from service.log.merkle import leaf_hash, root_hash
from service.log.tiles import ENTRIES, TILE_WIDTH, ReadTile, Tile, read_bundle

_ABOUT: Final = b'{"about":["'
_TYPE: Final = b'"type":"'
_KINDS: Final = frozenset(kind.value.encode() for kind in EVIDENCE)
_RUN: Final = 65536
"""So many pairs are put in order at a time."""


class PublishedIndex:
    """Finds the published entries that make a contact what it is. One scan at a time, in a thread of its own."""

    __slots__ = ("_alone", "_hashes", "_origin", "_positions", "_roots", "_runs")

    def __init__(self) -> None:
        self._alone = ThreadPoolExecutor(1, thread_name_prefix="published-log")
        self._origin = ""
        self._roots: list[bytes] = []
        self._runs: list[tuple[array[int], array[int]]] = []
        self._hashes = array("q")
        self._positions = array("q")

    async def find(
        self, contact_id: str, signed: Checkpoint, read: ReadTile, *, known: Collection[int]
    ) -> list[tuple[int, bytes]]:
        """Return the entries in which the contact may be named, each after its index, without those at ``known``.

        Raises:
            TamperedError: The bundles are not those that were signed.
            FormatError, NotFoundError, UnavailableError: One is none, is missing, cannot be read.
        """
        work = partial(self._find, contact_id.encode(), signed, read, frozenset(known))
        return await asyncio.get_running_loop().run_in_executor(self._alone, work)

    def _find(
        self, wanted: bytes, signed: Checkpoint, read: ReadTile, known: frozenset[int]
    ) -> list[tuple[int, bytes]]:
        if signed.origin != self._origin:
            self._forget(signed.origin)
        tail = self._proven(signed, read)
        full = signed.size - len(tail)
        positions = {one for one in self._positions_of(hash(wanted)) if one < full} - known
        found = []
        for number in sorted({one // TILE_WIDTH for one in positions}):
            entries = read_bundle(Tile(ENTRIES, number), read)
            if _root(entries) != self._roots[number]:
                raise TamperedError("An entry bundle changed while it was read.")
            found += [
                (one, entries[one % TILE_WIDTH])
                for one in sorted(positions)
                if one // TILE_WIDTH == number
            ]
        found += [
            (full + offset, entry)
            for offset, entry in enumerate(tail)
            if full + offset not in known and wanted in entry
        ]
        return found

    def _proven(self, signed: Checkpoint, read: ReadTile) -> tuple[bytes, ...]:
        """Read what was not read yet; return the entries of the partial bundle at the end."""
        if not signed.size:
            return ()
        had = len(self._roots)
        tail, is_signed = self._read(signed, read)
        if not is_signed and had:
            # What is remembered may be of bundles that were changed, and are mended since.
            self._forget(signed.origin)
            tail, is_signed = self._read(signed, read)
        if not is_signed:
            self._forget(signed.origin)
            raise TamperedError("The entry bundles of the published log are not those signed.")
        return tail

    def _read(self, signed: Checkpoint, read: ReadTile) -> tuple[tuple[bytes, ...], bool]:
        full, width = divmod(signed.size, TILE_WIDTH)
        for number in range(len(self._roots), full):
            self._take(number, read_bundle(Tile(ENTRIES, number), read))
        tail = read_bundle(Tile(ENTRIES, full, width), read) if width else ()
        # The tree splits at powers of two (RFC 6962, section 2.1), and so never within a full bundle.
        roots = [*self._roots[:full], *([_root(tail)] if tail else [])]
        return tail, root_hash(roots) == signed.root

    def _take(self, number: int, entries: tuple[bytes, ...]) -> None:
        for position, entry in enumerate(entries, number * TILE_WIDTH):
            for contact_id in _contacts_of(entry):
                self._hashes.append(hash(contact_id))
                self._positions.append(position)
        self._roots.append(_root(entries))
        if len(self._hashes) >= _RUN:
            pairs = sorted(zip(self._hashes, self._positions, strict=True))
            self._runs.append(
                (array("q", [one for one, _ in pairs]), array("q", [one for _, one in pairs]))
            )
            self._hashes, self._positions = array("q"), array("q")

    def _positions_of(self, hashed: int) -> Iterator[int]:
        for hashes, positions in self._runs:
            at = bisect_left(hashes, hashed)
            while at < len(hashes) and hashes[at] == hashed:
                yield positions[at]
                at += 1
        for at, one in enumerate(self._hashes):
            if one == hashed:
                yield self._positions[at]

    def _forget(self, origin: str) -> None:
        self._origin = origin
        self._roots, self._runs = [], []
        self._hashes, self._positions = array("q"), array("q")


def _root(entries: tuple[bytes, ...]) -> bytes:
    return root_hash([leaf_hash(entry) for entry in entries])


def _contacts_of(entry: bytes) -> list[bytes]:
    """Return the contacts that an entry, in its canonical form, makes what they are."""
    start = entry.rfind(_TYPE) + len(_TYPE)
    if not entry.startswith(_ABOUT) or entry[start : entry.find(b'"', start)] not in _KINDS:
        return []
    about = entry[len(_ABOUT) : entry.index(b"]")].rstrip(b'"').split(b'","')
    return [name for name in about if name.startswith(b"ct_")]
