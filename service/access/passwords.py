"""Passwords: what is accepted, and how they are kept and checked.

Kept as Argon2id with 64 MiB, 3 passes and 4 lanes, a 128-bit salt and a 256-bit tag: the second recommended option of
RFC 9106, section 4. About 0.2 s of one core for each try, on purpose.
"""

import asyncio
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from service.domain.errors import InvalidInputError

MIN_LENGTH: Final = 15
"""Where a password stands alone (NIST SP 800-63B-4, section 3.1.1.2)."""

MAX_LENGTH: Final = 1024
_MIN_DIFFERENT: Final = 5
_MIN_NAME: Final = 4
# Each try takes 64 MiB; more at once would let strangers use up the memory that recordings need.
_AT_ONCE: Final = 2


def require_acceptable(password: str, *, login: str) -> None:
    """Return when ``password`` may be set for ``login``. Length counts, and no rules about kinds of characters.

    Raises:
        InvalidInputError: Too short, too long, too repetitive, or made from the login.
    """
    plain = _normal(password)
    if len(plain) < MIN_LENGTH:
        raise InvalidInputError(f"a password has at least {MIN_LENGTH} characters")
    if len(plain) > MAX_LENGTH:
        raise InvalidInputError(f"a password has at most {MAX_LENGTH} characters")
    names = [login.casefold(), login.casefold().partition("@")[0]]
    rest = plain.casefold()
    for name in names:
        rest = rest.replace(name, "") if len(name) >= _MIN_NAME else rest
    if len(set(rest)) < _MIN_DIFFERENT:
        raise InvalidInputError("the password repeats itself or the login: choose another")


class Passwords:
    """Hashes and checks passwords off the event loop, a few at a time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """Return what is kept of ``password``."""
        async with self._places:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def is_match(self, password: str, kept: str | None) -> bool:
        """Tell whether ``kept`` was made from ``password``; takes as long when there is nothing to compare with."""
        if len(password) > MAX_LENGTH:
            password, kept = "", None
        if self._dummy is None:
            self._dummy = await self.hash("nobody's password")
        async with self._places:
            is_same = await asyncio.to_thread(
                self._is_same, kept or self._dummy, _normal(password)
            )
        return is_same and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Tell whether ``kept`` was made with other parameters than now, so that it is to be made again."""
        return self._hasher.check_needs_rehash(kept)

    def _is_same(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError) as error:
            raise ValueError("what is kept of a password is no Argon2 hash") from error


def _normal(password: str) -> str:
    """Return one form for what keyboards of different makers produce (NIST SP 800-63B-4, section 3.1.1.2).

    Half a surrogate pair, which no keyboard makes, becomes a question mark.
    """
    return unicodedata.normalize("NFC", password).encode(errors="replace").decode()
