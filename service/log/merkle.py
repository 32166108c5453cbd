"""The Merkle tree of RFC 6962 over SHA-256: hashes, and proofs made and checked.

A subtree is named by the half-open range of leaves it covers. Proofs are made from a
function that returns the hash of any such range, so that the same code serves a list of
leaves in memory and tiles on disk.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from service.log.errors import ProofError

HASH_BYTES: Final = 32
"""Size of every hash, in bytes."""

EMPTY_ROOT: Final = sha256(b"").digest()
"""Root hash of the tree without leaves (RFC 6962, section 2.1)."""

SubtreeHash = Callable[[int, int], bytes]
"""Returns the Merkle tree hash of the leaves ``start <= i < end``, of which there is one or more."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry (RFC 6962, section 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbouring subtrees (RFC 6962, section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def root_hash(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes.

    Over the roots of equal, perfect subtrees it is the root of the tree they make up.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        # A last hash without a neighbour moves up as it is: that makes the left part the
        # largest power of two, as the recursive definition has it.
        unpaired = level[-1:] if len(level) % 2 else []
        pairs = zip(level[0::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + unpaired
    return level[0]


def subtree_of(leaf_hashes: Sequence[bytes]) -> SubtreeHash:
    """Return the function that hashes ranges of ``leaf_hashes``."""
    return lambda start, end: root_hash(leaf_hashes[start:end])


def prove_inclusion(index: int, size: int, subtree: SubtreeHash) -> tuple[bytes, ...]:
    """Prove that leaf ``index`` is in the tree of ``size`` leaves (RFC 6962, 2.1.1).

    Raises:
        ProofError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"There is no entry {index} in a tree of size {size}.")
    start, end, path = 0, size, list[bytes]()
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    return tuple(reversed(path))


def prove_consistency(old_size: int, new_size: int, subtree: SubtreeHash) -> tuple[bytes, ...]:
    """Prove that the tree of ``old_size`` leaves begins that of ``new_size`` (RFC 6962, 2.1.2).

    Raises:
        ProofError: The old tree is empty or larger than the new one.
    """
    if not 0 < old_size <= new_size:
        raise ProofError(f"Size {old_size} cannot be proven to begin size {new_size}.")
    start, end, path = 0, new_size, list[bytes]()
    while end > old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start = middle
    if start:
        # The verifier knows this hash only when it is the whole old tree.
        path.append(subtree(start, end))
    return tuple(reversed(path))


def verify_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that leaf hash ``leaf`` is at ``index`` of the tree (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: The proof does not show it, or a hash is not 32 bytes long.
    """
    _require_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofError(f"There is no entry {index} in a tree of size {size}.")
    position, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("The inclusion proof is too long.")
        if position % 2 or position == last:
            value = node_hash(sibling, value)
            while position % 2 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("The inclusion proof is too short.")
    if value != root:
        raise ProofError("The inclusion proof does not lead to the root hash.")


def verify_consistency(
    *, old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the old tree begins the new one (RFC 9162, 2.1.4.2).

    A proof from the empty tree would show nothing and is refused.

    Raises:
        ProofError: The proof does not show it, or a hash is not 32 bytes long.
    """
    _require_hashes(old_root, new_root, *proof)
    if not 0 < old_size <= new_size:
        raise ProofError(f"Size {old_size} cannot be proven to begin size {new_size}.")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofError(
                "Trees of one size have different root hashes or a needless proof."
            )
        return
    # A perfect old tree is itself the first subtree, and the proof leaves it out.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not proof:
        raise ProofError("The consistency proof is empty.")
    old_value, new_value = _fold_consistency(path, old_size - 1, new_size - 1)
    if old_value != old_root or new_value != new_root:
        raise ProofError("The consistency proof does not lead to the root hashes.")


def _fold_consistency(path: list[bytes], position: int, last: int) -> tuple[bytes, bytes]:
    while position % 2:
        position, last = position >> 1, last >> 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("The consistency proof is too long.")
        if position % 2 or position == last:
            old_value = node_hash(sibling, old_value)
            new_value = node_hash(sibling, new_value)
            while position % 2 == 0 and position:
                position, last = position >> 1, last >> 1
        else:
            new_value = node_hash(new_value, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("The consistency proof is too short.")
    return old_value, new_value


def _split(count: int) -> int:
    # The largest power of two that is smaller than count (RFC 6962, section 2.1).
    return 1 << ((count - 1).bit_length() - 1)


def _require_hashes(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofError("A hash is not 32 bytes long.")
