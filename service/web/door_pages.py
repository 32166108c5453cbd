"""The pages at the door: sign-in, sign-out, the first password, and the language."""

import math
from typing import Final

from aiohttp import web

from service.access.errors import SignInRefusedError, TooManyRequestsError
from service.access.passwords import MIN_LENGTH
from service.domain.errors import InvalidInputError, NotFoundError
from service.http.bodies import read_form
from service.http.cookies import drop_session_cookie, read_session_cookie, set_session_cookie
from service.http.frame import NOW, SESSION, SITE
from service.http.queries import read_query
from service.web.app_keys import DOOR
from service.web.places import own_place
from service.web.render import LANGUAGE_COOKIE, PRESS, render

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
    is_secure = site.is_secure(request)
    form = await read_form(request)
    place = own_place(form.get("next"))
    shown = {"login": form.get("login", ""), "next": place}
    try:
        began = await request.config_dict[DOOR].signing.sign_in(
            form.get("login", ""),
            form.get("password", ""),
            address=site.client_address(request),
            now=request[NOW],
            replaces=read_session_cookie(request, is_secure=is_secure),
        )
    except SignInRefusedError:
        return await _sign_in_page(request, status=401, problem="sign_in.refused", **shown)
    except TooManyRequestsError as error:
        page = await _sign_in_page(request, status=429, problem="sign_in.too_many", **shown)
        page.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        return page
    response = _sent_to(place)
    set_session_cookie(response, began.secret, is_secure=is_secure)
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
