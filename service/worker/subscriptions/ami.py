"""The line to a manager of Asterisk (AMI), on which it tells call detail records."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.domain.errors import InvalidInputError, UnavailableError
from service.sources.asterisk_ami import (
    BlockReader,
    fields_of,
    format_action,
    is_event,
    is_response,
)
from service.worker.subscriptions.line import Patience, RefusedError, Told

EVENT: Final = "Cdr"
_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """Where a manager is, and as whom we log in. Without ``tls`` it is on this machine."""

    host: str
    port: int
    user: str
    secret: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@asynccontextmanager
async def manager_line(
    manager: Manager, clock: Callable[[], datetime], patience: Patience
) -> AsyncIterator["ManagerLine"]:
    """Open a line to a manager.

    Raises:
        RefusedError: It does not know the user or the secret.
        UnavailableError: It does not answer, or not as a manager does.
    """
    try:
        async with asyncio.timeout(patience.connect.total_seconds()):
            reader, writer = await asyncio.open_connection(
                manager.host, manager.port, ssl=manager.tls
            )
    except (OSError, TimeoutError) as error:
        raise UnavailableError(f"no connection ({type(error).__name__})") from None
    try:
        line = ManagerLine(reader, writer, clock, patience)
        await line.log_in(manager)
        yield line
    finally:
        # Not waited for: one that stalls would hold up whoever leaves.
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@dataclass(slots=True)
class ManagerLine:
    """An open line to a manager. Implements ``Line``."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    clock: Callable[[], datetime]
    patience: Patience
    heard_at: datetime = field(init=False)
    _read_at: datetime = field(init=False)
    _told: BlockReader = field(default_factory=BlockReader, init=False)
    _blocks: deque[bytes] = field(default_factory=deque, init=False, repr=False)
    _silent_since: float = field(init=False)
    _is_asked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.heard_at = self._read_at = self.clock()
        self._silent_since = _now()

    async def log_in(self, manager: Manager) -> None:
        """Log in, and be told of call detail records alone.

        Raises:
            RefusedError: It does not know the user or the secret.
            UnavailableError: It does not answer, or not as a manager does.
        """
        self._send(Action="Login", Username=manager.user, Secret=manager.secret, Events="cdr")
        try:
            async with asyncio.timeout(self.patience.connect.total_seconds()):
                while not is_response(answer := await self._next()):
                    # Told before we are let in: nothing that is for us.
                    pass
        except TimeoutError:
            raise UnavailableError("no answer to the login") from None
        if _read(answer).get("response", "").lower() != "success":
            raise RefusedError("the manager refuses ami_user, or its secret")
        self.heard_at = self._read_at

    async def _next(self) -> bytes:
        while not self._blocks:
            await self._take()
        return self._blocks.popleft()

    async def receive(self) -> Told | None:
        """Return the next call detail record, as ``Line`` promises."""
        if block := self._next_record():
            return Told(block, block)
        # What was handed out is taken by now. What is begun may have been told before.
        if self._told.is_between:
            self.heard_at = self._read_at
        try:
            async with asyncio.timeout(self.patience.look.total_seconds()):
                await self._take()
        except TimeoutError:
            self._ask_for_life()
            return None
        block = self._next_record()
        return Told(block, block) if block else None

    async def missed(self, since: datetime) -> Sequence[Told]:
        """Return nothing: a manager tells nothing twice."""
        del since
        return ()

    def _next_record(self) -> bytes | None:
        while self._blocks:
            block = self._blocks.popleft()
            if is_event(block, EVENT):
                return block
        return None

    async def _take(self) -> None:
        """Wait for bytes, and tell the blocks in them apart.

        Raises:
            UnavailableError: The line is lost, or what speaks is no manager.
        """
        try:
            data = await self.reader.read(_READ_BYTES)
        except OSError as error:
            raise UnavailableError(f"the line is lost ({type(error).__name__})") from None
        if not data:
            raise UnavailableError("the manager hung up")
        self._read_at, self._silent_since, self._is_asked = self.clock(), _now(), False
        try:
            self._blocks.extend(self._told.feed(data))
        except InvalidInputError as error:
            raise UnavailableError(error.detail) from None

    def _ask_for_life(self) -> None:
        """Ask for a sign of life where there was none for a while.

        Raises:
            UnavailableError: There has been none for too long.
        """
        silent = _now() - self._silent_since
        if silent >= self.patience.lost.total_seconds():
            raise UnavailableError("the manager fell silent")
        if silent >= self.patience.ask.total_seconds() and not self._is_asked:
            self._send(Action="Ping")
            self._is_asked = True

    def _send(self, **fields: str) -> None:
        self.writer.write(format_action(**fields))


def _read(block: bytes) -> dict[str, str]:
    try:
        return dict(fields_of(block))
    except InvalidInputError as error:
        raise UnavailableError(error.detail) from None


def _now() -> float:
    return asyncio.get_running_loop().time()
