"""Keys wrapped by keys: AES Key Wrap with 256-bit keys (RFC 3394).

A wrapping says nothing about what its key is for; the values sealed under the key do.
"""

import os
from collections.abc import Callable

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from service.crypto.secret import DataKey, WrappingKey
from service.domain.errors import TamperedError

WRAPPED_BYTES = DataKey.size_bytes + 8


def new_key(random: Callable[[int], bytes] = os.urandom) -> DataKey:
    """Return a new random key for one row or one delivery."""
    return DataKey.generate(random)


def wrap_key(wrapping_key: WrappingKey, key: DataKey) -> bytes:
    """Return ``key`` wrapped. The same two keys always give the same 40 bytes."""
    return aes_key_wrap(wrapping_key, key)


def unwrap_key(wrapping_key: WrappingKey, wrapped: bytes) -> DataKey:
    """Return the key that was wrapped.

    Raises:
        TamperedError: ``wrapped`` was changed, or another key wrapped it.
    """
    if len(wrapped) != WRAPPED_BYTES:
        raise TamperedError(f"A wrapped key has {WRAPPED_BYTES} bytes, not {len(wrapped)}.")
    try:
        return DataKey(aes_key_unwrap(wrapping_key, wrapped))
    except InvalidUnwrap as error:
        raise TamperedError("A wrapped key does not authenticate.") from error
