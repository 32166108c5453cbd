"""Holds: what must not be erased, by whom and why, until two people say that it may.

The log is what is believed: a hold whose row was taken away or changed by somebody else than the archive still holds,
as a refusal to decide. Order of writes: the hold's key, then one commit of its row and its log entry. Placing one moves
the guard that every erasure requires, so a hold and an erasure at the same moment never both happen.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from service.archive.guard import find_guard, moved
from service.archive.hold_rows import (
    HoldOrder,
    SealedHold,
    decide_hold,
    hold_of,
    hold_row,
    period_data,
)
from service.archive.vault import RowKey, Vault, open_value, seal_value
from service.domain.actor import Actor
from service.domain.errors import (
    ContradictionError,
    ErasedError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import parse_id
from service.domain.permission import Permission, require_permission
from service.domain.retention import (
    Decision,
    Hold,
    HoldState,
    decide_disposition,
    require_person,
    require_second_person,
)
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, LogEntry, Value, decode_entry, encode_entry
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Append, Condition, LogStore, Replace, Require, Span, Store, Write
from storage.rows import ContactRow, CustomerRow, HoldRow, LinkRow

MAX_PAGE: Final = 200
_ATTEMPTS: Final = 32
_VERSION: Final = 1
_CURSOR: Final = re.compile(r"([0-9]{1,17})\.(ho_[a-z2-7]{26})", re.ASCII)


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Holds, newest first, and the cursor of the next page when there is one."""

    holds: tuple[Hold, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Holds:
    """The use cases of holds. ``log`` gives only what the archive itself wrote."""

    store: Store
    log: LogStore
    vault: Vault

    async def place(self, order: HoldOrder, *, actor: Actor, now: datetime) -> Hold:
        """Place a hold, of which ``actor`` is the owner. On return nothing that it covers can be erased.

        Raises:
            NotPermittedError: The actor may not place holds.
            InvalidInputError: The order is not whole, or contradicts itself.
            NotFoundError: There is no such contact or customer.
            ErasedError: The contact was erased already.
        """
        for _ in range(_ATTEMPTS):
            key, hold, writes = await self.placing(order, actor=actor, now=now)
            await self.vault.put([key])
            try:
                await self.store.commit(writes)
            except (StaleError, ConflictError):
                continue
            return hold
        raise UnavailableError("holds kept changing while one was placed")

    async def placing(
        self, order: HoldOrder, *, actor: Actor, now: datetime
    ) -> tuple[RowKey, Hold, list[Write]]:
        """Return a hold that is to be placed with other writes: the key to put before, the hold, and its writes.

        The writes may prove stale, and must then be asked for again.

        Raises:
            As ``place``.
        """
        require_permission(actor, Permission.HOLD)
        hold = decide_hold(order, actor, now=now)
        required = await self._require_target(hold)
        key = self.vault.new_key(hold.id, now=now)
        sealed = seal_value(
            key.sealer,
            SealedHold(hold.reason, hold.reference),
            table="holds",
            row=hold.id,
            version=_VERSION,
        )
        entry = LogEntry(
            type=EntryType.HOLD_PLACED,
            at=now,
            actor=actor.id,
            about=(hold.id, hold.contact_id or hold.customer_id or ""),
            data={**period_data(hold), "review_on": hold.review_on.isoformat()},
        )
        writes = [
            *required,
            moved(await find_guard(self.store)),
            Add(hold_row(hold, sealed)),
            Append(encode_entry(entry), entry.about),
        ]
        return key, hold, writes

    async def find(
        self,
        *,
        actor: Actor,
        contact_id: str | None = None,
        customer_id: str | None = None,
        include_released: bool = False,
        cursor: str | None = None,
        limit: int = MAX_PAGE,
    ) -> HoldPage:
        """Return one page of holds, newest first.

        Raises:
            NotPermittedError: The actor may not see holds.
            InvalidInputError: The cursor is not one that a page gave.
        """
        require_permission(actor, Permission.HOLD)
        where: dict[str, Condition] = {}
        if contact_id is not None:
            where["contact_id"] = parse_id("ct", contact_id)
        if customer_id is not None:
            where["customer_id"] = parse_id("cu", customer_id)
        if not include_released:
            where["state"] = [HoldState.PLACED.value, HoldState.RELEASE_REQUESTED.value]
        rows = await self._rows_after(where, cursor, limit + 1)
        shown = rows[:limit]
        following = f"{shown[-1].placed_at}.{shown[-1].id}" if len(rows) > limit else None
        return HoldPage(tuple(await self._holds(shown)), following)

    async def find_covering(self, contact_id: str, *, actor: Actor) -> Sequence[Hold]:
        """Return the holds that keep a contact, also those of its customers.

        Raises:
            NotPermittedError: The actor may not see holds.
            NotFoundError: There is no such contact.
        """
        require_permission(actor, Permission.HOLD)
        contacts = await self.store.find(ContactRow, {"id": parse_id("ct", contact_id)})
        if not contacts:
            raise NotFoundError("no such contact")
        customers = await find_customers_of(self.store, contact_id)
        rows = await self._rows_of(contact_id, customers)
        return decide_disposition(
            contact_id,
            customer_ids=customers,
            started_at=from_microseconds(contacts[0].started_at),
            holds=await self._holds(rows),
        ).holds

    async def get(self, hold_id: str, *, actor: Actor) -> Hold:
        """Return a hold.

        Raises:
            NotPermittedError: The actor may not see holds.
            NotFoundError: There is no such hold.
        """
        require_permission(actor, Permission.HOLD)
        return (await self._holds([await self._get(hold_id)]))[0]

    async def request_release(self, hold_id: str, *, actor: Actor, now: datetime) -> Hold:
        """Ask that a hold ends; it holds until a second person agrees. Another's request takes the place of the first.

        Raises:
            NotPermittedError: The actor may not, or is no person.
            NotFoundError: There is no such hold.
            ContradictionError: It is released already.
        """
        require_permission(actor, Permission.HOLD)
        require_person(actor)
        row = await self._get(hold_id)
        if row.state == HoldState.RELEASED:
            raise ContradictionError(f"{hold_id} is released already")
        changed = replace(
            row,
            version=row.version + 1,
            state=HoldState.RELEASE_REQUESTED.value,
            requested_by=actor.id,
        )
        return await self._commit(
            changed, EntryType.HOLD_RELEASE_REQUESTED, {}, actor=actor, now=now
        )

    async def release(self, hold_id: str, *, actor: Actor, now: datetime) -> Hold:
        """Agree that a hold ends. Whoever placed it or asked for its release cannot be the second person.

        Raises:
            NotPermittedError: The actor may not release holds, is no person, or had a part in it before.
            NotFoundError: There is no such hold.
            ContradictionError: Nobody asked for its release, or it is released already.
        """
        require_permission(actor, Permission.RELEASE_HOLD)
        row = await self._get(hold_id)
        if row.state != HoldState.RELEASE_REQUESTED:
            raise ContradictionError(
                f"{hold_id} is {row.state}: somebody asks for its release first"
            )
        require_second_person(actor, row.requested_by, row.owner_id)
        await self._require_requested(row)
        changed = replace(
            row,
            version=row.version + 1,
            state=HoldState.RELEASED.value,
            released_by=actor.id,
            released_at=to_microseconds(now),
        )
        data: dict[str, Value] = {"requested_by": row.requested_by or ""}
        return await self._commit(changed, EntryType.HOLD_RELEASED, data, actor=actor, now=now)

    async def decide(self, contact: ContactRow, customer_ids: Collection[str]) -> Decision:
        """Decide whether the contact may be erased, by every hold on it and on its customers.

        Raises:
            TamperedError: The holds are not those of which the log tells; then nothing may be erased.
        """
        rows = await self._rows_of(contact.id, customer_ids)
        by_id = {row.id: row for row in rows}
        for target in (contact.id, *sorted(customer_ids)):
            await self._require_as_logged(target, by_id)
        return decide_disposition(
            contact.id,
            customer_ids=customer_ids,
            started_at=from_microseconds(contact.started_at),
            holds=[hold_of(row, None) for row in rows],
        )

    # -- what the methods above have in common

    async def _rows_of(self, contact_id: str, customer_ids: Collection[str]) -> list[HoldRow]:
        rows = [*await self.store.find(HoldRow, {"contact_id": contact_id})]
        if customer_ids:
            rows += await self.store.find(HoldRow, {"customer_id": sorted(customer_ids)})
        return rows

    async def _require_target(self, hold: Hold) -> list[Write]:
        """Return what keeps the target as it is until the hold is placed."""
        if hold.contact_id is not None:
            contacts = await self.store.find(ContactRow, {"id": hold.contact_id})
            if not contacts:
                raise NotFoundError("no such contact")
            if contacts[0].state != "kept":
                raise ErasedError(f"{hold.contact_id} was erased")
            return [Require(ContactRow, (hold.contact_id,), contacts[0].version)]
        if not await self.store.count(CustomerRow, {"id": hold.customer_id}):
            raise NotFoundError("no such customer")
        return []

    async def _get(self, hold_id: str) -> HoldRow:
        rows = await self.store.find(HoldRow, {"id": parse_id("ho", hold_id)})
        if not rows:
            raise NotFoundError("no such hold")
        return rows[0]

    async def _rows_after(
        self, where: dict[str, Condition], cursor: str | None, limit: int
    ) -> Sequence[HoldRow]:
        order = ("-placed_at", "-id")
        if cursor is None:
            return await self.store.find(HoldRow, where, order=order, limit=limit)
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise InvalidInputError("the cursor is not one that a page gave")
        at = int(match[1])
        twins = {**where, "placed_at": at, "id": Span(stop=match[2])}
        older = {**where, "placed_at": Span(stop=at)}
        return [
            *await self.store.find(HoldRow, twins, order=order, limit=limit),
            *await self.store.find(HoldRow, older, order=order, limit=limit),
        ][:limit]

    async def _holds(self, rows: Sequence[HoldRow]) -> list[Hold]:
        sealers = await self.vault.find_sealers([row.id for row in rows])
        holds = []
        for row in rows:
            sealed = None
            if row.id in sealers:
                place = {"table": "holds", "row": row.id}
                sealed = open_value(
                    sealers[row.id], row.sealed, SealedHold, **place, version=_VERSION
                )
            holds.append(hold_of(row, sealed))
        return holds

    async def _commit(
        self,
        row: HoldRow,
        kind: EntryType,
        data: dict[str, Value],
        *,
        actor: Actor,
        now: datetime,
    ) -> Hold:
        entry = LogEntry(
            type=kind,
            at=now,
            actor=actor.id,
            about=(row.id, row.contact_id or row.customer_id or ""),
            data=data,
        )
        try:
            await self.store.commit([Replace(row), Append(encode_entry(entry), entry.about)])
        except StaleError as error:
            raise ContradictionError(f"{row.id} was changed at the same moment") from error
        return (await self._holds([row]))[0]

    async def _require_requested(self, row: HoldRow) -> None:
        for stored in reversed(await self.log.log_about(row.id)):
            entry = decode_entry(stored.entry)
            if entry.type is EntryType.HOLD_RELEASE_REQUESTED:
                if entry.actor == row.requested_by:
                    return
                break
        raise TamperedError(f"the log does not know who asked for the release of {row.id}")

    async def _require_as_logged(self, target: str, rows: dict[str, HoldRow]) -> None:
        """Return when every hold of which the log tells is there, and as the log tells of it."""
        entries = [decode_entry(one.entry) for one in await self.log.log_about(target)]
        released = {e.about[0] for e in entries if e.type is EntryType.HOLD_RELEASED}
        for entry in entries:
            if entry.type is not EntryType.HOLD_PLACED or entry.about[0] in released:
                continue
            row = rows.get(entry.about[0])
            if (
                row is None
                or row.state == HoldState.RELEASED
                or target not in {row.contact_id, row.customer_id}
                or period_data(hold_of(row, None))
                != {name: v for name, v in entry.data.items() if name.startswith("period_")}
            ):
                raise TamperedError(f"the hold {entry.about[0]} is not as the log says")


async def find_customers_of(store: Store, contact_id: str) -> frozenset[str]:
    """Return the customers whose contact it is, may be, or was before it was erased; none that it was taken from."""
    links = await store.find(LinkRow, {"contact_id": contact_id})
    return frozenset(link.customer_id for link in links if link.state != "unlinked")
