"""Key files that only a token's key opens, and their text (``docs/format-sealing.md``)."""

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from service.keys.errors import KeysRefusedError
from service.keys.pkcs11.process import Token
from service.keys.safe import WRAPPED

_NONCE_BYTES: Final = 12
_TITLE: Final = "Taltio key file, wrapped by a token's key. Without that token nobody opens it."
_TEXT: Final = re.compile(
    r"""# ([^\n]+)
# format: taltio-wrapped-v1
# name: ([a-z0-9-]{1,64})
# token-key: ([0-9a-f]{2,128})
# nonce: ([A-Za-z0-9+/=]{16})
# sealed: ([A-Za-z0-9+/=]{24,65536})
"""
)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What a wrapped file says; ``sealed`` is ciphertext and tag."""

    name: str
    key_id: str
    nonce: bytes
    sealed: bytes

    def format(self) -> bytes:
        """Return the file."""
        lines = (
            _TITLE,
            "format: taltio-wrapped-v1",
            f"name: {self.name}",
            f"token-key: {self.key_id}",
            f"nonce: {b64encode(self.nonce).decode()}",
            f"sealed: {b64encode(self.sealed).decode()}",
        )
        return "".join(f"# {line}\n" for line in lines).encode("ascii")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return what the file says: the exact inverse of ``format``.

        Raises:
            ValueError: This is no such file.
        """
        match = _TEXT.fullmatch(data.decode("ascii"))
        if match is None:
            raise ValueError("not a wrapped key file")
        name, key_id = match[2], match[3]
        wrapped = cls(
            name,
            key_id,
            b64decode(match[4], validate=True),
            b64decode(match[5], validate=True),
        )
        if len(wrapped.nonce) != _NONCE_BYTES or wrapped.format() != data:
            raise ValueError("not as it was written")
        return wrapped


class TokenSafe:
    """Seals key files under a token's key. Implements ``Safe``."""

    __slots__ = ("_random", "_token", "hold")

    suffix = WRAPPED
    advice = (
        "only the token's key opens them. Back the token up as well, with its own tools: without either, nobody ever"
        " reads anything again."
    )

    def __init__(
        self, token: Token, *, hold: timedelta, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        """Ask nothing yet. What was opened may be kept for ``hold``."""
        self._token, self._random = token, random
        self.hold: timedelta | None = hold

    def seal(self, name: str, text: bytes) -> bytes:
        """Return the wrapped file."""
        key_id = self._token.facts().key_id
        # A handful of files in the life of a key: random nonces do not meet (NIST SP 800-38D, section 8.3).
        nonce = self._random(_NONCE_BYTES)
        sealed = self._token.seal(text, key_id=key_id, nonce=nonce, aad=_aad(name, key_id))
        return Wrapped(name, key_id, nonce, sealed).format()

    def open(self, name: str, data: bytes) -> bytes:
        """Return the text."""
        try:
            wrapped = Wrapped.parse(data)
        except ValueError:
            raise KeysRefusedError(
                f"{name}.{WRAPPED} is damaged. Restore it from the backup of the key directory."
            ) from None
        if wrapped.name != name:
            raise KeysRefusedError(
                f"{name}.{WRAPPED} holds what was wrapped as {wrapped.name}. Restore it from the backup of the key"
                " directory."
            )
        try:
            return self._token.open(
                wrapped.sealed,
                key_id=wrapped.key_id,
                nonce=wrapped.nonce,
                aad=_aad(name, wrapped.key_id),
            )
        except KeysRefusedError as error:
            raise KeysRefusedError(f"{name}.{WRAPPED}: {error}") from None


def _aad(name: str, key_id: str) -> bytes:
    # What a file is, is sealed with it: under another name it does not open.
    return f"taltio.wrapped.v1|{name}|{key_id}".encode("ascii")
