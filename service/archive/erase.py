"""Erasing: one person asks for it, a second one agrees, and no hold forbids it. What happens then is in ``dispose``.

A contact that was erased, whose source has sent something for it again, can be erased once more with that.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from service.archive.dispose import Disposal, Parts, tombstone
from service.archive.erasure_rows import Erasure, erasure_of, requested_row
from service.archive.guard import find_guard, guarded
from service.archive.hold import Holds, find_customers_of
from service.archive.remarks import raise_attention
from service.archive.vault import Vault
from service.domain.actor import SYSTEM, Actor
from service.domain.errors import (
    ContradictionError,
    ErasedError,
    HeldError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.identifiers import require_plain
from service.domain.ids import new_id, parse_id
from service.domain.permission import Permission, require_permission
from service.domain.retention import (
    Disposition,
    ErasureState,
    Ground,
    Hold,
    require_person,
    require_second_person,
)
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, decode_entry, encode_entry
from storage.errors import ConflictError, StaleError, StorageError
from storage.ports import Add, Append, Condition, Replace, Span
from storage.rows import AttentionRow, ContactRow, ErasureRow

UNFINISHED: Final = "erasure_unfinished"
"""Needs attention: a contact is erased, and what opens it could not be destroyed yet."""

MAX_PAGE: Final = 200
_ATTEMPTS: Final = 32
_BATCH: Final = 100
_CURSOR: Final = re.compile(r"([0-9]{1,17})\.(er_[a-z2-7]{26})", re.ASCII)
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class ErasurePage:
    """Erasures, newest first, and the cursor of the next page when there is one."""

    erasures: tuple[Erasure, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Erasures:
    """The use cases of erasures. ``on_erased`` is told of the contact at once, so that what is open of it closes."""

    disposal: Disposal
    holds: Holds
    vault: Vault
    on_erased: Callable[[str], None]

    async def request(
        self,
        contact_id: str,
        *,
        ground: Ground,
        reference: str | None,
        actor: Actor,
        now: datetime,
    ) -> Erasure:
        """Ask that a contact is erased; nothing happens to it before a second person agrees.

        Raises:
            NotPermittedError: The actor may not, or is no person.
            NotFoundError: There is no such contact.
            ErasedError: It is erased, and nothing came for it since.
            HeldError: A hold forbids it. That is logged.
            ContradictionError: Somebody asked for it already.
        """
        require_permission(actor, Permission.ERASE)
        require_person(actor)
        named = require_plain(reference, what="reference") if reference else None
        contact, _ = await self._read(parse_id("ct", contact_id))
        store = self.disposal.store
        where = {"contact_id": contact.id, "state": ErasureState.REQUESTED.value}
        for open_one in await store.find(ErasureRow, where, limit=1):
            raise ContradictionError(f"its erasure was asked for already: {open_one.id}")
        await self._require_not_held(contact, actor=actor, now=now)
        key = self.vault.new_key(new_id("er"), now=now)
        row = requested_row(key, contact.id, ground, named, actor=actor, now=now)
        entry = LogEntry(
            type=EntryType.ERASURE_REQUESTED,
            at=now,
            actor=actor.id,
            about=(row.id, row.contact_id),
            data={"ground": row.ground},
        )
        await self.vault.put([key])
        await store.commit([Add(row), Append(encode_entry(entry), entry.about)])
        return (await self._erasures([row]))[0]

    async def approve(self, erasure_id: str, *, actor: Actor, now: datetime) -> Erasure:
        """Agree to an erasure. On return the contact is erased for everybody, and its keys are destroyed.

        Where the keys or blobs cannot be destroyed now, it stays ``erasing``, attention is raised, and it is finished
        as soon as that is possible. Approved again, it is returned as it is.

        Raises:
            NotPermittedError: The actor may not, is no person, or asked for it themselves.
            NotFoundError: There is no such erasure.
            HeldError: A hold forbids it. That is logged, and the request stands.
            ContradictionError: It was withdrawn.
            TamperedError: Request or holds are not as the log says. Nothing was erased.
        """
        require_permission(actor, Permission.ERASE)
        for _ in range(_ATTEMPTS):
            row = await self._get(erasure_id)
            if row.state in {ErasureState.ERASING, ErasureState.ERASED}:
                return (await self._erasures([row]))[0]
            if row.state == ErasureState.WITHDRAWN:
                raise ContradictionError(f"{row.id} was withdrawn")
            require_second_person(actor, row.requested_by)
            await self._require_requested(row)
            try:
                decided = await self._decide(row, actor=actor, now=now)
            except (StaleError, ConflictError):
                continue
            self.on_erased(decided.contact_id)
            await self._finish(decided, now=now)
            return (await self._erasures([await self._get(row.id)]))[0]
        raise UnavailableError("the contact kept changing while it was erased")

    async def withdraw(self, erasure_id: str, *, actor: Actor, now: datetime) -> None:
        """Take a request back. Doing so again changes nothing.

        Raises:
            NotPermittedError: The actor may not, or is no person.
            NotFoundError: There is no such erasure.
            ContradictionError: It is decided, and nothing brings the contact back.
        """
        require_permission(actor, Permission.ERASE)
        require_person(actor)
        row = await self._get(erasure_id)
        if row.state == ErasureState.WITHDRAWN:
            return
        if row.state != ErasureState.REQUESTED:
            raise ContradictionError(
                f"{row.id} is {row.state}: nothing brings the contact back"
            )
        withdrawn = replace(row, version=row.version + 1, state=ErasureState.WITHDRAWN.value)
        entry = LogEntry(
            type=EntryType.ERASURE_WITHDRAWN,
            at=now,
            actor=actor.id,
            about=(row.id, row.contact_id),
        )
        try:
            await self.disposal.store.commit(
                [Replace(withdrawn), Append(encode_entry(entry), entry.about)]
            )
        except StaleError as error:
            raise ContradictionError(f"{row.id} was decided at the same moment") from error

    async def find(
        self,
        *,
        actor: Actor,
        contact_id: str | None = None,
        state: ErasureState | None = None,
        cursor: str | None = None,
        limit: int = MAX_PAGE,
    ) -> ErasurePage:
        """Return one page of erasures, newest first.

        Raises:
            NotPermittedError: The actor may not see erasures.
            InvalidInputError: The cursor is not one that a page gave.
        """
        require_permission(actor, Permission.ERASE)
        where: dict[str, Condition] = {}
        if contact_id is not None:
            where["contact_id"] = parse_id("ct", contact_id)
        if state is not None:
            where["state"] = state.value
        rows = await self._rows_after(where, cursor, limit + 1)
        shown = rows[:limit]
        following = f"{shown[-1].requested_at}.{shown[-1].id}" if len(rows) > limit else None
        return ErasurePage(tuple(await self._erasures(shown)), following)

    async def finish_interrupted(self, *, now: datetime) -> int:
        """Finish every erasure that was decided and then interrupted; return how many are finished now.

        What cannot be finished is put before a person, once, and holds up no other.
        """
        finished, after = 0, ""
        while True:
            where = {"state": ErasureState.ERASING.value, "id": Span(f"{after}\0")}
            rows = await self.disposal.store.find(
                ErasureRow, where, order=("id",), limit=_BATCH
            )
            if not rows:
                return finished
            for row in rows:
                finished += await self._finish(row, now=now)
            after = rows[-1].id

    # -- what the methods above have in common

    async def _decide(self, row: ErasureRow, *, actor: Actor, now: datetime) -> ErasureRow:
        """Commit the tombstone, unless a hold forbids it; return the erasure as it is then."""
        # Before the holds: what is held or linked to whom is held from here on fails the commit.
        guard = await find_guard(self.disposal.store)
        contact, parts = await self._read(row.contact_id)
        await self._require_not_held(contact, actor=actor, now=now)
        decided = replace(
            row,
            version=row.version + 1,
            state=ErasureState.ERASING.value,
            approved_by=actor.id,
            approved_at=to_microseconds(now),
            parts=",".join(parts.destroyed(contact.id)),
        )
        await self.disposal.store.commit(
            [Replace(decided), guarded(guard), *tombstone(parts, decided, now=now)]
        )
        return decided

    async def _finish(self, row: ErasureRow, *, now: datetime) -> bool:
        try:
            await self.disposal.finish(row, now=now)
        except (StorageError, TamperedError) as error:
            _log.warning(
                "erasure.unfinished", extra={"erasure": row.id, "code": type(error).__name__}
            )
            await self._raise_once(row, now=now)
            return False
        return True

    async def _raise_once(self, row: ErasureRow, *, now: datetime) -> None:
        store = self.disposal.store
        if await store.count(AttentionRow, {"about": row.id, "state": "open"}):
            return
        try:
            await store.commit(
                raise_attention(UNFINISHED, about=row.id, source=None, actor=SYSTEM.id, now=now)
            )
        except StorageError:
            # It is tried again soon, and then told.
            _log.exception("erasure.not_told", extra={"erasure": row.id})

    async def _read(self, contact_id: str) -> tuple[ContactRow, Parts]:
        parts = await self.disposal.read(contact_id)
        if parts.contact is None:
            raise NotFoundError("no such contact")
        if not parts.is_left:
            raise ErasedError(f"{contact_id} was erased")
        return parts.contact, parts

    async def _require_not_held(
        self, contact: ContactRow, *, actor: Actor, now: datetime
    ) -> None:
        customers = await find_customers_of(self.disposal.store, contact.id)
        decision = await self.holds.decide(contact, customers)
        if decision.disposition is Disposition.HOLD:
            await self._note_refused(contact.id, decision.holds, actor=actor, now=now)
            names = ", ".join(hold.id for hold in decision.holds)
            raise HeldError(f"a hold forbids it: {names}")

    async def _note_refused(
        self, contact_id: str, holds: Sequence[Hold], *, actor: Actor, now: datetime
    ) -> None:
        entry = LogEntry(
            type=EntryType.ERASURE_REFUSED,
            at=now,
            actor=actor.id,
            about=(contact_id, *(hold.id for hold in holds)),
        )
        await self.disposal.store.commit([Append(encode_entry(entry), entry.about)])

    async def _require_requested(self, row: ErasureRow) -> None:
        """Return when the archive itself noted who asked for it: a row that others wrote is no request."""
        for stored in await self.disposal.log.log_about(row.id):
            entry = decode_entry(stored.entry)
            asked = (row.requested_by, (row.id, row.contact_id), row.ground)
            if entry.type is EntryType.ERASURE_REQUESTED and asked == (
                entry.actor,
                entry.about,
                entry.data.get("ground"),
            ):
                return
        raise TamperedError(f"the log does not know who asked for {row.id}")

    async def _get(self, erasure_id: str) -> ErasureRow:
        rows = await self.disposal.store.find(ErasureRow, {"id": parse_id("er", erasure_id)})
        if not rows:
            raise NotFoundError("no such erasure")
        return rows[0]

    async def _rows_after(
        self, where: dict[str, Condition], cursor: str | None, limit: int
    ) -> Sequence[ErasureRow]:
        find, order = self.disposal.store.find, ("-requested_at", "-id")
        if cursor is None:
            return await find(ErasureRow, where, order=order, limit=limit)
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise InvalidInputError("the cursor is not one that a page gave")
        at = int(match[1])
        twins = {**where, "requested_at": at, "id": Span(stop=match[2])}
        older = {**where, "requested_at": Span(stop=at)}
        return [
            *await find(ErasureRow, twins, order=order, limit=limit),
            *await find(ErasureRow, older, order=order, limit=limit),
        ][:limit]

    async def _erasures(self, rows: Sequence[ErasureRow]) -> list[Erasure]:
        sealers = await self.vault.find_sealers([row.id for row in rows])
        return [erasure_of(row, sealers.get(row.id)) for row in rows]
