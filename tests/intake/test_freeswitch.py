"""Calls of FreeSWITCH, from the requests that it sends to the contact with its recording."""

import base64
import itertools
import struct

import pytest
from yarl import URL

from service.archive.receive import ID_REUSED
from service.domain.actor import Role
from service.domain.contact import PartyRole, RecordingState
from service.sources.freeswitch import DAMAGED
from storage.rows import ContactRow, DeliveryRow
from tests.conftest import actor
from tests.freeswitch import A, B, as_json, form, further, record, sample, with_encoded_values
from tests.intake.conftest import SECRET

HANDLER = actor(Role.COMPLAINT_HANDLER)
BASIC = {"Authorization": "Basic " + base64.b64encode(f"switch:{SECRET}".encode()).decode()}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
INFO = b"INFOINAM\x16\0\0\0" + "Sähkökatko & lasku".encode() + b"\0\0"


def wav(seconds=1, *, info=INFO):
    """Return a recording in stereo as FreeSWITCH writes it: what it tells of itself comes before the sound."""
    sound = bytes(8000 * 4 * seconds)
    fmt = struct.pack("<HHIIHH", 1, 2, 8000, 32000, 4, 16)
    chunks = b"".join(
        name + struct.pack("<I", len(data)) + data
        for name, data in ((b"fmt ", fmt), (b"LIST", info), (b"data", sound))
    )
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


async def send(door, uuid, body, *, target=None, headers=FORM):
    path = target or f"/intake/switch?uuid={uuid}"
    answer = await door.client.post(
        URL(path, encoded=True), data=body, headers={**BASIC, **headers}
    )
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def put(door, body, *, uuid=A, name="a.wav", secret=SECRET):
    """Send a recording as mod_http_cache does: no credentials, and one attempt."""
    answer = await door.client.put(
        f"/intake/switch/k/{secret}/{uuid}/recordings/{name}",
        data=body,
        headers={"Content-Type": "application/octet-stream"},
        expect100=True,
    )
    return answer.status, await answer.json()


async def contact(door):
    """Return the one contact that there is, with its recordings."""
    await door.understand()
    (row,) = await door.archive.stores.store.find(ContactRow, {})
    return await door.archive.contacts.get(row.id, actor=HANDLER)


async def reasons(door):
    items = await door.archive.attention.find(actor=HANDLER)
    return sorted(reason for item in items for reason in item.reasons)


async def states(door):
    return sorted(row.state for row in await door.archive.stores.store.find(DeliveryRow, {}))


FIRST, SECOND, RECORDING = "first", "second", "recording"


@pytest.mark.parametrize("order", [*itertools.permutations((FIRST, SECOND, RECORDING))])
async def test_legs_and_recording_are_one_call_in_whichever_order_they_come(door, order):
    for one in order:
        match one:
            case "first":
                await send(door, A, form(as_json(record())))
            case "second":
                await send(door, B, form(as_json(further())))
            case _:
                assert await put(door, wav()) == (200, {"kept": True})
        await door.understand()
    view = await contact(door)
    told = view.contact
    assert (told.source_id, told.queue, told.recording_state) == (
        A,
        "sähkökatko",
        RecordingState.PRESENT,
    )
    assert {(party.role, party.phone, party.agent_id) for party in told.parties} == {
        (PartyRole.CUSTOMER, "+358401234567", None),
        (PartyRole.OTHER, "+358201234567", None),
        (PartyRole.AGENT, None, "1001"),
    }
    assert len(view.recordings) == 1
    assert await states(door) == ["understood"] * 3
    assert await reasons(door) == []


