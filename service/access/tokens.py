"""Tokens of machines: `tlt_` and a secret, shown once; stored as SHA-256. Revoking is near-immediate.

A token works for at most two more seconds after it was revoked by another process, and not at all after it was revoked
by this one.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.names import parse_name
from service.access.persons import require_manager
from service.access.recognised import SCHEME, Recognised
from service.access.secrets import hash_secret, new_secret
from service.access.token_marks import FIELD, TokenMarker
from service.archive.vault import Vault, open_value, seal_value
from service.crypto.fields import FieldSealer
from service.domain.actor import Actor, Role
from service.domain.errors import ErasedError, InvalidInputError, NotFoundError, TamperedError
from service.domain.ids import new_id
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, Value
from storage.ports import Add, Change, Replace, Store
from storage.rows import TokenRow

TOKEN_PREFIX: Final = "tk"  # noqa: S105  # begins ids, which are no secrets
_TABLE: Final = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as an administrator sees it: never the secret."""

    id: str
    name: str = field(repr=False)
    role: Role
    source: str | None
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token that was just made; ``secret`` is what its machine sends, known at this moment only."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Personal:
    """What is sealed in a row.

    ``shown`` repeats what the row shows and grants, so that one written by somebody without the keys grants nothing.
    """

    name: str
    shown: tuple[str, ...]


class Tokens:
    """Makes, lists, revokes and recognises tokens. ``clock`` is monotonic, in seconds."""

    def __init__(
        self, *, store: Store, vault: Vault, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._vault = vault
        self._marker = TokenMarker(vault.ring.intake_keys().index_key(FIELD))
        self._recognised = Recognised(clock)
        self._marked = Recognised(clock)

    async def create(
        self,
        name: str,
        *,
        role: Role,
        by: Actor,
        now: datetime,
        source: str | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> NewToken:
        """Return a new token with one role; ``source`` binds one with the role integration to one source.

        The row key is stored first; a crash after it leaves a key that opens nothing.

        Raises:
            NotPermittedError: ``by`` does not manage users.
            InvalidInputError: The name cannot be, or another role was to be bound to a source.
        """
        require_manager(by)
        plain_name = parse_name(name)
        if source is not None and role is not Role.INTEGRATION:
            raise InvalidInputError("only a token of the role integration is bound to a source")
        token_id, secret = new_id(TOKEN_PREFIX), SCHEME + new_secret(random=random)
        key = self._vault.new_key(token_id, now=now)
        await self._vault.put([key])
        row = TokenRow(
            id=token_id,
            version=1,
            secret_hash=hash_secret(secret),
            role=role.value,
            source=source,
            created_at=to_microseconds(now),
            revoked_at=None,
            mark=b"",
            sealed=b"",
        )
        row = self._sealed(row, plain_name, key.sealer)
        data: dict[str, Value] = {"role": role.value}
        if source is not None:
            data["source"] = source
        created = entry(EntryType.TOKEN_CREATED, token_id, actor=by.id, at=now, data=data)
        await self._store.commit([Add(row), created])
        return NewToken(id=token_id, secret=secret)

    async def find_all(self, *, by: Actor) -> Sequence[Token]:
        """Return all tokens, revoked ones too, in the order in which they were made.

        Raises:
            NotPermittedError: ``by`` does not manage users.
        """
        require_manager(by)
        rows = await self._store.find(TokenRow, {}, order=("created_at", "id"))
        sealers = await self._vault.find_sealers([row.id for row in rows])
        return [_token(row, sealers[row.id]) for row in rows if row.id in sealers]

    async def revoke(self, token_id: str, *, by: Actor, now: datetime) -> None:
        """Make the token worth nothing. Revoking again changes nothing.

        Raises:
            NotPermittedError: ``by`` does not manage users.
            NotFoundError: There is no such token, or it was erased.
        """
        require_manager(by)

        async def decide() -> tuple[Change, None]:
            rows = await self._store.find(TokenRow, {"id": token_id})
            if not rows:
                raise NotFoundError(f"no token {token_id}")
            if rows[0].revoked_at is not None:
                return [], None
            try:
                sealer = await self._vault.get_sealer(token_id)
            except ErasedError as error:
                raise NotFoundError(f"the token {token_id} was erased") from error
            revoked = entry(EntryType.TOKEN_REVOKED, token_id, actor=by.id, at=now)
            return [self._revoked(rows[0], sealer, now=now), revoked], None

        await commit_decided(self._store, decide)
        self._recognised.forget_all()
        self._marked.forget_all()

    async def authenticate(self, secret: str) -> Actor | None:
        """Return whose token ``secret`` is, if it is one that was not revoked.

        Raises:
            TamperedError: Its row is not what was sealed there.
        """
        return await self._recognised.recognise(secret, self._store, self._is_authentic)

    async def authenticate_by_mark(self, secret: str) -> Actor | None:
        """Return the same by the mark of its row alone, which needs no key: enough for what tells nothing of anybody.

        Raises:
            TamperedError: Somebody who has no keys of intake wrote its row.
        """
        return await self._marked.recognise(secret, self._store, self._is_marked)

    async def _is_marked(self, row: TokenRow) -> bool:
        self._marker.require_authentic(row)
        return True

    async def _is_authentic(self, row: TokenRow) -> bool:
        """Tell whether a token was not erased; with the keys away, who delivers is known by the mark alone.

        Raises:
            TamperedError: Its row is not what was sealed there.
            KeysUnavailableError: The keys are away, and the token may do more than deliver.
        """
        if row.role == Role.INTEGRATION and not self._vault.ring.is_at_hand:
            return await self._is_marked(row)
        sealer = (await self._vault.find_sealers([row.id])).get(row.id)
        if sealer is not None:
            _open(row, sealer)
        return sealer is not None

    def _revoked(self, row: TokenRow, sealer: FieldSealer, *, now: datetime) -> Replace:
        name = _open(row, sealer).name
        revoked = replace(row, version=row.version + 1, revoked_at=to_microseconds(now))
        return Replace(self._sealed(revoked, name, sealer))

    def _sealed(self, row: TokenRow, name: str, sealer: FieldSealer) -> TokenRow:
        """Return ``row`` with what it shows sealed, and marked for those who cannot open that."""
        personal = _Personal(name, _shown(row))
        sealed = seal_value(sealer, personal, table=_TABLE, row=row.id, version=row.version)
        return replace(row, sealed=sealed, mark=self._marker.mark_of(row))


def _token(row: TokenRow, sealer: FieldSealer) -> Token:
    return Token(
        id=row.id,
        name=_open(row, sealer).name,
        role=Role(row.role),
        source=row.source,
        created_at=from_microseconds(row.created_at),
        revoked_at=None if row.revoked_at is None else from_microseconds(row.revoked_at),
    )


def _shown(row: TokenRow) -> tuple[str, ...]:
    return (row.secret_hash.hex(), row.role, row.source or "", str(row.revoked_at or ""))


def _open(row: TokenRow, sealer: FieldSealer) -> _Personal:
    personal = open_value(
        sealer, row.sealed, _Personal, table=_TABLE, row=row.id, version=row.version
    )
    if personal.shown != _shown(row):
        raise TamperedError(f"the row of {row.id} shows what was not sealed there")
    return personal
