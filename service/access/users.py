"""People who sign in: the values, their rows, and how they are found.

A row shows roles, state and times; login, name and password hash are sealed under the user's own row key. The login is
found by its blind index token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from service.access.names import parse_login
from service.access.second_factor import SecondFactor
from service.archive.vault import Vault, open_value, seal_value
from service.crypto.fields import FieldSealer
from service.domain.actor import Actor, ActorKind, Role
from service.domain.errors import ErasedError, InvalidInputError, NotFoundError, TamperedError
from service.domain.times import from_microseconds, to_microseconds
from storage.ports import Replace, Store
from storage.rows import UserRow

USER_PREFIX: Final = "us"
_TABLE: Final = "users"
UNLOCKED: Final[Mapping[str, Any]] = {"failures": 0, "wrong_codes": 0, "locked_until": None}
"""What changes of a user whose failed tries are forgotten."""


class UserState(StrEnum):
    """``invited`` has no password yet."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may sign in. ``failures`` counts failed tries in a row; ``locked_until`` is None when not locked.

    ``wrong_codes`` counts wrong codes of the second factor since the person was in last, whatever locks were between.
    ``organisation`` is whom somebody works for who is no employee; else empty. At ``ends_at`` the account ends.
    Somebody confirmed at ``confirmed_at`` that the person still needs it; None: nobody since it was added.

    ``undertaking`` is the version of the confidentiality undertaking that they gave; empty where they gave none.
    """

    id: str
    version: int
    login: str = field(repr=False)
    name: str = field(repr=False)
    password_hash: str | None = field(default=None, repr=False)
    second_factor: SecondFactor | None = field(default=None, repr=False)
    undertaking: str = ""
    roles: frozenset[Role]
    state: UserState
    failures: int = 0
    wrong_codes: int = 0
    locked_until: datetime | None = None
    created_at: datetime
    organisation: str = ""
    ends_at: datetime | None = None
    confirmed_at: datetime | None = None

    def is_locked(self, now: datetime) -> bool:
        """Tell whether signing in is refused for now because of failures."""
        return self.locked_until is not None and now < self.locked_until

    def until(self, recertify: timedelta | None) -> datetime | None:
        """Return when the account ends if nobody does anything; rights are to be confirmed each ``recertify``."""
        unconfirmed = (
            None if recertify is None else (self.confirmed_at or self.created_at) + recertify
        )
        return min(
            (end for end in (self.ends_at, unconfirmed) if end is not None), default=None
        )

    def why_out(self, now: datetime, recertify: timedelta | None) -> str | None:
        """Return why nobody comes in with this account, whatever they show; None when it is active."""
        if self.state is not UserState.ACTIVE:
            return self.state.value
        until = self.until(recertify)
        if until is None or now < until:
            return None
        return "ended" if until == self.ends_at else "unconfirmed"

    @property
    def actor(self) -> Actor:
        """Who this is once signed in."""
        return Actor(id=self.id, kind=ActorKind.PERSON, roles=self.roles)


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user as stored, with what seals their row."""

    user: User
    login_token: bytes = field(repr=False)
    sealer: FieldSealer = field(repr=False)

    def changed(self, **changes: Any) -> Replace:  # noqa: ANN401  # as ``dataclasses.replace``
        """Return the write that changes fields of the user, refused if somebody else did meanwhile."""
        user = replace(self.user, version=self.user.version + 1, **changes)
        return Replace(user_row(user, login_token=self.login_token, sealer=self.sealer))


@dataclass(frozen=True, slots=True)
class _Personal:
    """What is sealed in a row.

    ``shown`` repeats what the row shows and grants, so that one written by somebody without the keys grants nothing.
    """

    login: str
    name: str
    shown: tuple[str, ...]
    password_hash: str | None = field(default=None, repr=False)
    second_factor: SecondFactor | None = field(default=None, repr=False)
    undertaking: str = ""
    wrong_codes: int = 0
    organisation: str = ""
    ends_at: int = 0
    confirmed_at: int = 0


