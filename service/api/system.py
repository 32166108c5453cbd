"""``/healthz``, ``/readyz``, ``/metrics``: for those who keep the service running. Names and numbers only."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from service.api.answers import json_response
from service.domain.permission import Permission
from service.http.queries import read_query
from service.http.routes import Need, Route

Check = Callable[[], Awaitable[str | None]]
"""Says what is not ready, or None."""
Measure = Callable[[], Awaitable[Mapping[str, float]]]
"""Gives numbers by name."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is asked when somebody asks how it goes. ``checks`` are by the name of what they check.

    ``warnings`` tells by name what is in trouble although the service can do without it for a while.
    """

    checks: Mapping[str, Check]
    measure: Measure
    warnings: Callable[[], Mapping[str, str]] = dict


HEALTH: Final = web.AppKey("health", Health)


async def healthz(request: web.Request) -> web.Response:
    """``GET /healthz``: the process answers."""
    read_query(request, ())
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """``GET /readyz``: 200 when everything needed is there, 503 and what is not, in words, otherwise.

    A witness or timestamp authority that does not answer is told of, and turns nobody away: deliveries are taken and
    kept without it.
    """
    read_query(request, ())
    checks = request.app[HEALTH].checks
    warnings = request.app[HEALTH].warnings()
    told = {"warnings": warnings} if warnings else {}
    answers = await asyncio.gather(*(check() for check in checks.values()))
    problems = {name: why for name, why in zip(checks, answers, strict=True) if why is not None}
    if problems:
        answer = {"status": "not ready", "problems": problems, **told}
        return json_response(answer, status=503)
    return json_response({"status": "ready", **told})


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics`` in the Prometheus text format, version 0.0.4."""
    read_query(request, ())
    numbers = await request.app[HEALTH].measure()
    text = "".join(
        f"# TYPE taltio_{name} gauge\ntaltio_{name} {number:.17g}\n"
        for name, number in sorted(numbers.items())
    )
    return web.Response(text=text, content_type="text/plain", charset="utf-8")


def routes() -> list[Route]:
    """Return the routes for operation."""
    return [
        Route(method="GET", path="/healthz", handler=healthz, needs=Need.PUBLIC),
        Route(method="GET", path="/readyz", handler=readyz, needs=Need.PUBLIC),
        Route(method="GET", path="/metrics", handler=metrics, needs=Permission.READ_METRICS),
    ]
