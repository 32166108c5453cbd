"""Signed-in browsers. The cookie is a random secret; the server keeps its SHA-256 and everything else.

A session ends by signing out, after a time without requests, after a time in any case, and at once when its user is
disabled, reset or given other roles, or when their account ends.
"""

import hmac
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.secrets import hash_secret, is_secret, new_secret
from service.access.users import StoredUser, Users
from service.domain.actor import Actor
from service.domain.errors import NotFoundError
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, Value
from storage.errors import StaleError
from storage.ports import Add, Change, Put, Remove, Span, Store, Write
from storage.rows import InviteRow, SessionRow

_MAX_PER_USER: Final = 10
_SEEN_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """How long a session lasts: without requests, and in any case."""

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that is valid now. Unsafe requests made with it must repeat ``csrf``."""

    id: str = field(repr=False)
    actor: Actor
    csrf: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that is alive, for its owner to look at: since when, and when it was used last."""

    id: str = field(repr=False)
    begun_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that has just begun; ``secret`` is the cookie, known at this moment only."""

    secret: str = field(repr=False)
    session: Session


async def removed_sessions(store: Store, user_id: str) -> Sequence[Remove]:
    """Return the writes that end every session of the user."""
    rows = await store.find(SessionRow, {"user_id": user_id})
    return [Remove(SessionRow, (row.id,)) for row in rows]


class Sessions:
    """Begins, finds and ends sessions.

    Whatever begins, prolongs or ends a session replaces its user's row too: of two such changes at once the later is
    decided again, so that no request in flight brings back a session that was ended.
    """

    def __init__(self, *, store: Store, users: Users, rules: SessionRules) -> None:
        self._store = store
        self._users = users
        self._rules = rules

    async def begin(
        self,
        user: StoredUser,
        *,
        now: datetime,
        replaces: str | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> tuple[Change, NewSession]:
        """Return a new session and the writes that begin it, to be committed with a change of the user's row.

        The session of the cookie ``replaces`` ends with it. Of a user's sessions the newest ten are kept.
        """
        secret = new_secret(random=random)
        row = SessionRow(
            id=hash_secret(secret).hex(),
            user_id=user.user.id,
            csrf="",
            created_at=to_microseconds(now),
            seen_at=to_microseconds(now),
            expires_at=to_microseconds(now + self._rules.absolute),
        )
        row = replace(row, csrf=self._csrf(row))
        others = await self._store.find(
            SessionRow, {"user_id": user.user.id}, order=("-created_at", "id")
        )
        ended = {other.id for other in others[_MAX_PER_USER - 1 :]}
        if replaces is not None and is_secret(replaces):
            ended.add(hash_secret(replaces).hex())
        change: list[Write] = [Remove(SessionRow, (name,)) for name in sorted(ended)]
        return [*change, Add(row)], NewSession(secret, _session(row, user.user.actor))

    async def find(self, secret: str, *, now: datetime) -> Session | None:
        """Return the session of the cookie ``secret`` with the roles that its user has now, if it is valid."""
        if not is_secret(secret):
            return None
        rows = await self._store.find(SessionRow, {"id": hash_secret(secret).hex()})
        if not rows or not self._is_alive(rows[0], now):
            return None
        # A row that somebody without the keys wrote into the database is no session.
        if not hmac.compare_digest(rows[0].csrf, self._csrf(rows[0])):
            return None
        try:
            user = (await self._users.get(rows[0].user_id)).user
        except NotFoundError:
            return None
        if self._users.why_out(user, now) is not None:
            return None
        if now - from_microseconds(rows[0].seen_at) >= _SEEN_EVERY:
            await self._prolong(rows[0], now)
        return _session(rows[0], user.actor)

    async def end(self, session: Session, *, now: datetime) -> None:
        """Sign out: the cookie is worth nothing from now on."""
        user_id = session.actor.id

        async def decide() -> tuple[Change, None]:
            stored = await self._users.get(user_id)
            signed_out = entry(
                EntryType.SIGNOUT, user_id, actor=user_id, at=now, data={"where": "here"}
            )
            ended = Remove(SessionRow, (session.id,))
            return [stored.changed(), ended, signed_out], None

        await commit_decided(self._store, decide)

    async def find_of(self, user_id: str, *, now: datetime) -> Sequence[OpenSession]:
        """Return the sessions of a user that are alive, the newest first."""
        rows = await self._store.find(
            SessionRow, {"user_id": user_id}, order=("-created_at", "id")
        )
        return [
            OpenSession(
                row.id, from_microseconds(row.created_at), from_microseconds(row.seen_at)
            )
            for row in rows
            if self._is_alive(row, now) and hmac.compare_digest(row.csrf, self._csrf(row))
        ]

    async def end_others(self, session: Session, *, now: datetime) -> int:
        """End every session of the user but this one; return how many there were."""
        user_id = session.actor.id

        async def decide() -> tuple[Change, int]:
            stored = await self._users.get(user_id)
            ended = await self.others_ended(session, now=now)
            if not ended:
                return [], 0
            return [stored.changed(), *ended], sum(isinstance(one, Remove) for one in ended)

        return await commit_decided(self._store, decide)

    async def others_ended(self, session: Session, *, now: datetime) -> Change:
        """Return what ends every session of the user but this one, to be committed with a change of the user's row."""
        user_id = session.actor.id
        rows = await self._store.find(SessionRow, {"user_id": user_id})
        others = [row for row in rows if row.id != session.id]
        if not others:
            return []
        data: dict[str, Value] = {"where": "elsewhere", "sessions": len(others)}
        signed_out = entry(EntryType.SIGNOUT, user_id, actor=user_id, at=now, data=data)
        return [*(Remove(SessionRow, (row.id,)) for row in others), signed_out]

    async def remove_expired(self, *, now: datetime) -> None:
        """Remove sessions and invites whose time is over; they are refused already. For the worker, now and then."""
        # The ends of these spans are exclusive; what is over at this very moment is over.
        over = Span(stop=to_microseconds(now) + 1)
        unseen = Span(stop=to_microseconds(now - self._rules.idle) + 1)
        sessions = {
            *(await self._store.find(SessionRow, {"expires_at": over})),
            *(await self._store.find(SessionRow, {"seen_at": unseen})),
        }
        invites = await self._store.find(InviteRow, {"expires_at": over})
        await self._store.commit(
            [
                *(Remove(SessionRow, (row.id,)) for row in sessions),
                *(Remove(InviteRow, (row.id,)) for row in invites),
            ]
        )

    def _csrf(self, row: SessionRow) -> str:
        """Return the token of the session's forms; it is bound to whose session it is and how long it lasts."""
        return self._users.row_mark(
            row.id, row.user_id, str(row.created_at), str(row.expires_at)
        )

    def _is_alive(self, row: SessionRow, now: datetime) -> bool:
        idle = now - from_microseconds(row.seen_at)
        return idle < self._rules.idle and now < from_microseconds(row.expires_at)

    async def _prolong(self, row: SessionRow, now: datetime) -> None:
        """Remember the request, at most once a minute. Losing a race loses a minute at the most."""
        stored = await self._users.get(row.user_id)
        if not await self._store.find(SessionRow, {"id": row.id}):
            return
        seen = replace(row, seen_at=to_microseconds(now))
        with suppress(StaleError):
            await self._store.commit([stored.changed(), Put(seen)])


def _session(row: SessionRow, actor: Actor) -> Session:
    return Session(
        id=row.id, actor=actor, csrf=row.csrf, expires_at=from_microseconds(row.expires_at)
    )
