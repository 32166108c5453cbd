"""To whom a file key is sealed: age recipients and identities, X25519 and hybrid.

Recipients are public. Identities are secret, and their fields do not print.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import shake_256
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from service.crypto.bech32 import decode_bech32, encode_bech32
from service.crypto.errors import HeaderError
from service.crypto.secret import FileKey, derive
from service.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

_X25519_BYTES = 32
_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_SEED_BYTES = 64
_MLKEM_SEALED_BYTES = 1088
_WRAPPED_BYTES = FileKey.size_bytes + 16
_X25519_LABEL = b"age-encryption.org/v1/X25519"
_HYBRID_LABEL = b"age-encryption.org/mlkem768x25519"
_HYBRID_SUITE = hpke.Suite(
    hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305
)
# The wrapping key is fresh for every stanza, so one nonce is enough (age, section X25519).
_ZERO_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class Stanza:
    """One wrapping of the file key: a kind, arguments, a body."""

    kind: str
    arguments: tuple[str, ...]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class X25519Recipient:
    """An ``age1…`` recipient."""

    family: ClassVar[Literal["x25519"]] = "x25519"

    public: bytes

    def __post_init__(self) -> None:
        _require_point(self.public)

    @classmethod
    def parse(cls, text: str) -> X25519Recipient:
        """Return the recipient that ``age1…`` names.

        Raises:
            InvalidInputError: It names none.
        """
        return cls(_decode(text, "age"))

    def __str__(self) -> str:
        return encode_bech32("age", self.public)

    def wrap(self, file_key: FileKey, random: Callable[[int], bytes] = os.urandom) -> Stanza:
        """Return a stanza that only this recipient's identity opens."""
        ephemeral = X25519PrivateKey.from_private_bytes(random(_X25519_BYTES))
        share = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(self.public))
        cipher = ChaCha20Poly1305(derive(shared, salt=share + self.public, info=_X25519_LABEL))
        return Stanza(
            "X25519", (encode_base64(share),), cipher.encrypt(_ZERO_NONCE, file_key, None)
        )


@dataclass(frozen=True, slots=True)
class X25519Identity:
    """An ``AGE-SECRET-KEY-1…`` identity."""

    family: ClassVar[Literal["x25519"]] = "x25519"

    secret: bytes = field(repr=False)
    recipient: X25519Recipient = field(init=False)
    _key: X25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = X25519PrivateKey.from_private_bytes(self.secret)
        public = key.public_key().public_bytes_raw()
        object.__setattr__(self, "recipient", X25519Recipient(public))
        object.__setattr__(self, "_key", key)

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> X25519Identity:
        """Return a new identity."""
        return cls(random(_X25519_BYTES))

    @classmethod
    def parse(cls, text: str) -> X25519Identity:
        """Return the identity that ``AGE-SECRET-KEY-1…`` names.

        Raises:
            InvalidInputError: It names none.
        """
        return cls(_decode(text, "AGE-SECRET-KEY-"))

    def format_secret(self) -> str:
        """Return the secret text form. It is never what ``str`` gives."""
        return encode_bech32("age-secret-key-", self.secret).upper()

    def unwrap(self, stanza: Stanza) -> FileKey | None:
        """Return the file key, or ``None`` when the stanza is for somebody else.

        Raises:
            HeaderError: It is an X25519 stanza, and a malformed one.
        """
        if stanza.kind != "X25519":
            return None
        share = _share_of(stanza, size=_X25519_BYTES)
        shared = _exchange(self._key, share)
        salt = share + self.recipient.public
        cipher = ChaCha20Poly1305(derive(shared, salt=salt, info=_X25519_LABEL))
        try:
            return FileKey(cipher.decrypt(_ZERO_NONCE, stanza.body, None))
        except InvalidTag:
            return None


@dataclass(frozen=True, slots=True)
class HybridRecipient:
    """An ``age1pq1…`` recipient: ML-KEM-768 and X25519, safe while either of them is."""

    family: ClassVar[Literal["hybrid"]] = "hybrid"

    public: bytes = field(repr=False)
    _key: hpke.MLKEM768X25519PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        mlkem, point = self.public[:_MLKEM_PUBLIC_BYTES], self.public[_MLKEM_PUBLIC_BYTES:]
        _require_point(point)
        try:
            mlkem_key = MLKEM768PublicKey.from_public_bytes(mlkem)
        except ValueError as error:
            raise InvalidInputError("This is not an ML-KEM-768 public key.") from error
        key = hpke.MLKEM768X25519PublicKey(mlkem_key, X25519PublicKey.from_public_bytes(point))
        object.__setattr__(self, "_key", key)

    @classmethod
    def parse(cls, text: str) -> HybridRecipient:
        """Return the recipient that ``age1pq1…`` names.

        Raises:
            InvalidInputError: It names none.
        """
        return cls(_decode(text, "age1pq"))

    def __str__(self) -> str:
        return encode_bech32("age1pq", self.public)

    def wrap(self, file_key: FileKey, random: Callable[[int], bytes] = os.urandom) -> Stanza:
        """Return a stanza that only this recipient's identity opens.

        ``random`` is not asked: HPKE takes its randomness from the operating system itself.
        """
        del random
        sealed = _HYBRID_SUITE.encrypt(file_key, self._key, _HYBRID_LABEL)
        share, body = sealed[:-_WRAPPED_BYTES], sealed[-_WRAPPED_BYTES:]
        return Stanza("mlkem768x25519", (encode_base64(share),), body)


