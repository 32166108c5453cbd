"""Checkpoints (C2SP tlog-checkpoint): the signed size and root hash of a log.

The log signs with a plain Ed25519 note signature; witnesses may add cosignatures, which
say when they saw it (C2SP tlog-cosignature).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.log.base64text import format_base64, parse_hash
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.merkle import HASH_BYTES
from service.log.note import (
    KeyKind,
    Note,
    NoteSignature,
    VerifierKey,
    decode_note,
    encode_note,
    require_key_name,
)

MAX_SIZE: Final = (1 << 63) - 1
"""Largest size of a tree."""

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f]")
_TIMESTAMP_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the log named ``origin`` when it had ``size`` entries.

    ``extensions`` are lines whose meaning we do not know; our logs have none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lines = (self.origin, *self.extensions)
        if any(not line or _FORBIDDEN.search(line) for line in lines):
            raise FormatError("A line of a checkpoint is empty or has a control character.")
        if not 0 <= self.size <= MAX_SIZE:
            raise FormatError("The size in a checkpoint is not below 2^63.")
        if len(self.root) != HASH_BYTES:
            raise FormatError("The root hash in a checkpoint is not 32 bytes long.")


@dataclass(frozen=True, slots=True)
class Cosignature:
    """The witness ``name`` saw the checkpoint at ``at`` and nothing that contradicts it."""

    name: str
    at: datetime


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Return the text that is signed."""
    lines = (
        checkpoint.origin,
        str(checkpoint.size),
        format_base64(checkpoint.root),
        *checkpoint.extensions,
    )
    return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint that ``text`` states. Nothing is verified.

    Raises:
        FormatError: It is not exactly the text of a checkpoint.
    """
    origin, size, root, *extensions = _lines(text)
    if not _SIZE.fullmatch(size):
        raise FormatError("The size in a checkpoint is not a decimal number.")
    return Checkpoint(origin, int(size), parse_hash(root), tuple(extensions))


def decode_checkpoint(data: bytes) -> Checkpoint:
    """Return what the signed note ``data`` claims. Nothing is verified.

    Raises:
        FormatError: It is not a signed checkpoint.
    """
    return parse_checkpoint(decode_note(data).text)


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """Return ``checkpoint`` as a note signed by the log, whose key bears the origin's name.

    The caller has made sure that the log never signed a contradicting one.

    Raises:
        FormatError: The origin cannot name a key.
    """
    text = format_checkpoint(checkpoint)
    signer = log_key(checkpoint.origin, key)
    value = key.sign(text.encode())
    return encode_note(Note(text, (NoteSignature(signer.name, signer.key_id, value),)))


def log_key(origin: str, key: Ed25519PrivateKey) -> VerifierKey:
    """Return the verifier key of the log ``origin`` that signs with ``key``."""
    return VerifierKey(origin, key.public_key().public_bytes_raw())


def verify_checkpoint(data: bytes, key: VerifierKey) -> None:
    """Check that the log whose key is ``key`` signed the checkpoint ``data``.

    Signatures by others are ignored.

    Raises:
        FormatError: It is not a signed checkpoint.
        SignatureError: A signature claims this key, and the key did not make it, or made it
            for another log or under another name.
        UnknownSignerError: No signature is by this key.
    """
    if key.kind is not KeyKind.ED25519:
        raise UnknownSignerError(f"The key of {key.name} is a witness's, not a log's.")
    note = decode_note(data)
    checkpoint = parse_checkpoint(note.text)
    message = note.text.encode()
    claimed = [one for one in note.signatures if one.is_claimed_by(key)]
    for signature in claimed:
        key.require_signature(signature.value, message)
    if not claimed:
        if checkpoint.origin == key.name:
            _refuse_renamed_signature(note, key)
        raise UnknownSignerError(f"The checkpoint is not signed by {key.name}.")
    if checkpoint.origin != key.name:
        raise SignatureError(f"The checkpoint of {key.name} names another log.")


def cosign_checkpoint(
    data: bytes, *, name: str, key: Ed25519PrivateKey, now: datetime
) -> bytes:
    """Return the checkpoint ``data`` with a cosignature by the witness ``name`` added.

    Raises:
        FormatError: It is not a signed checkpoint, or ``name`` cannot name a key.
    """
    require_key_name(name)
    note = decode_note(data)
    timestamp = int(now.timestamp())
    witness = VerifierKey(name, key.public_key().public_bytes_raw(), KeyKind.COSIGNATURE)
    value = timestamp.to_bytes(_TIMESTAMP_BYTES, "big") + key.sign(_cosigned(note, timestamp))
    added = NoteSignature(name, witness.key_id, value)
    return encode_note(replace(note, signatures=(*note.signatures, added)))


def find_cosignatures(data: bytes, witnesses: Iterable[VerifierKey]) -> tuple[Cosignature, ...]:
    """Return who of ``witnesses`` cosigned the checkpoint ``data``, each one verified.

    Raises:
        FormatError: It is not a signed checkpoint.
        SignatureError: A cosignature claims one of these keys, which did not make it.
    """
    note = decode_note(data)
    parse_checkpoint(note.text)
    return tuple(
        Cosignature(key.name, _require_cosignature(note, signature, key))
        for key in witnesses
        if key.kind is KeyKind.COSIGNATURE
        for signature in note.signatures
        if signature.is_claimed_by(key)
    )


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    # Three lines at least, and what follows the last newline is nothing.
    if len(lines) < 4 or lines.pop():  # noqa: PLR2004  # see the comment above
        raise FormatError("A checkpoint has at least three lines, each ended by a newline.")
    return lines


def _refuse_renamed_signature(note: Note, key: VerifierKey) -> None:
    # A signature that this key did make, under a name or id that is not its own, was not
    # left out but changed; that is alteration and not a mere lack of knowledge.
    for signature in note.signatures:
        try:
            key.require_signature(signature.value, note.text.encode())
        except SignatureError:
            continue
        raise SignatureError(f"The signature line of {key.name} has been changed.")


def _require_cosignature(note: Note, signature: NoteSignature, key: VerifierKey) -> datetime:
    if len(signature.value) != _TIMESTAMP_BYTES + _SIGNATURE_BYTES:
        raise SignatureError(f"The cosignature by {key.name} has a wrong length.")
    timestamp = int.from_bytes(signature.value[:_TIMESTAMP_BYTES], "big")
    key.require_signature(signature.value[_TIMESTAMP_BYTES:], _cosigned(note, timestamp))
    try:
        return datetime.fromtimestamp(timestamp, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SignatureError(f"The time of the cosignature by {key.name} is absurd.") from error


def _cosigned(note: Note, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{note.text}".encode()
