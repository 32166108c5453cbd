"""Builds the archive from its configuration."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.access.accounts import Accounts
from service.access.invites import Invites
from service.access.own_account import OwnAccount
from service.access.passwords import Passwords
from service.access.sessions import SessionRules
from service.access.sessions import Sessions as SignedIn
from service.access.signin import LockOut, SignIn, SignInRules
from service.access.throttle import Throttle
from service.access.tokens import Tokens
from service.access.users import Users
from service.archive.attention import Attention
from service.archive.completeness import Completeness
from service.archive.contact_checks import ContactChecker
from service.archive.contacts import Contacts
from service.archive.counted import CountedBlobs, CountedKeys, CountedStore, Failures
from service.archive.customers import Register
from service.archive.deliveries import DeliveryOpener
from service.archive.dispose import Disposal, said_by
from service.archive.erase import Erasures
from service.archive.erasure_ledger import FILE as ERASURES
from service.archive.erasure_ledger import ErasureLedger
from service.archive.expect import Expectations
from service.archive.export import Exporter
from service.archive.gaps import Gaps
from service.archive.grants import Grants
from service.archive.hold import Holds
from service.archive.intake_memory import Sessions
from service.archive.interpret import Interpreter
from service.archive.lookup import Finder
from service.archive.mail_reading import MailReading
from service.archive.marked import AuthenticLog, Marker, MarkingStore
from service.archive.open import Opener
from service.archive.openings import Openings
from service.archive.published import PublishedLog
from service.archive.receive import Intake
from service.archive.reconcile import Reconciling
from service.archive.rotate import Rotation
from service.archive.silence import Silence
from service.archive.source_book import KnownSource, SourceBook
from service.archive.understand import Understanding
from service.archive.vault import Vault
from service.archive.vcon_reading import VconReading
from service.archive.verify import Verifier
from service.config import Config, PostgresUrl, SourceConfig, StorageUrl
from service.config.buckets import endpoint_of_aws
from service.config.secret_files import read_secret
from service.crypto.jws import JwsSigner
from service.crypto.recipients import parse_recipient
from service.databases import (
    Alone,
    copy_older_archive,
    key_place,
    open_store,
    opened_keys,
    scrub_of,
)
from service.domain.contact import Direction
from service.domain.errors import InvalidInputError, UnavailableError
from service.domain.fetching import fetch_kind
from service.key_safes import safe_of
from service.keys.epoch import EpochKind
from service.keys.file import FileKeyProvider
from service.keys.intake import IntakeKeys
from service.keys.provider import KeyProvider
from service.keys.ring import KeyRing, ring_from
from service.log.errors import FormatError
from service.log.timestamp import Trust
from service.moving.record import MoveRecord
from service.sources.carried import USUALLY_CARRIED
from service.sources.events import SourceRule
from service.sources.kinds import KINDS
from service.sources.vcon.rule import VconRule
from service.sources.vcon.signature import Anchors
from service.worker.mail.run import ChildMailReader
from storage.database.group import GroupCommit, GroupKeys
from storage.database.lock import instance_lock
from storage.files import FileBlobs
from storage.ledger import FileLedger
from storage.ports import BlobStore, KeyStore, LogStore, News, Scrub, Store, Turn
from storage.published import PublishedFiles
from storage.soundness import Soundness

LOG_DIRECTORY, LEDGER_DIRECTORY = "log", "ledger"
# Failed sign-ins that one address may have at once, and how soon it may try again.
_SIGN_INS_AT_ONCE, _SECONDS_PER_SIGN_IN = 20, 30.0


@dataclass(frozen=True, slots=True)
class Stores:
    """What keeps bytes and rows. ``store`` and ``keys`` gather what many callers commit at once.

    All share ``soundness``: a sync that fails in one ends writing in all.
    ``publishing`` and ``working`` tell whether it is this process, of those that share the database, that publishes the
    log now, or does the work beside requests; through ``news`` they hear of deliveries.
    """

    store: Store
    log: LogStore
    keys: KeyStore
    blobs: BlobStore
    soundness: Soundness
    scrub: Scrub
    failures: Failures
    news: News
    publishing: Turn = field(default_factory=Alone)
    working: Turn = field(default_factory=Alone)


@dataclass(frozen=True, slots=True)
class Access:
    """Who is asking: accounts, one-time links, sign-in, sessions, tokens."""

    accounts: Accounts
    invites: Invites
    sign_in: SignIn
    own: OwnAccount
    sessions: SignedIn
    tokens: Tokens
    users: Users


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive's use cases, built and open."""

    config: Config
    stores: Stores
    provider: KeyProvider
    vault: Vault
    intake: Intake
    interpreter: Interpreter
    understanding: Understanding
    book: SourceBook
    contacts: Contacts
    finder: Finder
    register: Register
    attention: Attention
    expectations: Expectations
    reconciling: Reconciling
    completeness: Completeness
    silence: Silence
    grants: Grants
    openings: Openings
    opener: Opener
    verifier: Verifier
    holds: Holds
    erasures: Erasures
    access: Access


