"""What listens to sources, put together from the settings: who may send, and with which secrets it is checked."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from aiohttp import web

from service.archive.receive import Intake, Kept
from service.config import Address, Config, SourceConfig
from service.config.secret_files import read_secret, trusting
from service.domain.errors import InvalidInputError
from service.domain.urls import Origin
from service.http.frame import RecognisesTokens
from service.http.limits import DELIVERIES, UPLOADS, Room
from service.http.tls import server_tls
from service.intake.app_keys import (
    INTAKE,
    LISTENERS,
    MAX_DELIVERY_BYTES,
    OFFER,
    POSTED,
    REFUSALS,
    TOKENS,
    Listener,
)
from service.intake.body_signatures import SCHEMES, BodyKey
from service.intake.listening import Listeners
from service.intake.mail_server import MailDoor, MailRules
from service.intake.post_signatures import KEYS, PostKey
from service.intake.refusals import Refusals
from service.intake.shared_secret import SharedSecret
from service.intake.sns import SnsDoor
from service.intake.standard_webhooks import WebhookSecret
from service.intake.twilio_signature import TwilioSecret
from service.sources.kinds import KINDS, Sender
from service.sources.sns import TOPIC
from service.worker.fetching.rules import FetchRules

_POSTED_AT_ONCE: Final = 2
T = TypeVar("T", WebhookSecret, SharedSecret, TwilioSecret, BodyKey)


def fill_intake(
    app: web.Application,
    config: Config,
    *,
    intake: Intake,
    tokens: RecognisesTokens,
    offer: Callable[[Kept], None],
) -> Listeners:
    """Put what listens to sources where its handlers find it; return it, to be refreshed now and again.

    Raises:
        InvalidInputError: The secret of a source cannot be read; the detail names the file.
    """
    app[INTAKE], app[TOKENS], app[OFFER] = intake, tokens, offer
    app[MAX_DELIVERY_BYTES] = config.intake.max_delivery_bytes
    listeners = Listeners(
        _listeners(config),
        store=intake.store,
        keys=intake.intake_keys,
        tolerance=timedelta(seconds=config.intake.tolerance_seconds),
    )
    app[LISTENERS], app[REFUSALS] = listeners, Refusals()
    app[DELIVERIES] = Room(config.limits.deliveries_at_once)
    app[POSTED] = asyncio.Semaphore(_POSTED_AT_ONCE)
    app[UPLOADS] = Room(config.limits.uploads_at_once)
    return listeners


def mail_doors(
    app: web.Application, config: Config, clock: Callable[[], datetime]
) -> Sequence[tuple[Address, MailDoor]]:
    """Return where mail is taken in, and by which rules.

    Raises:
        InvalidInputError: A certificate cannot be used; the detail names the file.
    """
    return [
        (
            source.mail_listen,
            MailDoor(
                rules=_mail_rules(source),
                intake=app[INTAKE],
                offer=app[OFFER],
                room=app[UPLOADS],
                clock=clock,
            ),
        )
        for source in config.sources
        if source.mail_listen is not None
    ]


def _mail_rules(source: SourceConfig) -> MailRules:
    tls = server_tls(source.mail_certificate, source.mail_certificate_key)
    return MailRules(
        source=source.name,
        is_lmtp=source.mail_protocol == "lmtp",
        peers=source.mail_peers,
        recipients=frozenset(source.mail_recipients),
        max_bytes=source.mail_max_bytes,
        tls=tls,
        needs_tls=tls is not None,
    )


def _listeners(config: Config) -> Mapping[str, Listener]:
    tolerance = timedelta(seconds=config.intake.tolerance_seconds)
    url = str(config.web.public_url or "").rstrip("/")
    return {
        source.name: _listener(source, KINDS[source.kind].sender, tolerance, url)
        for source in config.sources
    }


def _listener(source: SourceConfig, sender: Sender, tolerance: timedelta, url: str) -> Listener:
    return Listener(
        source.name,
        sender,
        secrets=_secrets(source, WebhookSecret) if sender is Sender.SIGNATURE else (),
        shared=_shared(source, sender),
        twilio=_secrets(source, TwilioSecret) if sender is Sender.TWILIO else (),
        body_keys=_secrets(source, BodyKey) if sender is Sender.BODY else (),
        verify_token=_verify_token(source),
        scheme=SCHEMES[source.kind] if sender is Sender.BODY else None,
        post_key=_post_key(source),
        sns=_sns(source) if source.kind == "ses" else None,
        unpack=KINDS[source.kind].unpack,
        max_mail_bytes=source.mail_max_bytes,
        max_vcon_bytes=source.vcon_max_bytes if KINDS[source.kind].sends_vcons else 0,
        public_url=url,
        tolerance=tolerance,
    )


def _secrets(source: SourceConfig, kind: type[T]) -> tuple[T, ...]:
    files = (source.secret_file, source.previous_secret_file)
    return tuple(_secret(source.name, file, kind) for file in files if file is not None)


def _shared(source: SourceConfig, sender: Sender) -> tuple[SharedSecret, ...]:
    """Return what may be sent in the path or by HTTP Basic; of a kind that signs since lately, for those before."""
    if sender is Sender.SECRET or source.secret_in_path:
        return _secrets(source, SharedSecret)
    return ()


def _verify_token(source: SourceConfig) -> SharedSecret | None:
    file = source.verify_token_file
    return None if file is None else _secret(source.name, file, SharedSecret)


def _post_key(source: SourceConfig) -> PostKey | None:
    file = source.signing_key_file
    if file is None:
        return None
    try:
        return KEYS[source.kind](read_secret("signing_key_file", file))
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error.detail}") from None


def _sns(source: SourceConfig) -> SnsDoor:
    """Return what takes messages of the source's topics: SNS is asked in their regions, unless it is said where."""
    regions = {match["region"] for one in source.topics if (match := TOPIC.fullmatch(one))}
    usual = [Origin("https", f"sns.{region}.amazonaws.com", 443) for region in regions]
    authority = source.fetch_certificate_authority
    rules = FetchRules(
        origins=dict.fromkeys(source.fetch_origins or usual),
        networks=source.fetch_networks,
        tls=None if authority is None else trusting("fetch_certificate_authority", authority),
    )
    return SnsDoor(source=source.name, topics=frozenset(source.topics), rules=rules)


def _secret(source: str, file: Path, kind: type[T]) -> T:
    try:
        return kind.parse(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the secret of source {source} cannot be read from {file}"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error.detail}") from None
