"""The frame: one middleware that lets requests in, and answers what goes wrong.

One, because each costs every request some 6 %. A route whose handler checks its sender itself passes straight through.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from service.access.sessions import Session
from service.domain.actor import Actor
from service.domain.errors import NotSignedInError
from service.domain.permission import Permission, require_permission
from service.http.addresses import Site
from service.http.bodies import MAX_BODY_BYTES
from service.http.cookies import read_session_cookie
from service.http.errors import OverloadedError
from service.http.headers import add_headers
from service.http.limits import PACE, Pace
from service.http.meters import BROKEN_OFF, METERS, OUTCOME, Meters
from service.http.origins import SAFE_METHODS, require_csrf_token, require_same_origin
from service.http.problems import Problem, problem_of
from service.http.reports import WireLog
from service.http.routes import Credential, Declared, Need, Route
from service.keys.errors import KeysUnavailableError

ACTOR: Final = web.RequestKey("actor", Actor)
SESSION: Final = web.RequestKey("session", Session)
NOW: Final = web.RequestKey("now", datetime)
"""The time of the request, read once."""

ROUTES: Final = web.AppKey("routes", Declared)
SITE: Final = web.AppKey("site", Site)
_STARTED: Final = web.RequestKey("started", web.StreamResponse)
_BEARER: Final = "bearer"

# For the runner of the application. Unpacking would happen before a handler could refuse it.
RUNNER_OPTIONS: Final[Mapping[str, Any]] = {
    "auto_decompress": False,
    "access_log": None,
    "logger": WireLog(logging.getLogger("taltio.http.wire")),
}

ErrorPage = Callable[[web.Request, Problem], Awaitable[web.StreamResponse]]


class FindsSessions(Protocol):
    """What knows the sessions of people."""

    async def find(self, secret: str, *, now: datetime) -> Session | None:
        """Return the session of the cookie ``secret``, if it is valid."""
        ...


class RecognisesTokens(Protocol):
    """What knows the tokens of machines."""

    async def authenticate(self, secret: str) -> Actor | None:
        """Return whose token ``secret`` is, if it is one that counts."""
        ...

    async def authenticate_by_mark(self, secret: str) -> Actor | None:
        """Return the same without any key, for numbers about the service alone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the frame needs. ``error_page`` shows a problem to a person; without it they get what programs get."""

    site: Site
    sessions: FindsSessions
    tokens: RecognisesTokens
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    pace: Pace = field(default_factory=Pace)
    meters: Meters = field(default_factory=Meters)
    error_page: ErrorPage | None = None

    async def respond(
        self, request: web.Request, route: Route | None, handler: Handler
    ) -> web.StreamResponse:
        """Let the request in and answer it, whatever goes wrong.

        Raises:
            ConnectionError: The client has gone.
            web.HTTPException: A redirect.
        """
        try:
            self.pace.take_for_address(request)
            if route is not None:
                await self.admit(request, route)
            return await handler(request)
        except ConnectionError:
            # The client has gone; there is nobody to answer.
            raise
        except web.HTTPException as error:
            if error.status < 400:  # noqa: PLR2004  # redirects are answers
                raise
            return await self.answer(request, route, error)
        except Exception as error:  # noqa: BLE001  # the outermost edge: reported, and answered with an incident
            return await self.answer(request, route, error)

    async def admit(self, request: web.Request, route: Route) -> None:
        """Let the request in with who is asking, or refuse it.

        Raises:
            NotSignedInError: The route needs somebody, and nobody is signed in or has a valid token.
            TooManyRequestsError: They asked too much.
            NotPermittedError: Whoever it is may not.
            CrossSiteError: A page of another site asks in their name.
            UnknownHostError: The archive is not called that.
        """
        if route.needs is Need.SENDER:
            return
        token = bearer_token(request) if Credential.TOKEN in route.accepts else None
        if token is not None and route.needs is not Need.PUBLIC:
            # No browser adds a token by itself, so that neither the host nor the origin matters.
            actor = await self._machine(token, route)
        else:
            actor = await self._visitor(request, route)
        if route.needs is Need.PUBLIC:
            return
        if actor is None:
            raise NotSignedInError("no valid token and no valid session")
        self.pace.take_for_actor(actor.id)
        if isinstance(route.needs, Permission):
            require_permission(actor, route.needs)
        request[ACTOR] = actor

    async def _machine(self, token: str, route: Route) -> Actor | None:
        try:
            return await self.tokens.authenticate(token)
        except KeysUnavailableError:
            # That the keys are away has to be seen somewhere.
            if route.needs is not Permission.READ_METRICS:
                raise
            return await self.tokens.authenticate_by_mark(token)

    async def _visitor(self, request: web.Request, route: Route) -> Actor | None:
        origin = self.site.origin(request)
        is_unsafe = request.method not in SAFE_METHODS
        if is_unsafe:
            require_same_origin(request, origin)
        if Credential.SESSION not in route.accepts:
            return None
        secret = read_session_cookie(request, is_secure=self.site.is_secure(request))
        if secret is None:
            return None
        session = await self.sessions.find(secret, now=request[NOW])
        if session is None:
            return None
        if is_unsafe and route.needs is not Need.PUBLIC:
            await require_csrf_token(request, session)
        request[SESSION] = session
        return session.actor

    async def answer(
        self, request: web.Request, route: Route | None, error: Exception
    ) -> web.StreamResponse:
        """Return what to answer for ``error``."""
        if isinstance(error, OverloadedError):
            request[OUTCOME] = "overloaded"
        problem = problem_of(error)
        started: web.StreamResponse | None = request.get(_STARTED)
        if started is not None:
            # The head has left and cannot be taken back. A connection that breaks off is understood by everybody
            # as an answer that is not whole.
            if request.transport is not None:
                request.transport.abort()
            return started
        is_page = _wants_page(request) if route is None else route.is_page
        if self.error_page is not None and is_page:
            return await self.error_page(request, problem)
        return problem.response()


def build_application(
    frame: Frame, routes: Iterable[Route], *, max_bytes: int = MAX_BODY_BYTES
) -> web.Application:
    """Return the application of ``routes`` in ``frame``. It refuses to start with any other route.

    Raises:
        RuntimeError: Two routes have one method and path.
    """

    @web.middleware
    async def framed(request: web.Request, handler: Handler) -> web.StreamResponse:
        route, begun, status = (
            declared.find(request.match_info),
            time.perf_counter(),
            BROKEN_OFF,
        )
        request[NOW] = frame.clock()
        try:
            response = await frame.respond(request, route, handler)
            status = response.status
        except web.HTTPException as redirect:
            status = redirect.status
            raise
        finally:
            seconds = time.perf_counter() - begun
            frame.meters.observe(route, status, seconds, outcome=request.get(OUTCOME))
        return response

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        request[_STARTED] = response
        add_headers(response, is_secure=frame.site.is_secure(request))

    async def checked(app: web.Application) -> None:
        declared.require_all(app)

    app = web.Application(middlewares=[framed], client_max_size=max_bytes)
    declared = Declared(app, routes)
    app[ROUTES], app[SITE], app[PACE] = declared, frame.site, frame.pace
    app[METERS] = frame.meters
    app.on_response_prepare.append(prepared)
    app.on_startup.append(checked)
    return app


def bearer_token(request: web.BaseRequest) -> str | None:
    """Return the token of the request (RFC 6750, section 2.1); None when it has none, "" when what it has is none."""
    sent = request.headers.getall("Authorization", [])
    parts = [value.partition(" ") for value in sent]
    tokens = [token.strip() for scheme, _, token in parts if scheme.lower() == _BEARER]
    return None if not tokens else tokens[0] if len(sent) == 1 else ""


def _wants_page(request: web.BaseRequest) -> bool:
    """Tell whether the request, to an address that leads nowhere, came from a person's browser."""
    ranges = ",".join(request.headers.getall("Accept", [])).lower().split(",")
    return any(one.partition(";")[0].strip() == "text/html" for one in ranges)
