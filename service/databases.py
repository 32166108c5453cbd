"""Opens the database and the key store that the settings name, whatever engine that is."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Final, Protocol

from service.config import Config, PostgresUrl, StorageUrl
from service.domain.errors import InvalidInputError
from storage.database.keys import SqliteKeyStore
from storage.database.sqlite import SqliteStore
from storage.ports import KeyStore, LogStore, Scrub, Store
from storage.soundness import Soundness

KEY_STORE: Final = "keys.db"
Publishes = Callable[[], Awaitable[bool]]


async def always() -> bool:
    """Say yes."""
    return True


class RowsAndLog(Store, LogStore, Scrub, Protocol):
    """What keeps rows and log together, and can scrub both."""


async def is_database_there(config: Config) -> bool:
    """Tell whether there is an archive in the database.

    Raises:
        storage.errors.UnavailableError: Its server cannot be asked.
    """
    database = config.storage.database
    if isinstance(database, StorageUrl):
        return database.path.exists()
    with _driver():
        from storage.database.postgres.store import PostgresStore  # noqa: PLC0415  # see `_driver`
    return await PostgresStore.is_there(database.url)


async def open_store(
    config: Config, stack: AsyncExitStack, *, create: bool, soundness: Soundness
) -> tuple[RowsAndLog, Publishes]:
    """Open the store, and say how to ask whether this process publishes its log."""
    database = config.storage.database
    if isinstance(database, StorageUrl):
        opening = SqliteStore.opened(database.path, create=create, soundness=soundness)
        return await stack.enter_async_context(opening), always
    with _driver():
        from storage.database.postgres.store import SCHEMA, PostgresStore  # noqa: PLC0415  # see `_driver`
        from storage.database.postgres.turn import PublishingTurn  # noqa: PLC0415  # as above
    store = await stack.enter_async_context(PostgresStore.opened(database.url, create=create))
    turn = await stack.enter_async_context(PublishingTurn.opened(database.url, schema=SCHEMA))
    return store, turn.is_mine


def key_place(config: Config) -> StorageUrl | PostgresUrl:
    """Return where the key store is: where the settings say, or beside the database."""
    place = config.storage.keys
    if place is not None:
        return place
    if isinstance(config.storage.database, PostgresUrl):
        return config.storage.database
    return StorageUrl("sqlite", config.archive.directory / KEY_STORE)


def opened_keys(
    config: Config, *, create: bool, soundness: Soundness
) -> AbstractAsyncContextManager[KeyStore]:
    """Return the key store, to be opened and closed."""
    place = key_place(config)
    if isinstance(place, StorageUrl):
        return SqliteKeyStore.opened(place.path, create=create, soundness=soundness)
    with _driver():
        from storage.database.postgres.keys import PostgresKeyStore  # noqa: PLC0415  # see `_driver`
    return PostgresKeyStore.opened(place.url, create=create)


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


@contextmanager
def _driver() -> Iterator[None]:
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
