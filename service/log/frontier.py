"""The right edge of a tree: all that is needed to append and to know the root hash."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from service.log.errors import FormatError
from service.log.merkle import EMPTY_ROOT, HASH_BYTES, node_hash


@dataclass(frozen=True, slots=True)
class Frontier:
    """The roots of the largest perfect subtrees that make up a tree, from left to right.

    There is one for each bit set in ``size``, as in a compact range.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size < 1 << 63:
            raise FormatError("The size of a tree is not below 2^63.")
        if len(self.peaks) != self.size.bit_count():
            raise FormatError("A frontier needs one hash for each bit set in its size.")
        if any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise FormatError("A hash is not 32 bytes long.")

    @property
    def root(self) -> bytes:
        """The root hash of the tree."""
        if not self.peaks:
            return EMPTY_ROOT
        *left, last = self.peaks
        return reduce(lambda right, peak: node_hash(peak, right), reversed(left), last)

    def extended(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """Return the frontier after appending ``leaf_hashes`` in order."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaf_hashes:
            value, remaining = leaf, size
            while remaining % 2:
                value = node_hash(peaks.pop(), value)
                remaining >>= 1
            peaks.append(value)
            size += 1
        return Frontier(size, tuple(peaks))
