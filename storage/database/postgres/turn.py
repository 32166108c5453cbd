"""Whose turn it is, of the processes that share a database, to do what only one may do at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

import asyncpg

from storage.database.postgres.locks import Lock
from storage.database.postgres.server import LOST, Server, Session, unavailable

PATIENCE_SECONDS: Final = 60.0
"""Who has the turn and does not ask for so long is frozen: the system answers keepalives for it."""

# A lock of the session: it ends with the connection, however that ends.
_TAKE: Final = (
    "SELECT pg_try_advisory_lock({}) FROM set_config('idle_session_timeout', $1, false)"
)
_STILL: Final = "SELECT 1"


class Turn:
    """The turn to do something. Who has it keeps it until it is given back, or its process ends or loses the server.

    Nor does a process that stands still keep it. So what is done in turn must not mind that somebody else has begun.

    No connection is made before somebody asks.
    """

    def __init__(self, server: Server, lock: Lock) -> None:
        self._session = Session(server)
        self._take = _TAKE.format(lock.keys)
        self._is_mine = False

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, *, schema: str, lock: Lock) -> AsyncIterator[Self]:
        """Give the turn back on leaving the block."""
        turn = cls(Server(url, schema), lock)
        try:
            yield turn
        finally:
            await turn._session.drop()

    async def is_mine(self) -> bool:
        """Tell whether this process has the turn, taking it when nobody else has.

        Raises:
            UnavailableError: The server cannot be asked. Somebody else may have it by now.
        """
        async with self._session.turn():
            try:
                return await self._asked()
            except (*LOST, asyncpg.PostgresError, asyncio.CancelledError) as error:
                self._is_mine = False
                await self._session.drop()
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise unavailable(error) from None

    async def give_back(self) -> None:
        """Let somebody else have the turn. Asking for it again may take it again."""
        async with self._session.turn():
            self._is_mine = False
            await self._session.drop()

    async def _asked(self) -> bool:
        known = self._session.is_connected
        db = await self._session.connection()
        if known and self._is_mine:
            await db.execute(_STILL)
        else:
            patience = f"{PATIENCE_SECONDS * 1000:.0f}"
            ((self._is_mine,),) = await db.fetch(self._take, patience)
        return self._is_mine
