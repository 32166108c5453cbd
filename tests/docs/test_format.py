"""What docs/format.md says is so: its recipe is run as it stands, on a real archive."""

import os
import re
import shutil
import subprocess
from dataclasses import fields

import msgspec
import pytest

from service.access import tokens, users
from service.archive.checks import Code, Outcome, State
from service.archive.export_files import ExportedPart
from service.archive.grants import SealedGrant
from service.archive.mail_records import SealedEnvelope, SealedMail, SealedPart
from service.archive.receive import ReceivedRecording, SealedDelivery
from service.archive.records import SealedContact, SealedMessage, SealedRecording
from service.archive.remarks import SealedTold
from service.domain.contact import Party
from service.domain.customer import Customer, Occupancy
from service.log.entry import decode_entry
from service.worker.media.facts import MediaFacts, MediaFlag
from service.worker.media_job import facts_of
from storage.rows import ObjectRow
from tests.archive.test_spine import call, deliver, deliver_recording, find
from tests.docs.pages import ROOT, coded, read, section

PAGE = read("format.md")
(RECIPE,) = re.findall(r"(?ms)^```sh recipe\n(.*?)^```$", PAGE)
SPEECH = bytes(range(256)) * 1000
PROGRAMS = ("age", "sqlite3")


def follow_recipe(directory, **named):
    return subprocess.run(
        ["sh", "-eu", "-c", RECIPE],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **named},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="the programs age and sqlite3 are absent"
)
async def test_the_recipe_opens_a_recording_of_a_real_archive(archive, config, now, tmp_path):
    await deliver(archive, call(), ident="w-1", now=now)
    await deliver_recording(archive, SPEECH, now=now)
    (found,) = await find(archive, now)
    contact_id = found.contact.id
    copy = tmp_path / "copy"
    shutil.copytree(config.archive.directory, copy)
    done = follow_recipe(copy, CONTACT=contact_id, KEYS=str(config.keys.directory))
    assert done.returncode == 0, done.stderr
    assert (copy / "recording").read_bytes() == SPEECH
    (row,) = await archive.stores.store.find(ObjectRow, {"contact_id": contact_id})
    told = [decode_entry(one.entry) for one in await archive.stores.log.log_about(row.id)]
    (stated,) = {one.data["blob_sha256"] for one in told if "blob_sha256" in one.data}
    assert done.stdout.split()[0] == stated


@pytest.mark.parametrize(
    "kind",
    [
        SealedContact,
        Party,
        SealedRecording,
        SealedMessage,
        SealedMail,
        SealedPart,
        SealedEnvelope,
        SealedTold,
        Customer,
        Occupancy,
        SealedGrant,
        users._Personal,
        tokens._Personal,
        SealedDelivery,
        ReceivedRecording,
    ],
)
def test_every_member_that_is_sealed_is_named(kind):
    words = coded(section(PAGE, "## 3. Rows and their sealed fields"))
    struct = issubclass(kind, msgspec.Struct)
    members = kind.__struct_fields__ if struct else [field.name for field in fields(kind)]
    assert set(members) - words == set()


def test_every_fact_and_flag_is_named():
    words = coded(section(PAGE, "## 4. Facts and waveforms"))
    assert {*facts_of(MediaFacts()), *(flag.value for flag in MediaFlag)} - words == set()


def test_every_kind_of_id_is_named():
    text = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    prefixes = set(re.findall(r'new_id\("(\w+)"', text))
    prefixes |= {users.USER_PREFIX, tokens.TOKEN_PREFIX}
    # Incidents are told to clients and to the journal, and stored nowhere.
    assert {f"{prefix}_" for prefix in prefixes - {"in"}} - coded(PAGE) == set()


def test_every_search_token_is_described():
    text = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    used = set(re.findall(r'index\.token\(\s*"(\w+)"', text))
    assert used - coded(section(PAGE, "## 3. Rows and their sealed fields")) == set()


def test_everything_of_an_export_is_named():
    words = coded(section(PAGE, "## 6. What is handed out"))
    for kind in (Code, Outcome, State):
        assert {one.value for one in kind} - words == set()
    # Kept back: they are personal, and stand in contact.json.
    unsaid = {"object_id", "name", "content_type", "told"}
    assert {field.name for field in fields(ExportedPart)} - unsaid - words == set()
