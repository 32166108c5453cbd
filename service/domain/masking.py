"""What nobody needs to see to read a message: card numbers and personal identity codes, hidden where text is shown.

The text itself is never changed. What is found is a form that checks: the digits of a card under Luhn's formula and in
a range that is issued (ISO/IEC 7812-1; PCI DSS 4.0.1, requirement 3.4.1), a Finnish identity code by its check
character (Government Decree 128/2010). Now and then another number checks by chance and is hidden too.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import Final

from service.domain.contact import Contact
from service.domain.errors import InvalidInputError
from service.domain.identifiers import PersonalIdentityCode

CARD_MASK: Final = "•••• "
"""What takes the place of a card number, before its last four digits."""
CODE_MASK: Final = "••••••-••••"
"""What takes the place of an identity code, of which nothing is shown."""

_LEAST_DIGITS, _MOST_DIGITS = 13, 19
_KEPT_DIGITS: Final = 4
# The lowest and the highest beginning of a range, and the lengths of the numbers in it.
_ISSUED: Final = (
    ("4", "4", frozenset({13, 16, 18, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("3095", "3095", frozenset(range(14, 20))),
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("6011", "6011", frozenset(range(16, 20))),  # Discover
    ("644", "649", frozenset(range(16, 20))),
    ("65", "65", frozenset(range(16, 20))),
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
    ("5018", "5018", frozenset(range(13, 20))),  # Maestro
    ("5020", "5020", frozenset(range(13, 20))),
    ("5038", "5038", frozenset(range(13, 20))),
    ("5893", "5893", frozenset(range(13, 20))),
    ("6304", "6304", frozenset(range(13, 20))),
    ("6759", "6763", frozenset(range(13, 20))),
)
# Hyphens and dashes of every width; the soft ones and those of no width come along with what is copied.
_DASHES: Final = "\\-\u2010-\u2015\u2212\ufe58\ufe63\uff0d"
_BETWEEN: Final = re.compile(f"[\\s.{_DASHES}\u00ad\u200b-\u200d\u2060\ufeff]{{1,3}}")
_DIGITS: Final = re.compile(r"\d+")
_GAP: Final = "[^\\S\\n]?"
_CODE: Final = re.compile(
    rf"(?<!\d)(\d\d)[.]?{_GAP}(\d\d)[.]?{_GAP}(\d\d)"
    rf"[^\S\n]{{0,3}}([+{_DASHES}A-FU-Y]?)[^\S\n]{{0,3}}"
    rf"(\d){_GAP}(\d){_GAP}(\d){_GAP}([0-9A-Y])(?!\d)",
    re.IGNORECASE,
)
_CENTURIES: Final = ("-", "A")
# Digits as numbers, and as the sum of the digits of what is twice as much.
_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))


@dataclass(frozen=True, slots=True)
class Masked:
    """A text as it is shown, and in how many places something of it is hidden."""

    text: str = field(repr=False)
    hidden: int


@dataclass(frozen=True, slots=True)
class Hidden:
    """From where to where something is not shown, and what takes its place."""

    start: int
    stop: int
    mask: str = field(repr=False)


def mask_text(text: str) -> Masked:
    """Return ``text`` with card numbers as ``•••• 1234`` and identity codes as ``••••••-••••``.

    Digits may stand in groups, with spaces, hyphens or dots between; no number is found inside a longer group.
    """
    parts: list[str] = []
    end = 0
    hidden = find_hidden(text)
    for one in hidden:
        parts += (text[end : one.start], one.mask)
        end = one.stop
    return Masked("".join((*parts, text[end:])), len(hidden))


def find_hidden(text: str) -> Sequence[Hidden]:
    """Return the places of ``text`` that are not shown, in order; none reaches into another."""
    found: list[Hidden] = []
    for start, stop, mask in sorted(_found(text)):
        if found and start < found[-1].stop:
            # What begins within another one is hidden as far as it goes beyond that.
            found[-1] = replace(found[-1], stop=max(stop, found[-1].stop))
        else:
            found.append(Hidden(start, stop, mask))
    return found


def mask_contact(contact: Contact) -> Contact:
    """Return ``contact`` as it is shown: what was written freely, such as its subject, is masked."""
    return replace(
        contact,
        subject=contact.subject and mask_text(contact.subject).text,
        not_recorded_reason=contact.not_recorded_reason
        and mask_text(contact.not_recorded_reason).text,
        recording_pauses=tuple(
            replace(pause, reason=mask_text(pause.reason).text)
            for pause in contact.recording_pauses
        ),
    )


def _found(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield from where to where something is to be hidden, and by what."""
    for match in _CODE.finditer(text):
        if _is_code(match):
            yield match.start(), match.end(), CODE_MASK
    for run in _runs(text):
        yield from _cards(text, run)


