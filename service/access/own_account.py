"""What people do with their own accounts: set up a second factor, renew its recovery codes, end sessions elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.errors import LockedError, SignInRefusedError, WrongCodeError
from service.access.second_factor import (
    Offered,
    SecondFactor,
    new_recovery_codes,
    offer,
    with_codes,
)
from service.access.sessions import OpenSession, Session, Sessions
from service.access.signin import SignIn, decide_code, decide_enrolment
from service.access.tickets import Step
from service.access.users import Users
from service.domain.errors import ContradictionError
from service.domain.times import from_microseconds
from service.log.entry import EntryType
from storage.ports import Change, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """One's own account, which ends at ``until``.

    ``factor_since`` is None where there is no second factor; ``codes_left`` belong to it.
    """

    login: str = field(repr=False)
    organisation: str
    until: datetime | None
    factor_since: datetime | None
    codes_left: int
    may_remove: bool
    sessions: Sequence[OpenSession]


@dataclass(frozen=True, slots=True)
class OwnAccount:
    """The use cases. The session may be in a stranger's hands: what guards the account is changed by its owner alone.

    Wrong passwords and codes count as failed tries to sign in.
    """

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
            organisation=user.organisation,
            until=user.until(self.users.recertify),
            factor_since=None if factor is None else from_microseconds(factor.set_at),
            codes_left=0 if factor is None else len(factor.recovery),
            may_remove=factor is not None and not self.signing.rules.needs_second_factor,
            sessions=await self.sessions.find_of(user.id, now=now),
        )

    async def new_ticket(
        self, session: Session, password: str, *, address: str, now: datetime
    ) -> str:
        """Return a ticket with which whoever knows the password sets up a second factor in this session.

        Raises:
            ContradictionError: There is one.
            SignInRefusedError: Another password.
            LockedError: The account is locked.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        stored = await self.users.get(session.actor.id)
        if stored.user.second_factor is not None:
            raise ContradictionError("remove the second factor that there is first")
        try:
            stored = await self.signing.show_password(
                stored.user.id, password, address=address, now=now
            )
        except SignInRefusedError:
            await self._require_unlocked(session, now)
            raise
        return self.signing.tickets.new(stored, Step.ENROL, now=now, session=session.id)

    async def offer(self, session: Session, ticket: str, *, now: datetime) -> Offered:
        """Return the second factor that the ticket offers.

        Raises:
            TicketRefusedError: It is none of this session's, or is over.
        """
        held = await self.signing.tickets.get(ticket, Step.ENROL, now=now, session=session.id)
        return offer(self.signing.tickets.secret_of(held), held.stored.user.login)

    async def set_up(
        self, session: Session, ticket: str, code: str, *, now: datetime
    ) -> tuple[str, ...]:
        """Set up the second factor that was offered, end all other sessions; return its recovery codes.

        Raises:
            TicketRefusedError: The ticket is none of this session's, or is over.
            WrongCodeError: The app shows another code.
        """
        codes = new_recovery_codes()

        async def decide() -> tuple[Change, None]:
            held = await self.signing.tickets.get(
                ticket, Step.ENROL, now=now, session=session.id
            )
            changes, set_up = decide_enrolment(held, self.signing.tickets, code, codes, now=now)
            ended = await self.sessions.others_ended(session, now=now)
            return [held.stored.changed(**changes), *ended, set_up], None

        await commit_decided(self.store, decide)
        return codes

    async def renew_codes(
        self, session: Session, code: str, *, address: str, now: datetime
    ) -> tuple[str, ...]:
        """Replace the recovery codes, which somebody may have seen; return the new ones.

        Raises:
            WrongCodeError: ``code`` is not of the second factor, or there is none.
            LockedError: The account is locked.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        codes = new_recovery_codes()
        await self._change(session, code, "recovery_codes", codes, address=address, now=now)
        return codes

    async def remove_factor(
        self, session: Session, code: str, *, address: str, now: datetime
    ) -> None:
        """Do without a second factor from now on, and end all other sessions.

        Raises:
            ContradictionError: Everybody needs one.
            WrongCodeError: ``code`` is not of the second factor, or there is none.
            LockedError: The account is locked.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        if self.signing.rules.needs_second_factor:
            raise ContradictionError("everybody needs a second factor here")
        await self._change(
            session, code, "second_factor_removed", None, address=address, now=now
        )

    async def _change(
        self,
        session: Session,
        code: str,
        change: str,
        codes: tuple[str, ...] | None,
        *,
        address: str,
        now: datetime,
    ) -> None:
        """Put ``codes`` in the place of the recovery codes; where there are none, remove the factor."""
        user_id = session.actor.id
        if (await self.users.get(user_id)).user.second_factor is None:
            # No guess: nothing counts it.
            raise WrongCodeError("there is no second factor")

        async def decide() -> tuple[Change, bool | None]:
            stored = await self.users.get(user_id)
            used = decide_code(stored, code, self.signing.lock_out, now=now)
            if not isinstance(used, SecondFactor):
                return used, None
            after = None if codes is None else with_codes(used, codes)
            ended = [] if codes else await self.sessions.others_ended(session, now=now)
            noted = entry(
                EntryType.USER_CHANGED, user_id, actor=user_id, at=now, data={"change": change}
            )
            return [stored.changed(second_factor=after), *ended, noted], True

        try:
            await self.signing.braked(decide, address=address)
        except SignInRefusedError as error:
            await self._require_unlocked(session, now)
            raise WrongCodeError("not a code of the second factor") from error

    async def _require_unlocked(self, session: Session, now: datetime) -> None:
        if (await self.users.get(session.actor.id)).user.is_locked(now):
            raise LockedError("too many wrong tries: the account is locked for a while")