@dataclass(frozen=True, slots=True)
class HybridIdentity:
    """An ``AGE-SECRET-KEY-PQ-1…`` identity."""

    family: ClassVar[Literal["hybrid"]] = "hybrid"

    secret: bytes = field(repr=False)
    recipient: HybridRecipient = field(init=False, repr=False)
    _key: hpke.MLKEM768X25519PrivateKey = field(init=False, repr=False, compare=False)
    _x25519: X25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The seed expands to both keys (draft-ietf-hpke-pq, MLKEM768-X25519).
        seeds = shake_256(self.secret).digest(_MLKEM_SEED_BYTES + _X25519_BYTES)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(seeds[:_MLKEM_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(seeds[_MLKEM_SEED_BYTES:])
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        object.__setattr__(self, "recipient", HybridRecipient(public))
        object.__setattr__(self, "_key", hpke.MLKEM768X25519PrivateKey(mlkem, x25519))
        object.__setattr__(self, "_x25519", x25519)

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> HybridIdentity:
        """Return a new identity."""
        return cls(random(_X25519_BYTES))

    @classmethod
    def parse(cls, text: str) -> HybridIdentity:
        """Return the identity that ``AGE-SECRET-KEY-PQ-1…`` names.

        Raises:
            InvalidInputError: It names none.
        """
        return cls(_decode(text, "AGE-SECRET-KEY-PQ-"))

    def format_secret(self) -> str:
        """Return the secret text form. It is never what ``str`` gives."""
        return encode_bech32("age-secret-key-pq-", self.secret).upper()

    def unwrap(self, stanza: Stanza) -> FileKey | None:
        """Return the file key, or ``None`` when the stanza is for somebody else.

        Raises:
            HeaderError: It is an mlkem768x25519 stanza, and a malformed one.
        """
        if stanza.kind != "mlkem768x25519":
            return None
        share = _share_of(stanza, size=_MLKEM_SEALED_BYTES + _X25519_BYTES)
        # HPKE below would report a low-order point as a stanza for somebody else.
        _exchange(self._x25519, share[_MLKEM_SEALED_BYTES:])
        try:
            return FileKey(_HYBRID_SUITE.decrypt(share + stanza.body, self._key, _HYBRID_LABEL))
        except InvalidTag:
            return None


Recipient: TypeAlias = X25519Recipient | HybridRecipient
Identity: TypeAlias = X25519Identity | HybridIdentity


def parse_recipient(text: str) -> Recipient:
    """Return the recipient that ``age1…`` or ``age1pq1…`` names.

    Raises:
        InvalidInputError: It names none.
    """
    return (HybridRecipient if text.startswith("age1pq1") else X25519Recipient).parse(text)


def parse_identity(text: str) -> Identity:
    """Return the identity that ``AGE-SECRET-KEY-1…`` or ``AGE-SECRET-KEY-PQ-1…`` names.

    Raises:
        InvalidInputError: It names none. The message does not repeat ``text``.
    """
    is_hybrid = text.startswith("AGE-SECRET-KEY-PQ-1")
    return (HybridIdentity if is_hybrid else X25519Identity).parse(text)


def encode_base64(data: bytes) -> str:
    """Return base64 without padding, as age writes it."""
    return b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64(text: str) -> bytes:
    """Return the bytes that ``text`` encodes; it must be the only encoding of them.

    Raises:
        HeaderError: It is padded, not canonical, or not base64.
    """
    try:
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise HeaderError("The header has text that is not base64.") from error
    if encode_base64(data) != text:
        raise HeaderError("The header has base64 that is not canonical.")
    return data


def _decode(text: str, prefix: str) -> bytes:
    found, data = decode_bech32(text)
    if found != prefix:
        raise InvalidInputError(f"Expected text that begins with {prefix}1.")
    expected = _X25519_BYTES + (_MLKEM_PUBLIC_BYTES if prefix == "age1pq" else 0)
    if len(data) != expected:
        raise InvalidInputError(f"Expected {expected} bytes, found {len(data)}.")
    return data


def _require_point(public: bytes) -> None:
    """Refuse a public key whose shared secret would be the same for everybody."""
    if len(public) != _X25519_BYTES:
        raise InvalidInputError("An X25519 public key has 32 bytes.")
    try:
        # Any scalar will do: RFC 7748 makes them all multiples of the cofactor.
        X25519PrivateKey.from_private_bytes(bytes(_X25519_BYTES)).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise InvalidInputError("The X25519 public key is a low-order point.") from error


def _share_of(stanza: Stanza, *, size: int) -> bytes:
    if len(stanza.arguments) != 1:
        raise HeaderError(f"A {stanza.kind} stanza has one argument.")
    share = decode_base64(stanza.arguments[0])
    if len(share) != size:
        raise HeaderError(f"The share of a {stanza.kind} stanza has {size} bytes.")
    # Checked before anything is decrypted: a longer body could be made to open under two keys.
    if len(stanza.body) != _WRAPPED_BYTES:
        raise HeaderError(f"The body of a {stanza.kind} stanza has {_WRAPPED_BYTES} bytes.")
    return share


def _exchange(secret: X25519PrivateKey, share: bytes) -> bytes:
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:
        raise HeaderError("The X25519 share is a low-order point.") from error
