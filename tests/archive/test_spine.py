"""The main path, on real stores: received, understood, linked, found."""

import json
from collections.abc import AsyncIterator

import pytest

from service.archive.lookup import Criteria
from service.archive.receive import keep_delivery, keep_recording
from service.archive.register import read_register
from service.domain.actor import OPERATOR, Role
from service.domain.contact import RecordingState
from service.domain.customer import Certainty, LinkState
from tests.conftest import actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
CUSTOMERS = """customer_number,name,phone,email,metering_point,occupied_from,occupied_to
1001,Maija Esimerkki,040 123 4567,maija@example.com,643000000000000015,2025-01-01,
1002,Pekka Esimerkki,040 123 4567,,,,
1003,Olli Entinen,,olli@example.com,643000000000000015,2020-01-01,2025-01-01
"""


def call(source_id: str = "c-1", **changes: object) -> bytes:
    contact: dict[str, object] = {
        "source_id": source_id,
        "channel": "call",
        "direction": "inbound",
        "started_at": "2026-11-20T14:02:00+02:00",
        "ended_at": "2026-11-20T14:11:00+02:00",
        "queue": "Asiakaspalvelu",
        "recording": "expected",
        "parties": [
            {"role": "customer", "phone": "+358 40 123 4567"},
            {"role": "agent", "phone": "020 1234567", "agent_id": "A-17"},
        ],
    }
    return json.dumps({**contact, **changes}).encode()


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def deliver(archive, body: bytes, *, ident: str, now):
    kept = await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident=ident, body=body, now=now
    )
    if not kept.is_duplicate:
        await archive.understanding.understand([(kept.row, kept.delivery)], now=now)
    return kept


async def deliver_recording(
    archive, *parts: bytes, source_id: str = "c-1", name: str = "a.wav", now
):
    kept = await keep_recording(
        archive.intake,
        chunks(*parts),
        source="pbx",
        source_id=source_id,
        name=name,
        content_type="audio/wav",
        now=now,
    )
    if not kept.is_duplicate:
        await archive.understanding.understand([(kept.row, kept.delivery)], now=now)
    return kept


async def find(archive, now, **criteria):
    page = await archive.finder.find(
        Criteria(**criteria), actor=HANDLER, cursor=None, limit=50, now=now
    )
    return page.contacts


async def import_customers(archive, now, text: str = CUSTOMERS):
    rows = read_register(text.splitlines(keepends=True), region="FI")
    return await archive.register.bring_in(
        rows, actor=OPERATOR, now=now, progress=lambda _done, _all: None
    )


@pytest.mark.parametrize("order", ["call first", "recording first"])
async def test_a_call_and_its_recording_meet_in_either_order(archive, now, order):
    steps = [
        lambda: deliver(archive, call(), ident="w-1", now=now),
        lambda: deliver_recording(archive, b"RIFF", b"data", now=now),
    ]
    for step in steps if order == "call first" else reversed(steps):
        await step()
    (found,) = await find(archive, now, phone="+358401234567")
    assert found.contact.recording_state is RecordingState.PRESENT
    view = await archive.contacts.get(found.contact.id, actor=HANDLER)
    (recording,) = view.recordings
    assert recording.sealed.name == "a.wav"
    assert recording.stored.plain_bytes == 8


async def test_the_same_delivery_arrives_once(archive, now):
    first = await deliver(archive, call(), ident="w-1", now=now)
    second = await deliver(archive, call(), ident="w-1", now=now)
    assert (first.is_duplicate, second.is_duplicate) == (False, True)
    assert len(await find(archive, now, phone="+358401234567")) == 1


async def test_other_bytes_under_one_identification_are_kept_and_shown(archive, now):
    await deliver(archive, call(), ident="w-1", now=now)
    kept = await deliver(archive, call(queue="Laskutus"), ident="w-1", now=now)
    assert not kept.is_duplicate
    items = await archive.attention.find(actor=HANDLER)
    assert {reason for item in items for reason in item.reasons} == {
        "id_reused",
        "contradiction",
    }
    (found,) = await find(archive, now, phone="+358401234567")
    assert found.contact.queue == "Asiakaspalvelu"


async def test_the_same_recording_again_is_a_duplicate_and_another_is_shown(archive, now):
    await deliver(archive, call(), ident="w-1", now=now)
    await deliver_recording(archive, b"one", now=now)
    assert (await deliver_recording(archive, b"one", now=now)).is_duplicate
    assert not (await deliver_recording(archive, b"two", now=now)).is_duplicate
    reasons = {(i.reason, i.fields) for i in await archive.attention.find(actor=HANDLER)}
    assert ("contradiction", ("recording",)) in reasons


async def test_what_cannot_be_understood_is_kept_shown_and_explained(archive, now):
    await deliver(archive, b'{"source_id": 7}', ident="w-1", now=now)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert item.reason == "not_understood"
    assert "source_id" in await archive.attention.explain(item.id, actor=HANDLER, now=now)


async def test_a_shared_telephone_leaves_candidates_and_a_second_identifier_decides(
    archive, now
):
    await import_customers(archive, now)
    await deliver(archive, call("c-1"), ident="w-1", now=now)
    await deliver(
        archive, call("c-2", metering_point="643000000000000015"), ident="w-2", now=now
    )
    second, first = sorted(
        await find(archive, now, phone="+358401234567"), key=lambda f: f.contact.source_id
    )[::-1]
    assert {link.state for link in first.links} == {LinkState.CANDIDATE}
    linked = [link for link in second.links if link.state is LinkState.LINKED]
    assert [(link.reasons, link.certainty) for link in linked] == [
        (("metering_point", "phone"), Certainty.SURE)
    ]
    assert len(await find(archive, now, customer_number="1001")) == 1
    assert not await find(archive, now, customer_number="1003")


async def test_contacts_are_linked_again_when_customers_change(archive, now):
    await deliver(archive, call(customer_number="1001"), ident="w-1", now=now)
    imported = await import_customers(archive, now)
    assert (imported.added, imported.relinked) == (3, 1)
    (found,) = await find(archive, now, customer_number="1001")
    assert any(link.state is LinkState.LINKED for link in found.links)
    again = await import_customers(archive, now)
    assert (again.added, again.changed, again.unchanged) == (0, 0, 3)


async def test_every_criterion_narrows_and_says_why(archive, now):
    await deliver(archive, call(), ident="w-1", now=now)
    (found,) = await find(
        archive, now, phone="+358401234567", agent="a-17", queue="asiakaspalvelu"
    )
    assert [(r.criterion, r.met_by) for r in found.matched_by] == [
        ("phone", "party:customer"),
        ("agent", "party:agent"),
        ("queue", "contact"),
    ]
    assert not await find(archive, now, phone="+358401234567", agent="A-18")
    assert not await find(archive, now, phone="+358201234567"), "company numbers find nobody"


async def test_messages_are_sealed_apart_and_grow(archive, now):
    first = {"from": "Maija", "at": "2026-11-20T14:02:00Z", "text": "Hei, lasku on väärin"}
    second = {"from": "Tuki", "at": "2026-11-20T14:03:00Z", "text": "Katsotaan"}
    chat = {"channel": "chat", "recording": None}
    await deliver(archive, call(messages=[first], **chat), ident="w-1", now=now)
    await deliver(archive, call(messages=[first, second], **chat), ident="w-2", now=now)
    (found,) = await find(archive, now, phone="+358401234567")
    view = await archive.contacts.get(found.contact.id, actor=HANDLER)
    assert [message.sender for message in view.messages] == ["Maija", "Tuki"]
    assert found.contact.recording_state is None
