"""The running service: an application over an open archive, and what works beside its requests."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from aiohttp import web

from service.anchoring import Troubled, asking_outside, troubles
from service.api import content, erasures, grants, holds, statements, uploads, verification
from service.api.app_keys import (
    ATTENTION,
    CONTACTS,
    FINDER,
    PUBLISHED_LOG,
    SETTINGS,
    ApiSettings,
)
from service.api.system import HEALTH, Check, Health, Measure
from service.archive.draft_recordings import MAIL_CHECK
from service.archive.expire import DeliveryExpiry
from service.archive.receive import Kept
from service.archive.relink import KIND as RELINK
from service.archive.silence import LISTEN_EVERY
from service.archive.source_book import REFRESH_EVERY
from service.archive.upload_parts import Parts
from service.archive.upload_tidying import UploadTidying
from service.archive.uploads import Uploads
from service.backup_sites import held_for_backup
from service.config import Config, StorageUrl
from service.config.roles import ProcessRole
from service.connecting.noticing import LOOK_EVERY as LOOK_EVERY_NOTICE
from service.connecting.replaying import KIND as REPLAY
from service.connections import Connections, connections_of
from service.databases import remove_upgrade_copies
from service.fetching import fetching_of
from service.http.addresses import Site
from service.http.frame import Frame, build_application
from service.http.limits import DELIVERIES, UPLOADS, Pace
from service.http.meters import METERS
from service.intake.app_keys import REFUSALS
from service.intake.listening import Listeners
from service.listeners import fill_intake
from service.listings import Listings, listings_of
from service.mailboxes import Mailboxes, mailboxes_of
from service.measuring import Measuring
from service.sharing_out import checks_beyond, chores_of, routes_of
from service.sources.kinds import KINDS, Stereo
from service.spooling import spools_of
from service.subscribing import subscriptions_of
from service.web.app_keys import Door
from service.web.archive_desk import ArchiveDesk
from service.web.completeness_pages import COMPLETE
from service.web.disposal_desk import ArchiveDisposals
from service.web.pages import set_up_pages
from service.web.problem_pages import show_problem
from service.web.source_desk import SOURCES as SOURCES_DESK
from service.web.source_desk import SourceDesk
from service.web.undertaking import read_undertaking
from service.wiring import Archive, Stores, authentic_log, ledger_files, published_files
from service.wiring_backups import backup_places, opened_daily
from service.worker.backups import FIRST_LOOK, LOOK_EVERY, DailyBackup
from service.worker.checkpoints import LogKeeper
from service.worker.fetching.job import FetchJob
from service.worker.following import Following
from service.worker.housekeeping import SOURCES, Chore, Household, Housekeeping
from service.worker.interpretation import Interpretation
from service.worker.jobs import Ending, JobRunner, Kind
from service.worker.leftovers import Leftovers
from service.worker.mail_check_job import MailCheckJob
from service.worker.mail_check_job import bury as bury_mail_check
from service.worker.media.run import MediaLimits
from service.worker.media_job import MediaJob
from service.worker.outside import Asking
from service.worker.readiness import Limited, Readiness
from service.worker.subscriptions.subscription import Subscription
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
    mailboxes: Mailboxes
    listings: Listings
    daily: DailyBackup | None
    fetching: FetchJob | None
    subscriptions: tuple[Subscription, ...]
    connections: Connections
    listeners: Listeners
    resumable: Uploads
    role: ProcessRole = ProcessRole.ALL

    @property
    def stores(self) -> Stores:
        """What keeps bytes and rows."""
        return self.archive.stores


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
        turn=stores.publishing,
        is_able=lambda: archive.vault.ring.is_at_hand,
    )


def build_service(archive: Archive, role: ProcessRole = ProcessRole.ALL) -> Service:
    """Build the application of ``role``; that of intake has a builder of its own.

    Raises:
        InvalidInputError: A secret of a source cannot be read; the detail names the file.
    """
    ring = archive.vault.ring
    interpretation = Interpretation(
        archive.understanding, clock, is_able=lambda: ring.is_at_hand
    )
    keeper = log_keeper(archive)
    app = build_application(_frame(archive), routes_of(role))
    connections = connections_of(archive)
    resumable = _uploads_of(archive, interpretation.offer if role.takes_in else None)
    listeners = _fill(
        app,
        archive,
        offer=interpretation.offer,
        keeper=keeper,
        connections=connections,
        resumable=resumable,
    )
    watch, daily = Watch(), _daily_backup(archive) if role.works else None
    outside = asking_outside(archive, keeper, clock) if role.works else ()
    fetching = fetching_of(archive) if role.works else None
    mailboxes = mailboxes_of(archive, role, clock=clock, offer=interpretation.offer)
    # Without interpretation of its own the process follows what others took in, and so what it is told.
    offer = interpretation.offer if role.takes_in else None
    subscriptions = (
        () if fetching is None else subscriptions_of(archive, fetching.rules, clock, offer)
    )
    listings = (
        Listings()
        if fetching is None
        else listings_of(archive, role, fetching.rules, clock=clock, offer=offer)
    )
    readiness = _readiness(archive, keeper, watch)
    measuring = Measuring(
        archive=archive,
        role=role,
        interpretation=interpretation,
        keeper=keeper,
        readiness=readiness,
        watch=watch,
        outside=outside,
        mailboxes=mailboxes.asking,
        mails=mailboxes.outcomes,
        listings=listings.asking,
        listed=listings.outcomes,
        daily=daily,
        fetches=Counter() if fetching is None else fetching.outcomes,
        meters=app[METERS],
        deliveries=app[DELIVERIES],
        uploads=app[UPLOADS],
        clock=clock,
    )
    asking: tuple[Troubled, ...] = (
        *outside,
        *mailboxes.asking,
        *listings.asking,
        *subscriptions,
    )
    app[HEALTH] = _health(readiness, measuring, asking, daily, role)
    return Service(
        archive=archive,
        app=app,
        interpretation=interpretation,
        keeper=keeper,
        watch=watch,
        outside=outside,
        mailboxes=mailboxes,
        listings=listings,
        daily=daily,
        fetching=fetching,
        subscriptions=subscriptions,
        connections=connections,
        listeners=listeners,
        resumable=resumable,
        role=role,
    )


@asynccontextmanager
async def working(service: Service) -> AsyncIterator[None]:
    """Work beside the requests inside the block: understand, examine, publish, flush."""
    archive, stores = service.archive, service.archive.stores
    # Here, the chore that takes them up again adopts the keys.
    archive.vault.ring.never_wait()
    # Nothing is taken in before it is known from whom.
    await _refresh_sources(service, clock())
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
            MAIL_CHECK: _mail_checking(archive),
            REPLAY: Kind(service.connections.replays.run),
            **({} if service.fetching is None else service.fetching.kinds),
        },
        clock,
    )
    beside: dict[str, Loop] = {
        "log": partial(
            service.keeper.run,
            clock=clock,
            every=timedelta(seconds=archive.config.log.checkpoint_seconds),
        ),
        "jobs": jobs.run,
        **{
            one.name: one.run
            for one in (
                *service.outside,
                *service.mailboxes.asking,
                *service.listings.asking,
            )
        },
        **{one.name: one.run for one in service.subscriptions},
    }
    loops: dict[str, Loop] = {
        "housekeeping": Housekeeping(_chores(service), clock).run,
        **(_understanding(service) if service.role.works else {}),
        **(beside if service.role.works else {}),
    }
    if service.role.serves_desk:
        loops["openings"] = partial(archive.openings.run, clock=clock)
    async with supervised(loops, interpretation=service.interpretation, watch=service.watch):
        yield


def _mail_checking(archive: Archive) -> Kind:
    """Return how the signatures of mails are checked: two at a time, for most of the time is DNS's."""
    stores = archive.stores
    check = MailCheckJob(stores.store, stores.log, stores.blobs, archive.vault)
    return Kind(
        check.run,
        limit=timedelta(minutes=5),
        concurrency=2,
        ending=Ending(bury=bury_mail_check),
    )


