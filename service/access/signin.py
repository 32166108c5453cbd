"""Signing in with login and password: slow to guess, and telling nobody which of the two was wrong."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.errors import SignInRefusedError
from service.access.passwords import Passwords
from service.access.sessions import NewSession, Sessions
from service.access.throttle import Throttle, address_key
from service.access.users import StoredUser, User, Users, UserState
from service.log.entry import SYSTEM_ACTOR, EntryType, Value
from storage.ports import Change, Store

_WRONG: Final = "wrong_password"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockOut:
    """An account is locked for ``duration`` after ``failures`` failed tries in a row."""

    failures: int = 10
    duration: timedelta = timedelta(minutes=15)


def decide_refusal(user: User | None, *, is_match: bool, now: datetime) -> str | None:
    """Decide why signing in is refused, or None when it is not. A locked account is refused the right password too."""
    if user is None:
        return "unknown_login"
    if user.state is not UserState.ACTIVE:
        return user.state.value
    if user.is_locked(now):
        return "locked"
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
    ) -> None:
        self._store = store
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._lock_out = lock_out
        self._throttle = throttle

    async def sign_in(
        self,
        login: str,
        password: str,
        *,
        address: str,
        now: datetime,
        replaces: str | None = None,
    ) -> NewSession:
        """Return a new session; the browser's former cookie ``replaces`` is worth nothing from then on.

        Success and failure are in the log before the answer, and the count of failures with them. Every refusal takes
        as long and says the same.

        Raises:
            SignInRefusedError: Unknown login, wrong password, disabled, locked, or no password set yet.
            TooManyRequestsError: Too many failures from ``address``. Nothing was tried.
        """
        key = address_key(address)
        self._throttle.take(key)
        tried: dict[str | None, bool] = {}

        async def decide() -> tuple[Change, NewSession | None]:
            stored = await self._users.find_by_login(login)
            kept = None if stored is None else stored.user.password_hash
            if kept not in tried:
                tried[kept] = await self._passwords.is_match(password, kept)
            user = None if stored is None else stored.user
            refusal = decide_refusal(user, is_match=tried[kept], now=now)
            if stored is None or refusal is not None:
                return self._refused(stored, refusal or "", now=now), None
            return await self._accepted(stored, password, now=now, replaces=replaces)

        session = await commit_decided(self._store, decide)
        if session is None:
            raise SignInRefusedError("signing in was refused; the log says why")
        self._throttle.give_back(key)
        return session

    def _refused(self, stored: StoredUser | None, reason: str, *, now: datetime) -> Change:
        about = () if stored is None else (stored.user.id,)
        data: dict[str, Value] = {"reason": reason}
        change: Change = []
        # Only guesses count: tries on a locked account would otherwise keep its owner out for ever.
        if stored is not None and reason == _WRONG:
            failures = stored.user.failures + 1
            if failures < self._lock_out.failures:
                change = [stored.changed(failures=failures)]
            else:
                until = now + self._lock_out.duration
                change = [stored.changed(failures=0, locked_until=until)]
                data["locked_seconds"] = int(self._lock_out.duration.total_seconds())
        failed = entry(EntryType.SIGNIN_FAILED, *about, actor=SYSTEM_ACTOR, at=now, data=data)
        return [*change, failed]

    async def _accepted(
        self, stored: StoredUser, password: str, *, now: datetime, replaces: str | None
    ) -> tuple[Change, NewSession]:
        begun, session = await self._sessions.begin(stored, now=now, replaces=replaces)
        kept = stored.user.password_hash
        if kept is not None and self._passwords.is_outdated(kept):
            kept = await self._passwords.hash(password)
        user = stored.changed(failures=0, locked_until=None, password_hash=kept)
        user_id = stored.user.id
        succeeded = entry(EntryType.SIGNIN_SUCCEEDED, user_id, actor=user_id, at=now)
        return [user, *begun, succeeded], session
