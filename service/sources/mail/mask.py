"""Formatted text as it is shown: card numbers and identity codes are hidden, however elements divide them. Pure."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.masking import Hidden, Masked, find_hidden
from service.sources.mail.markup import BLOCKS

_PIECE: Final = re.compile(
    r"<(/?)([a-z0-9]+)[^>]*>|&(?:#\d+|#x[0-9a-f]+|[a-z0-9]+);", re.IGNORECASE
)
_EDGES: Final = BLOCKS - {"br"} | {"td", "th"}
_EDGE: Final = "\n" * 4
"""What is read at the edge of a block or cell: more than there may be between the groups of one number."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of markup as it is written, and as a person reads it: text, an entity, or an element."""

    written: str
    read: str
    is_element: bool = False


def mask_markup(markup: str) -> Masked:
    """Return ``markup``, which was made safe, with what is found in its text hidden as ``mask_text`` hides it.

    Elements stay as they are; where one begins or ends within a number, the number is hidden all the same.
    """
    pieces = list(_pieces(markup))
    hidden = find_hidden("".join(piece.read for piece in pieces))
    shown: list[str] = []
    position, first = 0, 0
    for piece in pieces:
        stop = position + len(piece.read)
        while first < len(hidden) and hidden[first].stop <= position:
            first += 1
        shown += _shown(piece, position, hidden, first)
        position = stop
    return Masked("".join(shown), len(hidden))


def _pieces(markup: str) -> Iterator[_Piece]:
    end = 0
    for match in _PIECE.finditer(markup):
        if match.start() > end:
            text = markup[end : match.start()]
            yield _Piece(text, text)
        end = match.end()
        element = match[2]
        if element is None:
            yield _Piece(match[0], html.unescape(match[0]))
        else:
            yield _Piece(match[0], _read(element.lower()), is_element=True)
    if end < len(markup):
        yield _Piece(markup[end:], markup[end:])


def _read(element: str) -> str:
    if element == "br":
        return "\n"
    return _EDGE if element in _EDGES else ""


def _shown(piece: _Piece, position: int, hidden: Sequence[Hidden], first: int) -> Iterator[str]:
    """Yield what is shown of a piece that is read from ``position`` on; ``hidden`` reaches there from ``first`` on."""
    stop = position + len(piece.read)
    reaching = list(_reaching(hidden, first, stop)) if piece.read else []
    if piece.is_element or not reaching:
        yield piece.written
        return
    is_text = piece.written == piece.read
    end = position
    for one in reaching:
        if is_text and one.start > end:
            yield piece.written[end - position : one.start - position]
        if one.start >= position:
            yield one.mask
        end = min(one.stop, stop)
    if is_text and end < stop:
        yield piece.written[end - position :]


def _reaching(hidden: Sequence[Hidden], first: int, stop: int) -> Iterator[Hidden]:
    while first < len(hidden) and hidden[first].start < stop:
        yield hidden[first]
        first += 1
