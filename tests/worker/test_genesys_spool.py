"""An export of Genesys Cloud in a spool: in any order it becomes one contact with its recordings."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from service.archive.lookup import Criteria
from service.domain.actor import Role
from service.domain.contact import RecordingState
from service.sources.kinds import KINDS
from service.worker.files import FileIntake, bring_in, find_files
from service.worker.spool import TAKEN
from tests.conftest import actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALL = "4d2c7a10-93b5-4e0f-8f6a-0c51b7a3d901"
FIRST, SECOND = (f"c0a81f52-7d7e-4c55-9a5e-6f1d2b3c4d0{n}" for n in (1, 2))
FOLDER = f"4f1e/year=2026/month=11/day=22/hour=9/conversation_id={CALL}"
OGG = b"OggS" + bytes(40)


def metadata(recording, **more):
    told = {
        "mediaType": "Call",
        "conversationId": CALL,
        "recordingId": recording,
        "initialDirection": "inbound",
        "startTime": "2026-11-22T09:47:25.873+0000",
        "endTime": "2026-11-22T09:51:30.493+0000",
        "userIds": ["anna"],
        "ani": "tel:+358401234567",
        "dnis": "tel:+358201234567",
        **more,
    }
    return json.dumps(told).encode()


@pytest.fixture
def exported(archive, tmp_path):
    """Return what puts files into a spool, looks there, and has what was kept understood."""
    spool = tmp_path / "spool"
    files = FileIntake(archive.intake, "cloud", KINDS["genesys"].files, 2**20)
    adapters = {"cloud": KINDS["genesys"].adapters}
    understanding = replace(archive.understanding, adapters=adapters)
    taken = spool / TAKEN

    async def put(**bodies):
        for name, body in bodies.items():
            path = spool / FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        kept = []
        tally = await bring_in(
            find_files(spool, without=taken),
            files,
            move_to=taken,
            clock=lambda: NOW,
            offer=kept.append,
        )
        new = [(one.row, one.delivery) for one in kept if not one.is_duplicate]
        await understanding.understand(new, now=NOW)
        return tally

    return put


async def only_contact(archive):
    page = await archive.finder.find(
        Criteria(phone="+358401234567"), actor=HANDLER, cursor=None, limit=50, now=NOW
    )
    (found,) = page.contacts
    return await archive.contacts.get(found.contact.id, actor=HANDLER)


def recorded(view):
    return sorted(one.sealed.name for one in view.recordings)


async def test_the_recordings_of_a_conversation_are_of_one_contact(archive, exported):
    later = metadata(SECOND, startTime="2026-11-22T09:51:31.000+0000", endTime=None)
    tally = await exported(
        **{
            f"{FIRST}.opus": OGG,
            f"{FIRST}.opus_metadata.json": metadata(FIRST),
            f"{SECOND}.opus": OGG + b"2",
            f"{SECOND}.opus_metadata.json": later,
        }
    )
    assert (tally.kept, tally.still_written, tally.unknown) == (4, 0, [])
    view = await only_contact(archive)
    assert recorded(view) == [f"{FIRST}.opus", f"{SECOND}.opus"]
    assert view.contact.started_at == datetime(2026, 11, 22, 9, 47, 25, 873000, UTC)
    assert view.contact.recording_state is RecordingState.PRESENT


async def test_metadata_that_come_first_are_joined_by_their_recording(archive, exported):
    await exported(**{f"{FIRST}.opus_metadata.json": metadata(FIRST)})
    assert (await only_contact(archive)).contact.recording_state is RecordingState.EXPECTED
    # The metadata were moved; the recording is whole all the same.
    tally = await exported(**{f"{FIRST}.opus": OGG})
    assert (tally.kept, tally.still_written) == (1, 0)
    view = await only_contact(archive)
    assert recorded(view) == [f"{FIRST}.opus"]
    assert view.contact.recording_state is RecordingState.PRESENT


async def test_a_recording_waits_for_its_metadata(archive, exported):
    tally = await exported(**{f"{FIRST}.opus": OGG})
    assert (tally.kept, tally.still_written) == (0, 1)
    # Those of another say nothing of it.
    tally = await exported(**{f"{SECOND}.opus_metadata.json": metadata(SECOND)})
    assert (tally.kept, tally.still_written) == (1, 1)
    tally = await exported(**{f"{FIRST}.opus_metadata.json": metadata(FIRST)})
    assert (tally.kept, tally.still_written) == (2, 0)
    assert recorded(await only_contact(archive)) == [f"{FIRST}.opus"]


async def test_the_same_export_again_changes_nothing(archive, exported):
    bodies = {f"{FIRST}.opus": OGG, f"{FIRST}.opus_metadata.json": metadata(FIRST)}
    await exported(**bodies)
    before = await only_contact(archive)
    tally = await exported(**bodies)
    assert (tally.kept, tally.there_already) == (0, 2)
    assert (await only_contact(archive)).contact.version == before.contact.version


async def test_what_pgp_encrypted_is_kept_and_the_metadata_need_attention(archive, exported):
    tally = await exported(
        **{
            f"{FIRST}.opus.pgp": b"\x85sealed",
            f"{FIRST}.opus_metadata.json": metadata(FIRST),
            f"{SECOND}.opus_metadata.json.pgp": b"\x85sealed",
        }
    )
    assert (tally.kept, tally.still_written, tally.unknown) == (3, 0, [])
    (recording,) = (await only_contact(archive)).recordings
    assert recording.sealed.name == f"{FIRST}.opus.pgp"
    assert recording.sealed.content_type == "application/pgp-encrypted"
    (item,) = await archive.attention.find(actor=HANDLER)
    assert item.reasons == ("not_understood",)