def held_alone(config: Config) -> AbstractContextManager[None]:
    """Hold the archive's directory, which exists, for this service alone inside the block.

    On PostgreSQL any number of services may run, also on one directory.

    Raises:
        storage.errors.UnavailableError: Another service holds it.
    """
    if isinstance(config.storage.database, PostgresUrl):
        return nullcontext()
    return instance_lock(config.archive.directory)


def held_alone_to_move(config: Config) -> AbstractContextManager[None]:
    """Hold the archive's directory alone inside the block, whatever the database is; raises as ``held_alone`` does."""
    return instance_lock(config.archive.directory)


def held_by_witness(directory: Path) -> AbstractContextManager[None]:
    """Hold the directory of a witness for this process alone inside the block; raises as ``held_alone`` does."""
    return instance_lock(directory)


def published_files(config: Config, soundness: Soundness | None = None) -> PublishedFiles:
    """Return where the log is published."""
    return PublishedFiles(config.archive.directory / LOG_DIRECTORY, soundness)


def ledger_files(config: Config, soundness: Soundness | None = None) -> PublishedFiles:
    """Return where what was signed is remembered."""
    return PublishedFiles(config.archive.directory / LEDGER_DIRECTORY, soundness)


def published_log(config: Config, ring: KeyRing | None) -> PublishedLog:
    """Return the published log of the archive, held against its own key where there is a ring."""
    return PublishedLog(
        published=published_files(config),
        ledger=ledger_files(config),
        anchors=config.log.anchor_directory,
        signing_key=None if ring is None else lambda: ring.log_signing_key,
        witnesses=tuple(witness.key for witness in config.witnesses),
        # What was stamped is believed whatever the policy that is asked for now.
        trust=timestamp_trust(config, policy=None),
    )


def timestamp_trust(config: Config, *, policy: str | None) -> Trust | None:
    """Return whose timestamps are believed; None where none are configured.

    Raises:
        InvalidInputError: The file of certificates cannot be used.
    """
    file = config.log.timestamp_certificates
    if file is None:
        return None
    try:
        return Trust.parse(file.read_bytes(), policy=policy)
    except OSError as error:
        raise InvalidInputError(
            f"[log] timestamp_certificates: {file} cannot be read: {error.strerror}"
        ) from error
    except FormatError as error:
        raise InvalidInputError(f"[log] timestamp_certificates: {error.detail}") from error


def rotation_of(archive: Archive) -> Rotation:
    """Return the use cases of epochs over an open archive."""
    stores = archive.stores
    return Rotation(
        store=stores.store,
        keys=stores.keys,
        provider=archive.provider,
        ring=archive.vault.ring,
        log=stores.log,
    )


def disposal_of(archive: Archive) -> Disposal:
    """Return what disposes of contacts of an open archive; also what a restore replays the erasure ledger with."""
    return archive.erasures.disposal


def exporter_of(archive: Archive) -> Exporter:
    """Return what hands contacts of an open archive out."""
    return Exporter(
        store=archive.stores.store,
        blobs=archive.stores.blobs,
        vault=archive.vault,
        verifier=archive.verifier,
        grants=archive.grants,
        signer=_signer(archive.config),
    )


