"""Accounts of people: added, disabled, given roles. Each change and its log entry commit together."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Final

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.invites import Invite, new_invite, removed_invites
from service.access.names import parse_login, parse_name, require_personal
from service.access.persons import require_manager
from service.access.sessions import removed_sessions
from service.access.users import (
    UNLOCKED,
    USER_PREFIX,
    StoredUser,
    User,
    Users,
    UserState,
    user_row,
)
from service.archive.vault import Vault
from service.domain.actor import OPERATOR, Actor, Role
from service.domain.errors import ContradictionError, InvalidInputError, NotPermittedError
from service.domain.ids import new_id
from service.domain.times import format_time
from service.log.entry import EntryType, Value
from storage.errors import ConflictError
from storage.ports import Add, Append, Change, Store

_FIRST_LOGIN: Final = "admin"
_FIRST_NAME: Final = "First administrator"


class Accounts:
    """What administrators, and operators at the command line, do with accounts.

    Wherever ``by`` is given, NotPermittedError is raised for anybody else, for tokens, and for administrators who
    would change their own account.
    """

    def __init__(self, *, store: Store, vault: Vault, users: Users) -> None:
        self._store = store
        self._vault = vault
        self._users = users

    async def add(
        self,
        login: str,
        *,
        name: str,
        roles: Collection[Role],
        by: Actor,
        now: datetime,
        organisation: str = "",
        ends_at: datetime | None = None,
    ) -> Invite:
        """Add a user and return the one-time invite with which they set their password.

        ``organisation`` is whom they work for when it is another company than the archive's, for whom the account has
        to end. The row key is stored first; a crash after it leaves a key that opens nothing.

        Raises:
            InvalidInputError: The login, the name, the roles, the organisation or the end cannot be.
            ContradictionError: Somebody has this login.
        """
        require_manager(by)
        require_personal(roles)
        organisation = parse_name(organisation) if organisation else ""
        _require_end(organisation, ends_at, now)
        user = User(
            id=new_id(USER_PREFIX),
            version=1,
            login=parse_login(login),
            name=parse_name(name),
            roles=frozenset(roles),
            state=UserState.INVITED,
            created_at=now,
            organisation=organisation,
            ends_at=ends_at,
        )
        key = self._vault.new_key(user.id, now=now)
        await self._vault.put([key])
        token = self._users.login_token(login)
        row = user_row(user, login_token=token, sealer=key.sealer)
        invite, added = new_invite(self._users, user.id, now=now)
        created = entry(
            EntryType.USER_CREATED,
            user.id,
            actor=by.id,
            at=now,
            data={
                "roles": tuple(sorted(user.roles)),
                **({} if ends_at is None else {"until": format_time(ends_at)}),
                **({"kind": "external"} if organisation else {}),
            },
        )
        try:
            await self._store.commit([Add(row), added, created])
        except ConflictError as error:
            raise ContradictionError("somebody has this login already") from error
        return invite

    async def invite_first_administrator(self, *, now: datetime) -> Invite | None:
        """Return an invite for the first administrator, whose login is ``admin``; None once there is anybody else.

        Until that invite was accepted, each call ends the one before and returns another.
        """
        users = await self._users.find_all()
        if not users:
            roles = [Role.ADMIN]
            return await self.add(
                _FIRST_LOGIN, name=_FIRST_NAME, roles=roles, by=OPERATOR, now=now
            )
        first = users[0]
        is_waiting = first.login == _FIRST_LOGIN and first.state is UserState.INVITED
        if len(users) > 1 or not is_waiting:
            return None
        return await self.reset(first.id, by=OPERATOR, now=now)

    async def find_all(self, *, by: Actor) -> Sequence[User]:
        """Return all accounts in the order in which they were added."""
        require_manager(by)
        return await self._users.find_all()

    async def find_by_login(self, login: str, *, by: Actor) -> User | None:
        """Return the account with ``login``, if there is one."""
        require_manager(by)
        stored = await self._users.find_by_login(login)
        return None if stored is None else stored.user

    async def disable(self, user_id: str, *, by: Actor, now: datetime) -> None:
        """Keep the user from signing in and end their sessions and invites at once.

        Raises:
            NotFoundError: There is no such user.
        """

        async def decide(stored: StoredUser) -> Change:
            return [
                stored.changed(state=UserState.DISABLED),
                *await removed_sessions(self._store, user_id),
                *await removed_invites(self._store, user_id),
                _changed(user_id, "disabled", by=by, now=now),
            ]

        await self._change(user_id, decide, by=by)

    async def enable(self, user_id: str, *, by: Actor, now: datetime) -> None:
        """Let a disabled or locked user sign in again, with the password they had.

        Raises:
            NotFoundError: There is no such user.
        """

        async def decide(stored: StoredUser) -> Change:
            has_password = stored.user.password_hash is not None
            state = UserState.ACTIVE if has_password else UserState.INVITED
            return [
                stored.changed(state=state, **UNLOCKED),
                _changed(user_id, "enabled", by=by, now=now),
            ]

        await self._change(user_id, decide, by=by)

    async def reset(self, user_id: str, *, by: Actor, now: datetime) -> Invite:
        """Forget the user's password and second factor, end their sessions, unlock the account, return a new invite.

        Raises:
            NotFoundError: There is no such user.
            ContradictionError: The account is disabled.
        """
        invite, added = new_invite(self._users, user_id, now=now)

        async def decide(stored: StoredUser) -> Change:
            if stored.user.state is UserState.DISABLED:
                raise ContradictionError("the account is disabled; enable it first")
            return [
                stored.changed(
                    state=UserState.INVITED,
                    password_hash=None,
                    second_factor=None,
                    **UNLOCKED,
                ),
                *await removed_sessions(self._store, user_id),
                *await removed_invites(self._store, user_id),
                added,
                _changed(user_id, "reset", by=by, now=now),
            ]

        await self._change(user_id, decide, by=by)
        return invite

    async def remove_second_factor(self, user_id: str, *, by: Actor, now: datetime) -> None:
        """Forget the user's second factor, whose telephone and codes are lost; end their sessions, unlock the account.

        Where everybody needs one, they set up another at the next sign-in: be sure who asks.

        Raises:
            NotFoundError: There is no such user.
        """

        async def decide(stored: StoredUser) -> Change:
            return [
                stored.changed(second_factor=None, **UNLOCKED),
                *await removed_sessions(self._store, user_id),
                _changed(user_id, "second_factor_removed", by=by, now=now),
            ]

        await self._change(user_id, decide, by=by)

    async def change_roles(
        self, user_id: str, roles: Collection[Role], *, by: Actor, now: datetime
    ) -> None:
        """Give the user ``roles`` and no others, and end their sessions: it holds from their next request.

        Raises:
            NotFoundError: There is no such user.
            InvalidInputError: The roles cannot be.
        """
        require_personal(roles)

        async def decide(stored: StoredUser) -> Change:
            sorted_roles = tuple(sorted(frozenset(roles)))
            return [
                stored.changed(roles=frozenset(roles), confirmed_at=now),
                *await removed_sessions(self._store, user_id),
                _changed(user_id, "roles", by=by, now=now, roles=sorted_roles),
            ]

        await self._change(user_id, decide, by=by)

    async def confirm(self, user_id: str, *, by: Actor, now: datetime) -> None:
        """Confirm that the user still needs the roles they have.

        Raises:
            NotFoundError: There is no such user.
        """

        async def decide(stored: StoredUser) -> Change:
            roles = tuple(sorted(stored.user.roles))
            return [
                stored.changed(confirmed_at=now),
                _changed(user_id, "confirmed", by=by, now=now, roles=roles),
            ]

        await self._change(user_id, decide, by=by)

    async def change_end(
        self, user_id: str, ends_at: datetime | None, *, by: Actor, now: datetime
    ) -> None:
        """Let the account end at ``ends_at``; None: it does not end.

        Raises:
            NotFoundError: There is no such user.
            InvalidInputError: The end is past, or there has to be one.
        """

        async def decide(stored: StoredUser) -> Change:
            _require_end(stored.user.organisation, ends_at, now)
            until = "" if ends_at is None else format_time(ends_at)
            return [
                stored.changed(ends_at=ends_at),
                _changed(user_id, "until", by=by, now=now, until=until),
            ]

        await self._change(user_id, decide, by=by)

    def until(self, user: User) -> datetime | None:
        """Return when the account ends unless somebody extends or confirms it."""
        return user.until(self._users.recertify)

    async def _change(
        self, user_id: str, decide: Callable[[StoredUser], Awaitable[Change]], *, by: Actor
    ) -> None:
        require_manager(by)
        if by.id == user_id:
            raise NotPermittedError(f"{by.id} may not change their own account")

        async def decided() -> tuple[Change, None]:
            return await decide(await self._users.get(user_id)), None

        await commit_decided(self._store, decided)


def _require_end(organisation: str, ends_at: datetime | None, now: datetime) -> None:
    if organisation and ends_at is None:
        raise InvalidInputError("the account of somebody from another organisation has to end")
    if ends_at is not None and ends_at <= now:
        raise InvalidInputError("the account would have ended already: give a day to come")


def _changed(user_id: str, change: str, *, by: Actor, now: datetime, **data: Value) -> Append:
    return entry(
        EntryType.USER_CHANGED, user_id, actor=by.id, at=now, data={"change": change, **data}
    )