def user_row(user: User, *, login_token: bytes, sealer: FieldSealer) -> UserRow:
    """Return the row of ``user``, sealed."""
    roles = ",".join(sorted(user.roles))
    shown = (login_token.hex(), roles, user.state.value)
    personal = _Personal(
        user.login,
        user.name,
        shown,
        user.password_hash,
        user.second_factor,
        user.undertaking,
        user.wrong_codes,
        user.organisation,
        _kept_time(user.ends_at),
        _kept_time(user.confirmed_at),
    )
    return UserRow(
        id=user.id,
        version=user.version,
        login_token=login_token,
        roles=roles,
        state=user.state.value,
        failures=user.failures,
        locked_until=_kept_time(user.locked_until),
        created_at=to_microseconds(user.created_at),
        sealed=seal_value(sealer, personal, table=_TABLE, row=user.id, version=user.version),
    )


def user_of(row: UserRow, sealer: FieldSealer) -> User:
    """Return the user of ``row``.

    Raises:
        TamperedError: The sealed field is not what was sealed there.
    """
    personal = open_value(
        sealer, row.sealed, _Personal, table=_TABLE, row=row.id, version=row.version
    )
    if personal.shown != (row.login_token.hex(), row.roles, row.state):
        raise TamperedError(f"the row of {row.id} shows what was not sealed there")
    return User(
        id=row.id,
        version=row.version,
        login=personal.login,
        name=personal.name,
        password_hash=personal.password_hash,
        second_factor=personal.second_factor,
        undertaking=personal.undertaking,
        wrong_codes=personal.wrong_codes,
        roles=roles_of(row),
        state=UserState(row.state),
        failures=row.failures,
        locked_until=_time_of(row.locked_until),
        created_at=from_microseconds(row.created_at),
        organisation=personal.organisation,
        ends_at=_time_of(personal.ends_at),
        confirmed_at=_time_of(personal.confirmed_at),
    )


def _kept_time(at: datetime | None) -> int:
    return 0 if at is None else to_microseconds(at)


def _time_of(kept: int) -> datetime | None:
    return from_microseconds(kept) if kept else None


def roles_of(row: UserRow) -> frozenset[Role]:
    """Return the roles that ``row`` shows."""
    return frozenset(Role(role) for role in row.roles.split(",") if role)


class Users:
    """Finds and opens users. Those whose row key was destroyed are erased: they are not found.

    After ``recertify`` without a confirmation that somebody still needs their rights, they are out; None: never.
    """

    def __init__(
        self, *, store: Store, vault: Vault, recertify: timedelta | None = None
    ) -> None:
        self._store = store
        self._vault = vault
        self.recertify = recertify

    def why_out(self, user: User, now: datetime) -> str | None:
        """Return why nobody comes in with this account now, whatever they show; None when it is active."""
        return user.why_out(now, self.recertify)

    async def get(self, user_id: str) -> StoredUser:
        """Return the user.

        Raises:
            NotFoundError: There is none.
        """
        rows = await self._store.find(UserRow, {"id": user_id})
        if not rows:
            raise NotFoundError(f"no user {user_id}")
        try:
            return _stored(rows[0], await self._vault.get_sealer(user_id))
        except ErasedError as error:
            raise NotFoundError(f"the user {user_id} was erased") from error

    def row_mark(self, *parts: str) -> str:
        """Return what only this archive can write into the row of a session or an invite."""
        return self._vault.index.token("row_mark", "\n".join(parts)).hex()

    async def find_by_login(self, login: str) -> StoredUser | None:
        """Return the user with ``login`` as typed, if there is one."""
        try:
            token = self.login_token(login)
        except InvalidInputError:
            token = b""
        rows = await self._store.find(UserRow, {"login_token": token})
        user_id = rows[0].id if rows else USER_PREFIX
        # Asked for nobody as well, so that the answer takes as long.
        sealers = await self._vault.find_sealers([user_id])
        return _stored(rows[0], sealers[user_id]) if user_id in sealers else None

    async def find_all(self) -> Sequence[User]:
        """Return all users in the order in which they were added."""
        rows = await self._store.find(UserRow, {}, order=("created_at", "id"))
        sealers = await self._vault.find_sealers([row.id for row in rows])
        return [user_of(row, sealers[row.id]) for row in rows if row.id in sealers]

    def login_token(self, login: str) -> bytes:
        """Return what a user with ``login`` as typed is found by.

        Raises:
            InvalidInputError: Nobody can have that login.
        """
        return self._vault.index.token("login", parse_login(login))


def _stored(row: UserRow, sealer: FieldSealer) -> StoredUser:
    return StoredUser(user_of(row, sealer), row.login_token, sealer)