CAPTURES = [
    ("encode-base64", ["001", "002", "003", "004"], []),
    ("encode-form", ["001", "002", "004"], [DAMAGED]),
    ("encode-form", ["005", "007"], []),
]


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(("folder", "numbers", "noted"), CAPTURES)
async def test_what_was_captured_becomes_a_contact_with_its_recording(
    door, folder, numbers, noted, is_reversed
):
    sent = [sample(folder, number) for number in numbers]
    for method, target, body in reversed(sent) if is_reversed else sent:
        path, _, query = target.partition("?")
        if method == "PUT":
            name = path.rpartition("/")[2]
            uuid = name.removesuffix(".wav")
            assert await put(door, body, uuid=uuid, name=name) == (200, {"kept": True})
        else:
            await send(door, "", body, target=f"/intake/switch?{query}")
        await door.understand()
    view = await contact(door)
    told = view.contact
    assert told.recording_state is RecordingState.PRESENT
    assert told.parties[0].phone == "+358401234567" or is_reversed or numbers[0] == "001"
    agents = {party.agent_id for party in told.parties if party.role is PartyRole.AGENT}
    assert agents == ({"agentti"} if "001" in numbers else set())
    assert await states(door) == ["understood"] * len(numbers)
    assert await reasons(door) == noted


async def test_a_call_is_told_again_as_xml_and_by_a_retry_and_changes_nothing(door):
    body = form(as_json(record()))
    assert await send(door, A, body) == {"kept": True}
    assert await send(door, A, body) == {"kept": True, "duplicate": True}
    first = await contact(door)
    await send(door, A, as_json(record()).encode(), headers={"Content-Type": "text/xml"})
    assert (await contact(door)).contact.version == first.contact.version
    assert await reasons(door) == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "text/xml; charset=utf-16",
        "application/x-www-form-base64-encoded",
        "x",
    ],
)
async def test_whatever_the_type_says_the_body_is_read(door, content_type):
    for uuid, body in ((A, form(as_json(record()))), (B, as_json(further()).encode())):
        await send(door, uuid, body, headers={"Content-Type": content_type})
    assert len((await contact(door)).contact.parties) == 3


async def test_a_damaged_record_is_one_thing_to_look_at_however_many_legs_it_has(door):
    for uuid, leg in ((B, further()), (A, record())):
        await send(door, uuid, form(as_json(with_encoded_values(leg))))
    assert (await contact(door)).contact.queue == "sähkökatko"
    assert await reasons(door) == [DAMAGED]


async def test_what_is_no_record_is_kept_and_put_before_a_person(door):
    assert await send(door, A, b"cdr=%7B%7D") == {"kept": True}
    await door.understand()
    assert await states(door) == ["failed"]
    assert await reasons(door) == ["not_understood"]


async def test_a_recording_is_written_once_and_other_bytes_are_kept_beside_it(door):
    await send(door, A, as_json(record()).encode())
    assert await put(door, wav(1)) == (200, {"kept": True})
    assert await put(door, wav(1)) == (200, {"kept": True, "duplicate": True})
    assert await put(door, wav(2)) == (200, {"kept": True})
    assert await put(door, wav(2)) == (200, {"kept": True, "duplicate": True})
    view = await contact(door)
    assert sorted(one.stored.plain_bytes for one in view.recordings) == [
        len(wav(1)),
        len(wav(2)),
    ]
    assert set(await reasons(door)) == {"contradiction", ID_REUSED}


async def test_a_recording_of_one_leg_is_expected_whatever_the_other_says(door):
    await send(door, A, as_json(record(record_seconds=None)).encode())
    assert (await contact(door)).contact.recording_state is RecordingState.NOT_RECORDED
    await send(door, B, as_json(further(record_seconds="7")).encode())
    assert (await contact(door)).contact.recording_state is RecordingState.EXPECTED
    await put(door, wav())
    assert (await contact(door)).contact.recording_state is RecordingState.PRESENT
    assert await reasons(door) == []


async def test_a_call_that_nobody_answered_is_a_contact_without_a_recording(door):
    leg = record(answer_uepoch="0", record_seconds=None, hangup_cause="NO_ANSWER")
    await send(door, A, as_json(leg).encode())
    told = (await contact(door)).contact
    assert (told.recording_state, told.why_not_recorded) == (
        RecordingState.NOT_RECORDED,
        "unanswered",
    )
