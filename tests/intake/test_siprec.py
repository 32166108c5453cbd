"""Sessions of SIPREC, from what a recording server uploads to the contact with its recording."""

import base64
import itertools
from urllib.parse import quote

import pytest
from yarl import URL

from service.config import parse_config
from service.domain.actor import Role
from service.domain.contact import PartyRole, RecordingState
from storage.rows import ContactRow, DeliveryRow
from tests.conftest import actor
from tests.intake.conftest import SECRET
from tests.intake.test_freeswitch import wav
from tests.siprec import SDP, STOP, mixed, rfc

HANDLER = actor(Role.COMPLAINT_HANDLER)
SESSION = "Xk9pVPpVEeiTMTUl8h/saA=="
BASIC = {"Authorization": "Basic " + base64.b64encode(f"rec:{SECRET}".encode()).decode()}
MIXED = {"Content-Type": "multipart/mixed; boundary=foobar"}
METADATA = {"Content-Type": "application/rs-metadata+xml"}
BEGUN, ENDED, RECORDING = "begun", "ended", "recording"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "rec.secret"
    file.write_text(SECRET)
    file.chmod(0o400)
    return parse_config(
        '[[sources]]\nname = "rec"\nkind = "siprec"\nsecret_file = "rec.secret"\n',
        base=tmp_path,
    )


async def post(door, body, headers, *, path="/intake/rec"):
    answer = await door.client.post(path, data=body, headers=headers)
    assert answer.status == 200, await answer.text()


async def send(door, what):
    match what:
        case "begun":
            parts = mixed(SDP, ("application/rs-metadata+xml", rfc(ident=SESSION)))
            await post(door, parts, {**BASIC, **MIXED})
        case "ended":
            ended = rfc(ident=SESSION, stop=STOP, mode="partial", start=None, people=[])
            await post(door, ended.encode(), METADATA, path=f"/intake/rec/k/{SECRET}")
        case _:
            path = f"/intake/rec/k/{SECRET}/{quote(SESSION, safe='')}/recordings/1.wav"
            answer = await door.client.put(
                URL(path, encoded=True), data=wav(), headers={"Content-Type": "audio/wav"}
            )
            assert answer.status == 200, await answer.text()
    await door.understand()


async def reasons(door):
    items = await door.archive.attention.find(actor=HANDLER)
    return sorted(reason for item in items for reason in item.reasons)


@pytest.mark.parametrize("order", [*itertools.permutations((BEGUN, ENDED, RECORDING))])
async def test_documents_and_recording_are_one_call_in_whichever_order_they_come(door, order):
    for what in order:
        await send(door, what)
    (row,) = await door.archive.stores.store.find(ContactRow, {})
    view = await door.archive.contacts.get(row.id, actor=HANDLER)
    told = view.contact
    assert (told.source_id, told.recording_state) == (SESSION, RecordingState.PRESENT)
    assert told.ended_at is not None
    assert [(one.role, one.phone, one.agent_id) for one in told.parties] == [
        (PartyRole.CUSTOMER, "+358401234567", None),
        (PartyRole.AGENT, None, "1001"),
    ]
    assert len(view.recordings) == 1
    assert await reasons(door) == []


async def test_what_has_no_metadata_is_kept_and_waits_for_a_person(door):
    await post(door, mixed(SDP), {**BASIC, **MIXED})
    await door.understand()
    (row,) = await door.archive.stores.store.find(DeliveryRow, {})
    assert row.state == "failed"
    assert await reasons(door) == ["not_understood"]


async def test_whoever_has_not_the_secret_delivers_nothing(door):
    for path, headers in (("/intake/rec", METADATA), (f"/intake/rec/k/{'x' * 32}", METADATA)):
        answer = await door.client.post(path, data=rfc().encode(), headers=headers)
        assert answer.status == 401
    assert await door.archive.stores.store.find(DeliveryRow, {}) == []
