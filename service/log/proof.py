"""Proofs that fit in one file (C2SP tlog-proof): this entry is in the log of that key."""

import re
from dataclasses import dataclass
from typing import Final

from service.log.base64text import format_base64, parse_base64, parse_hash
from service.log.checkpoint import MAX_SIZE, decode_checkpoint, verify_checkpoint
from service.log.errors import FormatError
from service.log.merkle import leaf_hash, verify_inclusion
from service.log.note import MAX_NOTE_BYTES, VerifierKey

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
"""First line of a proof file."""

_MAX_EXTRA_BYTES: Final = 64 * 1024
_MAX_HASHES: Final = 63
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class LogProof:
    """That entry ``index`` is under the root hash of ``checkpoint``, a signed note as published.

    ``extra`` is whatever the maker added; nothing vouches for it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise FormatError("The index in a proof is not below 2^63.")
        if len(self.hashes) > _MAX_HASHES:
            raise FormatError("A proof has more hashes than a tree has levels.")
        if self.extra is not None and not 0 < len(self.extra) <= _MAX_EXTRA_BYTES:
            raise FormatError("The extra data of a proof is empty or longer than 64 KiB.")
        decode_checkpoint(self.checkpoint)


def encode_proof(proof: LogProof) -> bytes:
    """Return the bytes of a ``.tlog-proof`` file."""
    extra = [] if proof.extra is None else [f"extra {format_base64(proof.extra)}"]
    hashes = [format_base64(value) for value in proof.hashes]
    head = "\n".join([PROOF_HEADER, *extra, f"index {proof.index}", *hashes])
    return head.encode() + b"\n\n" + proof.checkpoint


def decode_proof(data: bytes) -> LogProof:
    """Read a ``.tlog-proof`` file. Nothing is verified.

    Raises:
        FormatError: It is not one, or not in the spelling that ``encode_proof`` gives.
    """
    if len(data) > MAX_NOTE_BYTES + 2 * _MAX_EXTRA_BYTES:
        raise FormatError("A proof is too long.")
    head, separator, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(
            "A proof has a character outside ASCII before its checkpoint."
        ) from error
    if not separator or lines.pop(0) != PROOF_HEADER:
        raise FormatError("This is not a tlog-proof of version 1.")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = parse_base64(lines.pop(0).removeprefix("extra "))
    match = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if match is None:
        raise FormatError("A proof has no index line.")
    return LogProof(int(match[1]), tuple(map(parse_hash, lines)), checkpoint, extra)


def verify_proof(proof: LogProof, *, entry: bytes, key: VerifierKey) -> None:
    """Check that ``entry`` is in the log of ``key``, at the index that ``proof`` states.

    Nothing but the three is needed; no part of the archive is asked.

    Raises:
        ProofError: The proof does not lead from the entry to the root hash.
        SignatureError: The checkpoint is not what the key signed.
        UnknownSignerError: The checkpoint is not signed by this key.
    """
    verify_checkpoint(proof.checkpoint, key)
    checkpoint = decode_checkpoint(proof.checkpoint)
    verify_inclusion(
        leaf_hash(entry),
        index=proof.index,
        size=checkpoint.size,
        proof=proof.hashes,
        root=checkpoint.root,
    )
