"""What a process of each role serves and does. Routes of other roles answer that they are served elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NoReturn

from aiohttp import web

from service.api import (
    attention,
    contacts,
    content,
    erasures,
    grants,
    holds,
    log,
    openapi,
    statements,
    system,
    uploads,
    verification,
)
from service.config.roles import ProcessRole
from service.http.errors import ServedElsewhereError
from service.http.routes import Need, Route
from service.intake import webhooks
from service.web.pages import page_routes
from service.worker.housekeeping import KEYS, PEOPLE, SOURCES, Chore
from storage.ports import Turn


def all_routes() -> list[Route]:
    """Return every route of the service."""
    return [*webhooks.routes(), *_desk_routes(), *system.routes()]


def routes_of(role: ProcessRole) -> list[Route]:
    """Return the routes of a process with ``role``: its own, and those that tell who serves the others."""
    intake, desk = webhooks.routes(), _desk_routes()
    return [
        *(intake if role.takes_in else _elsewhere(intake, ProcessRole.INTAKE)),
        *(desk if role.serves_desk else _elsewhere(desk, ProcessRole.DESK)),
        *system.routes(),
    ]


def _desk_routes() -> list[Route]:
    return [
        *contacts.routes(),
        *uploads.upload_routes(),
        *attention.routes(),
        *statements.statement_routes(),
        *grants.grant_routes(),
        *holds.hold_routes(),
        *erasures.erasure_routes(),
        *content.content_routes(),
        *verification.verification_routes(),
        *log.routes(),
        openapi.openapi_route(),
        *page_routes(),
    ]


def _elsewhere(routes: Sequence[Route], role: ProcessRole) -> list[Route]:
    """Return ``routes`` with the answer that processes of ``role`` serve them; nobody is asked who they are."""

    async def refuse(_: web.Request) -> NoReturn:
        raise ServedElsewhereError(role.value)

    return [
        replace(route, handler=refuse, needs=Need.SENDER, is_page=False) for route in routes
    ]


def checks_beyond(role: ProcessRole) -> frozenset[str]:
    """Return the names of the checks of readiness that do not concern a process with ``role``."""
    return frozenset() if role.works else frozenset({"log"})


def chores_of(role: ProcessRole, chores: Sequence[Chore], turn: Turn) -> tuple[Chore, ...]:
    """Return the chores of a process with ``role``; of several workers, the one whose ``turn`` it is does them."""
    if role is ProcessRole.ALL:
        return tuple(chores)
    if not role.works:
        return tuple(chore for chore in chores if chore.name in {KEYS, PEOPLE, SOURCES})
    return tuple(
        chore if chore.name in {KEYS, SOURCES} else _in_turn(chore, turn) for chore in chores
    )


def _in_turn(chore: Chore, turn: Turn) -> Chore:
    async def do(now: datetime) -> None:
        if await turn.is_mine():
            await chore.do(now)

    return replace(chore, do=do)
