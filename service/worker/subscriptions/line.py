"""A line: a connection to a source that tells events once, whatever is spoken on it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from service.domain.errors import UnavailableError


class RefusedError(UnavailableError):
    """The source does not let us in as who we say we are. Asked often, some lock our address out."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it is kept. ``compared`` is what of ``body`` is the same when it is told on another line."""

    body: bytes = field(repr=False)
    compared: bytes = field(repr=False)


class Line(Protocol):
    """An open line. What was told and not received when it is lost, nobody tells again."""

    @property
    def heard_at(self) -> datetime:
        """Until when everything that the source told has been received, and taken by whoever received it."""
        ...

    async def receive(self) -> Told | None:
        """Return the next event that is to be kept; None after a while without one.

        Whoever asks for the next has taken the one before.

        Raises:
            UnavailableError: The line is lost, or what speaks is no such source. The text names no address.
        """
        ...

    async def missed(self, since: datetime) -> Sequence[Told]:
        """Return what can still be told of the time since then, when there was no line.

        Raises:
            UnavailableError: It cannot be had now.
        """
        ...


Dial = Callable[[], AbstractAsyncContextManager[Line]]
"""Opens a line, which is closed at the end of the block.

Raises ArchiveError or OSError where none can be had; ``RefusedError`` where we are not let in.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited for what.

    Attributes:
        connect: For a connection, and for being let in.
        look: For an event, until whoever waits does something else in between.
        ask: After so long without a sign of life one is asked for.
        lost: After so long without one the line is lost.
        answer: For an answer about something that is told.
    """

    connect: timedelta = timedelta(seconds=10)
    look: timedelta = timedelta(seconds=5)
    ask: timedelta = timedelta(seconds=20)
    lost: timedelta = timedelta(seconds=45)
    answer: timedelta = timedelta(seconds=3)
