"""Signing in: a password, a second factor, and the promise of confidentiality; step by step, each as the archive asks.

Slow to guess, and telling nobody which of login and password was wrong. A session begins with the last step.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.errors import SignInRefusedError, TicketRefusedError, WrongCodeError
from service.access.passwords import Passwords
from service.access.second_factor import (
    Offered,
    SecondFactor,
    Shown,
    begin_factor,
    new_recovery_codes,
    offer,
    shown_with,
    use_code,
)
from service.access.sessions import NewSession, Sessions
from service.access.throttle import Throttle, address_key
from service.access.tickets import Step, Ticket, Tickets
from service.access.users import UNLOCKED, StoredUser, User, Users
from service.log.entry import SYSTEM_ACTOR, EntryType, Value
from storage.ports import Append, Change, Store

T = TypeVar("T")
_WRONG: Final = "wrong_password"
WRONG_CODE: Final = "wrong_code"
_LOCKED: Final = "locked"
MOST_WRONG_CODES: Final = 100
"""Wrong codes in a row, after which only the administrator unlocks the account (NIST SP 800-63B-4, section 3.2.2)."""
_LONGEST: Final = timedelta(days=1)
_UNTIL_UNLOCKED: Final = timedelta(days=36_525)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOut:
    """An account is locked for ``duration`` after ``failures`` failed tries in a row."""

    failures: int = 10
    duration: timedelta = timedelta(minutes=15)

    def lasting(self, wrong_codes: int) -> timedelta:
        """Return how long the lock lasts after so many wrong codes: twice as long each time, a day at the most.

        Who tries codes has the password already.
        """
        times = min(wrong_codes // self.failures, 30)
        longest = max(_LONGEST, self.duration)
        return min(self.duration * (1 << max(times - 1, 0)), longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRules:
    """What everybody has to show: whether a second factor, and which version of the undertaking (empty: none)."""

    needs_second_factor: bool = False
    undertaking: str = ""


@dataclass(frozen=True, slots=True)
class Onwards:
    """What is to be done next: ``step``, by whoever holds ``ticket``."""

    step: Step
    ticket: str = field(repr=False)


Entered = NewSession | Onwards
"""What a step of signing in ends with: a session, or the next step."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A second factor was set up. ``recovery_codes`` are known at this moment only."""

    recovery_codes: tuple[str, ...] = field(repr=False)
    session: NewSession


def decide_step(user: User, rules: SignInRules, shown: Shown) -> Step | None:
    """Decide what a user who showed their password does next; ``shown``: what they showed of a second factor too.

    None: nothing more, they are in.
    """
    if user.second_factor is not None and shown is Shown.NONE:
        return Step.CODE
    if rules.undertaking and user.undertaking != rules.undertaking:
        return Step.UNDERTAKE
    # Last, so that whoever sees their recovery codes is in.
    if user.second_factor is None and rules.needs_second_factor:
        return Step.ENROL
    return None


def decide_refusal(
    user: User | None, *, is_match: bool, now: datetime, recertify: timedelta | None = None
) -> str | None:
    """Decide why signing in is refused, or None when it is not. A locked account is refused the right password too."""
    if user is None:
        return "unknown_login"
    why_out = user.why_out(now, recertify)
    if why_out is not None:
        return why_out
    if user.is_locked(now):
        return _LOCKED
    return None if is_match else _WRONG


