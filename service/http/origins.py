"""Requests that a page of another site makes in somebody's name (CSRF), and how they are told apart.

Two fences. What changes something comes from our own origin, as browsers say in headers that pages cannot write; and
with a session it repeats the session's token, which other sites cannot read.
"""

import hmac
from typing import Final

from aiohttp import web

from service.access.sessions import Session
from service.http.bodies import is_form, read_form
from service.http.errors import CrossSiteError

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""

TOKEN_HEADER: Final = "X-CSRF-Token"  # noqa: S105  # the header's name
TOKEN_FIELD: Final = "csrf"  # noqa: S105  # the field's name


def require_same_origin(request: web.BaseRequest, origin: str) -> None:
    """Return when no page of another origin made the request.

    Programs that are no browsers send neither header; they have no cookies of somebody's either.

    Raises:
        CrossSiteError: One did, or a page without an origin (``null``).
    """
    site = request.headers.getall("Sec-Fetch-Site", [])
    if site and site != ["same-origin"]:
        raise CrossSiteError("Sec-Fetch-Site is not same-origin")
    claimed = request.headers.getall("Origin", [])
    if claimed and [value.lower() for value in claimed] != [origin]:
        raise CrossSiteError("Origin is not this archive")


async def require_csrf_token(request: web.Request, session: Session) -> None:
    """Return when the request repeats the token of its session, in a header or in a form's field.

    Raises:
        CrossSiteError: It does not.
        InvalidInputError, TooLargeError: The form cannot be read.
    """
    sent = request.headers.get(TOKEN_HEADER)
    if sent is None and is_form(request):
        sent = (await read_form(request)).get(TOKEN_FIELD)
    if sent is None or not hmac.compare_digest(_bytes(sent), _bytes(session.csrf)):
        raise CrossSiteError("no CSRF token, or not that of the session")


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
