"""Reaching a PostgreSQL server: one connection that is made anew when lost, and what its errors mean to the archive."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.exceptions import DataError as ServerDataError

from storage.database.postgres.hosts import first_of, hosts_of
from storage.errors import ConflictError, FullError, StorageError, UnavailableError

T = TypeVar("T")


class Db(Protocol):
    """What is used of a connection of the driver, which declares no types."""

    async def execute(self, sql: str, *values: object) -> str:
        """Run a statement; return what the server says that it did."""
        ...

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Run a statement; return its rows."""
        ...

    def is_closed(self) -> bool:
        """Tell whether the connection is gone."""
        ...

    def terminate(self) -> None:
        """Close it at once."""
        ...

    def add_log_listener(self, callback: Callable[[Any, Any], None]) -> None:
        """Call ``callback`` with each warning of the server."""
        ...

    def remove_log_listener(self, callback: Callable[[Any, Any], None]) -> None:
        """Do so no longer."""
        ...


OLDEST: Final = 140_000
"""PostgreSQL 14: the oldest on which ``idle_in_transaction_session_timeout`` and the rest are what we rely on."""

CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 10.0

# What every connection asks of the server, whatever its own configuration says.
_SETTINGS: Final = {
    # Under the log's lock a transaction must see what others have committed meanwhile, whatever the server's default.
    "default_transaction_isolation": "read committed",
    # Waiting for another writer, or for one that hangs, ends; so does a transaction whose process is gone or frozen.
    "lock_timeout": "6s",
    "idle_in_transaction_session_timeout": "20s",
    # A commit that was not replicated as it should have been says so in a warning.
    "client_min_messages": "warning",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Compiling a statement takes longer than any of ours runs.
    "jit": "off",
}

REFUSED: Final = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ServerDataError,
    asyncpg.exceptions._base.DataError,  # noqa: SLF001  # its public name is hidden by the server's class 22
    TypeError,
    AttributeError,
    OverflowError,
    UnicodeError,
)
"""What can be wrong with a value that was handed over."""

RETRIED: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What another attempt mends: class 40 of the SQL standard, "transaction rollback"."""

LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""After these the connection is not used again: it is gone, or leads to a server that cannot write."""


_NOT_CONNECTED: Final = (asyncpg.ClientConfigurationError, OverflowError)
"""A URL that cannot be used as it is, noticed only on connecting."""


@dataclass(slots=True)
class Losses:
    """How often a connection to a server was lost."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the tables are: a URL and a schema; and what is known of its losses, for all sessions that share it.

    ``is_restoring`` while this process restores a backup into the schema.
    """

    url: str = field(repr=False)
    schema: str
    losses: Losses = field(default_factory=Losses, repr=False, compare=False)
    is_restoring: bool = False
    application: str = "taltio"

    async def connect(self, *, statement_seconds: float = STATEMENT_SECONDS) -> Db:
        """Connect to the server, of several to one that takes writes.

        A statement that takes longer than ``statement_seconds`` is given up.

        Raises:
            UnavailableError: There is none, or it does not keep safe what it says that it has stored.
        """
        # The driver has one time limit for all hosts together, and one that is frozen would use it up.
        attempts = [
            partial(self._connect, statement_seconds, host=host.name, port=host.port)
            for host in hosts_of(self.url)
        ]
        try:
            return await first_of(attempts, discard=lambda db: db.terminate())
        except (*LOST, *_NOT_CONNECTED, asyncpg.PostgresError) as error:
            raise _unreachable(error) from None

    async def _connect(self, statement_seconds: float, *, host: str, port: int) -> Db:
        # The ordinary rule of a server that replicates or not is its own; off would lose what was acknowledged.
        query = parse_qs(urlsplit(self.url).query)
        settings = {
            **_SETTINGS,
            "application_name": self.application,
            "search_path": self.schema,
            "synchronous_commit": query.get("synchronous_commit", ["on"])[-1],
        }
        db: Db = await asyncpg.connect(
            self.url,
            host=host,
            port=port,
            timeout=CONNECT_SECONDS,
            command_timeout=statement_seconds,
            statement_cache_size=1024,
            max_cached_statement_lifetime=0,
            server_settings=settings,
            target_session_attrs=query.get("target_session_attrs", ["read-write"])[-1],
        )
        try:
            await _require_safe(db)
        except BaseException:
            db.terminate()
            raise
        return db


async def _require_safe(db: Db) -> None:
    """Refuse a server that acknowledges what it has not stored, or that would store text otherwise than we give it.

    Asked of every connection: after a fail-over, or a restart, it may be another server with settings of its own.
    """
    wanted = {"fsync": "on", "full_page_writes": "on", "server_encoding": "UTF8"}
    names = ", ".join(f"current_setting('{name}')" for name in (*wanted, "server_version_num"))
    ((*found, version),) = await db.fetch(f"SELECT {names}")
    for (name, value), setting in zip(wanted.items(), found, strict=True):
        if setting != value:
            raise UnavailableError(f"PostgreSQL: {name} is {setting}; it must be {value}")
    if int(version) < OLDEST:
        raise UnavailableError(f"PostgreSQL {OLDEST // 10_000} or newer is needed")


def _unreachable(error: Exception) -> UnavailableError:
    """Say why no connection came about; what the system or the driver says of our own settings repeats no values."""
    called = unavailable(error)
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return UnavailableError(f"{called}: {error.strerror}{named}")
    if isinstance(error, _NOT_CONNECTED):
        return UnavailableError(f"{called}: {error}")
    return called


