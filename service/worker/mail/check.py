"""Checking the signatures of a mail: the parent's side, which holds the bytes and asks DNS for a child."""

import asyncio
import json
import re
import socket
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from service.archive.mail_port import RawMail
from service.domain.errors import UnavailableError
from service.domain.times import format_time
from service.sources.mail.verdicts import Verdicts
from service.worker.children import Child, Process, running, start_child
from service.worker.mail import pipe
from service.worker.mail.resolve import TYPES, Resolver, SystemResolver
from service.worker.mail.run import MISBEHAVED, NOT_IN_TIME, MailLimits, problem_of
from service.worker.mail.wire import GoneError, MisbehavedError, Wire
from service.worker.media import pipe as words

MOST_LOOKUPS: Final = 60
_NAME: Final = re.compile(r"[!-~]{1,253}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Who delivered a mail, as its envelope tells."""

    peer: str
    helo: str
    mail_from: str


@dataclass(frozen=True, slots=True)
class MailChecker:
    """Checks mails, each in a child process of its own."""

    resolver: Resolver = field(default_factory=SystemResolver)
    limits: MailLimits = field(default_factory=lambda: MailLimits(wall_seconds=120))

    async def check(self, raw: RawMail, sent: Sent, *, now: datetime) -> Verdicts:
        """Return the verdicts; of a mail that its checker did not survive, with a ``problem``.

        Raises:
            UnavailableError: It cannot be checked now. What ``raw`` raises passes through.
        """
        order = {
            "size_bytes": raw.size_bytes,
            "cpu_seconds": self.limits.cpu_seconds,
            "memory_bytes": self.limits.memory_bytes,
            "now": format_time(now),
            "peer": sent.peer,
            "helo": sent.helo,
            "mail_from": sent.mail_from,
        }
        deadline = asyncio.timeout(self.limits.wall_seconds)
        async with running(_start) as child:
            try:
                async with deadline:
                    talk = _Talk(child, raw, self.resolver)
                    return await talk.hold(json.dumps(order).encode())
            except GoneError:
                problem = problem_of(await child.process.wait())
            except MisbehavedError:
                problem = MISBEHAVED
            except TimeoutError:
                if not deadline.expired():
                    raise
                problem = NOT_IN_TIME
        return Verdicts(checked_at=format_time(now), problem=problem)


async def _start(theirs: socket.socket) -> Process:
    return await start_child(
        theirs,
        module="service.worker.mail.check_child",
        packages=("msgspec", "nh3", "cryptography"),
    )


class _Talk(Wire):
    """One conversation about the signatures of one mail."""

    def __init__(self, child: Child, raw: RawMail, resolver: Resolver) -> None:
        super().__init__(child, raw)
        self._resolver = resolver
        self._lookups = 0

    async def hold(self, order: bytes) -> Verdicts:
        """Give the order and answer until the child has its verdicts."""
        await self.say(order)
        while True:
            kind, payload = await self.hear()
            match kind:
                case words.READ:
                    await self.give(payload)
                case pipe.LOOKUP:
                    await self._look_up(payload)
                case pipe.VERDICTS:
                    return _decoded(payload)
                case _:
                    raise MisbehavedError

    async def _look_up(self, payload: bytes) -> None:
        self._lookups += 1
        if self._lookups > MOST_LOOKUPS:
            raise MisbehavedError
        name, kind = _question(payload)
        try:
            answer: list[str] | None = await self._resolver.records(name, kind)
        except UnavailableError:
            answer = None
        await self.say(json.dumps(answer).encode())


def _question(payload: bytes) -> tuple[str, str]:
    try:
        name, kind = msgspec.json.decode(payload, type=tuple[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MisbehavedError from None
    if kind not in {*TYPES, "SPF"} or not name.isascii():
        return "", ""
    return (name, kind) if _NAME.fullmatch(name) else ("", "")


def _decoded(payload: bytes) -> Verdicts:
    try:
        return msgspec.json.decode(payload, type=Verdicts)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MisbehavedError from None
