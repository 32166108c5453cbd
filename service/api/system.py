"""``/healthz``, ``/readyz``, ``/metrics``: for those who keep the service running. Names and numbers only."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from service.api.answers import json_response
from service.domain.permission import Permission
from service.http.meters import Metric, write_metrics
from service.http.queries import read_query
from service.http.routes import Need, Route

Check = Callable[[], Awaitable[str | None]]
"""Says what is not ready, or None."""
Measure = Callable[[], Awaitable[Sequence[Metric]]]
"""Gives every metric."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is asked when somebody asks how it goes. ``checks`` are by the name of what they check.

    ``warnings`` are told too, but what they tell of stops nothing: the service is ready all the same. ``role`` is that
    of the process, of several that share an archive.
    """

    checks: Mapping[str, Check]
    measure: Measure
    warnings: Mapping[str, Check] = field(default_factory=dict)
    role: str = "all"


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
    health = request.app[HEALTH]
    problems, warnings = await asyncio.gather(_told(health.checks), _told(health.warnings))
    told = {"role": health.role, **({"warnings": warnings} if warnings else {})}
    if problems:
        return json_response({"status": "not ready", "problems": problems, **told}, status=503)
    return json_response({"status": "ready", **told})


async def _told(checks: Mapping[str, Check]) -> dict[str, str]:
    answers = await asyncio.gather(*(check() for check in checks.values()))
    return {name: why for name, why in zip(checks, answers, strict=True) if why is not None}


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics`` in the Prometheus text format, version 0.0.4."""
    read_query(request, ())
    text = write_metrics(await request.app[HEALTH].measure())
    return web.Response(
        body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


def routes() -> list[Route]:
    """Return the routes for operation."""
    return [
        Route(method="GET", path="/healthz", handler=healthz, needs=Need.PUBLIC),
        Route(method="GET", path="/readyz", handler=readyz, needs=Need.PUBLIC),
        Route(method="GET", path="/metrics", handler=metrics, needs=Permission.READ_METRICS),
    ]
