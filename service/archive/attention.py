"""What needs attention: a list with reasons, each item of which can be explained, tried again and settled."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.archive.records import contact_of
from service.archive.remarks import told_of
from service.archive.understand import Understanding
from service.domain.actor import Actor
from service.domain.contact import SCALARS
from service.domain.errors import (
    ContradictionError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import parse_id
from service.domain.permission import Permission, is_permitted, require_permission
from service.domain.times import format_time, from_microseconds, to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StaleError
from storage.ports import Append, Condition, Replace, Span, Store
from storage.rows import AttentionRow, ContactRow

MAX_ITEMS = 200
_MICROSECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionItem:
    """One item. ``reason`` is a stable code; ``fields`` are those that a contradiction is about."""

    id: str
    reason: str
    fields: tuple[str, ...]
    about: str
    source: str | None
    raised_at: datetime
    is_open: bool
    can_be_retried: bool


@dataclass(frozen=True, slots=True)
class AttentionPage:
    """Items, newest first, and the cursor of the next page when there is one."""

    items: tuple[AttentionItem, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Attention:
    """The use cases of the list."""

    store: Store
    understanding: Understanding

    async def find(
        self, *, actor: Actor, include_settled: bool = False, limit: int = MAX_ITEMS
    ) -> Sequence[AttentionItem]:
        """Return the newest items.

        Raises:
            NotPermittedError: The actor may not read the list.
        """
        page = await self.find_page(actor=actor, include_settled=include_settled, limit=limit)
        return list(page.items)

    async def find_page(
        self,
        *,
        actor: Actor,
        include_settled: bool = False,
        cursor: str | None = None,
        limit: int = MAX_ITEMS,
    ) -> AttentionPage:
        """Return one page of the items, newest first.

        Raises:
            NotPermittedError: The actor may not read the list.
            InvalidInputError: The cursor is not one that was given here.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        limit = max(1, min(limit, MAX_ITEMS))
        where: dict[str, Condition] = {} if include_settled else {"state": "open"}
        rows: list[AttentionRow] = []
        before: int | None = None
        if cursor is not None:
            before, after_id = _parse_cursor(cursor)
            # Of the moment of the last item, those after it; ids are of one length, without a space in them.
            together = {**where, "raised_at": before, "id": Span(f"{after_id} ")}
            rows += await self.store.find(
                AttentionRow, together, order=("id",), limit=limit + 1
            )
        older = {**where, "raised_at": Span(None, before)}
        rows += await self.store.find(
            AttentionRow, older, order=("-raised_at", "id"), limit=limit + 1
        )
        items = tuple(_item(row) for row in rows[:limit])
        following = _format_cursor(rows[limit - 1]) if len(rows) > limit else None
        return AttentionPage(items, following)

    async def explain(self, item_id: str, *, actor: Actor, now: datetime) -> str | None:
        """Return in words what an item is about; None when there is no more to say than its reason.

        Of a delivery, what is wrong with it. Of a contradiction, what the source told beside what is archived: this
        is said to those alone who may read contacts.

        Raises:
            NotPermittedError: The actor may not read the list.
            NotFoundError: There is no such item.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        row = await self._get(item_id)
        if row.about.startswith("dl_"):
            return await self.understanding.explain(row.about, now=now)
        if row.sealed is None or not is_permitted(actor, Permission.READ_CONTACT):
            return None
        return await self._compare(row)

    async def _compare(self, row: AttentionRow) -> str | None:
        contacts = await self.store.find(ContactRow, {"id": row.about, "state": "kept"})
        sealers = await self.understanding.interpreter.vault.find_sealers([row.about])
        if not contacts or row.about not in sealers:
            return None
        try:
            archived = contact_of(contacts[0], sealers[row.about])
        except TamperedError:
            return None
        return "; ".join(
            f"{name}: archived {_shown(getattr(archived, name, None))}, told {_shown(told)}"
            for name, told in told_of(row, sealers[row.about]).items()
            if name in SCALARS
        )

    async def retry(self, item_id: str, *, actor: Actor, now: datetime) -> AttentionItem:
        """Try the delivery of an item again; settle the item when it is understood now.

        Raises:
            NotPermittedError: The actor may not settle items.
            NotFoundError: There is no such item.
            ContradictionError: The item is not about a delivery, so there is nothing to try.
        """
        require_permission(actor, Permission.SETTLE_ATTENTION)
        row = await self._get(item_id)
        if not row.about.startswith("dl_"):
            raise ContradictionError("this item is not about a delivery; settle it instead")
        if await self.understanding.retry(row.about, now=now):
            return await self.settle(item_id, actor=actor, now=now)
        return _item(await self._get(item_id))

    async def settle(self, item_id: str, *, actor: Actor, now: datetime) -> AttentionItem:
        """Take an item off the list. Settling it again changes nothing.

        Raises:
            NotPermittedError: The actor may not settle items.
            NotFoundError: There is no such item.
        """
        require_permission(actor, Permission.SETTLE_ATTENTION)
        row = await self._get(item_id)
        if row.state == "settled":
            return _item(row)
        settled = replace(
            row,
            version=row.version + 1,
            state="settled",
            settled_by=actor.id,
            settled_at=to_microseconds(now),
        )
        entry = LogEntry(
            type=EntryType.ATTENTION_SETTLED, at=now, actor=actor.id, about=(row.id, row.about)
        )
        try:
            await self.store.commit(
                [Replace(settled), Append(encode_entry(entry), entry.about)]
            )
        except StaleError as error:
            raise UnavailableError(f"{item_id} was changed by somebody else") from error
        return _item(settled)

    async def _get(self, item_id: str) -> AttentionRow:
        rows = await self.store.find(AttentionRow, {"id": parse_id("at", item_id)})
        if not rows:
            raise NotFoundError("no such item")
        return rows[0]


def _item(row: AttentionRow) -> AttentionItem:
    reason, _, names = row.reason.partition(":")
    return AttentionItem(
        id=row.id,
        reason=reason,
        fields=tuple(names.split(",")) if names else (),
        about=row.about,
        source=row.source,
        raised_at=from_microseconds(row.raised_at),
        is_open=row.state == "open",
        can_be_retried=row.about.startswith("dl_") and row.state == "open",
    )


def _shown(value: object) -> str:
    return format_time(value) if isinstance(value, datetime) else str(value)


def _format_cursor(row: AttentionRow) -> str:
    return f"{row.raised_at}.{row.id}"


def _parse_cursor(text: str) -> tuple[int, str]:
    raised_at, _, item_id = text.partition(".")
    try:
        if _MICROSECONDS.fullmatch(raised_at):
            return int(raised_at), parse_id("at", item_id)
    except NotFoundError:
        pass
    raise InvalidInputError("the cursor is not one that was given here")