def _understanding(service: Service) -> Mapping[str, Loop]:
    """Return what understands deliveries: those of this process from memory, those of others as they are announced."""
    if service.role.takes_in:
        return {
            "interpretation": service.interpretation.run,
            "catch_up": service.interpretation.catch_up,
        }
    archive, stores = service.archive, service.archive.stores
    following = Following(
        archive.understanding,
        stores.news,
        stores.working,
        clock,
        is_able=lambda: archive.vault.ring.is_at_hand,
    )
    return {"following": following.run}


def _chores(service: Service) -> tuple[Chore, ...]:
    async def remove_copies(now: datetime) -> None:
        await asyncio.to_thread(remove_upgrade_copies, service.archive.config, now)

    async def listen(now: datetime) -> None:
        await service.archive.silence.look(now=now)

    async def tidy_uploads(now: datetime) -> None:
        await UploadTidying(service.resumable).tidy(now=now)

    chores = (
        *_household(service.archive).chores(),
        Chore("uploads", timedelta(minutes=1), tidy_uploads),
        Chore("upgrade copies", timedelta(hours=1), remove_copies),
        Chore(SOURCES, REFRESH_EVERY, partial(_refresh_sources, service), REFRESH_EVERY),
        Chore("notice", LOOK_EVERY_NOTICE, service.connections.watch.run),
        Chore("silence", LISTEN_EVERY, listen),
    )
    # Without interpretation of its own the process follows what others took in, and so this.
    offer = service.interpretation.offer if service.role.takes_in else None
    chores = (*chores, *spools_of(service.archive, clock, offer))
    if service.daily is not None:
        chores = (*chores, Chore("backup", LOOK_EVERY, service.daily.run, FIRST_LOOK))
    return chores_of(service.role, chores, service.archive.stores.working)


