"""Sealed fields of a row: AES-256-GCM under the row's own key, bound to their place.

A value opens only as the table, row, column and version it was sealed as.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.crypto.secret import DataKey
from service.domain.errors import TamperedError

Sealed = NewType("Sealed", bytes)
"""A sealed value, as a column holds it. Bytes in the clear are ``bytes``."""

_FORMAT = b"\x01"
_LABEL = b"taltio.field.v1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_STEP_BYTES = 16
_HEAD_BYTES = len(_FORMAT) + _NONCE_BYTES
_PADDING = b"\x80" + bytes(_STEP_BYTES - 1)


class FieldSealer:
    """Seals and opens the values of one row under the row's own key.

    A row key seals fewer than 2**20 values, so that random nonces do not meet (NIST SP
    800-38D, section 8.3). Each nonce is fetched from the system when it is used: what lies ready in memory
    would come again in a machine that is set back to a snapshot, and a nonce twice under one key gives both away.
    """

    __slots__ = ("_cipher", "_random")

    def __init__(self, key: DataKey, *, random: Callable[[int], bytes] | None = None) -> None:
        self._cipher = AESGCM(key)
        self._random = random or os.urandom

    def seal(self, value: bytes, *, table: str, row: str, column: str, version: int) -> Sealed:
        """Return ``value`` sealed; its length shows only in steps of 16 bytes."""
        nonce = self._random(_NONCE_BYTES)
        padded = value + _PADDING[: _STEP_BYTES - len(value) % _STEP_BYTES]
        place = _place(table, column, version) + row.encode()
        return Sealed(_FORMAT + nonce + self._cipher.encrypt(nonce, padded, place))

    def open(self, sealed: Sealed, *, table: str, row: str, column: str, version: int) -> bytes:
        """Return the value that was sealed as this place.

        Raises:
            TamperedError: It was changed, moved here from elsewhere, or sealed under
                another key.
        """
        if sealed[:1] != _FORMAT or len(sealed) < _HEAD_BYTES + _STEP_BYTES + _TAG_BYTES:
            raise TamperedError(f"{table}.{column} of {row} is not a sealed field.")
        place = _place(table, column, version) + row.encode()
        try:
            padded = self._cipher.decrypt(sealed[1:_HEAD_BYTES], sealed[_HEAD_BYTES:], place)
        except InvalidTag as error:
            raise TamperedError(f"{table}.{column} of {row} does not authenticate.") from error
        return _unpadded(padded, f"{table}.{column} of {row}")


@lru_cache(maxsize=1024)
def _place(table: str, column: str, version: int) -> bytes:
    """Return the associated data up to the row, which ends it and so needs no length."""
    names = (name.encode() for name in (table, column))
    sized = b"".join(len(name).to_bytes(2, "big") + name for name in names)
    return _LABEL + sized + version.to_bytes(8, "big")


def _unpadded(padded: bytes, name: str) -> bytes:
    value = padded.rstrip(b"\0")
    # One encoding per value, even from somebody who has the key.
    is_short = len(padded) - len(value) < _STEP_BYTES
    if len(padded) % _STEP_BYTES or not is_short or value[-1:] != _PADDING[:1]:
        raise TamperedError(f"{name} is not padded as a sealed field is.")
    return value[:-1]
