"""Grants: an actor says why contacts are to be opened, for how long, and that is on record first.

A grant is sealed as a whole: a row that somebody wrote into the database without the keys does not open as one.
Order of writes: the grant's key, then one commit of its rows and its log entry; a crash between leaves a key
that opens nothing.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from service.archive.vault import Vault, open_value, seal_value
from service.crypto.fields import FieldSealer
from service.domain.actor import Actor
from service.domain.errors import (
    ErasedError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.identifiers import require_plain
from service.domain.ids import new_id
from service.domain.permission import Permission, require_permission
from service.domain.purpose import REFERENCE, Grant, Purpose, require_purpose
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, LogEntry, Value, commitment, encode_entry
from storage.errors import StaleError, StorageError
from storage.ports import Add, Append, Change, Replace, Span, Store
from storage.rows import ContactRow, GrantContactRow, GrantRow

DEFAULT_LIFE: Final = timedelta(hours=8)
"""A working day; what takes longer is granted again."""

MAX_CONTACTS: Final = 500

_SALT_BYTES: Final = 16
_NEEDS_SAMPLE: Final = frozenset({Purpose.QUALITY_DEVELOPMENT, Purpose.OWN_FEEDBACK})


class SealedGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sealed field of a grant: its reference, and all that its columns show, to be compared."""

    actor_id: str
    purpose: str
    contact_ids: tuple[str, ...]
    created_at: int
    expires_at: int
    withdrawn_at: int | None = None
    reference: str | None = None
    salt: bytes = b""