async def _refresh_sources(service: Service, now: datetime) -> None:
    """Take up sources as they are now; understanding first, so that it knows whatever is taken in."""
    await service.archive.book.refresh()
    await service.listeners.refresh(now)


def _daily_backup(archive: Archive) -> DailyBackup | None:
    """Return what makes a backup every day; None where none is to be made."""
    config = archive.config
    if config.backup.directory is None:
        return None
    return DailyBackup(
        opened=partial(opened_daily, archive),
        turn=partial(held_for_backup, config),
        store=archive.stores.store,
        places=backup_places(config),
        ring=archive.vault.ring,
        hour=config.backup.hour,
        timezone=config.archive.timezone,
        begun_at=clock(),
    )


def _uploads_of(archive: Archive, offer: Callable[[Kept], None] | None) -> Uploads:
    """Return the use cases of uploads; without ``offer`` whoever understands deliveries looks by itself."""
    parts = Parts(archive.stores.store, archive.stores.blobs, archive.vault)
    uploads = Uploads(parts, archive.contacts, archive.intake)
    return uploads if offer is None else replace(uploads, offer=offer)


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


def site_of(config: Config) -> Site:
    """Return what the service knows of where it is reached."""
    return Site(
        public_url=config.web.public_url,
        is_tls=config.web.is_tls,
        trusted_proxies=config.web.trusted_proxies,
    )


def pace_of(config: Config, site: Site) -> Pace:
    """Return what keeps one sender from taking the turns of the others."""
    return Pace(
        site,
        per_address=config.limits.requests_per_address,
        per_actor=config.limits.requests_per_sender,
    )


