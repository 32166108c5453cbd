"""The pages at the door: signing in step by step, sign-out, the first password, and the language."""

import math
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from service.access.errors import (
    SignInRefusedError,
    TicketRefusedError,
    TooManyRequestsError,
    WrongCodeError,
)
from service.access.passwords import MIN_LENGTH
from service.access.second_factor import Offered
from service.access.signin import Entered, Onwards
from service.access.tickets import Step
from service.domain.errors import InvalidInputError, NotFoundError
from service.http.bodies import read_form
from service.http.cookies import drop_session_cookie, read_session_cookie, set_session_cookie
from service.http.frame import NOW, SESSION, SITE
from service.http.queries import read_query
from service.web.app_keys import DOOR
from service.web.places import own_place
from service.web.qr import qr_code
from service.web.render import LANGUAGE_COOKIE, PRESS, language_of, render
from service.web.undertaking import OURS, UndertakingText

_A_YEAR: Final = 365 * 24 * 3600
_NOTICES: Final = {"password": "first_password.done", "out": "sign_in.out"}


async def show_sign_in(request: web.Request) -> web.Response:
    """``GET /sign-in``."""
    query = read_query(request, ("next", "done"))
    place = own_place(query.get("next"))
    if SESSION in request:
        raise web.HTTPSeeOther(place)
    notice = _NOTICES.get(query.get("done", ""))
    return await _sign_in_page(request, next=place, notice=notice)


async def sign_in(request: web.Request) -> web.Response:
    """``POST /sign-in``: start a session, then go where the visitor was going."""
    site = request.config_dict[SITE]
    form = await read_form(request)
    place = own_place(form.get("next"))
    shown = {"login": form.get("login", ""), "next": place}
    try:
        began = await request.config_dict[DOOR].signing.sign_in(
            form.get("login", ""),
            form.get("password", ""),
            address=site.client_address(request),
            now=request[NOW],
            replaces=_former(request),
        )
    except SignInRefusedError:
        return await _sign_in_page(request, status=401, problem="sign_in.refused", **shown)
    except TooManyRequestsError as error:
        page = await _sign_in_page(request, status=429, problem="sign_in.too_many", **shown)
        return wait(page, error)
    return await _go_on(request, began, place)


async def enter_code(request: web.Request) -> web.Response:
    """``POST /sign-in/code``: go on with a code of the second factor."""
    form = await read_form(request)
    ticket, place = form.get("ticket", ""), own_place(form.get("next"))
    door = request.config_dict[DOOR]
    try:
        entered = await door.signing.enter_code(
            ticket,
            form.get("code", ""),
            address=request.config_dict[SITE].client_address(request),
            now=request[NOW],
            replaces=_former(request),
        )
    except TicketRefusedError:
        return await _begin_again(request, place)
    except SignInRefusedError:
        return await _code_page(
            request, ticket, place, problem="sign_in.code.wrong", status=401
        )
    except TooManyRequestsError as error:
        page = await _code_page(request, ticket, place, problem="sign_in.too_many", status=429)
        return wait(page, error)
    return await _go_on(request, entered, place)


async def give_undertaking(request: web.Request) -> web.Response:
    """``POST /sign-in/undertaking``: promise what was read, and go on."""
    form = await read_form(request)
    place, door = own_place(form.get("next")), request.config_dict[DOOR]
    read = _undertaking_in(request, form.get("language", ""))
    if read.digest != form.get("digest"):
        return await _begin_again(request, place)
    try:
        entered = await door.signing.undertake(
            form.get("ticket", ""),
            form.get("version", ""),
            read={"language": read.language, "sha256": read.digest},
            now=request[NOW],
            replaces=_former(request),
        )
    except TicketRefusedError:
        return await _begin_again(request, place)
    except SignInRefusedError:
        return await _refused(request, place)
    return await _go_on(request, entered, place)


async def enrol(request: web.Request) -> web.Response:
    """``POST /sign-in/second-factor``: set up a second factor, and be in."""
    form = await read_form(request)
    ticket, place = form.get("ticket", ""), own_place(form.get("next"))
    signing = request.config_dict[DOOR].signing
    try:
        enrolled = await signing.enrol(
            ticket, form.get("code", ""), now=request[NOW], replaces=_former(request)
        )
    except TicketRefusedError:
        return await _begin_again(request, place)
    except SignInRefusedError:
        return await _refused(request, place)
    except WrongCodeError:
        return await _enrolment_page(request, ticket, place, problem="second_factor.wrong")
    values = {"codes": enrolled.recovery_codes, "done": "recovery.set", "next": place}
    response = await render(request, "recovery_codes.html", values)
    is_secure = request.config_dict[SITE].is_secure(request)
    set_session_cookie(response, enrolled.session.secret, is_secure=is_secure)
    return response


async def sign_out(request: web.Request) -> web.Response:
    """``POST /sign-out``: end the session."""
    await request.config_dict[DOOR].sessions.end(request[SESSION], now=request[NOW])
    response = _sent_to("/sign-in?done=out")
    drop_session_cookie(response, is_secure=request.config_dict[SITE].is_secure(request))
    # What a browser kept of these pages goes with the session (W3C Clear Site Data).
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


