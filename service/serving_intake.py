"""The running service of the role intake: what listens to sources, and the little that works beside it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from service.access.sessions import Session
from service.api.system import HEALTH, Health, Measure
from service.archive.source_book import REFRESH_EVERY
from service.config.roles import ProcessRole
from service.http.frame import Frame, build_application
from service.http.limits import DELIVERIES, UPLOADS
from service.http.meters import METERS
from service.intake.announcing import Announcer
from service.intake.listening import Listeners
from service.keys.intake_files import private_files
from service.listeners import fill_intake
from service.measuring import MeasuringIntake
from service.serving import clock, pace_of, room_of, site_of
from service.sharing_out import checks_beyond, routes_of
from service.wiring import Stores
from service.wiring_intake import ReceivingArchive
from service.worker.housekeeping import KEYS_EVERY, SOURCES, Chore, Housekeeping
from service.worker.readiness import Limited, Readiness
from service.worker.supervisor import Loop, Watch, supervised

FORGET_EVERY: Final = timedelta(seconds=1)
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class IntakeService:
    """A service that is ready to take deliveries in."""

    archive: ReceivingArchive
    app: web.Application
    announcer: Announcer
    watch: Watch
    listeners: Listeners

    @property
    def stores(self) -> Stores:
        """What keeps bytes and rows."""
        return self.archive.stores


class _Nobody:
    """The sessions of people, of whom none signs in here."""

    async def find(self, secret: str, *, now: datetime) -> Session | None:  # noqa: ARG002  # as the frame asks
        return None


def build_intake_service(archive: ReceivingArchive) -> IntakeService:
    """Build the application of the role intake.

    Raises:
        InvalidInputError: The secret of a source cannot be read; the detail names the file.
    """
    config, watch, site = archive.config, Watch(), site_of(archive.config)
    frame = Frame(
        site=site,
        pace=pace_of(config, site),
        sessions=_Nobody(),
        tokens=archive.tokens,
        clock=clock,
    )
    app = build_application(frame, routes_of(ProcessRole.INTAKE))
    announcer = Announcer(archive.stores.news)
    listeners = fill_intake(
        app, config, intake=archive.intake, tokens=archive.tokens, offer=announcer.offer
    )
    measuring = MeasuringIntake(
        config=config,
        stores=archive.stores,
        sessions=archive.intake.sessions,
        watch=watch,
        meters=app[METERS],
        deliveries=app[DELIVERIES],
        uploads=app[UPLOADS],
        clock=clock,
    )
    app[HEALTH] = _health(archive, watch, measuring)
    return IntakeService(archive, app, announcer, watch, listeners)


@asynccontextmanager
async def taking_in(service: IntakeService) -> AsyncIterator[None]:
    """Work beside the requests inside the block: announce, forget session keys, take up new epochs."""
    archive = service.archive
    names = await asyncio.to_thread(private_files, archive.config.keys.directory)
    if names:
        _log.warning("intake.private_keys", extra={"files": names})

    async def refresh(_: datetime) -> None:
        await asyncio.to_thread(archive.keys.refresh)

    async def forget(now: datetime) -> None:
        archive.intake.sessions.forget_over(now)

    # Nothing is taken in before it is known from whom.
    await service.listeners.refresh(clock())
    chores = (
        Chore("keys", KEYS_EVERY, refresh),
        Chore("session key", FORGET_EVERY, forget),
        Chore(SOURCES, REFRESH_EVERY, service.listeners.refresh, REFRESH_EVERY),
    )
    loops: dict[str, Loop] = {
        "announcing": service.announcer.run,
        "housekeeping": Housekeeping(chores, clock).run,
    }
    async with supervised(loops, watch=service.watch):
        yield


def _health(archive: ReceivingArchive, watch: Watch, measure: Measure) -> Health:
    stores = archive.stores
    readiness = Readiness(
        store=stores.store,
        log=stores.log,
        keys=stores.keys,
        blobs=stores.blobs,
        ring=None,
        keeper=None,
        watch=watch,
        directories=room_of(archive.config),
        publish_every=timedelta(seconds=archive.config.log.checkpoint_seconds),
        clock=clock,
        begun_at=clock(),
    )

    async def epoch() -> str | None:
        current = f"epoch:{archive.keys().epoch}"
        if not await stores.keys.get_keys([current]):
            return None
        return "the epoch of intake's keys was destroyed: bring the newest (taltio keys intake)"

    beyond = checks_beyond(ProcessRole.INTAKE)
    checks = {name: one for name, one in readiness.checks().items() if name not in beyond}
    checks["epoch"] = Limited(epoch)
    return Health(checks, measure, role=ProcessRole.INTAKE.value)
