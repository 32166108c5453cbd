"""What reads mails for the archive: the port. A mail is the work of a stranger, so something else than us reads it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from service.sources.mail.facts import Part, ReadMail

Keep = Callable[[Part, AsyncIterator[bytes]], Awaitable[None]]
"""Takes the bytes of a part, all of which have been compared with what is said of it when the iterator ends."""


class RawMail(Protocol):
    """A mail in the clear, wherever its bytes come from."""

    size_bytes: int

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``; both lie within the mail."""
        ...


class MailSession(Protocol):
    """Reads mails one after the other."""

    async def read(self, raw: RawMail, keep: Keep) -> ReadMail:
        """Return what ``raw`` says, after ``keep`` has taken each of its parts, in their order.

        Of a mail that cannot be read whole, as much is told as was read, with a ``problem``, and no parts; what
        ``keep`` took of it before is worth nothing. What ``raw`` or ``keep`` raises passes through.

        Raises:
            UnavailableError: It cannot be read now. Trying again may succeed.
        """
        ...


class MailReader(Protocol):
    """Reads mails."""

    def session(self) -> AbstractAsyncContextManager[MailSession]:
        """Return a session. Nothing of it is left when its block is left."""
        ...
