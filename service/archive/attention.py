"""What needs attention: a list with reasons, each item of which can be explained, tried again and settled."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.archive.again import Again, can_change, is_delivery, reasons_of
from service.archive.jobs import JOB_DEAD, Jobs
from service.archive.records import contact_of
from service.archive.remarks import settle_attention, told_of
from service.archive.understand import Understanding
from service.archive.verify import Verifier
from service.domain.actor import Actor
from service.domain.contact import SCALARS
from service.domain.errors import (
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import parse_id
from service.domain.masking import mask_text
from service.domain.permission import Permission, is_permitted, require_permission
from service.domain.times import format_time, from_microseconds
from storage.errors import StaleError
from storage.ports import Condition, Span, Store
from storage.rows import AttentionRow, ContactRow, DeliveryRow

MAX_ITEMS = 200
_BEFORE = "before-"
_QUOTED = re.compile(r"`[^`]*`")
_MICROSECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionItem:
    """One item. ``reasons`` are stable codes, of which ``reason`` is the first; ``fields`` are those that contradict.

    ``can_be_retried`` tells whether trying it again can end it; trying is allowed in any case.
    """

    id: str
    reason: str
    reasons: tuple[str, ...]
    fields: tuple[str, ...]
    about: str
    source: str | None
    raised_at: datetime
    is_open: bool
    can_be_retried: bool


@dataclass(frozen=True, slots=True)
class AttentionPage:
    """Items, newest first, and the cursors of the pages after and before, None where there is none."""

    items: tuple[AttentionItem, ...]
    next: str | None
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Between two items: after the one that it names, or before it."""

    raised_at: int
    id: str
    is_before: bool


