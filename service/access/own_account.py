"""What people do with their own accounts: set up a second factor, renew its recovery codes, end sessions elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.errors import WrongCodeError
from service.access.second_factor import (
    Offered,
    new_recovery_codes,
    offer,
    use_code,
    with_codes,
)
from service.access.sessions import OpenSession, Session, Sessions
from service.access.signin import (
    WRONG_CODE,
    SignIn,
    decide_enrolment,
    decide_failure,
)
from service.access.tickets import Step
from service.access.users import Users
from service.domain.errors import ContradictionError
from service.domain.times import from_microseconds
from service.log.entry import EntryType
from storage.ports import Change, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """One's own account. ``factor_since`` is None where there is no second factor; ``codes_left`` belong to it."""

    login: str = field(repr=False)
    factor_since: datetime | None
    codes_left: int
    may_remove: bool
    sessions: Sequence[OpenSession]


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """The use cases. Wrong codes count as failed tries to sign in: the session may be in a stranger's hands."""

    store: Store
    users: Users
    sessions: Sessions
    signing: SignIn

    async def look(self, session: Session, *, now: datetime) -> AccountView:
        """Return the account of whoever is signed in."""
        user = (await self.users.get(session.actor.id)).user
        factor = user.second_factor
        return AccountView(
            login=user.login,
            factor_since=None if factor is None else from_microseconds(factor.set_at),
            codes_left=0 if factor is None else len(factor.recovery),
            may_remove=factor is not None and not self.signing.rules.needs_second_factor,
            sessions=await self.sessions.find_of(user.id, now=now),
        )

    async def new_ticket(self, session: Session, *, now: datetime) -> str:
        """Return a ticket with which a second factor is set up.

        Raises:
            ContradictionError: There is one.
        """
        stored = await self.users.get(session.actor.id)
        if stored.user.second_factor is not None:
            raise ContradictionError("remove the second factor that there is first")
        return self.signing.tickets.new(stored, Step.ENROL, now=now)

    async def offer(self, session: Session, ticket: str, *, now: datetime) -> Offered:
        """Return the second factor that the ticket offers.

        Raises:
            TicketRefusedError: It is none of this person's, or is over.
        """
        held = await self.signing.tickets.get(ticket, Step.ENROL, now=now, of=session.actor.id)
        return offer(self.signing.tickets.secret_of(held), held.stored.user.login)

    async def set_up(
        self, session: Session, ticket: str, code: str, *, now: datetime
    ) -> tuple[str, ...]:
        """Set up the second factor that was offered; return its recovery codes.

        Raises:
            TicketRefusedError: The ticket is none of this person's, or is over.
            WrongCodeError: The app shows another code.
        """
        codes = new_recovery_codes()

        async def decide() -> tuple[Change, None]:
            held = await self.signing.tickets.get(
                ticket, Step.ENROL, now=now, of=session.actor.id
            )
            changes, set_up = decide_enrolment(held, self.signing.tickets, code, codes, now=now)
            return [held.stored.changed(**changes), set_up], None

        await commit_decided(self.store, decide)
        return codes

    async def renew_codes(
        self, session: Session, code: str, *, now: datetime
    ) -> tuple[str, ...]:
        """Replace the recovery codes, which somebody may have seen; return the new ones.

        Raises:
            WrongCodeError: ``code`` is not of the second factor, there is none, or the account is locked.
        """
        codes = new_recovery_codes()
        await self._change(session, code, "recovery_codes", codes, now=now)
        return codes

    async def remove_factor(self, session: Session, code: str, *, now: datetime) -> None:
        """Do without a second factor from now on.

        Raises:
            ContradictionError: Everybody needs one.
            WrongCodeError: ``code`` is not of the second factor, there is none, or the account is locked.
        """
        if self.signing.rules.needs_second_factor:
            raise ContradictionError("everybody needs a second factor here")
        await self._change(session, code, "second_factor_removed", None, now=now)

    async def _change(
        self,
        session: Session,
        code: str,
        change: str,
        codes: tuple[str, ...] | None,
        *,
        now: datetime,
    ) -> None:
        user_id = session.actor.id

        async def decide() -> tuple[Change, bool]:
            stored = await self.users.get(user_id)
            factor = stored.user.second_factor
            used = None if factor is None else use_code(factor, code, now=now)
            if used is None or stored.user.is_locked(now):
                why = "locked" if stored.user.is_locked(now) else WRONG_CODE
                return decide_failure(stored, why, self.signing.lock_out, now=now), False
            after = None if codes is None else with_codes(used, codes)
            noted = entry(
                EntryType.USER_CHANGED, user_id, actor=user_id, at=now, data={"change": change}
            )
            return [stored.changed(second_factor=after, failures=0), noted], True

        if not await commit_decided(self.store, decide):
            raise WrongCodeError("not a code of the second factor")