def _is_code(match: re.Match[str]) -> bool:
    day, month, year, sign, *individual, check = match.groups()
    check = check.upper()
    if sign:
        signs = [sign.upper() if sign.isalpha() or sign == "+" else "-"]
    elif check.isdigit():
        # Ten digits without a sign of the century are a telephone number more often than a code.
        return False
    else:
        signs = list(_CENTURIES)
    digits = _plain(day + month + year), _plain("".join(individual))
    return any(_is_valid(f"{digits[0]}{one}{digits[1]}{_plain(check)}") for one in signs)


def _is_valid(code: str) -> bool:
    try:
        PersonalIdentityCode.parse(code)
    except InvalidInputError:
        return False
    return True


def _runs(text: str) -> Iterator[Sequence[tuple[int, int]]]:
    """Yield groups of digits, each from where to where, that nothing but separators is between.

    A group that is longer than any card number ends a run.
    """
    run: list[tuple[int, int]] = []
    for match in _DIGITS.finditer(text):
        is_longer = match.end() - match.start() > _MOST_DIGITS
        if run and (is_longer or not _BETWEEN.fullmatch(text, run[-1][1], match.start())):
            yield run
            run = []
        if not is_longer:
            run.append(match.span())
    if run:
        yield run


def _cards(text: str, run: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Yield the card numbers of a run, the longest where several begin at the same group."""
    digits = _plain("".join(text[start:stop] for start, stop in run))
    if len(digits) < _LEAST_DIGITS:
        return
    sums = _sums(digits)
    edges = [0, *accumulate(stop - start for start, stop in run)]
    first = 0
    while first < len(run):
        last = _last_group(digits, sums, edges, first)
        if last is None:
            first += 1
            continue
        number = digits[edges[first] : edges[last]]
        yield run[first][0], run[last - 1][1], CARD_MASK + number[-_KEPT_DIGITS:]
        first = last


def _last_group(
    digits: str,
    sums: tuple[Sequence[int], Sequence[int]],
    edges: Sequence[int],
    first: int,
) -> int | None:
    """Return the edge after the last group of the longest card number that begins with group ``first``."""
    start = edges[first]
    lengths = _issued_lengths(digits[start : start + 4])
    longest = None
    for last in range(first + 1, min(len(edges), first + _MOST_DIGITS + 1)) if lengths else ():
        length = edges[last] - start
        if length in lengths and _is_luhn(sums, start, edges[last]):
            longest = last
    return longest


@lru_cache(maxsize=10_000)
def _issued_lengths(beginning: str) -> frozenset[int]:
    """Return how long numbers are that begin so; none where nobody issues them."""
    return next(
        (n for low, high, n in _ISSUED if low <= beginning[: len(low)] <= high), frozenset()
    )


def _sums(digits: str) -> tuple[Sequence[int], Sequence[int]]:
    """Return the running sums by Luhn's formula: with the digits at even places doubled, and with those at odd ones."""
    plain = digits.encode().translate(_VALUES)
    doubled = digits.encode().translate(_DOUBLED)
    even, odd = bytearray(plain), bytearray(plain)
    even[0::2], odd[1::2] = doubled[0::2], doubled[1::2]
    return list(accumulate(even, initial=0)), list(accumulate(odd, initial=0))


def _is_luhn(sums: tuple[Sequence[int], Sequence[int]], start: int, stop: int) -> bool:
    """Tell whether the digits check (ISO/IEC 7812-1, annex B): each second one from the last is doubled."""
    of = sums[stop % 2]
    return (of[stop] - of[start]) % 10 == 0


def _plain(digits: str) -> str:
    """Return ``digits`` of whichever script as ASCII; letters stay."""
    if digits.isascii():
        return digits
    return "".join(str(unicodedata.digit(c, c)) for c in digits)
