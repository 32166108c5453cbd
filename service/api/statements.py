"""``/api/v1/sources``: what a source says it handled, and how complete the archive is of it."""

from typing import Final

from aiohttp import web

from service.api.answers import json_response
from service.archive.completeness import Completeness, Month
from service.archive.reconcile import ReconciledDay, Reconciling
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.permission import Permission, require_source
from service.http.bodies import read_body
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.http.routes import Route
from service.sources.statements import read_statement

RECONCILING: Final = web.AppKey("reconciling", Reconciling)
COMPLETENESS: Final = web.AppKey("completeness", Completeness)
MAX_STATEMENT_BYTES: Final = 64 * 1024**2


def statement_routes() -> tuple[Route, ...]:
    """Return the routes. The application needs ``RECONCILING`` and ``COMPLETENESS``."""
    return (
        Route(
            method="POST",
            path="/api/v1/sources/{source}/statements",
            handler=post_statement,
            needs=Permission.RECONCILE,
        ),
        Route(
            method="GET",
            path="/api/v1/sources/completeness",
            handler=get_completeness,
            needs=Permission.READ_COMPLETENESS,
        ),
    )


async def post_statement(request: web.Request) -> web.Response:
    """``POST /api/v1/sources/{source}/statements``: 200 with what came of each day; ``?trial=yes`` changes nothing."""
    query = read_query(request, ("trial",))
    if query.get("trial", "no") not in {"yes", "no"}:
        raise InvalidInputError("trial: yes or no")
    source, reconciling = request.match_info["source"], request.app[RECONCILING]
    require_source(request[ACTOR], source)
    rule = reconciling.interpreter.rules.get(source)
    if rule is None:
        raise NotFoundError("no such source")
    body = await read_body(request, max_bytes=MAX_STATEMENT_BYTES)
    days = await reconciling.reconcile(
        source,
        read_statement(body, rule=rule),
        actor=request[ACTOR],
        now=request[NOW],
        is_trial=query.get("trial") == "yes",
    )
    return json_response({"days": [day_json(day) for day in days]})


async def get_completeness(request: web.Request) -> web.Response:
    """``GET /api/v1/sources/completeness``: the last twelve months of each source, newest first."""
    read_query(request, ())
    months = await request.app[COMPLETENESS].find(actor=request[ACTOR], now=request[NOW])
    return json_response({"months": [month_json(month) for month in months]})


def day_json(day: ReconciledDay) -> dict[str, object]:
    """Return what came of a day."""
    return {
        "day": day.day.isoformat(),
        "said": day.said,
        "missing": day.missing,
        "without_recording": day.without_recording,
        "unknown": day.unknown,
    }


def month_json(month: Month) -> dict[str, object]:
    """Return a month; ``share`` is null where the source said nothing."""
    return {
        "source": month.source,
        "month": month.first.isoformat()[:7],
        "days": month.days,
        "said": month.said,
        "here": month.here,
        "late": month.late,
        "missing": month.missing,
        "recordings_lost": month.recordings_lost,
        "recordings_expected": month.recordings_expected,
        "share": month.share,
    }
