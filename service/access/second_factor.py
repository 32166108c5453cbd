"""The second factor: one-time passwords by time (RFC 6238), and codes for the day on which the telephone is lost.

SHA-1, six digits, thirty seconds: what every authenticator app has. A one-time password counts once (RFC 6238, section
5.2), and one step before and after the present one as well, for clocks that are not exact.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

from service.domain.times import to_microseconds

STEP_SECONDS: Final = 30
SECRET_BYTES: Final = 20
"""As long as the hash, which RFC 4226 recommends (section 4, requirement R6)."""
RECOVERY_CODES: Final = 10
_DIGITS: Final = 6
_STEPS_OFF: Final = 1
_ISSUER: Final = "Taltio"
_RECOVERY_BYTES: Final = 15
"""120 random bits, so that one unsalted hash keeps them (NIST SP 800-63B-4, section 3.1.2.2)."""
_GROUP: Final = 4
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)


class Shown(StrEnum):
    """What of a second factor somebody showed on coming in."""

    NONE = "none"
    CODE = "code"
    RECOVERY = "recovery"
    SET_UP = "set_up"
    """They set it up on the way."""


class SecondFactor(msgspec.Struct, frozen=True):
    """What is kept of a user's second factor; sealed in their row.

    ``used_step`` is the newest step of which a one-time password was taken. ``recovery`` are hashes of the codes that
    were not used yet. ``set_at`` is in microseconds.
    """

    secret: bytes
    used_step: int
    recovery: tuple[bytes, ...]
    set_at: int

    def __repr__(self) -> str:
        """Tell nothing."""
        return "SecondFactor()"


@dataclass(frozen=True, slots=True)
class Offered:
    """A second factor that somebody may set up: for an app to scan (``uri``), or to be typed (``typed``)."""

    uri: str = field(repr=False)
    typed: str = field(repr=False)


def offer(secret: bytes, login: str) -> Offered:
    """Return how ``secret`` is given to an authenticator app (Key Uri Format of Google Authenticator)."""
    text = base64.b32encode(secret).decode().rstrip("=")
    query = urlencode({"secret": text, "issuer": _ISSUER})
    label = quote(f"{_ISSUER}:{login}", safe="")
    return Offered(f"otpauth://totp/{label}?{query}", _grouped(text))


def new_recovery_codes(random: Callable[[int], bytes] = os.urandom) -> tuple[str, ...]:
    """Return codes that can be used once each instead of a one-time password; known at this moment only."""
    texts = (base64.b32encode(random(_RECOVERY_BYTES)).decode() for _ in range(RECOVERY_CODES))
    return tuple(_grouped(text) for text in texts)


def begin_factor(
    secret: bytes, code: str, codes: tuple[str, ...], *, now: datetime
) -> SecondFactor | None:
    """Return the second factor of somebody whose app shows ``code``; None where it is another."""
    step = _step_of(secret, code, now, after=0)
    if step is None:
        return None
    kept = tuple(_kept(one) for one in codes)
    return SecondFactor(secret, step, kept, to_microseconds(now))


def use_code(factor: SecondFactor, code: str, *, now: datetime) -> SecondFactor | None:
    """Return the factor after ``code`` was used: a one-time password or a recovery code; None where it is neither."""
    step = _step_of(factor.secret, code, now, after=factor.used_step)
    if step is not None:
        return msgspec.structs.replace(factor, used_step=step)
    told = _kept(code)
    left = tuple(one for one in factor.recovery if not hmac.compare_digest(one, told))
    if len(left) < len(factor.recovery):
        return msgspec.structs.replace(factor, recovery=left)
    return None


def shown_with(before: SecondFactor, after: SecondFactor) -> Shown:
    """Return what was shown that made ``after`` of the factor ``before``."""
    return Shown.CODE if after.recovery == before.recovery else Shown.RECOVERY


def with_codes(factor: SecondFactor, codes: tuple[str, ...]) -> SecondFactor:
    """Return the factor with ``codes`` in the place of those that there were."""
    return msgspec.structs.replace(factor, recovery=tuple(_kept(one) for one in codes))


def _step_of(secret: bytes, code: str, now: datetime, *, after: int) -> int | None:
    """Return the step later than ``after`` whose one-time password is ``code``."""
    typed = "".join(code.split())
    if not _CODE.fullmatch(typed):
        return None
    # Older factors have 16 bytes, the least that RFC 4226 and the library take.
    generator = HOTP(secret, _DIGITS, SHA1())  # noqa: S303  # as RFC 6238 and every app have it
    present = int(now.timestamp()) // STEP_SECONDS
    found = None
    for step in range(present - _STEPS_OFF, present + _STEPS_OFF + 1):
        is_same = hmac.compare_digest(generator.generate(step), typed.encode())
        if is_same and step > after:
            found = step
    return found


def _kept(code: str) -> bytes:
    """Return what is kept of a recovery code, however it is typed."""
    typed = "".join(c for c in code.upper() if c.isalnum())
    return hashlib.sha256(typed.encode(errors="replace")).digest()


def _grouped(text: str) -> str:
    return " ".join(text[i : i + _GROUP] for i in range(0, len(text), _GROUP))
