"""What needs attention is a list that nothing falls off, and each item can be explained, tried again and settled."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.alarm import raise_alarm
from service.archive.attention import MAX_ITEMS
from service.archive.draft_recordings import media_job
from service.archive.jobs import JOB_DEAD
from service.archive.lookup import Criteria
from service.archive.remarks import raise_attention
from service.domain.actor import Role
from service.domain.errors import (
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    UnavailableError,
)
from service.domain.times import to_microseconds
from service.log.entry import EntryType, decode_entry
from service.serving import log_keeper
from storage.errors import StaleError
from storage.ports import Put, Replace
from storage.rows import (
    AttentionRow,
    ContactRow,
    CustomerRow,
    DeliveryRow,
    JobRow,
    RecordingRow,
)
from tests.archive.test_spine import (
    call,
    chunks,
    deliver,
    deliver_recording,
    import_customers,
    keep_recording,
)
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)


async def publish(archive):
    await log_keeper(archive).publish(now=NOW)


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
        return archive.understanding.adapters["pbx"]["contact"](call(), rule, now)

    understanding = replace(archive.understanding, adapters={"pbx": {"contact": mended}})
    attention = replace(archive.attention, understanding=understanding)
    assert not (await attention.retry(item.id, actor=HANDLER, now=NOW)).is_open
    assert await archive.stores.store.count(ContactRow, {}) == 1
    assert await archive.stores.store.count(DeliveryRow, {"state": "understood"}) == 1


async def test_a_delivery_that_is_erased_is_not_offered_to_be_tried(archive):
    item = await failed(archive)
    (row,) = await archive.stores.store.find(DeliveryRow, {"id": item.about})
    await archive.stores.store.commit([Put(replace(row, state="erased"))])
    (shown,) = await archive.attention.find(actor=HANDLER)
    assert (shown.id, shown.is_open, shown.can_be_retried) == (item.id, True, False)


async def test_a_customer_that_was_put_back_ends_its_alarm(archive):
    await import_customers(archive, NOW, "customer_number,phone\n3000,+358401234567\n")
    (row,) = await archive.stores.store.find(CustomerRow, {})
    await archive.stores.store.commit([Put(replace(row, sealed=b"x" * 40))])
    criteria = Criteria(phone="+358401234567")
    await archive.finder.find(criteria, actor=HANDLER, cursor=None, limit=5, now=NOW)
    assert await retried(archive)
    await archive.stores.store.commit([Put(row)])
    assert not await retried(archive)


async def test_a_field_that_a_source_made_up_is_named_to_those_who_read_contacts_alone(archive):
    body = json.dumps({**json.loads(call()), "Matti Meikäläinen 010190-923A": 1}).encode()
    await deliver(archive, body, ident="w-1", now=NOW)
    (item,) = await archive.attention.find(actor=HANDLER)
    told = await archive.attention.explain(item.id, actor=HANDLER, now=NOW)
    assert "Matti" in told
    hidden = await archive.attention.explain(item.id, actor=actor(Role.ADMIN), now=NOW)
    assert "unknown field …" in hidden


async def test_what_happened_once_stays_until_a_person_settles_it(archive):
    """That two deliveries contradict each other is not over because one looks again."""
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver(archive, call(queue="Laskutus"), ident="w-2", now=NOW)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert not item.can_be_retried
    assert await archive.attention.retry(item.id, actor=HANDLER, now=NOW) == item


async def test_one_delivery_is_one_item_with_all_of_its_reasons(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver(archive, call(queue="Laskutus", subject="Lasku"), ident="w-1", now=NOW)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert (item.reason, item.reasons) == ("contradiction", ("contradiction", "id_reused"))
    assert item.fields == ("queue",)
    words = await archive.attention.explain(item.id, actor=HANDLER, now=NOW)
    assert "told Laskutus" in words
    await deliver(archive, call(queue="Laskutus", subject="Lasku"), ident="w-1", now=NOW)
    assert await archive.attention.find(actor=HANDLER) == [item]


async def retried(archive, *, now=NOW):
    """Try the only open item again; tell whether it is still open."""
    (item,) = await archive.attention.find(actor=HANDLER)
    assert item.can_be_retried
    again = await archive.attention.retry(item.id, actor=HANDLER, now=now)
    return again.is_open


async def test_a_lost_recording_that_waits_somewhere_is_fetched_by_trying_again(archive):
    await deliver(archive, call(recording="expected"), ident="w-1", now=NOW)
    late = NOW + timedelta(days=2)
    await archive.expectations.give_up(now=late)
    assert await retried(archive, now=late)
    # It came, and the service stopped before the two met.
    kept = await keep_recording(
        archive.intake,
        chunks(b"sound"),
        source="pbx",
        source_id="c-1",
        name="a.wav",
        content_type="audio/wav",
        now=late,
    )
    token = archive.interpreter.token_of("pbx", "c-1")
    waiting = replace(kept.row, version=2, state="waiting", await_token=token)
    await archive.stores.store.commit([Replace(waiting)])
    assert not await retried(archive, now=late)


async def test_a_time_that_was_in_the_future_is_plausible_later(archive):
    await deliver(
        archive, call(started_at="2027-01-20T14:02:00Z", ended_at=None), ident="w-1", now=NOW
    )
    assert await retried(archive)
    assert not await retried(archive, now=NOW + timedelta(days=100))


async def test_a_recording_that_should_not_be_stays_an_item_while_it_is_there(archive):
    await deliver(archive, call(recording="none"), ident="w-1", now=NOW)
    await deliver_recording(archive, b"sound", now=NOW)
    assert await retried(archive)
    (row,) = await archive.stores.store.find(RecordingRow, {"state": "present"})
    gone = replace(row, version=row.version + 1, state="erased")
    await archive.stores.store.commit([Replace(gone)])
    assert not await retried(archive)


async def test_an_alarm_ends_when_what_was_altered_is_whole_again(archive):
    await deliver(archive, call(), ident="w-1", now=NOW)
    (row,) = await archive.stores.store.find(ContactRow, {})
    damaged = bytes([row.sealed[0] ^ 1]) + row.sealed[1:]
    await archive.stores.store.commit([Put(replace(row, sealed=damaged))])
    page = await archive.finder.find(Criteria(), actor=HANDLER, cursor=None, limit=5, now=NOW)
    assert page.unreadable == (row.id,)
    assert await retried(archive)
    await archive.stores.store.commit([Put(row)])
    await publish(archive)
    assert not await retried(archive)


async def test_an_alarm_about_what_is_unknown_stays(archive):
    await raise_alarm(
        archive.stores.store,
        "opening",
        about="op_" + "a" * 26,
        contact_id=None,
        actor_id="system",
        now=NOW,
    )
    assert await retried(archive)


async def test_a_job_that_failed_for_good_begins_anew_and_its_item_is_settled(archive):
    dead = replace(media_job("rc_" + "a" * 26, now=NOW), state="dead", attempts=6)
    raised = raise_attention(JOB_DEAD, about=dead.subject, source=None, actor="system", now=NOW)
    await archive.stores.store.commit([Put(dead), *raised])
    later = NOW + timedelta(hours=1)
    assert not await retried(archive, now=later)
    (again,) = await archive.stores.store.find(JobRow, {})
    assert (again.state, again.attempts, again.run_at) == ("queued", 0, to_microseconds(later))


async def test_a_job_that_is_done_or_gone_leaves_no_item(archive):
    await archive.stores.store.commit(
        raise_attention(JOB_DEAD, about="rc_" + "a" * 26, source=None, actor="system", now=NOW)
    )
    assert not await retried(archive)


async def test_every_item_can_be_tried_again_and_none_refuses_it(archive):
    reasons = ["contradiction:queue", "id_reused", "outside_tolerance", "integrity", JOB_DEAD]
    reasons += ["recording_lost", "recorded_though_none", "time_out_of_window", "brand_new"]
    for reason in reasons:
        about = "ct_" + "a" * 26
        await archive.stores.store.commit(
            raise_attention(reason, about=about, source="pbx", actor="system", now=NOW)
        )
    for item in await archive.attention.find(actor=HANDLER):
        again = await archive.attention.retry(item.id, actor=HANDLER, now=NOW)
        assert item.can_be_retried or again == item


async def test_a_settled_item_is_not_tried_again(archive):
    item = await failed(archive)
    settled = await archive.attention.settle(item.id, actor=HANDLER, now=NOW)
    assert await archive.attention.retry(item.id, actor=HANDLER, now=NOW) == settled


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_going_back_shows_the_pages_that_were_shown_before(archive, limit):
    await add(archive, 5, at=NOW)
    await add(archive, 4, at=NOW + timedelta(seconds=1))
    pages, cursor = [], None
    while True:
        page = await archive.attention.find_page(actor=HANDLER, cursor=cursor, limit=limit)
        pages.append(page)
        cursor = page.next
        if cursor is None:
            break
    assert pages[0].previous is None
    for before, page in zip(reversed(pages[:-1]), reversed(pages[1:]), strict=True):
        back = await archive.attention.find_page(
            actor=HANDLER, cursor=page.previous, limit=limit
        )
        assert (back.items, back.next) == (before.items, before.next)
        assert (back.previous is None) == (before is pages[0])


async def test_behind_the_last_item_there_is_a_way_back(archive):
    await add(archive, 4)
    first = await archive.attention.find_page(actor=HANDLER, limit=3)
    last = await archive.attention.find_page(actor=HANDLER, cursor=first.next, limit=3)
    await archive.attention.settle(last.items[0].id, actor=HANDLER, now=NOW)
    empty = await archive.attention.find_page(actor=HANDLER, cursor=first.next, limit=3)
    assert (empty.items, empty.next) == ((), None)
    back = await archive.attention.find_page(actor=HANDLER, cursor=empty.previous, limit=3)
    assert back.items == first.items


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
