"""What needs attention is a list that nothing falls off, and each item can be explained, tried again and settled."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.attention import MAX_ITEMS
from service.archive.remarks import raise_attention
from service.domain.actor import Role
from service.domain.errors import (
    ContradictionError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    UnavailableError,
)
from service.log.entry import EntryType, decode_entry
from storage.errors import StaleError
from storage.rows import AttentionRow, ContactRow, DeliveryRow
from tests.archive.test_spine import call, deliver
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
READERS = {Role.COMPLAINT_HANDLER, Role.DPO, Role.ADMIN}


async def add(archive, count, *, at=NOW, about="ct_" + "a" * 26):
    for n in range(count):
        await archive.stores.store.commit(
            raise_attention(f"reason_{n}", about=about, source="pbx", actor="system", now=at)
        )


async def failed(archive):
    """Let a delivery fail; return its item."""
    await deliver(archive, b'{"source_id": 7}', ident="w-1", now=NOW)
    (item,) = await archive.attention.find(actor=HANDLER)
    return item


async def all_pages(archive, limit, **more):
    items, cursor = [], None
    while True:
        page = await archive.attention.find_page(
            actor=HANDLER, cursor=cursor, limit=limit, **more
        )
        assert len(page.items) <= limit
        items += page.items
        cursor = page.next
        if cursor is None:
            return items


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
async def test_pages_neither_skip_nor_repeat(archive, limit):
    """Many are raised at the same moment, when a batch is understood."""
    await add(archive, 5, at=NOW)
    await add(archive, 4, at=NOW + timedelta(seconds=1))
    await add(archive, 3, at=NOW - timedelta(seconds=1))
    items = await all_pages(archive, limit)
    assert len({item.id for item in items}) == len(items) == 12
    times = [item.raised_at for item in items]
    assert times == sorted(times, reverse=True)


async def test_pages_skip_nothing_while_items_are_settled_and_raised(archive):
    await add(archive, 9)
    first = await archive.attention.find_page(actor=HANDLER, limit=3)
    await archive.attention.settle(first.items[-1].id, actor=HANDLER, now=NOW)
    await add(archive, 2, at=NOW + timedelta(hours=1))
    rest = await archive.attention.find_page(actor=HANDLER, cursor=first.next, limit=50)
    assert len(rest.items) == 6
    assert rest.next is None
    assert not {one.id for one in first.items} & {one.id for one in rest.items}


@pytest.mark.parametrize(
    "cursor", ["", "x", "1.at_x", "-1.at_" + "a" * 26, "9" * 30, "1." + "at_" + "A" * 26, "é.b"]
)
async def test_a_cursor_that_was_not_given_is_refused(archive, cursor):
    with pytest.raises(InvalidInputError):
        await archive.attention.find_page(actor=HANDLER, cursor=cursor)


async def test_a_page_is_bounded(archive):
    await add(archive, 3)
    assert len((await archive.attention.find_page(actor=HANDLER, limit=10**9)).items) == 3
    assert MAX_ITEMS == 200


@pytest.mark.parametrize("role", list(Role))
async def test_the_list_is_for_those_who_may_read_it(archive, role):
    item = await failed(archive)
    asks = [
        archive.attention.find(actor=actor(role)),
        archive.attention.explain(item.id, actor=actor(role), now=NOW),
        archive.attention.retry(item.id, actor=actor(role), now=NOW),
        archive.attention.settle(item.id, actor=actor(role), now=NOW),
    ]
    for ask in asks:
        if role in READERS:
            await ask
        else:
            with pytest.raises(NotPermittedError):
                await ask


async def test_a_settled_item_leaves_the_list_and_stays_on_record(archive):
    item = await failed(archive)
    settled = await archive.attention.settle(item.id, actor=HANDLER, now=NOW)
    assert not settled.is_open
    assert await archive.attention.find(actor=HANDLER) == []
    (shown,) = await archive.attention.find(actor=HANDLER, include_settled=True)
    assert (shown.id, shown.is_open, shown.can_be_retried) == (item.id, False, False)
    again = await archive.attention.settle(item.id, actor=HANDLER, now=NOW)
    assert again == settled
    stored = await archive.stores.log.log_entries(0, 100)
    entries = [decode_entry(one.entry) for one in stored]
    (entry,) = [e for e in entries if e.type is EntryType.ATTENTION_SETTLED]
    assert (entry.actor, entry.about) == (HANDLER.id, (item.id, item.about))


async def test_an_item_that_somebody_else_changes_is_told(archive):
    item = await failed(archive)

    class Contended:
        def __getattr__(self, name):
            return getattr(archive.stores.store, name)

        async def commit(self, _):
            raise StaleError("changed")

    with pytest.raises(UnavailableError):
        await replace(archive.attention, store=Contended()).settle(
            item.id, actor=HANDLER, now=NOW
        )


async def test_trying_again_in_vain_leaves_the_item_open_and_raises_no_other(archive):
    item = await failed(archive)
    again = await archive.attention.retry(item.id, actor=HANDLER, now=NOW)
    assert again.is_open
    assert await archive.attention.find(actor=HANDLER) == [item]


async def test_trying_again_with_a_mended_adapter_settles_the_item(archive):
    item = await failed(archive)

    def mended(_, rule, now):
        return archive.understanding.adapters["pbx"](call(), rule, now)

    understanding = replace(archive.understanding, adapters={"pbx": mended})
    attention = replace(archive.attention, understanding=understanding)
    assert not (await attention.retry(item.id, actor=HANDLER, now=NOW)).is_open
    assert await archive.stores.store.count(ContactRow, {}) == 1
    assert await archive.stores.store.count(DeliveryRow, {"state": "understood"}) == 1


async def test_what_is_about_a_contact_cannot_be_tried_again(archive):
    await add(archive, 1)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert not item.can_be_retried
    with pytest.raises(ContradictionError):
        await archive.attention.retry(item.id, actor=HANDLER, now=NOW)
    assert await archive.attention.explain(item.id, actor=HANDLER, now=NOW) is None


@pytest.mark.parametrize("item_id", ["", "at_x", "at_" + "a" * 26, "ct_" + "a" * 26, "../x"])
async def test_what_is_not_there_is_not_found(archive, item_id):
    for ask in [
        archive.attention.explain(item_id, actor=HANDLER, now=NOW),
        archive.attention.retry(item_id, actor=HANDLER, now=NOW),
        archive.attention.settle(item_id, actor=HANDLER, now=NOW),
    ]:
        with pytest.raises(NotFoundError):
            await ask


async def test_an_explanation_repeats_no_value(archive):
    body = call(channel="Maija Esimerkki", parties=[{"role": "0401234567"}])
    await deliver(archive, body, ident="w-1", now=NOW)
    (item,) = await archive.attention.find(actor=HANDLER)
    words = await archive.attention.explain(item.id, actor=HANDLER, now=NOW)
    assert "channel" in words
    assert "Maija" not in words


async def test_items_show_no_personal_data_in_the_clear(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver(archive, call(subject="Maija", queue="Salainen"), ident="w-2", now=NOW)
    (row,) = await archive.stores.store.find(AttentionRow, {})
    assert "Salainen" not in repr(row)
    assert row.sealed is not None
