"""One-time links with which people set their password, one hour long. Only the hash of the secret is stored."""

import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.errors import InviteRefusedError
from service.access.passwords import Passwords, require_acceptable
from service.access.secrets import hash_secret, is_secret, new_secret
from service.access.sessions import removed_sessions
from service.access.users import StoredUser, Users, UserState
from service.domain.errors import NotFoundError
from service.domain.times import to_microseconds
from service.log.entry import EntryType
from storage.ports import Add, Change, Remove, Span, Store
from storage.rows import InviteRow

VALID_FOR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """A new invite: the only moment at which its secret is known."""

    user_id: str
    secret: str = field(repr=False)
    expires_at: datetime


def new_invite(
    users: Users, user_id: str, *, now: datetime, random: Callable[[int], bytes] = os.urandom
) -> tuple[Invite, Add]:
    """Return an invite of the user and the write that makes it valid.

    Its id is a keyed hash of the secret, the user and the expiry: a row that somebody without the keys writes into
    the database invites nobody.
    """
    invite = Invite(
        user_id=user_id, secret=new_secret(random=random), expires_at=now + VALID_FOR
    )
    row = InviteRow(
        id=_mark(users, invite.secret, user_id, to_microseconds(invite.expires_at)),
        user_id=user_id,
        created_at=to_microseconds(now),
        expires_at=to_microseconds(invite.expires_at),
    )
    return invite, Add(row)


async def removed_invites(store: Store, user_id: str) -> Sequence[Remove]:
    """Return the writes that end every invite of the user."""
    rows = await store.find(InviteRow, {"user_id": user_id})
    return [Remove(InviteRow, (row.id,)) for row in rows]


def _mark(users: Users, secret: str, user_id: str, expires_at: int) -> str:
    return users.row_mark("invite", hash_secret(secret).hex(), user_id, str(expires_at))


class Invites:
    """Setting a password through an invite."""

    def __init__(self, *, store: Store, users: Users, passwords: Passwords) -> None:
        self._store = store
        self._users = users
        self._passwords = passwords

    async def get_login(self, secret: str, *, now: datetime) -> str:
        """Return the login that the invite is for.

        Raises:
            InviteRefusedError: It is unknown, used, replaced or expired.
        """
        return (await self._get(secret, now=now)).user.login

    async def accept(self, secret: str, password: str, *, now: datetime) -> str:
        """Set the password, end the invite, and return the user's id.

        All of it commits together, so that of two who use one link, one wins.

        Raises:
            InviteRefusedError: The invite is unknown, used, replaced or expired.
            InvalidInputError: The password is not acceptable; the invite stays.
        """
        first = await self._get(secret, now=now)
        require_acceptable(password, login=first.user.login)
        password_hash = await self._passwords.hash(password)

        async def decide() -> tuple[Change, str]:
            stored = await self._get(secret, now=now)
            user_id = stored.user.id
            return [
                stored.changed(
                    state=UserState.ACTIVE,
                    password_hash=password_hash,
                    failures=0,
                    locked_until=None,
                ),
                *await removed_sessions(self._store, user_id),
                *await removed_invites(self._store, user_id),
                entry(
                    EntryType.USER_CHANGED,
                    user_id,
                    actor=user_id,
                    at=now,
                    data={"change": "password"},
                ),
            ], user_id

        return await commit_decided(self._store, decide)

    async def _get(self, secret: str, *, now: datetime) -> StoredUser:
        if not is_secret(secret):
            raise InviteRefusedError("not an invite")
        # There are few invites at a time, and which one it is only the secret tells.
        valid = await self._store.find(
            InviteRow, {"expires_at": Span(start=to_microseconds(now) + 1)}
        )
        rows = [
            row
            for row in valid
            if hmac.compare_digest(
                row.id, _mark(self._users, secret, row.user_id, row.expires_at)
            )
        ]
        if not rows:
            raise InviteRefusedError("an unknown or expired invite")
        try:
            stored = await self._users.get(rows[0].user_id)
        except NotFoundError as error:
            raise InviteRefusedError("the invite of an erased user") from error
        if stored.user.state is UserState.DISABLED:
            raise InviteRefusedError("the invite of a disabled user")
        return stored
