"""Reading mails: the parent's side, which holds the bytes and trusts no answer."""

import asyncio
import hashlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec

from service.archive.mail_port import Keep, MailSession, RawMail
from service.domain.errors import UnavailableError
from service.sources.mail.facts import Body, Part, ReadMail
from service.worker.children import Child, Process, running, start_child
from service.worker.mail import pipe
from service.worker.mail.wire import GoneError, MisbehavedError, Wire
from service.worker.media import pipe as words

CPU_LIMIT: Final = "cpu_limit"
CRASHED: Final = "reader_crashed"
MISBEHAVED: Final = "reader_misbehaved"
NOT_IN_TIME: Final = "not_in_time"

_CRASHES: Final = frozenset(
    -one
    for one in (
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailLimits:
    """How much one mail may cost, and after how many mails a child is replaced by a fresh one."""

    cpu_seconds: int = 5
    wall_seconds: float = 60
    memory_bytes: int = 768 << 20
    mails: int = 200


@dataclass(frozen=True, slots=True)
class ChildMailReader:
    """`service.archive.mail_port.MailReader` in child processes."""

    limits: MailLimits = field(default_factory=MailLimits)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[MailSession]:
        """Return a session; its child is dead when the block is left."""
        async with AsyncExitStack() as stack:
            session = _Session(self.limits, stack)
            try:
                yield session
            finally:
                await session.end()


async def _start(theirs: socket.socket) -> Process:
    return await start_child(
        theirs, module="service.worker.mail.child", packages=("msgspec", "nh3")
    )


class _Session:
    """Reads mails with one child after the other."""

    def __init__(self, limits: MailLimits, stack: AsyncExitStack) -> None:
        self._limits = limits
        self._stack = stack
        self._child: Child | None = None
        self._left = 0

    async def end(self) -> None:
        """End the child, if there is one."""
        self._child = None
        await self._stack.aclose()

    async def read(self, raw: RawMail, keep: Keep) -> ReadMail:
        """Return what ``raw`` says; see the port."""
        if self._child is None or self._left == 0:
            await self.end()
            self._child = await self._stack.enter_async_context(running(_start))
            self._left = self._limits.mails
        self._left -= 1
        talk = _Talk(self._child, raw, keep)
        deadline = asyncio.timeout(self._limits.wall_seconds)
        try:
            async with deadline:
                return await talk.hold(self._order(raw))
        except GoneError:
            problem = problem_of(await self._child.process.wait())
        except MisbehavedError:
            problem = MISBEHAVED
        except TimeoutError:
            if not deadline.expired():
                raise
            problem = NOT_IN_TIME
        except BaseException:
            # Nobody knows what the child would say next.
            await self.end()
            raise
        await self.end()
        return msgspec.structs.replace(talk.told, body=Body(), problem=problem)

    def _order(self, raw: RawMail) -> bytes:
        order = {
            "size_bytes": raw.size_bytes,
            "cpu_seconds": self._limits.cpu_seconds,
            "memory_bytes": self._limits.memory_bytes,
        }
        return json.dumps(order).encode()


class _Talk(Wire):
    """One conversation about one mail. ``told`` is what is known when it breaks off."""

    def __init__(self, child: Child, raw: RawMail, keep: Keep) -> None:
        super().__init__(child, raw)
        self._keep = keep
        self.told = ReadMail()

    async def hold(self, order: bytes) -> ReadMail:
        """Give the order and answer until everything was told and kept."""
        await self.say(order)
        read = await self._told()
        for part in read.body.parts:
            await self._take(part)
        if await self.hear() != (words.END, b""):
            raise MisbehavedError
        return read

    async def _told(self) -> ReadMail:
        while True:
            kind, payload = await self.hear()
            match kind:
                case words.READ:
                    await self.give(payload)
                case pipe.HEADERS:
                    self.told = _decoded(payload)
                case pipe.MAIL:
                    return _decoded(payload)
                case _:
                    raise MisbehavedError

    async def _take(self, part: Part) -> None:
        pieces = self._pieces(part)
        await self._keep(part, pieces)
        async for _ in pieces:
            # Whoever keeps a part need not want all of it.
            continue

    async def _pieces(self, part: Part) -> AsyncIterator[bytes]:
        digest, left = hashlib.sha256(), part.size_bytes
        while left > 0:
            kind, payload = await self.hear()
            left -= len(payload)
            if kind != pipe.PART or not payload or left < 0:
                raise MisbehavedError
            digest.update(payload)
            yield payload
        if digest.hexdigest() != part.sha256:
            raise MisbehavedError


def _decoded(payload: bytes) -> ReadMail:
    try:
        return msgspec.json.decode(payload, type=ReadMail)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MisbehavedError from None


def problem_of(code: int) -> str:
    """Return what it means that a child ended with ``code`` before it had told everything.

    Raises:
        UnavailableError: It could not even begin, or was killed from outside.
    """
    if code == -signal.SIGXCPU:
        return CPU_LIMIT
    if code in _CRASHES:
        return CRASHED
    raise UnavailableError(f"the process that reads mails ended with {code}")
