"""Reads a whole log once: hashes every entry again and keeps what the tiles say beside it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import groupby
from typing import Final

from service.domain.errors import ArchiveError, NotFoundError, UnavailableError
from service.log.errors import FormatError
from service.log.frontier import Frontier
from service.log.merkle import leaf_hash, node_hash, root_hash
from service.log.report import Finding, Findings, LimitReachedError, Outcome
from service.log.tiles import (
    ENTRIES,
    TILE_WIDTH,
    ReadTile,
    Tile,
    read_bundle,
    read_hashes,
)

Hashes = tuple[bytes, ...]

_MAX_ABSENT: Final = 1_000_000


@dataclass(slots=True)
class Source:
    """The files of a log; what cannot be had becomes a finding and ``None``."""

    read: ReadTile
    absent: Outcome
    findings: Findings
    _absent: list[Tile] = field(default_factory=list)

    def bundle(self, tile: Tile) -> Hashes | None:
        """Return the entries of ``tile``, or none after a finding."""
        return self._try(read_bundle, tile)

    def hashes(self, tile: Tile) -> Hashes | None:
        """Return the hashes of ``tile``, or none after a finding."""
        return self._try(read_hashes, tile)

    def report_absent(self) -> None:
        """Add one finding for each run of tiles that are not there."""
        numbered = enumerate(self._absent)
        for _, run in groupby(numbered, lambda pair: (pair[1].level, pair[1].index - pair[0])):
            first, *_ = tiles = [tile for _, tile in run]
            more = f" and {len(tiles) - 1} after it" if len(tiles) > 1 else ""
            start, end = first_entry(first), first_entry(tiles[-1]) + _span(tiles[-1])
            why = f"It{more} should be there for entries {start} to {end - 1}, and is missing."
            self.findings.add(Finding(self.absent, first.path, why, start))

    def _first_wrong(self, tile: Tile) -> int:
        # A bundle that cannot be told apart into entries is right up to some entry.
        first = first_entry(tile)
        if tile.level != ENTRIES:
            return first
        try:
            data = self.read(tile.path)
            expected = read_hashes(replace(tile, level=0), self.read)
        except (ArchiveError, OSError):
            return first
        position = 0
        for offset, leaf in enumerate(expected):
            start = position + 2
            position = start + int.from_bytes(data[start - 2 : start], "big")
            if leaf_hash(data[start:position]) != leaf:
                return first + offset
        return first + tile.width - 1

    def _try(self, function: Callable[[Tile, ReadTile], Hashes], tile: Tile) -> Hashes | None:
        try:
            return function(tile, self.read)
        except FormatError as error:
            entry = self._first_wrong(tile)
            why = f"{error.detail} It goes wrong at or before entry {entry}."
            self.findings.altered(tile.path, why, entry)
        except NotFoundError:
            self._absent.append(tile)
            if len(self._absent) > _MAX_ABSENT:
                raise LimitReachedError from None
        except (UnavailableError, OSError) as error:
            self.findings.unchecked(
                tile.path, f"It could not be read: {error}.", first_entry(tile)
            )
        return None


@dataclass(slots=True)
class Scan:
    """What the entries say (``entry_…``) and what the tiles of level 0 say (``tile_…``).

    Roots are of the full tiles, in order; the tail is the leaf hashes after them. ``None``
    stands for what could not be read. ``roots_at`` gives, for each size asked for, the
    roots that the log had then by either account.
    """

    size: int
    entry_roots: list[bytes | None] = field(default_factory=list)
    tile_roots: list[bytes | None] = field(default_factory=list)
    entry_tail: Hashes | None = ()
    tile_tail: Hashes | None = ()
    entries: int = 0
    roots_at: dict[int, set[bytes]] = field(default_factory=dict)


def scan(
    size: int,
    source: Source,
    *,
    sizes: Iterable[int],
    on_progress: Callable[[int, int], None],
) -> Scan:
    """Read every bundle and every tile of level 0 of a log of ``size``, once.

    ``on_progress`` is told the number of entries read and the size.

    Raises:
        LimitReachedError: Too much is wrong.
    """
    result = Scan(size, roots_at={wanted: set() for wanted in sizes})
    wanted = sorted(result.roots_at)
    accounts = [_Account(), _Account()]
    for first in range(0, size, TILE_WIDTH):
        tile = Tile(0, first // TILE_WIDTH, min(size - first, TILE_WIDTH))
        bundle = source.bundle(Tile(ENTRIES, tile.index, tile.width))
        by_entries = None if bundle is None else tuple(leaf_hash(entry) for entry in bundle)
        by_tile = source.hashes(tile)
        result.entries += len(by_entries or ())
        _keep(result, tile, by_entries, by_tile)
        # Where one account is silent, the other speaks for both.
        for account, leaves in zip(
            accounts, (by_entries or by_tile, by_tile or by_entries), strict=True
        ):
            here = [n for n in wanted if first < n <= first + tile.width]
            account.take(leaves, [n - first for n in here])
            for n, root in zip(here, account.roots, strict=True):
                if root is not None:
                    result.roots_at[n].add(root)
        on_progress(first + tile.width, size)
    return result


def first_entry(tile: Tile) -> int:
    """Return the index of the first entry that ``tile`` speaks of."""
    return (tile.index * TILE_WIDTH) << (8 * max(tile.level, 0))


def fold(peaks: Iterable[bytes], right: bytes | None) -> bytes | None:
    """Return the root over perfect subtrees, largest first, and what stands right of them."""
    return reduce(
        lambda value, peak: peak if value is None else node_hash(peak, value),
        reversed([*peaks]),
        right,
    )


class _Account:
    """The right edge of the log as one account has it, until that has a gap."""

    def __init__(self) -> None:
        self._edge: Frontier | None = Frontier()
        self.roots: list[bytes | None] = []

    def take(self, leaves: Hashes | None, widths: list[int]) -> None:
        """Go on with ``leaves``; ``roots`` are then those after so many of them."""
        if leaves is None or self._edge is None:
            self._edge, self.roots = None, [None] * len(widths)
            return
        peaks = self._edge.peaks
        self.roots = [fold(peaks, root_hash(leaves[:width])) for width in widths]
        if len(leaves) == TILE_WIDTH:
            self._edge = self._edge.extended([root_hash(leaves)])


def _keep(result: Scan, tile: Tile, by_entries: Hashes | None, by_tile: Hashes | None) -> None:
    if tile.width < TILE_WIDTH:
        result.entry_tail, result.tile_tail = by_entries, by_tile
        return
    root = None if by_entries is None else root_hash(by_entries)
    result.entry_roots.append(root)
    if by_tile == by_entries:
        result.tile_roots.append(root)
    else:
        result.tile_roots.append(None if by_tile is None else root_hash(by_tile))


def _span(tile: Tile) -> int:
    return tile.width << (8 * max(tile.level, 0))
