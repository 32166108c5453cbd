"""Builds what a process needs that only takes deliveries in: stores, and keys that open nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from service.access.intake_tokens import IntakeTokens
from service.access.token_marks import FIELD, TokenMarker
from service.archive.marked import AuthenticLog, Marker, MarkingStore
from service.archive.receive import Intake
from service.config import Config
from service.domain.errors import TamperedError
from service.keys.current import CurrentIntakeKeys
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.wiring import Stores, intake_of, key_provider, opened_stores
from storage.ports import LogStore


@dataclass(frozen=True, slots=True)
class ReceivingArchive:
    """What receiving needs, built and open. Nothing in it can open what it stores."""

    config: Config
    stores: Stores
    keys: CurrentIntakeKeys
    intake: Intake
    tokens: IntakeTokens


@asynccontextmanager
async def opened_receiving_archive(config: Config) -> AsyncIterator[ReceivingArchive]:
    """Build it over an archive that exists, and take it down again. No private key is read.

    Raises:
        KeysMissingError, KeysRefusedError: Intake's keys are not there, or not kept safely.
        storage.errors.StorageError: As ``opened_stores``.
    """
    try:
        keys = CurrentIntakeKeys(key_provider(config).load_intake)
    except KeysMissingError as error:
        raise KeysMissingError(
            f"{config.keys.directory} has no keys of intake. On a machine that has the archive's keys, "
            "`taltio keys intake DIR` writes what belongs there."
        ) from error
    async with opened_stores(config, create=False) as stores:
        marker = Marker(keys().index_key("log_mark"))
        await _require_ours(stores.log, marker, config)
        marking = replace(stores, store=MarkingStore(stores.store, marker))
        yield ReceivingArchive(
            config=config,
            stores=marking,
            keys=keys,
            intake=intake_of(config, marking, keys),
            tokens=IntakeTokens(
                store=marking.store, marker=TokenMarker(keys().index_key(FIELD))
            ),
        )


async def _require_ours(log: LogStore, marker: Marker, config: Config) -> None:
    """Return when the keys are this archive's: what is sealed with those of another, nobody could open.

    Raises:
        KeysRefusedError: They are not.
    """
    size = await log.log_size()
    try:
        await AuthenticLog(log, marker).log_entries(size - 1, size)
    except TamperedError as error:
        raise KeysRefusedError(
            f"the intake keys in {config.keys.directory} did not mark the newest entry of this archive's log: they are "
            "of another archive, or somebody wrote into the log (taltio verify)"
        ) from error
