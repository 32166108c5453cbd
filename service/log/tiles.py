"""Tiles (C2SP tlog-tiles): the log as static files that never change.

A hash tile holds up to 256 hashes of one level; an entry bundle holds the entries below a
tile of level 0. Bytes are read and written by the caller, by path.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, Self

from service.domain.errors import NotFoundError
from service.log.errors import FormatError
from service.log.merkle import HASH_BYTES, SubtreeHash, node_hash, root_hash

TILE_WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""

ENTRIES: Final = -1
"""The level of entry bundles: one below the leaf hashes."""

ReadTile = Callable[[str], bytes]
"""Returns the bytes at a path such as ``tile/0/x001/234.p/7``; raises NotFoundError for none."""

_TILE_BITS: Final = 8
_MAX_LEVEL: Final = 63
# Tree sizes are below 2^63; so are indices, and twenty digits hold them.
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Where ``width`` hashes of ``level`` stand, or entries at level ``ENTRIES``."""

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The path of the tile, such as ``tile/1/x001/x234/067.p/8``."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{partial}"

    @classmethod
    def parse(cls, path: str) -> Self:
        """Return the tile at ``path``.

        Raises:
            FormatError: No tile has this path.
        """
        match = _PATH.fullmatch(path)
        if match is None:
            raise FormatError("This is not the path of a tile.")
        level = ENTRIES if match[1] == "entries" else int(match[1])
        index = int(match[2].replace("x", "").replace("/", ""))
        tile = cls(level, index, int(match[3] or TILE_WIDTH))
        # Needless groups of zeros, and a partial tile that is full, have another path.
        if tile.path != path or level > _MAX_LEVEL or tile.width > TILE_WIDTH:
            raise FormatError("This is not the path of a tile.")
        return tile


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield the tiles of a tree of ``size`` leaves: bundles first, then level by level."""
    yield from _tiles_at(ENTRIES, size)
    level = 0
    while size:
        yield from _tiles_at(level, size)
        level, size = level + 1, size >> _TILE_BITS


def build_tiles(
    old_size: int, leaf_hashes: Sequence[bytes], read: ReadTile
) -> Iterator[tuple[Tile, bytes]]:
    """Yield the hash tiles that appear when ``leaf_hashes`` join a tree of ``old_size``.

    Only the partial tiles at the right edge of the old tree are read.

    Raises:
        FormatError: A tile that was read has a wrong length.
    """
    level, start, hashes = 0, old_size, list(leaf_hashes)
    while hashes:
        full: list[bytes] = []
        for tile, old_width in _changed(level, start, len(hashes)):
            kept = read_hashes(replace(tile, width=old_width), read) if old_width else ()
            new, hashes = hashes[: tile.width - old_width], hashes[tile.width - old_width :]
            content = [*kept, *new]
            yield tile, b"".join(content)
            if tile.width == TILE_WIDTH:
                full.append(root_hash(content))
        level, start, hashes = level + 1, start >> _TILE_BITS, full


def build_bundles(
    old_size: int, entries: Sequence[bytes], read: ReadTile
) -> Iterator[tuple[Tile, bytes]]:
    """Yield the entry bundles that appear when ``entries`` join a log of ``old_size``.

    Only the partial bundle at the end of the old log is read.

    Raises:
        FormatError: That bundle is not one, or an entry is longer than 65535 bytes.
    """
    rest = list(entries)
    for tile, old_width in _changed(ENTRIES, old_size, len(rest)):
        kept = read_bundle(replace(tile, width=old_width), read) if old_width else ()
        new, rest = rest[: tile.width - old_width], rest[tile.width - old_width :]
        yield tile, encode_bundle([*kept, *new])


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return ``entries``, each after its length in two bytes, big-endian.

    Raises:
        FormatError: An entry is longer than 65535 bytes.
    """
    try:
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    except OverflowError as error:
        raise FormatError("An entry is longer than 65535 bytes.") from error


def decode_bundle(data: bytes) -> tuple[bytes, ...]:
    """Return the entries of a bundle.

    Raises:
        FormatError: It ends within an entry.
    """
    entries, position = [], 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[start - 2 : start], "big")
        entries.append(data[start:position])
    if position != len(data):
        raise FormatError("An entry bundle ends within an entry.")
    return tuple(entries)


def read_hashes(tile: Tile, read: ReadTile) -> tuple[bytes, ...]:
    """Return the hashes of ``tile``, taken from the full tile if the partial one is gone.

    Raises:
        FormatError: The tile has a wrong length.
        NotFoundError: It does not exist.
    """
    data, width = _read_or_full(tile, read)
    if len(data) != width * HASH_BYTES:
        raise FormatError(f"{tile.path} has a wrong length.")
    return tuple(data[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(tile.width))


def read_bundle(tile: Tile, read: ReadTile) -> tuple[bytes, ...]:
    """Return the entries of bundle ``tile``, from the full bundle if the partial one is gone.

    Raises:
        FormatError: It is not a bundle of this width.
        NotFoundError: It does not exist.
    """
    data, width = _read_or_full(tile, read)
    entries = decode_bundle(data)
    if len(entries) != width:
        raise FormatError(f"{tile.path} holds {len(entries)} entries instead of {width}.")
    return entries[: tile.width]


def subtree_from_tiles(size: int, read: ReadTile) -> SubtreeHash:
    """Return the function that hashes subtrees of a tree of ``size`` from its tiles alone.

    It serves ``prove_inclusion`` and ``prove_consistency`` for trees up to ``size``; a tile
    is read once. It raises what ``read_hashes`` raises.
    """
    known: dict[Tile, tuple[bytes, ...]] = {}

    def perfect(start: int, height: int) -> bytes:
        level, height_in_tile = divmod(height, _TILE_BITS)
        index, offset = divmod(start >> (level * _TILE_BITS), TILE_WIDTH)
        count = (size >> (level * _TILE_BITS)) - index * TILE_WIDTH
        tile = Tile(level, index, min(count, TILE_WIDTH))
        if tile not in known:
            known[tile] = read_hashes(tile, read)
        return root_hash(known[tile][offset : offset + (1 << height_in_tile)])

    def subtree(start: int, end: int) -> bytes:
        peaks = []
        while start < end:
            height = (end - start).bit_length() - 1
            peaks.append(perfect(start, height))
            start += 1 << height
        *left, last = peaks
        return reduce(lambda right, peak: node_hash(peak, right), reversed(left), last)

    return subtree


def _tiles_at(level: int, count: int) -> Iterator[Tile]:
    full, width = divmod(count, TILE_WIDTH)
    yield from (Tile(level, index) for index in range(full))
    if width:
        yield Tile(level, full, width)


def _changed(level: int, start: int, count: int) -> Iterator[tuple[Tile, int]]:
    # Each tile that gains something, with the width that it had before.
    end = start + count
    for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH) if count else 0):
        first = index * TILE_WIDTH
        yield Tile(level, index, min(end - first, TILE_WIDTH)), max(start - first, 0)


def _read_or_full(tile: Tile, read: ReadTile) -> tuple[bytes, int]:
    try:
        return read(tile.path), tile.width
    except NotFoundError:
        if tile.width == TILE_WIDTH:
            raise
        # A partial tile may be dropped once the full one is there (C2SP tlog-tiles).
        return read(replace(tile, width=TILE_WIDTH).path), TILE_WIDTH
