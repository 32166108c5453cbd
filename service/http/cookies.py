"""The session's cookie (RFC 6265bis).

Over HTTPS its name begins with ``__Host-``: browsers take it only from this very host, Secure and for every path, so
that no neighbour domain can plant one. Plain HTTP exists on loopback only, where browsers differ about Secure.

SameSite is Lax, not Strict: a link in a complaint system to a contact is to open signed in. It changes nothing there,
for no GET does; what changes something needs the session's CSRF token and its own origin besides.
"""

from typing import Final

from aiohttp import web

_NAME: Final = "taltio"


def read_session_cookie(request: web.BaseRequest, *, is_secure: bool) -> str | None:
    """Return the session's secret that the browser sent, if it sent one."""
    return request.cookies.get(_name(is_secure=is_secure))


def set_session_cookie(response: web.StreamResponse, secret: str, *, is_secure: bool) -> None:
    """Give the browser the session's secret, until it is closed. The server decides when it ends."""
    response.set_cookie(
        _name(is_secure=is_secure),
        secret,
        path="/",
        secure=is_secure,
        httponly=True,
        samesite="Lax",
    )


def drop_session_cookie(response: web.StreamResponse, *, is_secure: bool) -> None:
    """Let the browser forget the session's secret."""
    response.del_cookie(
        _name(is_secure=is_secure), path="/", secure=is_secure, httponly=True, samesite="Lax"
    )


def _name(*, is_secure: bool) -> str:
    return f"__Host-{_NAME}" if is_secure else _NAME
