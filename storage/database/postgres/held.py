"""Connections and locks that one process holds for as long as it works; they end with it, however it ends."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncpg

from storage.database.postgres.locks import Lock
from storage.database.postgres.server import LOST, Db, Server, translated

# Long work goes on beside the connection, and a limit that an administrator set for other uses would end it.
_PATIENT: Final = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN "
    "('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout', 'statement_timeout')"
)
PATIENCE_SECONDS: Final = 6 * 3600.0


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise what the driver says in the block as an error of storage."""
    try:
        yield
    except (*LOST, asyncpg.PostgresError) as error:
        raise translated(error) from None


@asynccontextmanager
async def patient_connection(server: Server) -> AsyncIterator[Db]:
    """Connect for the block, and for as long as that takes.

    Raises:
        UnavailableError: The server cannot be reached.
    """
    db = await connect_patiently(server)
    try:
        yield db
    finally:
        db.terminate()


async def connect_patiently(server: Server) -> Db:
    """Return a connection for as long as that takes; raises as ``patient_connection``."""
    db = await server.connect(statement_seconds=PATIENCE_SECONDS)
    try:
        with in_our_words():
            await db.execute(_PATIENT)
    except BaseException:
        db.terminate()
        raise
    return db


@asynccontextmanager
async def held_alone(server: Server, lock: Lock) -> AsyncIterator[bool]:
    """Tell for the block whether this process is the only one that holds ``lock`` of the schema.

    Raises:
        UnavailableError: The server cannot be reached.
    """
    async with patient_connection(server) as db:
        with in_our_words():
            ((is_mine,),) = await db.fetch(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", lock, server.schema
            )
        yield bool(is_mine)
