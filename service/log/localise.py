"""Finds which entry or tile is altered when a log does not lead to its signed root hash.

Every level of tiles says the same thing more coarsely. The highest level that leads to the
signed root hash is genuine, for its hashes cannot be made up; from there the search goes
down to the entry that does not fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.log.frontier import Frontier
from service.log.merkle import leaf_hash, root_hash
from service.log.report import Findings
from service.log.scan import Hashes, Scan, Source, first_entry, fold
from service.log.tiles import ENTRIES, TILE_WIDTH, Tile

_Level = Sequence[bytes | None]

_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class _Genuine:
    """Hashes that lead to the signed root: by level from 1 up, and the leaves of the tail."""

    levels: dict[int, _Level]
    tail: Hashes


def name_altered(scan: Scan, root: bytes, source: Source, *, is_signed: bool) -> None:
    """Add a finding for every entry and tile that does not belong under ``root``.

    Without a good signature a root that nothing leads to says nothing against the log.

    Raises:
        LimitReachedError: Too much is wrong.
    """
    entries = _levels_from(_either(scan.entry_roots, scan.tile_roots))
    tiles = _stored_levels(scan.size, source)
    candidates = _candidates(scan, entries, tiles)
    is_known = False
    for base, levels, tail in candidates:
        found = _root(scan.size, base, levels, tail)
        is_known = is_known or found is not None
        if found == root and tail is not None:
            genuine = _Genuine(_spread(base, levels, entries, tiles), tail)
            _compare_blocks(scan, genuine, source)
            _compare_tail(scan, genuine, source.findings)
            _compare_tiles(genuine.levels, tiles, source.findings)
            return
    if is_known and is_signed:
        why = "Neither its entries nor its tiles lead to the signed root hash."
        source.findings.altered("the log", why)
    else:
        why = "There is no good signature to hold it against."
        if is_signed:
            why = "The root hash cannot be computed from what could be read."
        source.findings.unchecked("the log", why)
    _report_misfits(scan, entries, tiles, source)


def _candidates(
    scan: Scan, entries: dict[int, _Level], tiles: dict[int, _Level]
) -> Iterator[tuple[int, dict[int, _Level], Hashes | None]]:
    # Nearest to the entries first: if they lead to the root, nothing is wrong with them.
    tails = (scan.entry_tail or scan.tile_tail, scan.tile_tail or scan.entry_tail)
    by_tiles = {**tiles, 1: _either(scan.tile_roots, scan.entry_roots)}
    for tail in tails:
        yield 1, entries, tail
        yield 1, by_tiles, tail
    for base, stored in tiles.items():
        for lower in (entries, tiles):
            for tail in tails:
                yield base, {**lower, base: stored}, tail


def _root(size: int, base: int, levels: dict[int, _Level], tail: Hashes | None) -> bytes | None:
    # The tree is the perfect subtrees of the base level, then at each level below what does
    # not fill a tile, then the leaves of the tail.
    if tail is None:
        return None
    value = root_hash(tail) if tail else None
    for level in range(1, base + 1):
        count = size >> (_BITS * level)
        start = 0 if level == base else count - count % TILE_WIDTH
        group = [one for one in levels.get(level, ())[start:count] if one is not None]
        if len(group) != count - start:
            return None
        value = fold(Frontier().extended(group).peaks, value)
    return value


def _spread(
    base: int, levels: dict[int, _Level], entries: dict[int, _Level], tiles: dict[int, _Level]
) -> dict[int, _Level]:
    # Above the base everything follows; below it a hash is genuine if its whole tile is.
    genuine = dict(_levels_from(levels[base], base))
    for level in range(base - 1, 0, -1):
        values: list[bytes | None] = []
        for index, parent in enumerate(genuine[level + 1]):
            part = slice(index * TILE_WIDTH, (index + 1) * TILE_WIDTH)
            accounts = (entries[level][part], tiles[level][part])
            fitting = [one for one in accounts if parent and _perfect(one) == parent]
            values += fitting[0] if fitting else [None] * TILE_WIDTH
        genuine[level] = [*values, *levels[level][len(values) :]]
    return genuine


def _compare_blocks(scan: Scan, genuine: _Genuine, source: Source) -> None:
    lost: set[int] = set()
    for index, expected in enumerate(genuine.levels[1]):
        tile = Tile(0, index)
        first, last = first_entry(tile), first_entry(tile) + TILE_WIDTH - 1
        by_tile, by_entries = scan.tile_roots[index], scan.entry_roots[index]
        if expected is None:
            # The tile above is altered as well; one finding for the whole of its span.
            if index // TILE_WIDTH not in lost:
                why = "They or the tiles over them are altered; which, cannot be told."
                source.findings.altered(f"entries from {first}", why, first)
            lost.add(index // TILE_WIDTH)
            continue
        if by_tile not in {None, expected}:
            source.findings.altered(tile.path, "Its hashes are not those logged.", first)
        if by_entries in {None, expected}:
            continue
        if by_tile == expected:
            leaves = _leaves(source, tile)
            _compare_leaves(leaves, source.hashes(tile) or (), first, source.findings)
        else:
            why = "At least one of them is altered; the tile that would say which is too."
            source.findings.altered(f"entries {first} to {last}", why, first)


def _compare_tail(scan: Scan, genuine: _Genuine, findings: Findings) -> None:
    width = len(genuine.tail)
    tile = Tile(0, scan.size // TILE_WIDTH, width)
    if scan.tile_tail not in {None, genuine.tail}:
        findings.altered(tile.path, "Its hashes are not those logged.", first_entry(tile))
    if scan.entry_tail is not None:
        _compare_leaves(scan.entry_tail, genuine.tail, first_entry(tile), findings)


def _compare_tiles(
    genuine: dict[int, _Level], tiles: dict[int, _Level], findings: Findings
) -> None:
    for level, stored in tiles.items():
        expected = genuine[level]
        for first in range(0, len(stored), TILE_WIDTH):
            part = range(first, min(first + TILE_WIDTH, len(stored)))
            wrong = [i for i in part if stored[i] and expected[i] and stored[i] != expected[i]]
            if wrong:
                tile = Tile(level, first // TILE_WIDTH, len(part))
                entry = wrong[0] << (_BITS * level)
                findings.altered(tile.path, "Its hashes are not those logged.", entry)


def _compare_leaves(leaves: Hashes, genuine: Hashes, first: int, findings: Findings) -> None:
    for index, (leaf, expected) in enumerate(zip(leaves, genuine, strict=False), first):
        if leaf != expected:
            findings.altered(f"entry {index}", "It is not the entry that was logged.", index)


def _report_misfits(
    scan: Scan, entries: dict[int, _Level], tiles: dict[int, _Level], source: Source
) -> None:
    unsure = "It does not fit its tile; which of the two is altered cannot be told."
    accounts = zip(scan.entry_roots, scan.tile_roots, strict=True)
    for index, (by_entries, by_tile) in enumerate(accounts):
        if by_entries and by_tile and by_entries != by_tile:
            tile = Tile(0, index)
            pairs = zip(_leaves(source, tile), source.hashes(tile) or (), strict=False)
            for offset, (leaf, hashed) in enumerate(pairs):
                if leaf != hashed:
                    entry = first_entry(tile) + offset
                    source.findings.altered(f"entry {entry}", unsure, entry)
    first = scan.size - len(scan.entry_tail or ())
    for index, (leaf, hashed) in enumerate(
        zip(scan.entry_tail or (), scan.tile_tail or (), strict=False), first
    ):
        if leaf != hashed:
            source.findings.altered(f"entry {index}", unsure, index)
    _compare_tiles(entries, tiles, source.findings)


def _leaves(source: Source, tile: Tile) -> Hashes:
    bundle = source.bundle(Tile(ENTRIES, tile.index, tile.width)) or ()
    return tuple(leaf_hash(entry) for entry in bundle)


def _stored_levels(size: int, source: Source) -> dict[int, _Level]:
    levels: dict[int, _Level] = {}
    level = 1
    while count := size >> (_BITS * level):
        values: list[bytes | None] = []
        for first in range(0, count, TILE_WIDTH):
            tile = Tile(level, first // TILE_WIDTH, min(count - first, TILE_WIDTH))
            values += source.hashes(tile) or [None] * tile.width
        levels[level] = values
        level += 1
    return levels


def _levels_from(values: _Level, level: int = 1) -> dict[int, _Level]:
    levels = {level: values}
    while len(values) >= TILE_WIDTH:
        full = len(values) // TILE_WIDTH
        values = [_perfect(values[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]) for i in range(full)]
        level += 1
        levels[level] = values
    return levels


def _perfect(values: _Level) -> bytes | None:
    known = [value for value in values if value is not None]
    return root_hash(known) if len(known) == TILE_WIDTH else None


def _either(first: _Level, second: _Level) -> list[bytes | None]:
    return [one or other for one, other in zip(first, second, strict=True)]
