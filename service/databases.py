"""Opens the database and the key store that the settings name, whatever engine that is."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from service.config import Config, PostgresUrl, StorageUrl
from service.domain.errors import InvalidInputError
from storage.database.keys import SqliteKeyStore
from storage.database.older import copy_older, remove_copies
from storage.database.sqlite import SqliteStore
from storage.ports import KeyStore, LogStore, News, Scrub, Store, Turn
from storage.soundness import Soundness

KEY_STORE: Final = "keys.db"
UPGRADE_DIRECTORY: Final = "upgrade"
_log: Final = logging.getLogger("taltio")


class Alone:
    """The turn of a process that shares its store with no other. Implements ``Turn``."""

    async def is_mine(self) -> bool:
        """Say yes."""
        return True

    async def give_back(self) -> None:
        """Keep it: nobody else would take it."""


class RowsAndLog(Store, LogStore, News, Scrub, Protocol):
    """What keeps rows and log together, tells others of them, and can scrub both."""


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store, and whose turn it is, of the processes that share it, to publish its log and to work beside requests."""

    store: RowsAndLog
    publishing: Turn
    working: Turn


async def is_database_there(config: Config) -> bool:
    """Tell whether there is an archive in the database.

    Raises:
        storage.errors.UnavailableError: Its server cannot be asked.
    """
    database = config.storage.database
    if isinstance(database, StorageUrl):
        return database.path.exists()
    with driver():
        from storage.database.postgres.store import PostgresStore  # noqa: PLC0415  # see `driver`
    return await PostgresStore.is_there(database.url)


async def open_store(
    config: Config, stack: AsyncExitStack, *, create: bool, soundness: Soundness
) -> OpenedStore:
    """Open the store, and what tells whose turn it is."""
    database = config.storage.database
    if isinstance(database, StorageUrl):
        opening = SqliteStore.opened(database.path, create=create, soundness=soundness)
        return OpenedStore(await stack.enter_async_context(opening), Alone(), Alone())
    with driver():
        from storage.database.postgres.locks import Lock  # noqa: PLC0415  # as above
        from storage.database.postgres.store import SCHEMA, PostgresStore  # noqa: PLC0415  # see `driver`
        from storage.database.postgres.turn import Turn  # noqa: PLC0415  # as above
    opened = PostgresStore.opened(
        database.url, create=create, is_restoring=database.is_restoring
    )
    store = await stack.enter_async_context(opened)
    turns = [
        await stack.enter_async_context(Turn.opened(database.url, schema=SCHEMA, lock=lock))
        for lock in (Lock.PUBLISHING, Lock.WORKING)
    ]
    return OpenedStore(store, *turns)


def opened_keys(
    config: Config, *, create: bool, soundness: Soundness
) -> AbstractAsyncContextManager[KeyStore]:
    """Return the key store, to be opened and closed: where the settings say, or beside the database."""
    place = key_place(config)
    if isinstance(place, StorageUrl):
        return SqliteKeyStore.opened(place.path, create=create, soundness=soundness)
    with driver():
        from storage.database.postgres.keys import PostgresKeyStore  # noqa: PLC0415  # see `driver`
    return PostgresKeyStore.opened(place.url, create=create, is_restoring=place.is_restoring)


def key_place(config: Config) -> StorageUrl | PostgresUrl:
    """Return where the key store is: where the settings say, or beside the database."""
    storage = config.storage
    if storage.keys is not None:
        return storage.keys
    if isinstance(storage.database, PostgresUrl):
        return storage.database
    return StorageUrl("sqlite", config.archive.directory / KEY_STORE)


def scrub_of(store: Scrub, keys: KeyStore) -> Scrub:
    """Return what scrubs both; a key store that overwrites at once what it destroys has nothing to scrub."""
    return _Scrubs([store, keys] if isinstance(keys, Scrub) else [store])


class _Scrubs:
    """Scrubs one store after the other."""

    def __init__(self, stores: Sequence[Scrub]) -> None:
        self._stores = stores

    async def scrub(self) -> None:
        """Do as the port says."""
        for store in self._stores:
            await store.scrub()


def copy_older_archive(config: Config, *, now: datetime) -> None:
    """Copy an archive that an older program wrote. On PostgreSQL that is left to its own tools.

    Raises:
        storage.errors.UnavailableError: It cannot be copied, and so may not be brought forward.
    """
    database, keys = config.storage.database, config.storage.keys
    is_file = isinstance(database, StorageUrl)
    beside = config.archive.directory / KEY_STORE if keys is None and is_file else None
    made = copy_older(
        database.path if isinstance(database, StorageUrl) else None,
        keys.path if isinstance(keys, StorageUrl) else beside,
        _copies(config),
        now=now,
    )
    if made is not None:
        _log.warning("upgrade.copied", extra={"directory": str(made)})


def remove_upgrade_copies(config: Config, now: datetime) -> None:
    """Remove the copies that are older than a backup of the key store may be."""
    oldest = now - timedelta(days=config.backup.keep_keys_days)
    removed = remove_copies(_copies(config), made_before=oldest)
    if removed:
        _log.info("upgrade.removed", extra={"copies": removed})


def _copies(config: Config) -> Path:
    """Return where an older archive is copied to before it is brought forward."""
    return config.archive.directory / UPGRADE_DIRECTORY


@contextmanager
def driver() -> Iterator[None]:
    """Import an engine inside the block: an installation on SQLite neither has its driver nor waits for it.

    Raises:
        InvalidInputError: The driver is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            "a postgresql:// URL needs the driver asyncpg: install requirements-postgres.lock, "
            "as docs/operations.md says"
        ) from error