class SignIn:
    """Signing in. ``throttle`` counts failures by address; each process counts for itself."""

    def __init__(
        self,
        *,
        store: Store,
        users: Users,
        sessions: Sessions,
        passwords: Passwords,
        lock_out: LockOut,
        throttle: Throttle,
        rules: SignInRules | None = None,
    ) -> None:
        self._store = store
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self.lock_out = lock_out
        self._throttle = throttle
        self.rules = rules or SignInRules()
        self.tickets = Tickets(users)

    async def sign_in(
        self,
        login: str,
        password: str,
        *,
        address: str,
        now: datetime,
        replaces: str | None = None,
    ) -> Entered:
        """Return a new session, or what is to be done before there is one.

        The browser's former cookie ``replaces`` is worth nothing once there is a session. A right password and a
        failure are in the log before the answer, and the count of failures with them. Every refusal takes as long and
        says the same.

        Raises:
            SignInRefusedError: Unknown login, wrong password, disabled, locked, or no password set yet.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        tried: dict[str | None, bool] = {}

        async def decide() -> tuple[Change, Entered | None]:
            stored = await self._users.find_by_login(login)
            kept = None if stored is None else stored.user.password_hash
            if kept not in tried:
                tried[kept] = await self._passwords.is_match(password, kept)
            user = None if stored is None else stored.user
            refusal = decide_refusal(
                user, is_match=tried[kept], now=now, recertify=self._users.recertify
            )
            if stored is None or refusal is not None:
                return decide_failure(stored, refusal or "", self.lock_out, now=now), None
            changes: dict[str, Any] = {}
            if kept is not None and self._passwords.is_outdated(kept):
                changes = {"password_hash": await self._passwords.hash(password)}
            change, entered = await self._onwards(
                stored, changes, shown=Shown.NONE, now=now, replaces=replaces
            )
            if isinstance(entered, Onwards):
                data = {"next": entered.step.value}
                user_id = stored.user.id
                begun = entry(
                    EntryType.SIGNIN_BEGUN, user_id, actor=SYSTEM_ACTOR, at=now, data=data
                )
                change = [*change, begun]
            return change, entered

        return await self.braked(decide, address=address)

    async def show_password(
        self, user_id: str, password: str, *, address: str, now: datetime
    ) -> StoredUser:
        """Return the user, whose session somebody has, when they know the password as well.

        Raises:
            SignInRefusedError: Another password, or the account is locked.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """

        async def decide() -> tuple[Change, StoredUser | None]:
            stored = await self._users.get(user_id)
            is_match = await self._passwords.is_match(password, stored.user.password_hash)
            refusal = decide_refusal(
                stored.user, is_match=is_match, now=now, recertify=self._users.recertify
            )
            if refusal is not None:
                return decide_failure(stored, refusal, self.lock_out, now=now), None
            return [], stored

        return await self.braked(decide, address=address)

    async def enter_code(
        self,
        ticket: str,
        code: str,
        *,
        address: str,
        now: datetime,
        replaces: str | None = None,
    ) -> Entered:
        """Go on with a one-time password or a recovery code, which is used up.

        Raises:
            TicketRefusedError: Signing in was begun too long ago, or the second factor is another meanwhile.
            SignInRefusedError: The code is wrong, was used, or the account is locked.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        # Nobody guesses tickets: what is none costs its sender nothing.
        await self.tickets.get(ticket, Step.CODE, now=now)

        async def decide() -> tuple[Change, Entered | None]:
            stored = (await self.tickets.get(ticket, Step.CODE, now=now)).stored
            used = decide_code(stored, code, self.lock_out, now=now)
            if not isinstance(used, SecondFactor):
                return used, None
            factor = stored.user.second_factor or used
            return await self._onwards(
                stored,
                {"second_factor": used},
                shown=shown_with(factor, used),
                now=now,
                replaces=replaces,
            )

        return await self.braked(decide, address=address)

    async def offer(self, ticket: str, *, now: datetime) -> Offered:
        """Return the second factor that the holder of the ticket may set up; the same each time.

        Raises:
            TicketRefusedError: Signing in was begun too long ago.
        """
        held = await self.tickets.get(ticket, Step.ENROL, now=now)
        return offer(self.tickets.secret_of(held), held.stored.user.login)

    async def enrol(
        self, ticket: str, code: str, *, now: datetime, replaces: str | None = None
    ) -> Enrolled:
        """Set up the second factor that was offered, of which the app shows ``code``, and begin a session.

        Raises:
            TicketRefusedError: Signing in was begun too long ago, there is a second factor meanwhile, or the rules are
                others.
            SignInRefusedError: The account is locked.
            WrongCodeError: The app shows another code. The ticket stays.
        """
        codes = new_recovery_codes()

        async def decide() -> tuple[Change, NewSession | None]:
            held = await self.tickets.get(ticket, Step.ENROL, now=now)
            if held.stored.user.is_locked(now):
                return decide_failure(held.stored, _LOCKED, self.lock_out, now=now), None
            changes, set_up = decide_enrolment(held, self.tickets, code, codes, now=now)
            change, entered = await self._onwards(
                held.stored, changes, shown=Shown.SET_UP, now=now, replaces=replaces
            )
            if isinstance(entered, Onwards):
                raise TicketRefusedError("something else is to be done first by now")
            return [*change, set_up], entered

        return Enrolled(codes, await self._unlocked(decide))

    async def undertake(
        self,
        ticket: str,
        version: str,
        *,
        read: Mapping[str, Value],
        now: datetime,
        replaces: str | None = None,
    ) -> Entered:
        """Note that the undertaking of ``version`` was given, and go on; ``read`` tells in the log what was read.

        Raises:
            TicketRefusedError: Signing in was begun too long ago, or what was read is not the undertaking of now.
            SignInRefusedError: The account is locked.
        """

        async def decide() -> tuple[Change, Entered | None]:
            held = await self.tickets.get(ticket, Step.UNDERTAKE, now=now)
            stored = held.stored
            if version != self.rules.undertaking or stored.user.undertaking == version:
                raise TicketRefusedError("another undertaking, or one that was given already")
            if stored.user.is_locked(now):
                return decide_failure(stored, _LOCKED, self.lock_out, now=now), None
            change, entered = await self._onwards(
                stored, {"undertaking": version}, shown=held.shown, now=now, replaces=replaces
            )
            user_id = stored.user.id
            data: dict[str, Value] = {"change": "undertaking", "version": version, **read}
            given = entry(EntryType.USER_CHANGED, user_id, actor=user_id, at=now, data=data)
            return [*change, given], entered

        return await self._unlocked(decide)

    async def braked(
        self, decide: Callable[[], Awaitable[tuple[Change, T | None]]], *, address: str
    ) -> T:
        """Take a step that can be guessed at; ``decide`` returns what it changes, and None where it is refused.

        Raises:
            SignInRefusedError: It was refused, which is in the log.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        key = address_key(address)
        self._throttle.take(key)
        taken = await self._unlocked(decide)
        self._throttle.give_back(key)
        return taken

    async def _unlocked(self, decide: Callable[[], Awaitable[tuple[Change, T | None]]]) -> T:
        taken = await commit_decided(self._store, decide)
        if taken is None:
            raise SignInRefusedError("signing in was refused; the log says why")
        return taken

    async def _onwards(
        self,
        stored: StoredUser,
        changes: Mapping[str, Any],
        *,
        shown: Shown,
        now: datetime,
        replaces: str | None,
    ) -> tuple[Change, Entered]:
        """Return the change of the user's row with ``changes``, and what comes next: a session, or another step."""
        after = replace(stored, user=replace(stored.user, **changes))
        step = decide_step(after.user, self.rules, shown)
        if step is not None:
            onwards = Onwards(step, self.tickets.new(after, step, now=now, shown=shown))
            return ([stored.changed(**changes)] if changes else []), onwards
        return await self._begin(stored, changes, shown=shown, now=now, replaces=replaces)

    async def _begin(
        self,
        stored: StoredUser,
        changes: Mapping[str, Any],
        *,
        shown: Shown,
        now: datetime,
        replaces: str | None,
    ) -> tuple[Change, NewSession]:
        begun, session = await self._sessions.begin(stored, now=now, replaces=replaces)
        # Failures count until somebody is in: who knows the password alone may not guess codes for ever.
        user = stored.changed(**UNLOCKED, **changes)
        user_id = stored.user.id
        data = {"factor": shown.value}
        succeeded = entry(EntryType.SIGNIN_SUCCEEDED, user_id, actor=user_id, at=now, data=data)
        return [user, *begun, succeeded], session