def _signer(config: Config) -> JwsSigner | None:
    """Return what vCons are signed with; None where the settings name nothing.

    Raises:
        InvalidInputError: A file cannot be used; the detail names it, and nothing in it.
    """
    certificate, key = config.disclosure.certificate, config.disclosure.certificate_key
    if certificate is None or key is None:
        return None
    secret = read_secret("certificate_key", key, section="[disclosure]")
    try:
        return JwsSigner.parse(certificate.read_bytes(), secret.encode())
    except OSError as error:
        raise InvalidInputError(
            f"[disclosure] certificate: {certificate} cannot be read"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"[disclosure] {certificate}: {error.detail}") from None


def key_provider(config: Config) -> KeyProvider:
    """Return the provider of keys that ``config`` names."""
    keys = config.keys
    escrow = [parse_recipient(keys.escrow_recipient)] if keys.escrow_recipient else []
    return FileKeyProvider(
        keys.directory,
        archive=config.archive.directory,
        kind=EpochKind(keys.kind),
        escrow=escrow,
        safe=safe_of(config),
    )


@asynccontextmanager
async def opened_stores(config: Config, *, create: bool) -> AsyncIterator[Stores]:
    """Open what keeps bytes and rows, and close it again.

    What an older program wrote is copied before it is brought forward.

    Raises:
        MissingError: There is none, and ``create`` does not allow to make it.
        UnavailableError: It is newer than this program, on an unfit file system, or was moved away.
    """
    MoveRecord(config.archive.directory).require_here(places_of(config))
    if not create:
        await asyncio.to_thread(copy_older_archive, config, now=datetime.now(UTC))
    async with AsyncExitStack() as stack:
        if create:
            config.archive.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        soundness = Soundness()
        keys = await stack.enter_async_context(
            opened_keys(config, create=create, soundness=soundness)
        )
        opened = await open_store(config, stack, create=create, soundness=soundness)
        blobs = await stack.enter_async_context(
            opened_blobs(config, create=create, soundness=soundness)
        )
        gathered = await stack.enter_async_context(GroupCommit.opened(opened.store))
        gathered_keys = await stack.enter_async_context(GroupKeys.opened(keys))
        failures: Failures = Failures()
        yield Stores(
            store=CountedStore(gathered, failures),
            log=opened.store,
            keys=CountedKeys(gathered_keys, failures),
            blobs=CountedBlobs(blobs, failures),
            failures=failures,
            soundness=soundness,
            scrub=scrub_of(opened.store, keys),
            news=opened.store,
            publishing=opened.publishing,
            working=opened.working,
        )


def places_of(config: Config) -> tuple[str, str, str]:
    """Return where rows, keys and blobs are, each named in one way only."""
    storage = config.storage
    rows, keys, blobs = (
        str(
            StorageUrl(place.scheme, place.path.resolve())
            if isinstance(place, StorageUrl)
            else place
        )
        for place in (storage.database, key_place(config), storage.blobs)
    )
    return rows, keys, blobs


def opened_blobs(
    config: Config, *, create: bool, soundness: Soundness
) -> AbstractAsyncContextManager[BlobStore]:
    """Return the blobs, to be opened and closed; raises as ``opened_stores`` does."""
    storage = config.storage
    if isinstance(storage.blobs, StorageUrl):
        return FileBlobs.opened(storage.blobs.path, create=create, soundness=soundness)
    try:
        # Who keeps blobs in files needs neither the library nor the time that it takes to load.
        from storage.s3.blobs import S3Blobs  # noqa: PLC0415  # see above
        from storage.s3.place import Place  # noqa: PLC0415  # see above
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "[storage] blobs is s3://…, and obstore is not installed: see docs/operations.md"
        ) from error
    place = Place(
        endpoint=storage.endpoint or endpoint_of_aws(storage.region),
        bucket=storage.blobs.bucket,
        prefix=storage.blobs.prefix,
        region=storage.region,
        credentials_file=storage.credentials_file,
    )
    return S3Blobs.opened(place, filer=storage.filer)


