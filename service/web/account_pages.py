"""One's own account: the second factor, its recovery codes, and where one is signed in."""

from aiohttp import web

from service.access.errors import TicketRefusedError, WrongCodeError
from service.http.bodies import read_form
from service.http.frame import NOW, SESSION
from service.http.queries import read_query
from service.web.app_keys import DOOR
from service.web.door_pages import offered_values
from service.web.render import render

ACCOUNT = "/account"
_NOTICES = {
    "set": "account.done.set",
    "removed": "account.done.removed",
    "ended": "account.done.ended",
}


async def show_account(request: web.Request) -> web.Response:
    """``GET /account``."""
    notice = _NOTICES.get(read_query(request, ("done",)).get("done", ""))
    return await _account_page(request, notice=notice)


async def begin_second_factor(request: web.Request) -> web.Response:
    """``POST /account/second-factor``: offer a second factor."""
    ticket = await request.config_dict[DOOR].own.new_ticket(request[SESSION], now=request[NOW])
    return await _offer(request, ticket)


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
    return await _codes_page(request, codes)


async def renew_codes(request: web.Request) -> web.Response:
    """``POST /account/recovery-codes``: new recovery codes instead of the old ones; shown once."""
    form = await read_form(request)
    try:
        codes = await request.config_dict[DOOR].own.renew_codes(
            request[SESSION], form.get("code", ""), now=request[NOW]
        )
    except WrongCodeError:
        return await _account_page(request, problem="second_factor.wrong", status=400)
    return await _codes_page(request, codes)


async def remove_second_factor(request: web.Request) -> web.Response:
    """``POST /account/second-factor/remove``: do without, where that is allowed."""
    form = await read_form(request)
    try:
        await request.config_dict[DOOR].own.remove_factor(
            request[SESSION], form.get("code", ""), now=request[NOW]
        )
    except WrongCodeError:
        return await _account_page(request, problem="second_factor.wrong", status=400)
    raise web.HTTPSeeOther(f"{ACCOUNT}?done=removed")


async def end_other_sessions(request: web.Request) -> web.Response:
    """``POST /account/sessions``: end every session of one's own but this one."""
    sessions = request.config_dict[DOOR].sessions
    await sessions.end_others(request[SESSION], now=request[NOW])
    raise web.HTTPSeeOther(f"{ACCOUNT}?done=ended")


async def _account_page(
    request: web.Request,
    *,
    notice: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> web.Response:
    session = request[SESSION]
    view = await request.config_dict[DOOR].own.look(session, now=request[NOW])
    values = {
        "account": view,
        "this": session.id,
        "notice": notice,
        "problem": problem,
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


async def _codes_page(request: web.Request, codes: tuple[str, ...]) -> web.Response:
    values = {"codes": codes, "next": f"{ACCOUNT}?done=set"}
    return await render(request, "recovery_codes.html", values)