def decide_failure(
    stored: StoredUser | None, reason: str, lock_out: LockOut, *, now: datetime
) -> Change:
    """Return what a refusal changes: it is in the log, and a guess counts towards locking the account."""
    about = () if stored is None else (stored.user.id,)
    data: dict[str, Value] = {"reason": reason}
    change: Change = []
    # Only guesses count: tries on a locked account would otherwise keep its owner out for ever.
    if stored is not None and reason in {_WRONG, WRONG_CODE}:
        is_code = reason == WRONG_CODE
        failures = stored.user.failures + 1
        wrong_codes = stored.user.wrong_codes + is_code
        changes: dict[str, Any] = {"failures": failures, "wrong_codes": wrong_codes}
        is_given_up = is_code and wrong_codes >= MOST_WRONG_CODES
        if failures >= lock_out.failures or is_given_up:
            lasting = lock_out.lasting(wrong_codes if is_code else 0)
            until = now + (_UNTIL_UNLOCKED if is_given_up else lasting)
            changes = {"failures": 0, "wrong_codes": wrong_codes, "locked_until": until}
            data["locked_seconds"] = int((until - now).total_seconds())
        change = [stored.changed(**changes)]
    failed = entry(EntryType.SIGNIN_FAILED, *about, actor=SYSTEM_ACTOR, at=now, data=data)
    return [*change, failed]


def decide_code(
    stored: StoredUser, code: str, lock_out: LockOut, *, now: datetime
) -> SecondFactor | Change:
    """Return the user's second factor after ``code`` was used, or what refusing the code changes."""
    factor = stored.user.second_factor
    if stored.user.is_locked(now):
        return decide_failure(stored, _LOCKED, lock_out, now=now)
    used = None if factor is None else use_code(factor, code, now=now)
    return used or decide_failure(stored, WRONG_CODE, lock_out, now=now)


def decide_enrolment(
    held: Ticket, tickets: Tickets, code: str, codes: tuple[str, ...], *, now: datetime
) -> tuple[dict[str, Any], Append]:
    """Return what changes of a user who sets up the second factor that the ticket offers, and the entry of it.

    Raises:
        WrongCodeError: The app shows another code.
    """
    user = held.stored.user
    factor = begin_factor(tickets.secret_of(held), code, codes, now=now)
    if factor is None:
        raise WrongCodeError("not the code that the app shows")
    data = {"change": "second_factor"}
    set_up = entry(EntryType.USER_CHANGED, user.id, actor=user.id, at=now, data=data)
    return {"second_factor": factor}, set_up
