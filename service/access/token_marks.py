"""Marks on tokens: by them a process that holds no private key tells real tokens from those that somebody wrote in.

What a token shows and grants is sealed in its row, for those who can open it. The mark beside it is a keyed hash of the
same, made with a key of intake. Only intake goes by it, and where the keys are away, deliveries and `/metrics`: whoever
steals that key can make tokens with which to deliver, and none with which to read what came in.
"""

import hmac
from typing import Final

import msgspec

from service.crypto.secret import IndexKey
from service.domain.errors import TamperedError
from storage.rows import TokenRow

FIELD: Final = "token_mark"
"""The field of intake's index key that makes the marks."""

_LABEL: Final = "taltio.token_mark.v1"


class TokenMarker:
    """Makes and checks the marks of tokens."""

    __slots__ = ("_keyed",)

    def __init__(self, key: IndexKey) -> None:
        """Take intake's key of ``FIELD``."""
        self._keyed = hmac.new(key, digestmod="sha256")

    def mark_of(self, row: TokenRow) -> bytes:
        """Return HMAC-SHA-256 over everything that ``row`` shows and grants."""
        shown = (row.id, row.version, row.secret_hash.hex(), row.role, row.source)
        keyed = self._keyed.copy()
        keyed.update(msgspec.json.encode((_LABEL, *shown, row.created_at, row.revoked_at)))
        return keyed.digest()

    def require_authentic(self, row: TokenRow) -> None:
        """Return when the archive itself wrote ``row``.

        Raises:
            TamperedError: Somebody without the key did.
        """
        if not hmac.compare_digest(row.mark, self.mark_of(row)):
            raise TamperedError(f"the row of {row.id} shows what was not marked there")
