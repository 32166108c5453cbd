"""JSON Pointers (RFC 6901): where in a document a value stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from service.domain.errors import InvalidInputError

MAX_POINTER_CHARACTERS: Final = 300
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
# Without leading zeros (RFC 6901, section 4); no document that is taken has more members than this has digits.
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,6}", re.ASCII)


class Absent:
    """What stands where nothing does."""


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class JsonPointer:
    """A pointer, as its unescaped reference tokens."""

    tokens: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pointer that ``text`` writes; an empty one points at the whole document.

        Raises:
            InvalidInputError: It is none, or too long.
        """
        if len(text) > MAX_POINTER_CHARACTERS:
            raise InvalidInputError(
                f"a pointer has at most {MAX_POINTER_CHARACTERS} characters"
            )
        if text and not text.startswith("/"):
            raise InvalidInputError("a pointer begins with /, such as /call/id")
        if _BAD_ESCAPE.search(text):
            raise InvalidInputError(
                "in a pointer ~ stands before 0 or 1 only (~0 is ~, ~1 is /)"
            )
        tokens = text.split("/")[1:]
        return cls(tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens))

    def __str__(self) -> str:
        escaped = (token.replace("~", "~0").replace("/", "~1") for token in self.tokens)
        return "".join(f"/{token}" for token in escaped)

    def find(self, document: object) -> object:
        """Return the value in ``document`` (as `decode_json` gives it); ``ABSENT`` where there is none."""
        value = document
        for token in self.tokens:
            if isinstance(value, dict):
                value = value.get(token, ABSENT)
            elif (
                isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value)
            ):
                value = value[int(token)]
            else:
                return ABSENT
        return value


def leaves_of(document: object, *, limit: int) -> Iterator[tuple[JsonPointer, object]]:
    """Yield every value that is neither object nor array, in its place, at the most ``limit``; of arrays the first.

    What is empty is a value too. A place whose pointer would be too long is left out.
    """
    left = limit
    pending: list[tuple[tuple[str, ...], object]] = [((), document)]
    while pending and left:
        tokens, value = pending.pop()
        if isinstance(value, dict) and value:
            pending += [((*tokens, name), inner) for name, inner in reversed(value.items())]
        elif isinstance(value, list) and value:
            pending.append(((*tokens, "0"), value[0]))
        elif len(str(JsonPointer(tokens))) <= MAX_POINTER_CHARACTERS:
            left -= 1
            yield JsonPointer(tokens), value
