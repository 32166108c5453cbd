"""Key material: bytes of a fixed length that do not print themselves, one type per use."""

import os
from collections.abc import Callable
from typing import ClassVar, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Secret(bytes):
    """Bytes that ``repr``, ``str`` and ``format`` do not show."""

    __slots__ = ()

    size_bytes: ClassVar[int] = 32

    def __new__(cls, value: bytes) -> Self:
        """Take ``value`` as a key of this kind.

        Raises:
            ValueError: It has the wrong length; the message does not show it.
        """
        if len(value) != cls.size_bytes:
            raise ValueError(f"a {cls.__name__} has {cls.size_bytes} bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> Self:
        """Return a new random key."""
        return cls(random(cls.size_bytes))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__


class FileKey(Secret):
    """Seals one age file: its header is authenticated and its payload encrypted under it."""

    __slots__ = ()

    size_bytes: ClassVar[int] = 16


class DataKey(Secret):
    """Seals the fields of one row, or one delivery. AES-256."""

    __slots__ = ()


class WrappingKey(Secret):
    """Wraps data keys. AES-256."""

    __slots__ = ()


class IndexKey(Secret):
    """Makes the blind index tokens of one field. HMAC-SHA-256."""

    __slots__ = ()


class IndexMaster(Secret):
    """Index keys are derived from it."""

    __slots__ = ()


def derive(secret: bytes, *, info: bytes, salt: bytes = b"") -> bytes:
    """Return 32 bytes derived from ``secret`` for the use that ``info`` names (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)
