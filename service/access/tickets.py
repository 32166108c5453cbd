"""Tickets: what somebody holds who has shown a password, and has a step more to take before they are in.

A ticket is worth nothing but that step, for some minutes. Nothing is stored of it: it is marked with a key of the
archive, over whose it is, the password and the second factor that they had, and the session it was asked for in, so
that another password or another factor makes it void, and that no other session, nor nobody's, can use it.
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
from service.access.second_factor import SECRET_BYTES, Shown
from service.access.secrets import new_secret
from service.access.users import StoredUser, Users
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
    r"(code|enrol|undertake)\.(us_[0-9a-z]{1,40})\.(none|code|recovery)"
    r"\.([A-Za-z0-9_-]{43})\.([0-9]{1,16})\.([0-9a-f]{1,128})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket that is valid now, with the user whose it is. ``nonce`` tells it from every other.

    ``shown`` is what of a second factor was shown before.
    """

    step: Step
    stored: StoredUser
    shown: Shown
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
        shown: Shown = Shown.NONE,
        session: str = "",
        random: Callable[[int], bytes] = os.urandom,
    ) -> str:
        """Return a ticket of the user for ``step``, for use in the session of that id, or by nobody's at the door."""
        nonce = new_secret(random=random)
        expires_at = to_microseconds(now + _VALID_FOR[step])
        parts = (step, stored.user.id, shown, nonce, str(expires_at))
        return ".".join((*parts, self._mark(stored, parts, session)))

    async def get(self, text: str, step: Step, *, now: datetime, session: str = "") -> Ticket:
        """Return the ticket.

        Raises:
            TicketRefusedError: It is none, is over, for another step or of another session, or its user is not active
                any more or has another password or second factor by now.
        """
        parts = _TICKET.fullmatch(text)
        if parts is None or parts[1] != step or to_microseconds(now) >= int(parts[5]):
            raise TicketRefusedError("not a ticket for this step, or over")
        try:
            stored = await self._users.get(parts[2])
        except NotFoundError as error:
            raise TicketRefusedError("the ticket of an erased user") from error
        mark = self._mark(stored, parts.groups()[:5], session)
        is_out = self._users.why_out(stored.user, now) is not None
        if is_out or not hmac.compare_digest(mark, parts[6]):
            raise TicketRefusedError("not a ticket of this archive, or not any more")
        return Ticket(step, stored, Shown(parts[3]), parts[4])

    def secret_of(self, ticket: Ticket) -> bytes:
        """Return the secret of the second factor that the holder of the ticket may set up: the same each time."""
        whose = (ticket.stored.user.id, ticket.nonce)
        halves = (self._users.row_mark("second factor", *whose, half) for half in ("1", "2"))
        secret = bytes.fromhex("".join(halves))
        if len(secret) < SECRET_BYTES:
            raise ValueError("marks became too short to make a secret of")
        return secret[:SECRET_BYTES]

    def _mark(self, stored: StoredUser, parts: tuple[str, ...], session: str) -> str:
        password = hashlib.sha256((stored.user.password_hash or "").encode()).hexdigest()
        factor = stored.user.second_factor
        set_at = "" if factor is None else str(factor.set_at)
        return self._users.row_mark("ticket", *parts, session, password, set_at)
