"""Query strings, read strictly: what is not understood is refused, because ignoring it would find too much."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from service.http.errors import MalformedQueryError

MAX_LENGTH: Final = 8192
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Where a + was meant and not escaped, a form's space stands now; only a + can begin a number.
_LOST_PLUS: Final = re.compile(r"\A +(?=[0-9])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def read_query(
    request: web.BaseRequest, allowed: Collection[str], *, phones: Collection[str] = ()
) -> Mapping[str, str]:
    """Return the parameters of ``request``; see ``parse_query``."""
    return parse_query(request.rel_url.raw_query_string, allowed, phones=phones)


def parse_query(
    raw: str, allowed: Collection[str], *, phones: Collection[str] = ()
) -> Mapping[str, str]:
    """Return the parameters of a query string, each at most once (application/x-www-form-urlencoded).

    In those named in ``phones`` a leading ``+`` that was read as a space is mended.

    Raises:
        MalformedQueryError: Too long, a parameter that is not allowed or given twice, an escape that is none, bytes
            that are not UTF-8, or a control character.
    """
    if len(raw) > MAX_LENGTH:
        raise MalformedQueryError(f"the query string is longer than {MAX_LENGTH} characters")
    found: dict[str, str] = {}
    for name, value in parse_pairs(raw):
        if name not in allowed:
            raise MalformedQueryError(_unknown(name, allowed))
        if name in found:
            raise MalformedQueryError(f"the parameter {name} is given twice")
        if _CONTROL.search(value):
            raise MalformedQueryError(f"the parameter {name} has a control character")
        found[name] = _LOST_PLUS.sub("+", value) if name in phones else value
    return found


def parse_pairs(raw: str) -> Iterator[tuple[str, str]]:
    """Go through the names and values of application/x-www-form-urlencoded text, decoded strictly.

    Raises:
        MalformedQueryError: An escape that is none, or bytes that are not UTF-8.
    """
    for part in raw.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield _decode(name), _decode(value)


def _decode(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise MalformedQueryError("a % is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeError:
        raise MalformedQueryError("escaped bytes are not UTF-8") from None


def _unknown(name: str, allowed: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(allowed), n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    # A name that is none may be a value: it is not repeated into places where values do not belong.
    shown = f" {name}" if _NAME.fullmatch(name) else ""
    return f"there is no parameter{shown} here{hint}"
