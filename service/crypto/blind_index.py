"""Keyed tokens for exact match over sealed values: equal values of one field, equal tokens.

Without the key a token cannot be tried against guesses, not even of short values.
"""

import hmac
import re
from collections.abc import Callable
from typing import NewType

from service.crypto.secret import IndexKey, IndexMaster, derive

Token = NewType("Token", bytes)
"""16 bytes that stand for one canonical value of one field."""

TOKEN_BYTES = 16

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,62}")


def derive_index_key(
    master: IndexMaster, field: str, *, version: int = 1, scope: str = "desk"
) -> IndexKey:
    """Return the key of one field, in one version of its canonical form.

    Keys of different fields, versions or scopes tell nothing about each other.

    Raises:
        ValueError: ``field`` or ``scope`` is not a short lower-case name, or ``version`` is
            not positive.
    """
    if version < 1 or not (_FIELD.fullmatch(field) and _FIELD.fullmatch(scope)):
        raise ValueError(f"no such index: {scope}|{field}|v{version}")
    info = f"taltio.blind_index.v1|{scope}|{field}|{version}"
    return IndexKey(derive(master, info=info.encode("ascii")))


class BlindIndex:
    """Makes tokens, each field's under its own key."""

    __slots__ = ("_keep", "_key_of", "_keyed")

    def __init__(self, key_of: Callable[[str], IndexKey], *, keep: bool = True) -> None:
        """Take keys from ``key_of``, which is asked once per field or, unless they are to be kept, each time."""
        self._key_of = key_of
        self._keep = keep
        self._keyed: dict[str, hmac.HMAC] = {}

    def token(self, field: str, canonical: str) -> Token:
        """Return the token of a value of ``field``, given in its canonical form.

        Raises:
            ValueError: The value is empty: it would match everything that is missing.
        """
        if not canonical:
            raise ValueError("an empty value has no token")
        keyed = self._keyed.get(field)
        if keyed is None:
            # Copying the keyed state costs half of setting the key up again.
            keyed = hmac.new(self._key_of(field), digestmod="sha256")
            if self._keep:
                self._keyed[field] = keyed
        keyed = keyed.copy()
        keyed.update(canonical.encode())
        return Token(keyed.digest()[:TOKEN_BYTES])
