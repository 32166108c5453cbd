"""Where stores of backups come from and go to, by engine: files of SQLite, or schemas of a PostgreSQL server."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from service.backup.bringing_up import OpenSite, Rows, Site, Sites
from service.backup.restore import Target
from service.config import Config, PostgresUrl, StorageUrl
from service.databases import driver, key_place
from storage.database.keys import SqliteKeyStore
from storage.database.snapshot import SqliteSnapshots
from storage.database.sqlite import SqliteStore
from storage.migrations import ARCHIVE, KEYS
from storage.ports import KeyStore, Snapshots
from storage.tables import ARCHIVE as ARCHIVE_TABLES
from storage.tables import KEYS as KEY_TABLES

if TYPE_CHECKING:
    from storage.database.postgres.snapshot import PostgresSnapshots

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
T = TypeVar("T")


class Claim(Protocol):
    """A place on a server that is restored into, and that nobody else may open until then."""

    @property
    def place(self) -> str:
        """Where it is; there is no password in it."""
        ...

    async def require_empty(self) -> None:
        """Refuse a place where something is.

        Raises:
            ConflictError: Something is there. It was kept.
        """
        ...

    async def take(self) -> None:
        """Let nobody else open it, and remove what a restore left there; raises as ``require_empty``."""
        ...

    async def give_up(self) -> None:
        """Let it be as empty as it was."""
        ...

    async def release(self) -> None:
        """Let everybody open it."""
        ...


def snapshots_of(config: Config) -> tuple[Snapshots, Snapshots]:
    """Return what copies the rows and the keys of the archive."""
    return _rows_at(config.storage.database), _keys_at(key_place(config))


def temporary_sites(config: Config) -> Sites:
    """Return how backups are brought up for a while; those of PostgreSQL beside the databases of the settings."""
    rows: dict[str, OpenSite[Rows]] = {SQLITE: _rows_in}
    keys: dict[str, OpenSite[KeyStore]] = {SQLITE: _keys_in}
    if isinstance(config.storage.database, PostgresUrl):
        rows[POSTGRESQL] = partial(_on_server, config.storage.database, _rows_site)
    if isinstance(place := key_place(config), PostgresUrl):
        # Wrapped keys never get to another server, whose own copies are kept longer perhaps.
        keys[POSTGRESQL] = partial(_on_server, place, _keys_site)
    return Sites(rows, keys)


def sites_of_restore(config: Config, staged: Target) -> tuple[Site[Rows], Site[KeyStore]]:
    """Return where a restore to ``staged`` puts rows and keys."""
    scratch_in = staged.directory
    rows = (
        StorageUrl(SQLITE, staged.rows) if staged.rows is not None else config.storage.database
    )
    keys = StorageUrl(SQLITE, staged.keys) if staged.keys is not None else key_place(config)
    return _rows_site(rows, scratch_in), _keys_site(keys, scratch_in)


@asynccontextmanager
async def claims_of(config: Config) -> AsyncIterator[Sequence[Claim]]:
    """Open what is claimed by a restore on servers, for the block; nothing where rows and keys are files.

    Raises:
        UnavailableError: Somebody else restores there now, or the server cannot be reached.
    """
    async with AsyncExitStack() as stack:
        schemas = []
        if isinstance(config.storage.database, PostgresUrl):
            schemas.append(_schema_of_rows(config.storage.database))
        if isinstance(place := key_place(config), PostgresUrl):
            schemas.append(_schema_of_keys(place))
        yield [await stack.enter_async_context(_claim_of(schema)) for schema in schemas]


def _claim_of(schema: "PostgresSnapshots") -> AbstractAsyncContextManager[Claim]:
    from storage.database.postgres.restoring import Claim as ClaimOfSchema  # noqa: PLC0415  # see `driver`

    return ClaimOfSchema.opened(schema.server)


def held_for_backup(config: Config) -> AbstractAsyncContextManager[bool]:
    """Tell for a block whether this process may make the daily backup: of those that share a database, one may."""
    database = config.storage.database
    if isinstance(database, StorageUrl):
        return nullcontext(True)  # noqa: FBT003  # what the block is told
    with driver():
        from storage.database.postgres.held import held_alone  # noqa: PLC0415  # see `driver`
        from storage.database.postgres.locks import Lock  # noqa: PLC0415  # as above
    return held_alone(_schema_of_rows(database).server, Lock.BACKING_UP)


def _rows_at(place: StorageUrl | PostgresUrl) -> Snapshots:
    if isinstance(place, PostgresUrl):
        return _schema_of_rows(place)
    return SqliteSnapshots(place.path, ARCHIVE, ARCHIVE_TABLES)


def _keys_at(place: StorageUrl | PostgresUrl) -> Snapshots:
    if isinstance(place, PostgresUrl):
        return _schema_of_keys(place)
    return SqliteSnapshots(place.path, KEYS, KEY_TABLES)


def _schema_of_rows(place: PostgresUrl) -> "PostgresSnapshots":
    with driver():
        from storage.database.postgres.server import Server  # noqa: PLC0415  # see `driver`
        from storage.database.postgres.snapshot import PostgresSnapshots  # noqa: PLC0415  # as above
        from storage.database.postgres.store import SCHEMA  # noqa: PLC0415  # as above
    server = Server(place.url, SCHEMA, is_restoring=place.is_restoring)
    return PostgresSnapshots(server, ARCHIVE, ARCHIVE_TABLES)


def _schema_of_keys(place: PostgresUrl) -> "PostgresSnapshots":
    with driver():
        from storage.database.postgres.keys import SCHEMA  # noqa: PLC0415  # see `driver`
        from storage.database.postgres.server import Server  # noqa: PLC0415  # as above
        from storage.database.postgres.snapshot import PostgresSnapshots  # noqa: PLC0415  # as above
    return PostgresSnapshots(
        Server(place.url, SCHEMA, is_restoring=place.is_restoring), KEYS, KEY_TABLES
    )


def _rows_site(place: StorageUrl | PostgresUrl, scratch_in: Path) -> Site[Rows]:
    if isinstance(place, StorageUrl):
        opened: Callable[[], AbstractAsyncContextManager[Rows]] = partial(
            SqliteStore.opened, place.path, create=False
        )
        return Site(_rows_at(place), place.path.parent, opened)
    with driver():
        from storage.database.postgres.store import PostgresStore  # noqa: PLC0415  # see `driver`
    opened = partial(
        PostgresStore.opened, place.url, create=False, is_restoring=place.is_restoring
    )
    return Site(_rows_at(place), scratch_in, opened, carries_out=True)


def _keys_site(place: StorageUrl | PostgresUrl, scratch_in: Path) -> Site[KeyStore]:
    if isinstance(place, StorageUrl):
        opened: Callable[[], AbstractAsyncContextManager[KeyStore]] = partial(
            SqliteKeyStore.opened, place.path, create=False
        )
        return Site(_keys_at(place), place.path.parent, opened)
    with driver():
        from storage.database.postgres.keys import PostgresKeyStore  # noqa: PLC0415  # see `driver`
    opened = partial(
        PostgresKeyStore.opened, place.url, create=False, is_restoring=place.is_restoring
    )
    return Site(_keys_at(place), scratch_in, opened, carries_out=True)


@asynccontextmanager
async def _rows_in(folder: Path) -> AsyncIterator[Site[Rows]]:
    yield _rows_site(StorageUrl(SQLITE, folder / "rows.db"), folder)


@asynccontextmanager
async def _keys_in(folder: Path) -> AsyncIterator[Site[KeyStore]]:
    yield _keys_site(StorageUrl(SQLITE, folder / "keys.db"), folder)


@asynccontextmanager
async def _on_server(
    place: PostgresUrl, site: Callable[[PostgresUrl, Path], Site[T]], folder: Path
) -> AsyncIterator[Site[T]]:
    with driver():
        from storage.database.postgres.temporary import temporary_database  # noqa: PLC0415  # see `driver`
    async with temporary_database(place.url) as url:
        yield site(PostgresUrl(url), folder)
