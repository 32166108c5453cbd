"""Builds what asks others outside: every witness, and the timestamp authority."""

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from service.config.sections import WitnessConfig
from service.domain.errors import InvalidInputError
from service.log import timestamp, witness
from service.wiring import Archive, timestamp_trust
from service.worker.checkpoints import LogKeeper
from service.worker.outside import Address, Asking
from service.worker.timestamps import Stamper
from service.worker.witnesses import WitnessAsker

_WITNESS_TYPE: Final = "text/plain; charset=utf-8"


def asking_outside(
    archive: Archive, keeper: LogKeeper, clock: Callable[[], datetime]
) -> tuple[Asking, ...]:
    """Return what asks each witness and the authority that are configured; ``keeper`` wakes it.

    Raises:
        InvalidInputError: A file that the configuration names cannot be used.
    """
    asking = [_witness(archive, keeper, one, clock) for one in archive.config.witnesses]
    stamping = _stamping(archive, keeper, clock)
    if stamping is not None:
        asking.append(stamping)
    keeper.on_release.extend(one.wake for one in asking)
    return tuple(asking)


class Troubled(Protocol):
    """What depends on somebody outside."""

    @property
    def name(self) -> str:
        """What it is called among the warnings."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why the last time failed, in words; None where it did not."""
        ...


def troubles(asking: Sequence[Troubled]) -> Mapping[str, Callable[[], Awaitable[str | None]]]:
    """Return by name what tells why the last time that something was asked failed, or None where it did not."""
    return {one.name: partial(_trouble, one) for one in asking}


async def _trouble(one: Troubled) -> str | None:
    return one.trouble


def _witness(
    archive: Archive, keeper: LogKeeper, config: WitnessConfig, clock: Callable[[], datetime]
) -> Asking:
    address = Address(
        f"{config.url}/add-checkpoint",
        _WITNESS_TYPE,
        witness.MAX_ANSWER_BYTES,
        _tls(config.certificate_authority),
    )
    asker = WitnessAsker(
        key=config.key,
        post=address.post,
        keeper=keeper,
        vouched=archive.verifier.published.vouched,
        store=archive.stores.store,
        clock=clock,
    )
    return Asking(f"witness {config.key.name}", asker.ask)


def _stamping(
    archive: Archive, keeper: LogKeeper, clock: Callable[[], datetime]
) -> Asking | None:
    log = archive.config.log
    trust = timestamp_trust(archive.config, policy=log.timestamp_policy or None)
    if log.timestamp_url is None or trust is None:
        return None
    address = Address(log.timestamp_url, timestamp.REQUEST_TYPE, timestamp.MAX_ANSWER_BYTES)
    stamper = Stamper(
        trust=trust,
        post=address.post,
        keeper=keeper,
        vouched=archive.verifier.published.vouched,
        outside=log.anchor_directory,
        every=timedelta(minutes=log.timestamp_minutes),
        clock=clock,
    )
    return Asking("timestamps", stamper.ask)


def _tls(authority: Path | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"[[witnesses]] certificate_authority: {authority} cannot be used: {error}"
        ) from error
