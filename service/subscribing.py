"""Builds what stays connected to sources that tell events once."""

import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from service.archive.receive import Kept
from service.config import SourceConfig
from service.config.secret_files import read_secret, trusting
from service.domain.errors import InvalidInputError
from service.wiring import Archive
from service.worker.fetching.rules import FetchRules
from service.worker.subscriptions.ami import Manager, manager_line
from service.worker.subscriptions.ari import Interface, interface_line
from service.worker.subscriptions.line import Dial, Patience
from service.worker.subscriptions.subscription import Subscription


def subscriptions_of(
    archive: Archive,
    rules: Mapping[str, FetchRules],
    clock: Callable[[], datetime],
    offer: Callable[[Kept], None] | None,
    *,
    patience: Patience | None = None,
) -> tuple[Subscription, ...]:
    """Return what stays connected to each source that is configured so; ``offer`` is given what is kept.

    ``rules`` are those by which each source is reached, by its name.

    Raises:
        InvalidInputError: A file that the configuration names cannot be used; the detail names it, and nothing in it.
    """
    patient = patience or Patience()

    def subscription(source: str, what: str, kind: str, dial: Dial) -> Subscription:
        return Subscription(
            name=f"{what} {source}",
            source=source,
            kind=kind,
            cause=f"{what}_connection_lost",
            dial=dial,
            intake=archive.intake,
            turn=archive.stores.working,
            clock=clock,
            offer=offer,
        )

    found = []
    for source in archive.config.sources:
        manager = _manager(source)
        if manager is not None:
            dial: Dial = partial(manager_line, manager, clock, patient)
            found.append(subscription(source.name, "ami", "event", dial))
        if source.ari is not None:
            interface = Interface(url=source.ari, app=source.ari_app, rules=rules[source.name])
            dial = partial(interface_line, interface, clock, patient)
            found.append(subscription(source.name, "ari", "ari", dial))
    return tuple(found)


def _manager(source: SourceConfig) -> Manager | None:
    if source.ami is None or source.ami_secret_file is None:
        return None
    return Manager(
        host=source.ami.host,
        port=source.ami.port,
        user=source.ami_user,
        secret=_secret(source),
        tls=_tls(source) if source.ami_tls else None,
    )


def _secret(source: SourceConfig) -> str:
    file = source.ami_secret_file
    text = "" if file is None else read_secret("ami_secret_file", file)
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret or not secret.isprintable():
        raise InvalidInputError(f"[[sources]] ami_secret_file: {file} is not one line of text")
    return secret


def _tls(source: SourceConfig) -> ssl.SSLContext:
    authority = source.ami_certificate_authority
    if authority is None:
        return ssl.create_default_context()
    return trusting("ami_certificate_authority", authority)
