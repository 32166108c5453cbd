"""What a person sees when something cannot be shown."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import web

from service.access.errors import InviteRefusedError, SignInRefusedError
from service.http.problems import Problem
from service.web.places import own_place
from service.web.render import render

LOOKS: Final = {
    "invalid_input": "question",
    "not_permitted": "shield",
    "not_found": "search",
    "cross_site": "shield",
    "contradiction": "warning",
    "held": "locked",
    "too_many_requests": "hourglass",
    "unavailable": "hourglass",
    "altered": "broken",
    "erased": "erased",
    "invite_refused": "hourglass",
    "internal": "warning",
}
"""The codes that have words of their own, each with its picture."""

_BY_STATUS: Final = {
    HTTPStatus.FORBIDDEN: "not_permitted",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "not_found",
    HTTPStatus.CONFLICT: "contradiction",
    HTTPStatus.GONE: "erased",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
}
_NOT_SIGNED_IN_YET: Final = frozenset({InviteRefusedError.code, SignInRefusedError.code})


async def show_problem(request: web.Request, problem: Problem) -> web.StreamResponse:
    """Return the page for a problem. Somebody who is not signed in is sent to the sign-in page, and back afterwards."""
    if problem.status is HTTPStatus.UNAUTHORIZED and problem.code not in _NOT_SIGNED_IN_YET:
        place = own_place(request.path_qs if request.method == "GET" else None)
        headers = {"Location": f"/sign-in?next={quote(place, safe='')}"}
        return web.Response(status=HTTPStatus.SEE_OTHER, headers=headers)
    code = designed_code(problem.status, problem.code)
    values = {
        "status": problem.status.value,
        "code": code,
        "look": LOOKS[code],
        "incident": problem.incident,
    }
    response = await render(request, "problem.html", values, status=problem.status)
    for name in ("Retry-After", "Allow"):
        if name in problem.headers:
            response.headers[name] = problem.headers[name]
    return response


def designed_code(status: HTTPStatus, code: str) -> str:
    """Return the code whose words are shown: its own, or else that of its status."""
    if code in LOOKS:
        return code
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE}:
        return "unavailable"
    return "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_input"