def unavailable(error: Exception) -> UnavailableError:
    """Say that the server cannot do it now; its own text, which may repeat values, is left out."""
    state = getattr(error, "sqlstate", None)
    called = type(error).__name__
    return UnavailableError(f"PostgreSQL: {called}" + (f" ({state})" if state else ""))


def translated(error: Exception) -> StorageError:
    """Say in the archive's words what ``error`` means. The server's text repeats values, so nothing of it is kept."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, asyncpg.UniqueViolationError):
        return ConflictError(f"the place is taken: {error.constraint_name}")
    if isinstance(error, REFUSED):
        return StorageError(f"a value cannot be stored ({type(error).__name__})")
    if isinstance(error, asyncpg.DiskFullError):
        return FullError("PostgreSQL: there is no room left")
    return unavailable(error)


class Session:
    """One connection, used by one caller at a time, and made anew when it is lost."""

    def __init__(self, server: Server, *, statement_seconds: float = STATEMENT_SECONDS) -> None:
        self.server = server
        self._statement_seconds = statement_seconds
        self._db: Db | None = None
        self._turn = asyncio.Lock()
        self._known_losses = 0
        self._failures = 0
        self.waiting = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, server: Server) -> AsyncIterator[Self]:
        """Close the connection, if there is one, on leaving the block."""
        session = cls(server)
        try:
            yield session
        finally:
            await session.drop()

    @property
    def is_connected(self) -> bool:
        """The connection that was there before is still there, as far as one knows without asking.

        When another one to the same server was lost, it may lead to a host that answers nothing any more.
        """
        is_open = self._db is not None and not self._db.is_closed()
        return is_open and self._known_losses == self.server.losses.count

    async def lose(self) -> None:
        """Forget the connection, because it leads nowhere, and let the others that share its server do so too."""
        self.server.losses.count += 1
        await self.drop()

    async def drop(self) -> None:
        """Forget the connection without asking the server, which may not answer."""
        if self._db is not None:
            self._db.terminate()
            self._db = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until nobody else uses the connection, and keep them waiting inside the block.

        Raises:
            UnavailableError: The server was lost meanwhile. Each of many would wait for it anew, one after the other.
        """
        self.waiting += 1
        failures = self._failures
        try:
            async with self._turn:
                if self._failures != failures and not self.is_connected:
                    raise UnavailableError("PostgreSQL: lost a moment ago")
                yield
        finally:
            self.waiting -= 1

    async def connection(self) -> Db:
        """Return the connection, within a turn; a new one if the last is gone.

        Raises:
            UnavailableError: There is no server.
        """
        if self._db is None or not self.is_connected:
            await self.drop()
            try:
                self._known_losses = self.server.losses.count
                self._db = await self.server.connect(statement_seconds=self._statement_seconds)
            except UnavailableError:
                self._failures += 1
                raise
        return self._db

    async def run(self, step: Callable[[Db], Awaitable[T]]) -> T:
        """Do ``step``, which may be done twice: once more where the connection turns out to be lost.

        Raises:
            StorageError: What went wrong. A step that writes may have happened all the same, and must not mind.
        """
        async with self.turn():
            for is_last in (False, True):
                try:
                    return await self._once(step)
                except REFUSED as error:
                    raise translated(error) from None
                except (*LOST, *RETRIED) as error:
                    if is_last:
                        self._failures += 1
                        raise translated(error) from None
                except asyncpg.PostgresError as error:
                    raise translated(error) from None
        raise AssertionError("unreachable")

    async def _once(self, step: Callable[[Db], Awaitable[T]]) -> T:
        db = await self.connection()
        try:
            return await step(db)
        except (*REFUSED, *RETRIED, StorageError):
            raise
        except LOST:
            await self.lose()
            raise
        except asyncio.CancelledError:
            # In the middle of an exchange, the connection may still wait for what nobody reads.
            await self.drop()
            raise


@asynccontextmanager
async def transaction(db: Db, lock: str) -> AsyncIterator[None]:
    """Commit what the block does; or nothing of it, if it fails. ``lock`` is a statement that comes first.

    Raises:
        UnavailableError: The server rolled back what it was asked to commit, or may lose it again.
    """
    try:
        await db.execute(f"BEGIN; {lock}")
        yield
    except BaseException:
        await roll_back(db)
        raise
    with durably(db):
        if await db.execute("COMMIT") != "COMMIT":
            raise UnavailableError("PostgreSQL: the transaction had failed")


class NotDurableError(UnavailableError):
    """The server committed, and warned: somebody ended the wait for the standbys, so a fail-over may lose it."""


@contextmanager
def durably(db: Db) -> Iterator[None]:
    """Commit inside the block; a commit that comes with a warning is none ("Synchronous Replication" in its manual).

    Raises:
        NotDurableError: There was one.
    """
    warnings: list[object] = []

    def heard(_: object, message: object) -> None:
        warnings.append(message)

    db.add_log_listener(heard)
    try:
        yield
    finally:
        db.remove_log_listener(heard)
    if warnings:
        raise NotDurableError(
            "PostgreSQL: committed, but not by every standby that was to be waited for"
        )


async def roll_back(db: Db) -> None:
    """End the transaction without it; a connection that cannot even do that is closed."""
    try:
        await db.execute("ROLLBACK")
    except (*LOST, asyncpg.PostgresError):
        db.terminate()
