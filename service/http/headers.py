"""Headers that every response carries, whoever made it."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

PAGE_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'"
)
# Whatever is not one of our pages is never to run or load anything, even opened by itself: an attachment may be HTML.
OTHER_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"

_ALWAYS: Final[Mapping[str, str]] = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Not no-referrer: browsers would then send the Origin of our own forms as null (Fetch, section 3.2.1).
    "Referrer-Policy": "same-origin",
    "Server": "taltio",
    "X-Content-Type-Options": "nosniff",
}
_YEAR: Final = 365 * 24 * 3600


def add_headers(response: web.StreamResponse, *, is_secure: bool) -> None:
    """Add the headers just before the head of ``response`` is sent: ``no-store`` unless its handler chose otherwise."""
    headers = response.headers
    headers.update(_ALWAYS)
    if "Content-Security-Policy" not in headers:
        is_page = headers.get("Content-Type", "").startswith("text/html")
        headers["Content-Security-Policy"] = PAGE_POLICY if is_page else OTHER_POLICY
    if "Cache-Control" not in headers:
        headers["Cache-Control"] = "no-store"
    if is_secure:
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}"
