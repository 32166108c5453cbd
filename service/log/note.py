"""Signed notes (C2SP signed-note): text, and who signed it with which key."""

import re
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.log.base64text import format_base64, parse_base64
from service.log.errors import FormatError, SignatureError

MAX_SIGNATURES: Final = 64
"""Verifiers accept at least 16; the limit bounds the work that a stranger's note can cause."""

MAX_NOTE_BYTES: Final = 512 * 1024

_DASH: Final = "\u2014 "
_KEY_ID_BYTES: Final = 4
_PUBLIC_BYTES: Final = 32
_HEX_ID: Final = re.compile(r"[0-9a-f]{8}")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class KeyKind(IntEnum):
    """The signature types that we verify."""

    ED25519 = 0x01
    COSIGNATURE = 0x04
    """Ed25519 over a checkpoint with a time (C2SP tlog-cosignature)."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The name and public key of someone who signs; its text form is a *vkey*."""

    name: str
    public: bytes
    kind: KeyKind = KeyKind.ED25519

    def __post_init__(self) -> None:
        require_key_name(self.name)
        if len(self.public) != _PUBLIC_BYTES:
            raise FormatError("An Ed25519 public key has 32 bytes.")

    @property
    def key_id(self) -> bytes:
        """The four bytes that tell this key from others of the same name."""
        head = self.name.encode() + b"\n" + bytes([self.kind])
        return sha256(head + self.public).digest()[:_KEY_ID_BYTES]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``text`` gives as ``name+hex(key id)+base64(type || key)``.

        Raises:
            FormatError: It is no such text, the id does not fit, or the type is not ours.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        material = parse_base64(encoded)
        if not material or material[0] not in set(KeyKind):
            raise FormatError("The verifier key is not an Ed25519 key.")
        key = cls(name, material[1:], KeyKind(material[0]))
        if not _HEX_ID.fullmatch(key_id) or bytes.fromhex(key_id) != key.key_id:
            raise FormatError("The id of the verifier key does not fit its name and key.")
        return key

    def format(self) -> str:
        """Return the text that ``parse`` reads."""
        return (
            f"{self.name}+{self.key_id.hex()}+{format_base64(bytes([self.kind]) + self.public)}"
        )

    def require_signature(self, signature: bytes, message: bytes) -> None:
        """Check 64 bytes of Ed25519 (RFC 8032) over ``message``.

        Raises:
            SignatureError: This key did not sign ``message`` so.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature as error:
            raise SignatureError(f"The signature by {self.name} does not verify.") from error


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: whose it claims to be, and its bytes."""

    name: str
    key_id: bytes
    value: bytes

    def is_claimed_by(self, key: VerifierKey) -> bool:
        """Return whether name and id are those of ``key``; nothing is verified."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True)
class Note:
    """A text, its final newline included, and its signatures in order."""

    text: str
    signatures: tuple[NoteSignature, ...]


def require_key_name(name: str) -> None:
    """Check that ``name`` may name a key.

    Raises:
        FormatError: It is empty, or has a Unicode space, a plus sign or a control character.
    """
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 for c in name):  # noqa: PLR2004  # below a space
        raise FormatError(
            "The name of a key is empty or has a space, a plus or a control character."
        )


def encode_note(note: Note) -> bytes:
    """Return the bytes of ``note``."""
    lines = [
        f"{_DASH}{one.name} {format_base64(one.key_id + one.value)}\n"
        for one in note.signatures
    ]
    return f"{note.text}\n{''.join(lines)}".encode()


def decode_note(data: bytes) -> Note:
    """Read a note. Its signatures are not verified.

    Raises:
        FormatError: It is not a note, or has more than 64 signatures or 512 KiB.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise FormatError("A note is longer than 512 KiB.")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError("A note is not UTF-8.") from error
    if _CONTROL.search(whole):
        raise FormatError("A note has a control character.")
    text, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise FormatError("A note has no signatures.")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError("A note has more than 64 signatures.")
    return Note(text + "\n", tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator:
        raise FormatError("A signature line of a note is not '\u2014 name base64'.")
    require_key_name(name)
    data = parse_base64(encoded)
    if len(data) <= _KEY_ID_BYTES:
        raise FormatError("A signature of a note is too short.")
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])