@dataclass(frozen=True, slots=True)
class GrantPage:
    """Some of an actor's grants, newest first; ``cursor`` continues after them."""

    grants: tuple[Grant, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Grants:
    """Create, withdraw and list grants. ``on_withdrawn`` is told at once, so that what is open closes."""

    store: Store
    vault: Vault
    on_withdrawn: Callable[[str], None]
    life: timedelta = DEFAULT_LIFE

    async def create(
        self,
        *,
        actor: Actor,
        purpose: Purpose,
        contact_ids: Sequence[str],
        reference: str | None,
        now: datetime,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Grant:
        """Grant ``actor`` to open the contacts for ``purpose``. On return that is in the log.

        Raises:
            NotPermittedError: The actor may not make grants, or none of their roles has this purpose.
            InvalidInputError: The purpose needs a complaint, request or sample, or the contacts are none or too
            many. NotFoundError: One of the contacts does not exist. UnavailableError: The log could not be
            written. There is no grant.
        """
        require_permission(actor, Permission.GRANT)
        if purpose in _NEEDS_SAMPLE:
            raise InvalidInputError(
                f"the purpose {purpose} needs a sample, and there are no samples yet"
            )
        named = _require_reference(actor, purpose, reference)
        contacts = _require_few(contact_ids)
        await self._require_contacts(contacts)
        grant = Grant(
            id=new_id("gr", random=random),
            version=1,
            actor_id=actor.id,
            purpose=purpose,
            reference=named,
            contact_ids=contacts,
            created_at=now,
            expires_at=now + self.life,
            withdrawn_at=None,
        )
        key = self.vault.new_key(grant.id, now=now)
        salt = random(_SALT_BYTES)
        try:
            await self.vault.put([key])
            await self.store.commit(_created(grant, salt, key.sealer))
        except StorageError as error:
            raise UnavailableError(f"the grant {grant.id} could not be recorded") from error
        return grant

    async def withdraw(self, grant_id: str, *, actor: Actor, now: datetime) -> None:
        """End the actor's grant now; what is open under it closes. Doing so again changes nothing.

        Raises:
            NotPermittedError: The actor may not make grants.
            NotFoundError: There is no such grant of this actor.
            UnavailableError: The log could not be written. The grant stands.
        """
        require_permission(actor, Permission.GRANT)
        for _ in range(3):
            found = await _read(self.store, self.vault, grant_id)
            if found is None or found.grant.actor_id != actor.id:
                raise NotFoundError(f"no grant {grant_id} of {actor.id}")
            if found.grant.withdrawn_at is not None:
                self.on_withdrawn(grant_id)
                return
            try:
                await self.store.commit(_withdrawn(found, now=now))
            except StaleError:
                continue
            except StorageError as error:
                raise UnavailableError(f"{grant_id} could not be withdrawn") from error
            self.on_withdrawn(grant_id)
            return
        raise UnavailableError(f"{grant_id} keeps changing")

    async def list(
        self, *, actor: Actor, cursor: str | None = None, limit: int = 50
    ) -> GrantPage:
        """Return the actor's own grants, newest first.

        Raises:
            NotPermittedError: The actor may not make grants.
            InvalidInputError: ``cursor`` is not one that a page gave.
        """
        require_permission(actor, Permission.GRANT)
        rows = await self._rows_after(actor, cursor, limit + 1)
        read = [await _unsealed(self.store, self.vault, row) for row in rows[:limit]]
        more = len(rows) > limit
        following = f"{rows[limit - 1].created_at}.{rows[limit - 1].id}" if more else None
        return GrantPage(tuple(found.grant for found in read if found), following)

    async def _rows_after(
        self, actor: Actor, cursor: str | None, limit: int
    ) -> Sequence[GrantRow]:
        order = ("-created_at", "-id")
        mine = {"actor_id": actor.id}
        if cursor is None:
            return await self.store.find(GrantRow, mine, order=order, limit=limit)
        at, _, last = cursor.partition(".")
        if not (at.isascii() and at.isdigit() and len(at) < 18 and last):  # noqa: PLR2004  # 64 bits
            raise InvalidInputError("the cursor is not one that a page gave")
        twins = await self.store.find(
            GrantRow, {**mine, "created_at": int(at), "id": Span(stop=last)}, order=order
        )
        older = await self.store.find(
            GrantRow, {**mine, "created_at": Span(stop=int(at))}, order=order, limit=limit
        )
        return [*twins, *older][:limit]

    async def _require_contacts(self, contact_ids: tuple[str, ...]) -> None:
        rows = await self.store.find(ContactRow, {"id": contact_ids})
        missing = set(contact_ids) - {row.id for row in rows}
        if missing:
            raise NotFoundError(f"no contact {min(missing)}")


async def find_grant(store: Store, vault: Vault, grant_id: str) -> Grant | None:
    """Return the grant, or None.

    Raises:
        TamperedError: Its row is not what was recorded when it was made.
    """
    found = await _read(store, vault, grant_id)
    return None if found is None else found.grant


@dataclass(frozen=True, slots=True)
class _Found:
    row: GrantRow
    grant: Grant
    sealed: SealedGrant
    sealer: FieldSealer


async def _read(store: Store, vault: Vault, grant_id: str) -> _Found | None:
    rows = await store.find(GrantRow, {"id": grant_id})
    return await _unsealed(store, vault, rows[0]) if rows else None


async def _unsealed(store: Store, vault: Vault, row: GrantRow) -> _Found | None:
    covered = await store.find(GrantContactRow, {"grant_id": row.id})
    try:
        sealer = await vault.get_sealer(row.id)
    except ErasedError:
        return None
    sealed = open_value(
        sealer, row.sealed, SealedGrant, table="grants", row=row.id, version=row.version
    )
    shown = (
        row.actor_id,
        row.purpose,
        {one.contact_id for one in covered},
        row.created_at,
        row.expires_at,
        row.withdrawn_at,
    )
    kept = (
        sealed.actor_id,
        sealed.purpose,
        set(sealed.contact_ids),
        sealed.created_at,
        sealed.expires_at,
        sealed.withdrawn_at,
    )
    if shown != kept:
        raise TamperedError(f"the grant {row.id} is not what was recorded")
    grant = Grant(
        id=row.id,
        version=row.version,
        actor_id=row.actor_id,
        purpose=Purpose(row.purpose),
        reference=sealed.reference,
        contact_ids=sealed.contact_ids,
        created_at=from_microseconds(row.created_at),
        expires_at=from_microseconds(row.expires_at),
        withdrawn_at=None if row.withdrawn_at is None else from_microseconds(row.withdrawn_at),
    )
    return _Found(row, grant, sealed, sealer)


def _require_reference(actor: Actor, purpose: Purpose, reference: str | None) -> str | None:
    named = require_plain(reference, what="the reference") if reference else None
    require_purpose(actor, purpose, reference=named)
    if named and purpose not in REFERENCE:
        raise InvalidInputError(f"the purpose {purpose} names no complaint or request")
    return named


def _require_few(contact_ids: Sequence[str]) -> tuple[str, ...]:
    contacts = tuple(dict.fromkeys(contact_ids))
    if not 0 < len(contacts) <= MAX_CONTACTS:
        raise InvalidInputError(f"a grant covers 1 to {MAX_CONTACTS} contacts")
    return contacts


def _created(grant: Grant, salt: bytes, sealer: FieldSealer) -> Change:
    sealed = SealedGrant(
        actor_id=grant.actor_id,
        purpose=grant.purpose.value,
        contact_ids=grant.contact_ids,
        created_at=to_microseconds(grant.created_at),
        expires_at=to_microseconds(grant.expires_at),
        reference=grant.reference,
        salt=salt,
    )
    row = GrantRow(
        id=grant.id,
        version=1,
        actor_id=sealed.actor_id,
        purpose=sealed.purpose,
        created_at=sealed.created_at,
        expires_at=sealed.expires_at,
        withdrawn_at=None,
        sealed=seal_value(sealer, sealed, table="grants", row=grant.id, version=1),
    )
    data: dict[str, Value] = {"purpose": row.purpose, "expires_at": row.expires_at}
    if grant.reference:
        data["reference_commitment"] = commitment(salt, grant.reference.encode())
    entry = LogEntry(
        type=EntryType.GRANT_CREATED,
        at=grant.created_at,
        actor=grant.actor_id,
        about=(grant.id, *grant.contact_ids),
        data=data,
    )
    covered = [
        Add(GrantContactRow(grant_id=grant.id, contact_id=contact_id))
        for contact_id in grant.contact_ids
    ]
    return [Add(row), *covered, Append(encode_entry(entry), entry.about)]


def _withdrawn(found: _Found, *, now: datetime) -> Change:
    version, at = found.row.version + 1, to_microseconds(now)
    sealed = msgspec.structs.replace(found.sealed, withdrawn_at=at)
    row = replace(
        found.row,
        version=version,
        withdrawn_at=at,
        sealed=seal_value(
            found.sealer, sealed, table="grants", row=found.row.id, version=version
        ),
    )
    entry = LogEntry(
        type=EntryType.GRANT_WITHDRAWN, at=now, actor=row.actor_id, about=(row.id,)
    )
    return [Replace(row), Append(encode_entry(entry), entry.about)]