@dataclass(frozen=True, slots=True)
class Attention:
    """The use cases of the list."""

    store: Store
    understanding: Understanding
    verifier: Verifier

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
        """Return one page of the items, newest first, after or before where ``cursor`` stands.

        Before the second page there is the newest, whole, also when more were raised meanwhile.

        Raises:
            NotPermittedError: The actor may not read the list.
            InvalidInputError: The cursor is not one that was given here.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        limit = max(1, min(limit, MAX_ITEMS))
        where: dict[str, Condition] = {} if include_settled else {"state": "open"}
        place = None if cursor is None else _parse_cursor(cursor)
        if place is not None and place.is_before:
            rows = await self._before(where, place, limit + 1)
            if len(rows) > limit:
                return await self._page(rows[1:], has_older=True, has_newer=True)
            # Less than a page is newer: what follows on the newest page may be seen twice, and nothing is missed.
            place = None
        rows = await self._after(where, place, limit + 1)
        has_older, has_newer = len(rows) > limit, place is not None
        page = await self._page(rows[:limit], has_older=has_older, has_newer=has_newer)
        if place is not None and not page.items:
            return replace(page, previous=_BEFORE + _format_place(place.raised_at, place.id))
        return page

    async def _after(
        self, where: Mapping[str, Condition], place: _Place | None, limit: int
    ) -> list[AttentionRow]:
        """Return items from the newest on, or those that come after ``place``."""
        rows: list[AttentionRow] = []
        if place is not None:
            # Of the moment of the last item, those after it; ids are of one length, without a space in them.
            together = {**where, "raised_at": place.raised_at, "id": Span(f"{place.id} ")}
            rows += await self.store.find(AttentionRow, together, order=("id",), limit=limit)
        older = {**where, "raised_at": Span(None, None if place is None else place.raised_at)}
        rows += await self.store.find(
            AttentionRow, older, order=("-raised_at", "id"), limit=limit
        )
        return rows[:limit]

    async def _before(
        self, where: Mapping[str, Condition], place: _Place, limit: int
    ) -> list[AttentionRow]:
        """Return the items that come last before ``place``, in the order of the list."""
        together = {**where, "raised_at": place.raised_at, "id": Span(None, place.id)}
        rows = list(await self.store.find(AttentionRow, together, order=("-id",), limit=limit))
        newer = {**where, "raised_at": Span(place.raised_at + 1)}
        rows += await self.store.find(
            AttentionRow, newer, order=("raised_at", "-id"), limit=limit
        )
        return rows[:limit][::-1]

    async def explain(self, item_id: str, *, actor: Actor, now: datetime) -> str | None:
        """Return in words what an item is about; None when there is no more to say than its reason.

        Of a delivery, what is wrong with it. Of a contradiction, what the source told beside what is archived: this is
        said to those alone who may read contacts, as are the names of fields that a source made up.

        Raises:
            NotPermittedError: The actor may not read the list.
            NotFoundError: There is no such item.
        """
        require_permission(actor, Permission.READ_ATTENTION)
        row = await self._get(item_id)
        if is_delivery(row):
            told = await self.understanding.explain(row.about, now=now)
            if told is None or is_permitted(actor, Permission.READ_CONTACT):
                return told
            # A name that the sender made up may be a person's.
            return _QUOTED.sub("…", told)
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
        """Try again what an item is about; settle it when that is over: a delivery understood, a contact intact.

        A job that failed for good begins anew, and is raised again if it fails again. What happened once, such as a
        contradiction, stays open until it is settled.

        Raises:
            NotPermittedError: The actor may not settle items.
            NotFoundError: There is no such item.
            UnavailableError: It cannot be tried now, or somebody else changed the item.
        """
        require_permission(actor, Permission.SETTLE_ATTENTION)
        row = await self._get(item_id)
        if row.state == "settled":
            return _item(row)
        if JOB_DEAD in reasons_of(row):
            begun = await Jobs(self.store).retry_about(row.about, actor=actor, now=now)
            is_over = not begun
        else:
            is_over = await Again(self.understanding, self.verifier).is_over(row, now=now)
        if is_over:
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
        try:
            await self.store.commit(settle_attention(row, actor=actor.id, now=now))
        except StaleError as error:
            raise UnavailableError(f"{item_id} was changed by somebody else") from error
        return _item(await self._get(item_id))

    async def _page(
        self, rows: Sequence[AttentionRow], *, has_older: bool, has_newer: bool
    ) -> AttentionPage:
        def cursor(row: AttentionRow) -> str:
            return _format_place(row.raised_at, row.id)

        about = [row.about for row in rows if is_delivery(row) and row.state == "open"]
        gone = {
            row.id
            for row in await self.store.find(
                DeliveryRow, {"id": about, "state": ["erasing", "erased"]}
            )
        }
        return AttentionPage(
            tuple(_item(row, is_gone=row.about in gone) for row in rows),
            next=cursor(rows[-1]) if rows and has_older else None,
            previous=_BEFORE + cursor(rows[0]) if rows and has_newer else None,
        )

    async def _get(self, item_id: str) -> AttentionRow:
        rows = await self.store.find(AttentionRow, {"id": parse_id("at", item_id)})
        if not rows:
            raise NotFoundError("no such item")
        return rows[0]


def _item(row: AttentionRow, *, is_gone: bool = False) -> AttentionItem:
    """Return an item; ``is_gone`` when the delivery that it is about is erased, so that trying ends nothing."""
    told = [reason.partition(":")[2] for reason in row.reason.split(";")]
    reasons = reasons_of(row)
    return AttentionItem(
        id=row.id,
        reason=reasons[0],
        reasons=reasons,
        fields=tuple(name for names in told if names for name in names.split(",")),
        about=row.about,
        source=row.source,
        raised_at=from_microseconds(row.raised_at),
        is_open=row.state == "open",
        can_be_retried=row.state == "open" and not is_gone and can_change(row),
    )


def _shown(value: object) -> str:
    return format_time(value) if isinstance(value, datetime) else mask_text(str(value)).text


def _format_place(raised_at: int, item_id: str) -> str:
    return f"{raised_at}.{item_id}"


def _parse_cursor(text: str) -> _Place:
    raised_at, _, item_id = text.removeprefix(_BEFORE).partition(".")
    try:
        if _MICROSECONDS.fullmatch(raised_at):
            return _Place(int(raised_at), parse_id("at", item_id), text.startswith(_BEFORE))
    except NotFoundError:
        pass
    raise InvalidInputError("the cursor is not one that was given here")
