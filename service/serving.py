"""The running service: an application over an open archive, and what works beside its requests."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from aiohttp import web

from service.anchoring import asking_outside, troubles
from service.api import (
    attention,
    contacts,
    content,
    erasures,
    grants,
    holds,
    log,
    openapi,
    system,
    verification,
)
from service.api.app_keys import (
    ATTENTION,
    CONTACTS,
    FINDER,
    PUBLISHED_LOG,
    SETTINGS,
    ApiSettings,
)
from service.api.system import HEALTH, Health, Measure
from service.archive.expire import DeliveryExpiry
from service.archive.receive import Kept
from service.archive.relink import KIND as RELINK
from service.config import Config, SourceConfig, StorageUrl
from service.databases import remove_upgrade_copies
from service.domain.errors import InvalidInputError
from service.http.addresses import Site
from service.http.frame import Frame, build_application
from service.http.limits import DELIVERIES, UPLOADS, Pace, Room
from service.http.meters import METERS
from service.http.routes import Route
from service.intake import webhooks
from service.intake.app_keys import (
    INTAKE,
    LISTENERS,
    MAX_DELIVERY_BYTES,
    OFFER,
    TOKENS,
    Listener,
)
from service.intake.standard_webhooks import WebhookSecret
from service.measuring import Measuring
from service.web.app_keys import Door
from service.web.archive_desk import ArchiveDesk
from service.web.disposal_desk import ArchiveDisposals
from service.web.pages import page_routes, set_up_pages
from service.web.problem_pages import show_problem
from service.wiring import (
    Archive,
    authentic_log,
    ledger_files,
    published_files,
)
from service.wiring_backups import backup_places, opened_daily
from service.worker.backups import FIRST_LOOK, LOOK_EVERY, DailyBackup
from service.worker.checkpoints import LogKeeper
from service.worker.housekeeping import Chore, Household, Housekeeping
from service.worker.interpretation import Interpretation
from service.worker.jobs import JobRunner, Kind
from service.worker.leftovers import Leftovers
from service.worker.media.run import MediaLimits
from service.worker.media_job import MediaJob
from service.worker.outside import Asking
from service.worker.readiness import Limited, Readiness
from service.worker.supervisor import Loop, Watch, supervised

_log = logging.getLogger("taltio")


def clock() -> datetime:
    """Return the time: the only clock of the service."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is ready to take requests."""

    archive: Archive
    app: web.Application
    interpretation: Interpretation
    keeper: LogKeeper
    watch: Watch
    outside: tuple[Asking, ...]
    daily: DailyBackup | None


def log_keeper(archive: Archive) -> LogKeeper:
    """Return what publishes the archive's log."""
    config, stores = archive.config, archive.stores
    return LogKeeper(
        store=stores.store,
        log=authentic_log(stores, archive.vault.ring),
        published=published_files(config, stores.soundness),
        ledger=ledger_files(config, stores.soundness),
        anchors=config.log.anchor_directory,
        name=config.archive.name,
        signing_key=lambda: archive.vault.ring.log_signing_key,
        vouched=archive.verifier.published.vouched,
        publishes=stores.publishes,
    )


def build_service(archive: Archive) -> Service:
    """Build the application of every role.

    Raises:
        InvalidInputError: The secret of a source cannot be read; the detail names the file.
    """
    interpretation = Interpretation(archive.understanding, clock)
    keeper = log_keeper(archive)
    app = build_application(_frame(archive), all_routes())
    _fill(app, archive, offer=interpretation.offer, keeper=keeper)
    watch, daily = Watch(), _daily_backup(archive)
    outside = asking_outside(archive, keeper, clock)
    readiness = _readiness(archive, keeper, watch)
    measuring = Measuring(
        archive=archive,
        interpretation=interpretation,
        keeper=keeper,
        readiness=readiness,
        watch=watch,
        outside=outside,
        daily=daily,
        meters=app[METERS],
        deliveries=app[DELIVERIES],
        uploads=app[UPLOADS],
        clock=clock,
    )
    app[HEALTH] = _health(readiness, measuring, outside, daily)
    return Service(archive, app, interpretation, keeper, watch, outside, daily)


