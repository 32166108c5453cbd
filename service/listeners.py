"""What listens to sources, put together from the settings: who may send, and with which secrets it is checked."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from service.archive.receive import Intake, Kept
from service.config import Config, SourceConfig
from service.domain.errors import InvalidInputError
from service.http.frame import RecognisesTokens
from service.http.limits import DELIVERIES, UPLOADS, Room
from service.intake.app_keys import (
    INTAKE,
    LISTENERS,
    MAX_DELIVERY_BYTES,
    OFFER,
    REFUSALS,
    TOKENS,
    Listener,
)
from service.intake.listening import Listeners
from service.intake.refusals import Refusals
from service.intake.shared_secret import SharedSecret
from service.intake.standard_webhooks import WebhookSecret
from service.sources.kinds import KINDS, Sender

T = TypeVar("T", WebhookSecret, SharedSecret)


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
    app[UPLOADS] = Room(config.limits.uploads_at_once)
    return listeners


def _listeners(config: Config) -> Mapping[str, Listener]:
    tolerance = timedelta(seconds=config.intake.tolerance_seconds)
    return {
        source.name: _listener(source, KINDS[source.kind].sender, tolerance)
        for source in config.sources
    }


def _listener(source: SourceConfig, sender: Sender, tolerance: timedelta) -> Listener:
    return Listener(
        source.name,
        sender,
        secrets=_secrets(source, WebhookSecret) if sender is Sender.SIGNATURE else (),
        shared=_secrets(source, SharedSecret) if sender is Sender.SECRET else (),
        tolerance=tolerance,
    )


def _secrets(source: SourceConfig, kind: type[T]) -> tuple[T, ...]:
    files = (source.secret_file, source.previous_secret_file)
    return tuple(_secret(source.name, file, kind) for file in files if file is not None)


def _secret(source: str, file: Path, kind: type[T]) -> T:
    try:
        return kind.parse(file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the secret of source {source} cannot be read from {file}"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error.detail}") from None
