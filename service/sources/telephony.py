"""Telephone numbers, extensions and names as telephone systems send them: whose they are, and how they are kept."""

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from service.domain.contact import Direction
from service.domain.errors import InvalidInputError
from service.domain.identifiers import MAX_IDENTIFIER_CHARACTERS, PhoneNumber
from service.sources.events import SourceRule

# What networks and telephone systems send for a number that the caller withholds (RFC 3323, section 4.1.1.3).
_WITHHELD: Final = frozenset(
    {"", "anonymous", "asserted", "blocked", "private", "restricted", "unavailable", "unknown"}
    | {"withheld", "0000000000"}
)
_NOT_A_NAME: Final = _WITHHELD | {"outbound call", "inbound call"}
_SCHEME: Final = re.compile(r"(?:sips?|tel):", re.IGNORECASE)
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Standing(Enum):
    """On whose side of the conversation a number is."""

    OUTSIDE = auto()
    """A telephone number that is not the company's."""
    COMPANY = auto()
    """One of the company's own numbers."""
    EXTENSION = auto()
    """No telephone number: an extension or a SIP user, who is the company's."""
    WITHHELD = auto()
    """The caller does not tell it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was told: ``phone`` in E.164 form, or else ``as_sent``; neither when nothing was told."""

    standing: Standing
    phone: str | None = None
    as_sent: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is the company's own."""
        return self.standing in {Standing.COMPANY, Standing.EXTENSION}


def read_number(text: str, rule: SourceRule) -> Number:
    """Return what ``text`` tells: a telephone number, an extension, a SIP or tel URI, or that it is withheld."""
    told = tidy(text) or ""
    # The user part of an address; what follows are parameters (RFC 3261, section 19.1.1; RFC 3966, section 3).
    user = re.split(r"[@;]", _SCHEME.sub("", told, count=1), maxsplit=1)[0].strip()
    if user.casefold() in _WITHHELD:
        return Number(Standing.WITHHELD, as_sent=user or None)
    try:
        phone = PhoneNumber.parse(user, region=rule.region).e164
    except InvalidInputError:
        return Number(Standing.EXTENSION, as_sent=user)
    is_company = phone in rule.company_numbers
    return Number(Standing.COMPANY if is_company else Standing.OUTSIDE, phone=phone)


def read_name(text: str, *, number: str = "") -> str | None:
    """Return the display name ``text``; None when it is none, or only says the ``number`` again."""
    name = tidy(text.strip().strip('"'))
    if name is None or name.casefold() in _NOT_A_NAME or name == tidy(number):
        return None
    return None if re.fullmatch(r"[+0-9 ()\-]+", name) else name


def tidy(text: str) -> str | None:
    """Return ``text`` in NFC on one line, with a space for what cannot be seen; None when nothing is left.

    Display names come from callers: line ends, NUL and marks of direction in them stay in the delivery.
    """
    if text.isascii() and text.isprintable():
        return text.strip()[:MAX_IDENTIFIER_CHARACTERS] or None
    seen = "".join(" " if unicodedata.category(c) in _UNSEEN else c for c in text)
    line = " ".join(unicodedata.normalize("NFC", seen).split())
    return line[:MAX_IDENTIFIER_CHARACTERS].strip() or None


def decide_direction(caller: Number, dialled: Number) -> Direction | None:
    """Decide who began a call: the customer, the company, or nobody that these numbers tell of.

    Whoever calls one of the company's numbers is a customer, also from a SIP address.
    """
    if dialled.standing is Standing.COMPANY:
        return Direction.INBOUND
    if caller.is_ours:
        return Direction.OUTBOUND if dialled.standing is Standing.OUTSIDE else None
    return Direction.INBOUND