async def show_first_password(request: web.Request) -> web.Response:
    """``GET /first-password/{invite}``: the form behind a one-time link."""
    return await _first_password_page(request)


async def set_first_password(request: web.Request) -> web.Response:
    """``POST /first-password/{invite}``: set the password, then sign in with it."""
    form = await read_form(request)
    if form.get("password") != form.get("again"):
        return await _first_password_page(request, problem="first_password.differ")
    try:
        await request.config_dict[DOOR].invites.accept(
            request.match_info["invite"], form.get("password", ""), now=request[NOW]
        )
    except InvalidInputError:
        return await _first_password_page(request, problem="first_password.weak")
    return _sent_to("/sign-in?done=password")


async def choose_language(request: web.Request) -> web.Response:
    """``GET /language/{language}``: remember a language in the browser; nothing changes here."""
    language = request.match_info["language"]
    if language not in request.config_dict[PRESS].languages:
        raise NotFoundError("no such language")
    response = _sent_to(own_place(read_query(request, ("next",)).get("next")))
    response.set_cookie(
        LANGUAGE_COOKIE,
        language,
        path="/",
        max_age=_A_YEAR,
        secure=request.config_dict[SITE].is_secure(request),
        httponly=True,
        samesite="Lax",
    )
    return response


def _sent_to(place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": place})


async def _go_on(request: web.Request, entered: Entered, place: str) -> web.Response:
    """Answer with what comes next: where the visitor was going, or another step at the door."""
    if isinstance(entered, Onwards):
        match entered.step:
            case Step.CODE:
                return await _code_page(request, entered.ticket, place)
            case Step.ENROL:
                return await _enrolment_page(request, entered.ticket, place)
            case Step.UNDERTAKE:
                return await _undertaking_page(request, entered.ticket, place)
    response = _sent_to(place)
    is_secure = request.config_dict[SITE].is_secure(request)
    set_session_cookie(response, entered.secret, is_secure=is_secure)
    return response


def _former(request: web.Request) -> str | None:
    """Return the cookie of the session that the browser had."""
    return read_session_cookie(request, is_secure=request.config_dict[SITE].is_secure(request))


def wait(page: web.Response, error: TooManyRequestsError) -> web.Response:
    """Return the page, which says how long to wait before another try."""
    page.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return page


async def _begin_again(request: web.Request, place: str) -> web.Response:
    """Answer to a ticket that is void: whoever is in, and loaded the page again, goes on."""
    if SESSION in request:
        return _sent_to(place)
    return await _sign_in_page(request, status=401, problem="sign_in.again", next=place)


async def _refused(request: web.Request, place: str) -> web.Response:
    return await _sign_in_page(request, status=401, problem="sign_in.refused", next=place)


async def _code_page(
    request: web.Request,
    ticket: str,
    place: str,
    *,
    problem: str | None = None,
    status: int = 200,
) -> web.Response:
    values = {"ticket": ticket, "next": place, "problem": problem}
    return await render(request, "sign_in_code.html", values, status=status)


async def _enrolment_page(
    request: web.Request, ticket: str, place: str, *, problem: str | None = None
) -> web.Response:
    offered = await request.config_dict[DOOR].signing.offer(ticket, now=request[NOW])
    values = {
        "action": "/sign-in/second-factor",
        "is_needed": True,
        "ticket": ticket,
        "next": place,
        **offered_values(offered, problem),
    }
    return await render(request, "second_factor.html", values, status=400 if problem else 200)


def offered_values(offered: Offered, problem: str | None) -> Mapping[str, object]:
    """Return what the page that sets up a second factor shows."""
    return {"code": qr_code(offered.uri), "typed": offered.typed, "problem": problem}


async def _undertaking_page(request: web.Request, ticket: str, place: str) -> web.Response:
    values = {
        "ticket": ticket,
        "next": place,
        "version": request.config_dict[DOOR].undertaking.version,
        "undertaking": _undertaking_in(request, language_of(request)),
    }
    return await render(request, "undertaking.html", values)


def _undertaking_in(request: web.Request, language: str) -> UndertakingText:
    """Return the undertaking as it is shown to who reads ``language``: the company's own, or that of the pages."""
    press = request.config_dict[PRESS]
    if language not in press.languages:
        language = press.languages[0]
    text = press.words[language].text
    ours = tuple(text(f"undertaking.text.{number}") for number in range(1, OURS + 1))
    return request.config_dict[DOOR].undertaking.in_language(language, ours)


async def _sign_in_page(
    request: web.Request, *, status: int = 200, **values: object
) -> web.Response:
    shown = {"login": "", "problem": None, **values}
    return await render(request, "sign_in.html", shown, status=status)


async def _first_password_page(
    request: web.Request, *, problem: str | None = None
) -> web.Response:
    login = await request.config_dict[DOOR].invites.get_login(
        request.match_info["invite"], now=request[NOW]
    )
    values = {"login": login, "least": MIN_LENGTH, "problem": problem}
    return await render(request, "first_password.html", values, status=400 if problem else 200)