@asynccontextmanager
async def opened_archive(config: Config, *, create: bool = False) -> AsyncIterator[Archive]:
    """Build the archive, and take it down again.

    Raises:
        KeysMissingError, KeysRefusedError: The keys are not there, or not kept safely. Where what opens them is away,
            the archive is built all the same, to take deliveries in.
        storage.errors.StorageError: As ``opened_stores``.
    """
    provider = key_provider(config)
    ring = ring_from(provider)
    async with opened_stores(config, create=create) as stores:
        marking = replace(stores, store=MarkingStore(stores.store, marker_of(ring)))
        yield archive_from(config, marking, provider, ring)


def authentic_log(stores: Stores, ring: KeyRing) -> AuthenticLog:
    """Return the log as it may be believed and signed: only what the archive itself wrote."""
    return AuthenticLog(stores.log, marker_of(ring))


def marker_of(ring: KeyRing) -> Marker:
    """Return what marks the archive's log entries, and knows them again."""
    # One of intake's keys: a process that only takes deliveries in writes entries too.
    return Marker(ring.intake_keys().index_key("log_mark"))


def archive_from(
    config: Config, stores: Stores, provider: KeyProvider, ring: KeyRing
) -> Archive:
    """Build the use cases over open stores and keys."""
    vault = Vault(ring, stores.keys, ring.blind_index())
    book = book_of(config, stores.store, vault)
    interpreter = Interpreter(stores.store, stores.blobs, vault, book.rules)
    understanding = Understanding(
        stores.store,
        interpreter,
        DeliveryOpener(ring, stores.keys),
        book.adapters,
        MailReading(stores.store, stores.blobs, vault, ChildMailReader(), interpreter.rule_of),
        book,
        VconReading(
            stores.store,
            stores.blobs,
            vault,
            interpreter.rule_of,
            config.intake.max_recording_bytes,
        ),
    )
    openings = Openings(stores.store)
    verifier = Verifier(
        ContactChecker(stores.store, stores.log, stores.blobs, vault),
        published_log(config, ring),
        marker_of(ring),
    )
    holds = Holds(stores.store, authentic_log(stores, ring), vault)
    return Archive(
        config=config,
        stores=stores,
        provider=provider,
        vault=vault,
        intake=intake_of(config, stores, ring.intake_keys),
        interpreter=interpreter,
        understanding=understanding,
        book=book,
        contacts=Contacts(
            stores.store, interpreter, understanding, config.intake.max_recording_bytes
        ),
        finder=Finder(stores.store, vault),
        register=Register(stores.store, interpreter, config.archive.timezone.key),
        attention=Attention(stores.store, understanding, verifier),
        expectations=Expectations(stores.store, vault),
        reconciling=Reconciling(
            stores.store, interpreter, Gaps(stores.store), config.archive.timezone
        ),
        completeness=Completeness(stores.store, book.rules, config.archive.timezone),
        silence=Silence(stores.store, book.rules),
        grants=Grants(
            stores.store, vault, openings.forget, timedelta(hours=config.grants.hours)
        ),
        openings=openings,
        opener=Opener(stores.store, authentic_log(stores, ring), stores.blobs, vault, openings),
        verifier=verifier,
        holds=holds,
        erasures=Erasures(_disposal(config, stores, ring), holds, vault, openings.forget),
        access=_access(config, stores, vault),
    )


def _disposal(config: Config, stores: Stores, ring: KeyRing) -> Disposal:
    path = config.archive.directory / LEDGER_DIRECTORY / ERASURES
    ledger = FileLedger(path, stores.soundness, say=said_by)
    return Disposal(
        store=stores.store,
        log=authentic_log(stores, ring),
        keys=stores.keys,
        blobs=stores.blobs,
        ledger=ErasureLedger(ledger),
        scrub=stores.scrub,
    )


