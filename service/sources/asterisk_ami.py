"""Asterisk's manager interface (AMI) as it is spoken: blocks of ``Name: value`` lines, each ended by an empty line.

Blocks are told apart, and nothing more is read of them than what they are: an event is kept as it came. Lines end with
CR LF; LF alone is taken too (Asterisk documentation, "AMI v2 Specification").
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from service.domain.errors import InvalidInputError

MAX_BLOCK_BYTES: Final = 64 * 1024
"""A longer block, or one that does not end, is none of a manager's."""
_GREETING: Final = re.compile(rb"Asterisk Call Manager/[0-9.]{1,20}")
_MAX_GREETING_BYTES: Final = 128
_END: Final = re.compile(rb"\r?\n\r?\n")
_LINE_END: Final = re.compile(rb"\r?\n")
_NAME: Final = re.compile(r"[A-Za-z]+", re.ASCII)


@dataclass(slots=True)
class BlockReader:
    """Tells blocks apart in what a manager sends, which may come in any pieces."""

    _held: bytearray = field(default_factory=bytearray, init=False, repr=False)
    _is_greeted: bool = field(default=False, init=False)

    @property
    def is_between(self) -> bool:
        """Whether nothing has come of the next block."""
        return not self._held

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each block that is whole with ``data``, without the empty line at its end.

        Raises:
            InvalidInputError: What speaks is no manager: it greets otherwise, or a block is too long.
        """
        self._held += data
        if not self._is_greeted and not self._take_greeting():
            return
        while (end := _END.search(self._held)) is not None:
            block = bytes(self._held[: end.start()])
            del self._held[: end.end()]
            _require_fitting(block)
            yield block
        _require_fitting(self._held)

    def _take_greeting(self) -> bool:
        end = _LINE_END.search(self._held)
        if end is None and len(self._held) <= _MAX_GREETING_BYTES:
            return False
        if end is None or not _GREETING.fullmatch(self._held, 0, end.start()):
            raise InvalidInputError("it does not greet as a manager does")
        del self._held[: end.end()]
        self._is_greeted = True
        return True


def _require_fitting(block: bytes | bytearray) -> None:
    if len(block) > MAX_BLOCK_BYTES:
        raise InvalidInputError(f"a block of more than {MAX_BLOCK_BYTES} bytes")


def fields_of(block: bytes) -> Mapping[str, str]:
    """Return the fields of a block, their names in small letters; what is no field is left out.

    Raises:
        InvalidInputError: A field is told twice: one of the two may have been smuggled in by a caller.
    """
    told: dict[str, str] = {}
    for line in block.decode(errors="replace").split("\n"):
        name, colon, value = line.removesuffix("\r").partition(":")
        plain = name.strip().lower()
        if colon and plain in told:
            raise InvalidInputError("a field is told twice")
        if colon:
            told[plain] = value.strip()
    return told


def is_event(block: bytes, name: str) -> bool:
    """Tell whether a block is the event ``name``, whatever else there is in it."""
    first = _LINE_END.split(block, maxsplit=1)[0].decode(errors="replace")
    key, _, value = first.partition(":")
    return (key.strip().lower(), value.strip().lower()) == ("event", name.lower())


def is_response(block: bytes) -> bool:
    """Tell whether a block answers an action."""
    return block[:9].lower() == b"response:"


def format_action(**fields: str) -> bytes:
    """Return an action with these fields, in this order.

    Raises:
        InvalidInputError: A value has what would end its line, so that what follows were another field. Neither is
            repeated.
    """
    lines = []
    for name, value in fields.items():
        if not _NAME.fullmatch(name) or not value.isprintable():
            raise InvalidInputError("a field of an action has characters that cannot be seen")
        lines.append(f"{name}: {value}\r\n")
    return "".join([*lines, "\r\n"]).encode()
