"""The desk on real use cases: what the pages show of a call that nobody recorded."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.api.views import view_json
from service.archive.lookup import Criteria
from service.archive.remarks import raise_attention
from service.domain.actor import Role
from service.domain.contact import (
    Channel,
    ContactFacts,
    Direction,
    MessageText,
    RecordingState,
)
from service.domain.purpose import Purpose
from service.serving import build_service
from service.web.app_keys import DESK
from storage.ports import Put
from storage.rows import ContactRow
from tests.archive.test_spine import call, deliver, deliver_recording, import_customers
from tests.conftest import actor


@pytest.mark.parametrize("reason", ["asiakas kielsi", None])
async def test_a_call_without_a_recording_says_why(archive, now, reason):
    facts = ContactFacts(
        source_id="c-1",
        channel=Channel.CALL,
        direction=Direction.INBOUND,
        started_at=datetime(2026, 11, 20, 12, 2, tzinfo=UTC),
        recording="none" if reason else None,
        not_recorded_reason=reason,
    )
    outcome = await archive.contacts.add(
        facts, source="pbx", actor=actor(Role.INTEGRATION), now=now
    )
    desk = build_service(archive).app[DESK]
    detail = await desk.contact_detail(
        outcome.contact.id, actor=actor(Role.COMPLAINT_HANDLER), now=now
    )
    (shown,) = detail.recordings
    assert shown.state is RecordingState.NOT_RECORDED
    assert shown.cause == (reason or "not_announced")


HANDLER = actor(Role.COMPLAINT_HANDLER)


async def test_a_page_of_a_search_tells_of_everything_that_was_found(archive, now):
    await import_customers(archive, now, "customer_number,name,phone\n1001,Maija,0401234567\n")
    await deliver(archive, call(), ident="w-1", now=now)
    (row,) = await archive.stores.store.find(ContactRow, {})
    await archive.stores.store.commit([Put(replace(row, sealed=b"x" * 40))])
    desk = build_service(archive).app[DESK]
    page = await desk.search(
        Criteria(phone="+358401234567"), actor=HANDLER, cursor=None, now=now
    )
    assert (page.found, page.unreadable) == ((), (row.id,))
    assert [(one.number, one.name) for one in page.customers] == [("1001", "Maija")]


async def test_the_list_of_attention_pages_and_can_show_what_was_settled(archive, now):
    for n in range(60):
        await archive.stores.store.commit(
            raise_attention(f"r_{n}", about="ct_x", source=None, actor="system", now=now)
        )
    desk = build_service(archive).app[DESK]
    first = await desk.attention(actor=HANDLER, cursor=None, include_settled=False, now=now)
    assert (len(first.items), first.previous_cursor) == (50, None)
    last = await desk.attention(
        actor=HANDLER, cursor=first.next_cursor, include_settled=False, now=now
    )
    assert (len(last.items), last.next_cursor) == (10, None)
    await desk.settle_attention(last.items[0].id, actor=HANDLER, now=now)
    shown = [
        await desk.attention(
            actor=HANDLER, cursor=first.next_cursor, include_settled=settled, now=now
        )
        for settled in (False, True)
    ]
    assert [len(page.items) for page in shown] == [9, 10]
    assert [one.is_open for one in shown[1].items].count(False) == 1


async def test_what_nobody_needs_to_see_is_hidden_wherever_a_contact_is_shown(archive, now):
    secret, shown = "Kortti 4111 1111 1111 1111", "Kortti •••• 1111"
    facts = ContactFacts(
        source_id="c-1",
        channel=Channel.CHAT,
        direction=Direction.INBOUND,
        started_at=datetime(2026, 11, 20, 12, 2, tzinfo=UTC),
        subject=secret,
        customer_number="1001",
        messages=(MessageText(sender="Maija", sent_at=now, text=secret),),
    )
    outcome = await archive.contacts.add(
        facts, source="chat", actor=actor(Role.INTEGRATION), now=now
    )
    contact_id, desk = outcome.contact.id, build_service(archive).app[DESK]
    page = await desk.search(
        Criteria(customer_number="1001"), actor=HANDLER, cursor=None, now=now
    )
    detail = await desk.contact_detail(contact_id, actor=HANDLER, now=now)
    view = await archive.contacts.get(contact_id, actor=HANDLER)
    assert [one.contact.subject for one in page.found] == [detail.contact.subject] == [shown]
    assert view_json(view)["subject"] == shown
    assert view.contact.subject == secret
    grant = await desk.create_grant(
        contact_id, actor=HANDLER, purpose=Purpose.VERIFY_CONTACT, reference=None, now=now
    )
    opened = {
        unmasked: await desk.open_messages(
            contact_id, grant_id=grant.id, actor=HANDLER, now=now, unmasked=unmasked
        )
        for unmasked in (None, view.messages[0].id)
    }
    told = {name: (one.text, one.hidden) for name, (one,) in opened.items()}
    assert told == {None: (shown, 1), view.messages[0].id: (secret, 0)}


async def test_a_pause_is_shown_with_its_recording_and_before_it_comes(archive, now):
    paused = {
        "recording": "a.wav",
        "start": "2026-11-20T14:05:00+02:00",
        "end": "2026-11-20T14:06:00+02:00",
        "reason": "hetu 131052-928T",
    }
    await deliver(archive, call(recording_pauses=[paused]), ident="w-1", now=now)
    (row,) = await archive.stores.store.find(ContactRow, {})
    assert b"131052" not in row.sealed
    desk = build_service(archive).app[DESK]
    before = await desk.contact_detail(row.id, actor=HANDLER, now=now)
    assert [one.pause.reason for one in before.pauses] == [
        "hetu \u2022\u2022\u2022\u2022\u2022\u2022-\u2022\u2022\u2022\u2022"
    ]
    await deliver_recording(archive, b"hello", now=now)
    after = await desk.contact_detail(row.id, actor=HANDLER, now=now)
    assert after.pauses == ()
    (recording,) = after.recordings
    assert recording.state is RecordingState.PRESENT
    assert [one.pause for one in recording.pauses] == [one.pause for one in before.pauses]
    view = await archive.contacts.get(row.id, actor=HANDLER)
    shown = view_json(view)["recording_pauses"]
    assert shown[0]["start"] == "2026-11-20T12:05:00Z"
    assert "131052" not in shown[0]["reason"]
    assert view.contact.recording_pauses[0].reason == "hetu 131052-928T"