def all_routes() -> list[Route]:
    """Return every route of the service."""
    return [
        *webhooks.routes(),
        *contacts.routes(),
        *attention.routes(),
        *grants.grant_routes(),
        *holds.hold_routes(),
        *erasures.erasure_routes(),
        *content.content_routes(),
        *verification.verification_routes(),
        *log.routes(),
        *system.routes(),
        openapi.openapi_route(),
        *page_routes(),
    ]


@asynccontextmanager
async def working(service: Service) -> AsyncIterator[None]:
    """Work beside the requests inside the block: understand, examine, publish, flush."""
    archive, stores = service.archive, service.archive.stores
    media = archive.config.media
    examination = MediaJob(
        stores.store,
        stores.log,
        stores.blobs,
        archive.vault,
        MediaLimits(
            cpu_seconds=media.cpu_seconds,
            wall_seconds=media.wall_seconds,
            memory_bytes=media.memory_mebibytes * 1024**2,
        ),
    )
    jobs = JobRunner(
        stores.store,
        {
            "media": Kind(examination.run, limit=timedelta(seconds=media.wall_seconds * 2)),
            RELINK: Kind(archive.register.relinking.run),
        },
        clock,
    )
    loops: dict[str, Loop] = {
        "interpretation": service.interpretation.run,
        "catch_up": service.interpretation.catch_up,
        "openings": partial(archive.openings.run, clock=clock),
        "log": partial(
            service.keeper.run,
            clock=clock,
            every=timedelta(seconds=archive.config.log.checkpoint_seconds),
        ),
        "jobs": jobs.run,
        "housekeeping": Housekeeping(_chores(service), clock).run,
        **{one.name: one.run for one in service.outside},
    }
    async with supervised(loops, interpretation=service.interpretation, watch=service.watch):
        yield


def _chores(service: Service) -> tuple[Chore, ...]:
    async def remove_copies(now: datetime) -> None:
        await asyncio.to_thread(remove_upgrade_copies, service.archive.config, now)

    chores = (
        *_household(service.archive).chores(),
        Chore("upgrade copies", timedelta(hours=1), remove_copies),
    )
    if service.daily is None:
        return chores
    return (*chores, Chore("backup", LOOK_EVERY, service.daily.run, FIRST_LOOK))


def _daily_backup(archive: Archive) -> DailyBackup | None:
    """Return what makes a backup every day; None where none is to be made."""
    config = archive.config
    if config.backup.directory is None:
        return None
    return DailyBackup(
        opened=partial(opened_daily, archive),
        store=archive.stores.store,
        places=backup_places(config),
        ring=archive.vault.ring,
        hour=config.backup.hour,
        timezone=config.archive.timezone,
        begun_at=clock(),
    )


def _household(archive: Archive) -> Household:
    stores = archive.stores
    return Household(
        expectations=archive.expectations,
        sessions=archive.access.sessions,
        expiry=DeliveryExpiry(
            stores.store,
            stores.keys,
            stores.blobs,
            timedelta(days=archive.config.intake.keep_deliveries_days),
        ),
        erasures=archive.erasures,
        leftovers=Leftovers(stores.store, stores.keys, stores.blobs),
        provider=archive.provider,
        ring=archive.vault.ring,
        intake_sessions=archive.intake.sessions,
    )


def _frame(archive: Archive) -> Frame:
    web_config, limits = archive.config.web, archive.config.limits
    site = Site(
        public_url=web_config.public_url,
        is_tls=web_config.is_tls,
        trusted_proxies=web_config.trusted_proxies,
    )
    return Frame(
        site=site,
        pace=Pace(
            site,
            per_address=limits.requests_per_address,
            per_actor=limits.requests_per_sender,
        ),
        sessions=archive.access.sessions,
        tokens=archive.access.tokens,
        clock=clock,
        error_page=show_problem,
    )


