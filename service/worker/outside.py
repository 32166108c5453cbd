"""Asking others outside, patiently: what they answer is bounded, and who does not answer is asked again later."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import aiohttp

from service.domain.errors import ArchiveError, UnavailableError
from storage.errors import StorageError

FIRST_WAIT: Final = timedelta(seconds=2)
LONGEST_WAIT: Final = timedelta(minutes=5)
ANSWER_WITHIN: Final = timedelta(seconds=20)
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: an HTTP status, and a body that is not longer than what was allowed."""

    status: int
    body: bytes


Post = Callable[[bytes], Awaitable[Answer]]
"""Sends a body and returns the answer; raises UnavailableError where there is none."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ask, and how long an answer may be. Redirects and proxies of the environment are not followed."""

    url: str
    content_type: str
    max_answer_bytes: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def post(self, body: bytes) -> Answer:
        """Send ``body``, on a connection of its own.

        Raises:
            UnavailableError: There is no answer, or it is too long. The text names no address.
        """
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN.total_seconds())
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(
                    self.url,
                    data=body,
                    headers={"Content-Type": self.content_type, "Accept-Encoding": "identity"},
                    allow_redirects=False,
                    ssl=True if self.tls is None else self.tls,
                ) as response,
            ):
                answer = await response.content.read(self.max_answer_bytes + 1)
                while len(answer) <= self.max_answer_bytes and not response.content.at_eof():
                    answer += await response.content.read(
                        self.max_answer_bytes + 1 - len(answer)
                    )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise UnavailableError(f"no answer ({type(error).__name__})") from error
        if len(answer) > self.max_answer_bytes:
            raise UnavailableError("the answer is too long")
        return Answer(response.status, answer)


@dataclass(slots=True)
class Asking:
    """Does ``ask`` now and whenever it is woken, and after a failure again, each time waiting twice as long.

    ``ask`` returns how long to wait although nothing is woken, None for no such limit. ``trouble`` says in words why
    the last time failed; None when it did not.
    """

    name: str
    ask: Callable[[], Awaitable[timedelta | None]]
    trouble: str | None = field(default=None, init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    _told: str = field(default="", init=False, repr=False)
    _troubled_at: float = field(default=0.0, init=False, repr=False)

    @property
    def trouble_seconds(self) -> float:
        """For how long every answer has been none or wrong; 0 when the last was as it should be."""
        return time.monotonic() - self._troubled_at if self._told else 0.0

    def wake(self) -> None:
        """Let it look whether there is something to ask for."""
        self._woken.set()

    def note_answer(self) -> None:
        """Say that it answers as it should, for an ``ask`` that goes on for long."""
        self._tell(None)

    async def run(self) -> None:
        """Ask until cancelled."""
        wait = FIRST_WAIT
        while True:
            self._woken.clear()
            try:
                pause = await self.ask()
            except (ArchiveError, StorageError, OSError) as error:
                wait = min(wait * 2, LONGEST_WAIT) if self._told else FIRST_WAIT
                self._tell(error)
                # Not woken: what does not answer is not asked more often because the log grows.
                await asyncio.sleep(wait.total_seconds())
                continue
            self._tell(None)
            seconds = None if pause is None else pause.total_seconds()
            try:
                await asyncio.wait_for(self._woken.wait(), seconds)
            except TimeoutError:
                continue

    def _tell(self, error: Exception | None) -> None:
        code = "" if error is None else type(error).__name__
        self.trouble = None if error is None else _words(error)
        if code and not self._told:
            self._troubled_at = time.monotonic()
        if code != self._told:
            if error is None:
                _log.info("outside.answers_again", extra={"place": self.name})
            else:
                _log.warning("outside.not_answered", extra={"place": self.name, "code": code})
        self._told = code


def _words(error: Exception) -> str:
    if isinstance(error, StorageError | OSError):
        return "what it answered cannot be kept now"
    return str(error)
