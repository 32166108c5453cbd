"""Routes, each declared with what it needs. One that is not declared keeps the application from starting."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractMatchInfo
from aiohttp.typedefs import Handler

from service.domain.permission import Permission


class Need(Enum):
    """What a route needs where it is no permission."""

    PUBLIC = "anybody may ask"
    SENDER = "the handler itself checks who sends: signed deliveries"
    SIGNED_IN = "anybody with valid credentials"


class Credential(StrEnum):
    """How somebody says who they are."""

    TOKEN = "token"  # noqa: S105  # the kind of credential, not one
    SESSION = "session"


class Counted(StrEnum):
    """What the requests of a route are counted as, by what becomes of them."""

    DELIVERY = "deliveries_total"
    UPLOAD = "uploads_total"


TOKEN_ONLY: Final = frozenset({Credential.TOKEN})
SESSION_ONLY: Final = frozenset({Credential.SESSION})
TOKEN_OR_SESSION: Final = TOKEN_ONLY | SESSION_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route. A GET answers HEAD as well.

    Attributes:
        needs: A permission, or a ``Need``.
        accepts: The credentials that count here. A public route that accepts sessions knows one when it sees it.
        is_page: Errors are shown to a person, not told to a program.
    """

    method: str
    path: str
    handler: Handler
    needs: Permission | Need
    accepts: frozenset[Credential] = TOKEN_OR_SESSION
    is_page: bool = False
    counted: Counted | None = None


class Declared:
    """The declared routes of an application, found by what its router matched."""

    def __init__(self, app: web.Application, routes: Iterable[Route]) -> None:
        """Add ``routes`` to ``app``.

        Raises:
            RuntimeError: Two have one method and path.
        """
        self.routes = tuple(routes)
        self._by_handler: dict[web.AbstractRoute, Route] = {}
        for route in self.routes:
            for method in (route.method, "HEAD") if route.method == "GET" else (route.method,):
                added = app.router.add_route(method, route.path, route.handler)
                self._by_handler[added] = route

    def find(self, match: AbstractMatchInfo) -> Route | None:
        """Return the route that was matched; None when nothing was."""
        return self._by_handler.get(match.route)  # type: ignore[attr-defined]  # UrlMappingMatchInfo, always

    def require_all(self, app: web.Application) -> None:
        """Return when every route of ``app`` is declared.

        Raises:
            RuntimeError: One is not: nobody said who may use it.
        """
        strays = [str(route) for route in app.router.routes() if route not in self._by_handler]
        if strays:
            raise RuntimeError(f"routes that do not say what they need: {', '.join(strays)}")
