"""One's own account: the second factor, its recovery codes, and one's sessions."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from service.access.errors import (
    LockedError,
    SignInRefusedError,
    TicketRefusedError,
    TooManyRequestsError,
    WrongCodeError,
)
from service.http.bodies import read_form
from service.http.frame import NOW, SESSION, SITE
from service.http.queries import read_query
from service.web.app_keys import DOOR
from service.web.door_pages import offered_values, wait
from service.web.render import render

ACCOUNT = "/account"
_NOTICES = {
    "set": "account.done.set",
    "renewed": "account.done.renewed",
    "removed": "account.done.removed",
    "ended": "account.done.ended",
}
_CODES = {"set": "recovery.set", "renewed": "recovery.renewed"}
_WRONG = {SignInRefusedError: "account.wrong_password", WrongCodeError: "second_factor.wrong"}


async def show_account(request: web.Request) -> web.Response:
    """``GET /account``."""
    notice = _NOTICES.get(read_query(request, ("done",)).get("done", ""))
    return await _account_page(request, notice=notice)


async def begin_second_factor(request: web.Request) -> web.Response:
    """``POST /account/second-factor``: offer a second factor to whoever knows the password."""
    form = await read_form(request)

    async def begin() -> web.Response:
        ticket = await request.config_dict[DOOR].own.new_ticket(
            request[SESSION],
            form.get("password", ""),
            address=_address(request),
            now=request[NOW],
        )
        return await _offer(request, ticket)

    return await _tried(request, "password", begin)


async def set_second_factor(request: web.Request) -> web.Response:
    """``POST /account/second-factor/set``: set up what was offered; shows the recovery codes, once."""
    form = await read_form(request)
    ticket = form.get("ticket", "")
    try:
        codes = await request.config_dict[DOOR].own.set_up(
            request[SESSION], ticket, form.get("code", ""), now=request[NOW]
        )
    except TicketRefusedError:
        return await _account_page(request, problem="account.again", status=400)
    except WrongCodeError:
        return await _offer(request, ticket, problem="second_factor.wrong")
    return await _codes_page(request, codes, done="set")


async def renew_codes(request: web.Request) -> web.Response:
    """``POST /account/recovery-codes``: new recovery codes instead of the old ones; shown once."""
    form = await read_form(request)

    async def renew() -> web.Response:
        codes = await request.config_dict[DOOR].own.renew_codes(
            request[SESSION], form.get("code", ""), address=_address(request), now=request[NOW]
        )
        return await _codes_page(request, codes, done="renewed")

    return await _tried(request, "renew", renew)


async def remove_second_factor(request: web.Request) -> web.Response:
    """``POST /account/second-factor/remove``: do without, where that is allowed."""
    form = await read_form(request)

    async def remove() -> web.Response:
        await request.config_dict[DOOR].own.remove_factor(
            request[SESSION], form.get("code", ""), address=_address(request), now=request[NOW]
        )
        raise web.HTTPSeeOther(f"{ACCOUNT}?done=removed")

    return await _tried(request, "remove", remove)


async def end_other_sessions(request: web.Request) -> web.Response:
    """``POST /account/sessions``: end every session of one's own but this one."""
    sessions = request.config_dict[DOOR].sessions
    await sessions.end_others(request[SESSION], now=request[NOW])
    raise web.HTTPSeeOther(f"{ACCOUNT}?done=ended")


def _address(request: web.Request) -> str:
    return request.config_dict[SITE].client_address(request)


async def _tried(
    request: web.Request, field: str, change: Callable[[], Awaitable[web.Response]]
) -> web.Response:
    """Answer with what came of ``change``, or with the account and what is wrong, at the ``field`` that was filled."""
    try:
        return await change()
    except LockedError:
        return await _account_page(request, problem="account.locked", field=field, status=400)
    except TooManyRequestsError as error:
        page = await _account_page(request, problem="sign_in.too_many", field=field, status=429)
        return wait(page, error)
    except (SignInRefusedError, WrongCodeError) as error:
        problem = _WRONG[type(error)]
        return await _account_page(request, problem=problem, field=field, status=400)


async def _account_page(
    request: web.Request,
    *,
    notice: str | None = None,
    problem: str | None = None,
    field: str = "",
    status: int = 200,
) -> web.Response:
    session = request[SESSION]
    view = await request.config_dict[DOOR].own.look(session, now=request[NOW])
    values = {
        "account": view,
        "this": session.id,
        "notice": notice,
        "problem": problem,
        "field": field,
        "section": "account",
    }
    return await render(request, "account.html", values, status=status)


async def _offer(
    request: web.Request, ticket: str, *, problem: str | None = None
) -> web.Response:
    offered = await request.config_dict[DOOR].own.offer(
        request[SESSION], ticket, now=request[NOW]
    )
    values = {
        "action": f"{ACCOUNT}/second-factor/set",
        "is_needed": False,
        "ticket": ticket,
        "next": ACCOUNT,
        **offered_values(offered, problem),
    }
    return await render(request, "second_factor.html", values, status=400 if problem else 200)


async def _codes_page(
    request: web.Request, codes: tuple[str, ...], *, done: str
) -> web.Response:
    values = {"codes": codes, "done": _CODES[done], "next": f"{ACCOUNT}?done={done}"}
    return await render(request, "recovery_codes.html", values)
