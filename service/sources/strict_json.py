"""JSON read strictly: what two readers could understand differently is refused (RFC 8259, RFC 7493)."""

import json
import math
import re
from typing import Final, NoReturn

from service.domain.errors import InvalidInputError

MAX_DEPTH: Final = 64
"""Objects and arrays inside each other."""

# Beyond this a reader that keeps numbers as IEEE 754 doubles loses digits (RFC 7493, section 2.2).
_MAX_INTEGER: Final = 2**53 - 1
_MAX_NUMBER_LENGTH: Final = 64
# The only way to a lone surrogate: UTF-8 itself has none. A pair of escapes is found here too, and then tried.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def decode_json(data: bytes) -> object:
    """Return the value whose JSON text is ``data``: dict, list, str, int, float, bool or None.

    Raises:
        InvalidInputError: Not JSON in UTF-8 without a byte order mark; a name twice in one object, or ``__proto__``;
            a number that is not finite, an integer beyond 2**53, or either longer than 64 characters; half of a
            surrogate pair; more than 64 levels.
    """
    try:
        value: object = _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        # The chain is cut: a JSONDecodeError carries the whole document.
        raise InvalidInputError(
            f"not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise InvalidInputError(_TOO_DEEP) from None
    # Cheap upper bounds first: hardly any document comes near them.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _require_depth(value)
    if _SURROGATE.search(data):
        _require_whole_characters(value)
    return value


_TOO_DEEP: Final = f"more than {MAX_DEPTH} objects and arrays inside each other"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidInputError("a name appears twice in one object")
    if "__proto__" in value:
        raise InvalidInputError("a name is __proto__")
    return value


def _integer(text: str) -> int:
    if len(text) <= _MAX_NUMBER_LENGTH and abs(value := int(text)) <= _MAX_INTEGER:
        return value
    raise InvalidInputError("an integer is beyond 2^53")


def _fraction(text: str) -> float:
    if len(text) <= _MAX_NUMBER_LENGTH and math.isfinite(value := float(text)):
        return value
    raise InvalidInputError("a number is too large or too long")


def _constant(_: str) -> NoReturn:
    raise InvalidInputError("NaN and Infinity are not JSON")


def _require_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for outer in level for item in _members(outer)]
        if not level:
            return
    if any(isinstance(item, dict | list) for item in level):
        raise InvalidInputError(_TOO_DEEP)


def _require_whole_characters(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidInputError("half of a surrogate pair is no character") from None


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)