def _fill(
    app: web.Application,
    archive: Archive,
    *,
    offer: Callable[[Kept], None],
    keeper: LogKeeper,
) -> None:
    """Put the use cases where the handlers find them."""
    config = archive.config
    app[SETTINGS] = ApiSettings(
        region=config.archive.default_region,
        regions={source.name: source.country for source in config.sources if source.country},
        timezone=config.archive.timezone.key,
        max_contact_bytes=config.intake.max_delivery_bytes,
    )
    app[CONTACTS], app[FINDER] = archive.contacts, archive.finder
    app[ATTENTION] = archive.attention
    app[grants.GRANTS] = archive.grants
    app[holds.HOLDS], app[erasures.ERASURES] = archive.holds, archive.erasures
    app[content.CONTENTS] = content.Contents(archive.opener)
    app[PUBLISHED_LOG] = keeper.published
    app[INTAKE], app[TOKENS] = archive.intake, archive.access.tokens
    app[OFFER] = offer
    app[MAX_DELIVERY_BYTES] = config.intake.max_delivery_bytes
    app[LISTENERS] = _listeners(config)
    app[DELIVERIES] = Room(config.limits.deliveries_at_once)
    app[UPLOADS] = Room(config.limits.uploads_at_once)
    app[verification.VERIFIER] = archive.verifier
    access = archive.access
    set_up_pages(
        app,
        desk=ArchiveDesk(
            finder=archive.finder,
            contacts=archive.contacts,
            grants=archive.grants,
            opener=archive.opener,
            verifier=archive.verifier,
            items=archive.attention,
            users=access.users,
        ),
        disposals=ArchiveDisposals(
            archive.holds, archive.erasures, archive.contacts, access.users
        ),
        door=Door(access.sign_in, access.sessions, access.invites, access.users),
        timezone=config.archive.timezone.key,
        region=config.archive.default_region,
        languages=config.archive.languages,
    )


def _listeners(config: Config) -> Mapping[str, Listener]:
    tolerance = timedelta(seconds=config.intake.tolerance_seconds)
    return {
        source.name: Listener(source.name, _secrets(source), tolerance)
        for source in config.sources
        if source.kind == "standard-webhooks"
    }


def _secrets(source: SourceConfig) -> tuple[WebhookSecret, ...]:
    files = (source.secret_file, source.previous_secret_file)
    return tuple(_secret(source.name, file) for file in files if file is not None)


def _secret(source: str, file: Path) -> WebhookSecret:
    try:
        return WebhookSecret.parse(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the secret of source {source} cannot be read from {file}"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error.detail}") from None


def _health(
    readiness: Readiness,
    measure: Measure,
    outside: Sequence[Asking],
    daily: DailyBackup | None,
) -> Health:
    async def late() -> str | None:
        return None if daily is None else await daily.late(clock())

    return Health(readiness.checks(), measure, {**troubles(outside), "backup": Limited(late)})


def _readiness(archive: Archive, keeper: LogKeeper, watch: Watch) -> Readiness:
    config, stores = archive.config, archive.stores
    blobs = config.storage.blobs
    database = config.storage.database
    return Readiness(
        store=stores.store,
        log=stores.log,
        keys=stores.keys,
        blobs=stores.blobs,
        ring=archive.vault.ring,
        keeper=keeper,
        watch=watch,
        directories=(
            config.archive.directory,
            *([blobs.path] if isinstance(blobs, StorageUrl) else []),
            *([database.path.parent] if isinstance(database, StorageUrl) else []),
        ),
        publish_every=timedelta(seconds=config.log.checkpoint_seconds),
        clock=clock,
        begun_at=clock(),
    )