def _frame(archive: Archive) -> Frame:
    site = site_of(archive.config)
    return Frame(
        site=site,
        pace=pace_of(archive.config, site),
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
    connections: Connections,
    resumable: Uploads,
) -> Listeners:
    """Put the use cases where the handlers find them; return what listens to sources."""
    config = archive.config
    app[SETTINGS] = ApiSettings(
        region=config.archive.default_region,
        regions=archive.book.regions,
        timezone=config.archive.timezone.key,
        max_contact_bytes=config.intake.max_delivery_bytes,
    )
    app[CONTACTS], app[FINDER] = archive.contacts, archive.finder
    app[ATTENTION] = archive.attention
    app[statements.RECONCILING] = archive.reconciling
    app[statements.COMPLETENESS] = app[COMPLETE] = archive.completeness
    app[grants.GRANTS] = archive.grants
    app[holds.HOLDS], app[erasures.ERASURES] = archive.holds, archive.erasures
    app[uploads.UPLOADS] = resumable
    app[content.CONTENTS] = content.Contents(archive.opener)
    app[PUBLISHED_LOG] = keeper.published
    listeners = fill_intake(
        app, config, intake=archive.intake, tokens=archive.access.tokens, offer=offer
    )
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
            stereo_of=partial(_stereo_of, archive),
        ),
        disposals=ArchiveDisposals(
            archive.holds, archive.erasures, archive.contacts, access.users
        ),
        door=Door(
            access.sign_in,
            access.sessions,
            access.invites,
            access.users,
            access.own,
            read_undertaking(
                config.access.undertaking_version,
                config.access.undertaking_directory,
                config.archive.languages,
            ),
        ),
        timezone=config.archive.timezone.key,
        region=config.archive.default_region,
        languages=config.archive.languages,
    )
    app[SOURCES_DESK] = SourceDesk(
        sources=connections.sources,
        deliveries=connections.deliveries,
        replays=connections.replays,
        previews=connections.previews,
        refused=app[REFUSALS].of,
        address=address_of(config),
        default_region=config.archive.default_region,
    )
    return listeners


def _stereo_of(archive: Archive, name: str) -> Stereo:
    """Return whose the two channels of a source's recordings are; once it is removed nobody can tell."""
    source = archive.book.find(name)
    return Stereo.UNTOLD if source is None else KINDS[source.kind].stereo


def address_of(config: Config) -> str:
    """Return where sources reach the archive, as far as the settings say it."""
    scheme = "https" if config.web.is_tls else "http"
    return config.web.public_url or f"{scheme}://{config.web.listen}"


def _health(
    readiness: Readiness,
    measure: Measure,
    outside: Sequence[Troubled],
    daily: DailyBackup | None,
    role: ProcessRole,
) -> Health:
    async def late() -> str | None:
        # That the keys are away, by which backups are known, is a warning of its own.
        is_known = daily is not None and daily.ring.is_at_hand
        return await daily.late(clock()) if daily and is_known else None

    checks = readiness.checks()
    warnings: dict[str, Check] = dict(readiness.warnings())
    if role.works:
        warnings |= {**troubles(outside), "backup": Limited(late)}
    return Health(
        {name: checks[name] for name in checks.keys() - checks_beyond(role)},
        measure,
        warnings,
        role=role.value,
    )


def _readiness(archive: Archive, keeper: LogKeeper, watch: Watch) -> Readiness:
    config, stores = archive.config, archive.stores
    return Readiness(
        store=stores.store,
        log=stores.log,
        keys=stores.keys,
        blobs=stores.blobs,
        ring=archive.vault.ring,
        keeper=keeper,
        watch=watch,
        directories=room_of(config),
        publish_every=timedelta(seconds=config.log.checkpoint_seconds),
        clock=clock,
        begun_at=clock(),
    )


def room_of(config: Config) -> tuple[Path, ...]:
    """Return the directories in which room is needed."""
    blobs, database = config.storage.blobs, config.storage.database
    return (
        config.archive.directory,
        *([blobs.path] if isinstance(blobs, StorageUrl) else []),
        *([database.path.parent] if isinstance(database, StorageUrl) else []),
    )
