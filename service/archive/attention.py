"""What needs attention: a list with reasons, each item of which can be explained, tried again and settled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.archive.understand import Understanding
from service.domain.actor import Actor
from service.domain.errors import ContradictionError, NotFoundError, UnavailableError
from service.domain.ids import parse_id
from service.domain.permission import Permission, require_permission
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StaleError
from storage.ports import Append, Condition, Replace, Store
from storage.rows import AttentionRow

MAX_ITEMS = 200


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
        require_permission(actor, Permission.READ_ATTENTION)
        where: dict[str, Condition] = {} if include_settled else {"state": "open"}
        rows = await self.store.find(
            AttentionRow, where, order=("-raised_at", "id"), limit=min(limit, MAX_ITEMS)
        )
        return [_item(row) for row in rows]

    async def explain(self, item_id: str, *, actor: Actor, now: datetime) -> str | None:
        """Return in words what is wrong with the delivery of an item; None when it is of another kind.

        Raises:
            NotPermittedError: The actor may not read the list.
            NotFoundError: There is no such item.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        row = await self._get(item_id)
        if not row.about.startswith("dl_"):
            return None
        return await self.understanding.explain(row.about, now=now)

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
        return _item(row)

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
