"""Tickets: what somebody holds who has shown a password, and has a step more to take before they are in.

A ticket is worth nothing but that step, for some minutes. Nothing is stored of it: it is marked with a key of the
archive, over whose it is and the password that was shown, so that another password makes it void.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from service.access.errors import TicketRefusedError
from service.access.second_factor import SECRET_BYTES
from service.access.secrets import new_secret
from service.access.users import StoredUser, Users, UserState
from service.domain.errors import NotFoundError
from service.domain.times import to_microseconds


class Step(StrEnum):
    """What is to be done before somebody is in."""

    CODE = "code"
    """Show the second factor."""
    ENROL = "enrol"
    """Set up a second factor."""
    UNDERTAKE = "undertake"
    """Promise confidentiality."""


_VALID_FOR: Final = {
    Step.CODE: timedelta(minutes=5),
    Step.ENROL: timedelta(minutes=15),
    Step.UNDERTAKE: timedelta(minutes=15),
}
_TICKET: Final = re.compile(
    r"(code|enrol|undertake)\.(us_[0-9a-z]{1,40})\.([A-Za-z0-9_-]{43})\.([0-9]{1,16})\.([0-9a-f]{1,128})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket that is valid now, with the user whose it is. ``nonce`` tells it from every other."""

    step: Step
    stored: StoredUser
    nonce: str = field(repr=False)


class Tickets:
    """Makes and reads tickets."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def new(
        self,
        stored: StoredUser,
        step: Step,
        *,
        now: datetime,
        random: Callable[[int], bytes] = os.urandom,
    ) -> str:
        """Return a ticket of the user for ``step``."""
        nonce = new_secret(random=random)
        expires_at = to_microseconds(now + _VALID_FOR[step])
        mark = self._mark(stored, step, nonce, expires_at)
        return f"{step}.{stored.user.id}.{nonce}.{expires_at}.{mark}"

    async def get(
        self, text: str, step: Step, *, now: datetime, of: str | None = None
    ) -> Ticket:
        """Return the ticket; ``of`` is whose it has to be, where that is known.

        Raises:
            TicketRefusedError: It is none, is over or for another step, or its user is another or not active any more.
        """
        parts = _TICKET.fullmatch(text)
        if parts is None or parts[1] != step or to_microseconds(now) >= int(parts[4]):
            raise TicketRefusedError("not a ticket for this step, or over")
        if of is not None and parts[2] != of:
            raise TicketRefusedError("somebody else's ticket")
        try:
            stored = await self._users.get(parts[2])
        except NotFoundError as error:
            raise TicketRefusedError("the ticket of an erased user") from error
        mark = self._mark(stored, step, parts[3], int(parts[4]))
        if stored.user.state is not UserState.ACTIVE or not hmac.compare_digest(mark, parts[5]):
            raise TicketRefusedError("not a ticket of this archive")
        return Ticket(step, stored, parts[3])

    def secret_of(self, ticket: Ticket) -> bytes:
        """Return the secret of the second factor that the holder of the ticket may set up: the same each time."""
        made = self._users.row_mark("second factor", ticket.stored.user.id, ticket.nonce)
        return bytes.fromhex(made)[:SECRET_BYTES]

    def _mark(self, stored: StoredUser, step: Step, nonce: str, expires_at: int) -> str:
        shown = hashlib.sha256((stored.user.password_hash or "").encode()).hexdigest()
        return self._users.row_mark(
            "ticket", step, stored.user.id, nonce, str(expires_at), shown
        )
