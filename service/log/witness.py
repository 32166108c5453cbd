"""Asking a witness to cosign (C2SP tlog-witness, ``add-checkpoint``): the request, the decision, the answer. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from service.log.base64text import format_base64, parse_hash
from service.log.checkpoint import (
    MAX_SIZE,
    Checkpoint,
    decode_checkpoint,
    find_cosignatures,
    verify_checkpoint,
)
from service.log.errors import FormatError, ProofError, UnknownSignerError
from service.log.merkle import EMPTY_ROOT, verify_consistency
from service.log.note import MAX_NOTE_BYTES, Note, VerifierKey, decode_note, encode_note

MAX_REQUEST_BYTES: Final = 64 * 1024
"""Longest request that is read: 63 hashes, and a checkpoint with many signatures."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Longest answer that is read."""

SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of the answer that tells a size."""

_MAX_HASHES: Final = 63
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A checkpoint, a signed note, and the proof that it continues the tree of ``old_size`` entries."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_SIZE:
            raise FormatError("The old size is not below 2^63.")
        if len(self.proof) > _MAX_HASHES:
            raise FormatError("A consistency proof has more than 63 hashes.")


class UnknownLogError(UnknownSignerError):
    """The witness does not watch this log."""


class OtherSizeError(ProofError):
    """What was last cosigned is another state than the request starts from; ``size`` is that state's."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


def encode_request(request: AddCheckpoint) -> bytes:
    """Return the body of the request."""
    hashes = "".join(f"{format_base64(one)}\n" for one in request.proof)
    return f"old {request.old_size}\n{hashes}\n".encode() + request.checkpoint


def decode_request(data: bytes) -> AddCheckpoint:
    """Read the body of a request. Nothing is verified but its form.

    Raises:
        FormatError: It is not one.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise FormatError("A request is longer than 64 KiB.")
    head, separator, checkpoint = data.partition(b"\n\n")
    try:
        old, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError("A request has a character outside ASCII before its note.") from error
    match = _OLD.fullmatch(old)
    if not separator or match is None:
        raise FormatError("A request does not begin with 'old SIZE'.")
    if len(hashes) > _MAX_HASHES:
        raise FormatError("A consistency proof has more than 63 hashes.")
    decode_checkpoint(checkpoint)
    return AddCheckpoint(int(match[1]), tuple(map(parse_hash, hashes)), checkpoint)


def require_consistent(
    request: AddCheckpoint, *, logs: Iterable[VerifierKey], last: Checkpoint | None
) -> Checkpoint:
    """Return the checkpoint of ``request`` if it may be cosigned, ``last`` being what was cosigned before.

    The checks are those of C2SP tlog-witness, in its order.

    Raises:
        FormatError: The old size is beyond the new one.
        UnknownLogError: None of ``logs`` has this origin.
        UnknownSignerError, SignatureError: The log's key did not sign it.
        OtherSizeError: ``last`` is not of the old size, or of the new one with another root.
        ProofError: The proof does not show that it continues ``last``.
    """
    checkpoint = require_signed(request, logs=logs)
    if request.old_size > checkpoint.size:
        raise FormatError("The old size is larger than that of the checkpoint.")
    known = 0 if last is None else last.size
    if request.old_size != known:
        raise OtherSizeError("The request does not start from what was cosigned last.", known)
    if last is not None and checkpoint.size == known and checkpoint.root != last.root:
        raise OtherSizeError("Another root of this size was cosigned before.", known)
    if known == 0 or last is None:
        # A proof from the empty tree would show nothing: there is none, and nothing to check.
        if request.proof:
            raise ProofError("A proof from size 0 is empty.")
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise ProofError("The root hash of an empty log is another.")
        return checkpoint
    verify_consistency(
        old_size=known,
        new_size=checkpoint.size,
        proof=request.proof,
        old_root=last.root,
        new_root=checkpoint.root,
    )
    return checkpoint


def require_signed(request: AddCheckpoint, *, logs: Iterable[VerifierKey]) -> Checkpoint:
    """Return the checkpoint of ``request``, which the key of its origin in ``logs`` signed.

    Raises:
        UnknownLogError: None of ``logs`` has this origin.
        UnknownSignerError, SignatureError: The log's key did not sign it.
    """
    checkpoint = decode_checkpoint(request.checkpoint)
    key = next((one for one in logs if one.name == checkpoint.origin), None)
    if key is None:
        raise UnknownLogError("This log is not watched here.")
    verify_checkpoint(request.checkpoint, key)
    return checkpoint


def cosignature_lines(cosigned: bytes, witness: VerifierKey) -> bytes:
    """Return the signature lines of ``cosigned`` that claim to be by ``witness``, as a witness answers.

    Raises:
        FormatError: It is not a signed checkpoint.
    """
    lines = _only(decode_note(cosigned), [witness])
    # The lines follow the text and the empty line behind it.
    return encode_note(lines)[len(lines.text.encode()) + 1 :]


def merge_cosignatures(note: bytes, lines: bytes, witnesses: Iterable[VerifierKey]) -> bytes:
    """Return the checkpoint ``note`` with those ``lines`` added that ``witnesses`` made, each one verified.

    Lines by others are dropped (C2SP tlog-witness: the client must ignore them).

    Raises:
        FormatError: The lines are not signature lines.
        SignatureError: A line claims one of these keys, which did not make it.
        UnknownSignerError: None of the lines is by ``witnesses``.
    """
    witnesses = list(witnesses)
    if len(lines) > MAX_ANSWER_BYTES or len(note) + len(lines) > MAX_NOTE_BYTES:
        raise FormatError("The answer of a witness is too long.")
    text = decode_note(note).text
    answered = decode_note(text.encode() + b"\n" + lines)
    if answered.text != text:
        raise FormatError("The answer of a witness is not signature lines alone.")
    added = _only(answered, witnesses)
    if not added.signatures:
        raise UnknownSignerError("None of the cosignatures is by this witness.")
    alone = encode_note(added)
    find_cosignatures(alone, witnesses)
    return note + alone[len(text.encode()) + 1 :]


def without_cosignatures(note: bytes, key: VerifierKey) -> bytes:
    """Return ``note`` with no signature lines but those that claim the log's ``key``.

    Raises:
        FormatError: It is not a signed checkpoint.
        UnknownSignerError: There is no such line.
    """
    signed = _only(decode_note(note), [key])
    if not signed.signatures:
        raise UnknownSignerError(f"The checkpoint is not signed by {key.name}.")
    return encode_note(signed)


def format_size(size: int) -> bytes:
    """Return the body that tells a witness's size."""
    return f"{size}\n".encode()


def parse_size(data: bytes) -> int:
    """Return the size that the body of a 409 tells.

    Raises:
        FormatError: It tells none.
    """
    try:
        match = _SIZE.fullmatch(data.decode("ascii"))
    except UnicodeDecodeError:
        match = None
    if match is None or int(match[1]) > MAX_SIZE:
        raise FormatError("The witness does not tell which size it knows.")
    return int(match[1])


def _only(note: Note, keys: Iterable[VerifierKey]) -> Note:
    keys = list(keys)
    kept = tuple(one for one in note.signatures if any(one.is_claimed_by(key) for key in keys))
    return Note(note.text, kept)