def intake_of(config: Config, stores: Stores, keys: Callable[[], IntakeKeys]) -> Intake:
    """Build the intake over open stores; ``keys`` gives those of now."""
    return Intake(
        store=stores.store,
        keys=stores.keys,
        blobs=stores.blobs,
        intake_keys=keys,
        index=keys().blind_index(),
        sessions=Sessions(keys, timedelta(seconds=config.intake.session_key_seconds)),
        max_recording_bytes=config.intake.max_recording_bytes,
    )


def _access(config: Config, stores: Stores, vault: Vault) -> Access:
    store, limits, passwords = stores.store, config.limits, Passwords()
    days = config.access.recertify_days
    users = Users(store=store, vault=vault, recertify=timedelta(days=days) if days else None)
    sessions = SignedIn(
        store=store,
        users=users,
        rules=SessionRules(
            idle=timedelta(minutes=config.web.session_idle_minutes),
            absolute=timedelta(hours=config.web.session_hours),
        ),
    )
    sign_in = SignIn(
        store=store,
        users=users,
        sessions=sessions,
        passwords=passwords,
        lock_out=LockOut(
            failures=limits.lockout_failures,
            duration=timedelta(minutes=limits.lockout_minutes),
        ),
        throttle=Throttle(_SIGN_INS_AT_ONCE, seconds_each=_SECONDS_PER_SIGN_IN),
        rules=SignInRules(
            needs_second_factor=config.access.second_factor == "required",
            undertaking=config.access.undertaking_version,
        ),
    )
    return Access(
        accounts=Accounts(store=store, vault=vault, users=users),
        invites=Invites(store=store, users=users, passwords=passwords),
        sign_in=sign_in,
        own=OwnAccount(store=store, users=users, sessions=sessions, signing=sign_in),
        sessions=sessions,
        tokens=Tokens(store=store, vault=vault),
        users=users,
    )


def known_sources(config: Config) -> Mapping[str, KnownSource]:
    """Return the sources of the settings, by name."""
    return {
        source.name: KnownSource(
            name=source.name,
            kind=source.kind,
            rule=_rule_of(config, source),
            adapters=KINDS[source.kind].adapters,
            carries=source.carries or USUALLY_CARRIED.get(source.kind, ()),
        )
        for source in config.sources
    }


def book_of(config: Config, store: Store, vault: Vault) -> SourceBook:
    """Return the book of the sources; until it is refreshed it knows those of the settings alone."""
    return SourceBook(
        known_sources(config), store=store, vault=vault, defaults=default_rule(config)
    )


def default_rule(config: Config) -> SourceRule:
    """Return the rules of a source that says nothing of its own."""
    return SourceRule(
        region=config.archive.default_region,
        timezone=config.archive.timezone,
        grace=timedelta(minutes=config.intake.expected_grace_minutes),
    )


def _rule_of(config: Config, source: SourceConfig) -> SourceRule:
    default = default_rule(config)
    return SourceRule(
        region=source.country or default.region,
        timezone=source.timezone or default.timezone,
        grace=timedelta(minutes=source.grace_minutes) or default.grace,
        columns=source.cdr_columns,
        names=source.genesys_names,
        company_numbers=frozenset(number.e164 for number in source.company_numbers),
        company_addresses=frozenset(source.company_addresses),
        checks_mail=source.mail_checks,
        fetched_as=fetch_kind(source.name),
        stored_recordings=f"{source.ari}/recordings/stored"
        if source.ari
        else source.graph or "",
        account=source.listing_account,
        vcon=VconRule(
            anchors=_anchors_of(source),
            requires_signature=source.vcon_signed,
            direction=Direction(source.vcon_direction),
            max_bytes=source.vcon_max_bytes,
        ),
    )


def _anchors_of(source: SourceConfig) -> Anchors | None:
    """Return who may sign the vCons of a source; None where nobody is named.

    Raises:
        InvalidInputError: The file cannot be used; the detail names it.
    """
    file = source.vcon_certificates
    if file is None:
        return None
    try:
        return Anchors.parse(file.read_bytes())
    except OSError as error:
        raise InvalidInputError(
            f"[[sources]] vcon_certificates: {file} cannot be read"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"[[sources]] {file}: {error.detail}") from None
