"""The demonstration's world is complete, small, invented, and understood by the product."""

import csv
import io
import json
import re
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from service.archive.register import WrongRow, read_register
from service.cli.demo import world as world_module
from service.cli.demo.world import load_world
from service.domain.contact import Channel
from service.sources.generic import parse_contact
from service.worker.media.run import examine

TODAY = date(2026, 11, 22)
FOLDER = Path(world_module.__file__).parent
TOLD = tomllib.loads((FOLDER / "world.toml").read_text())


@pytest.fixture
def world():
    return load_world(TODAY)


class Held:
    """A recording in memory."""

    def __init__(self, path):
        self._data = path.read_bytes()
        self.size_bytes = len(self._data)

    async def read(self, offset, length):
        return self._data[offset : offset + length]


def understood(contact, today=TODAY):
    """Return what the product reads from a contact; the delivery comes on ``today``."""
    now = datetime.combine(today, time(0), UTC)
    source, told = parse_contact(json.dumps(contact).encode(), region="FI", now=now)
    assert source == contact["source"]
    assert told.remarks == ()
    return told.contacts[0]


def test_there_is_enough_to_see(world):
    channels = [contact["channel"] for contact in world.contacts]
    assert channels.count("call") >= 14
    assert channels.count("email") >= 4
    assert channels.count("chat") >= 4
    assert len({row["customer_number"] for row in world.customers}) >= 10


@pytest.mark.parametrize(
    "today",
    [TODAY, date(2027, 3, 28), date(2027, 3, 30), date(2026, 10, 26), date(2028, 2, 29)],
)
def test_every_contact_is_understood_whatever_the_day(today):
    for contact in load_world(today).contacts:
        facts = understood(contact, today)
        assert facts.source_id == contact["source_id"]
        assert facts.started_at.date() < today
        if facts.channel is Channel.CALL:
            assert timedelta(0) < facts.ended_at - facts.started_at < timedelta(minutes=10)
        else:
            assert facts.messages


def test_every_customer_row_is_accepted(world):
    text = io.StringIO()
    writer = csv.DictWriter(text, world.customers[0].keys())
    writer.writeheader()
    writer.writerows(world.customers)
    read = list(read_register(io.StringIO(text.getvalue()), region="FI"))
    assert [row for row in read if isinstance(row, WrongRow)] == []
    assert len(read) == len(world.customers)


def test_contacts_come_oldest_first_and_once(world):
    started = [datetime.fromisoformat(contact["started_at"]) for contact in world.contacts]
    assert started == sorted(started)
    assert len({(c["source"], c["source_id"]) for c in world.contacts}) == len(started)


def test_one_recording_never_comes_and_one_call_was_not_recorded(world):
    delivered = {(r.source, r.source_id) for r in world.recordings}
    calls = [c for c in world.contacts if c["channel"] == "call"]
    without = [c for c in calls if (c["source"], c["source_id"]) not in delivered]
    assert [c["recording"] for c in without] == ["none", "expected"]
    assert "kielsi" in without[0]["not_recorded_reason"]
    assert len(delivered) == len(world.recordings) == len(calls) - 2


def test_two_occupants_of_one_place_do_not_overlap(world):
    spans = {}
    for row in world.customers:
        spans.setdefault(row["metering_point"], []).append(row)
    (before, after) = sorted(
        next(rows for point, rows in spans.items() if point and len(rows) > 1),
        key=lambda row: row["occupied_from"],
    )
    assert before["occupied_to"] == after["occupied_from"]
    assert before["customer_number"] != after["customer_number"]


def test_a_couple_shares_a_telephone(world):
    phones = [understood_phone(row["phone"]) for row in world.customers if row["phone"]]
    assert phones.count("+358405555209") == 2


def understood_phone(text):
    digits = re.sub(r"[\s-]", "", text)
    return "+358" + digits[1:] if digits.startswith("0") else digits


def test_nobody_is_real(world):
    for row in world.customers:
        code = row["identity_code"]
        assert not code or 900 <= int(code[7:10]) <= 999
        assert not row["email"] or re.search(r"[@.]example\.(fi|com|org)$", row["email"])
        assert not row["phone"] or "555" in understood_phone(row["phone"])


def test_the_speech_is_at_most_a_megabyte(world):
    sizes = [recording.path.stat().st_size for recording in world.recordings]
    assert sum(sizes) <= 1_000_000
    assert (
        sum(r.path.stat().st_size for r in world.recordings if r.path.suffix == ".wav")
        <= 150_000
    )


def test_no_speech_lies_about_unused(world):
    assert {r.path for r in world.recordings} == set((FOLDER / "speech").iterdir())


async def test_every_recording_sounds_as_its_call_says(world):
    calls = {contact["source_id"]: contact for contact in TOLD["contacts"]}
    stereo = 0
    for recording in world.recordings:
        call = calls[recording.source_id]
        facts = (await examine(Held(recording.path))).facts
        assert facts.flags == frozenset()
        assert facts.channels == (2 if call["recording"].get("is_stereo") else 1)
        # A call lasts a little longer than its recording.
        assert 2 <= call["seconds"] - facts.duration.total_seconds() <= 15
        assert facts.is_browser_playable is (recording.path.suffix == ".opus")
        stereo += facts.channels == 2
    assert stereo >= 5


async def test_on_a_stereo_call_each_speaker_has_a_channel(world):
    path = next(r.path for r in world.recordings if r.path.name == "rauha-myyntipuhelu.opus")
    agent, customer = (await examine(Held(path))).peaks.channels
    loud = [(a, c) for a, c in zip(agent, customer, strict=True) if max(a, c) > 30]
    assert any(a > c for a, c in loud)
    assert any(c > a for a, c in loud)
    assert all(min(pair) < max(pair) / 5 for pair in loud)


def test_the_script_of_each_recording_is_a_dialogue():
    for contact in TOLD["contacts"]:
        if "recording" not in contact:
            assert "script" not in contact
            continue
        turns = contact["script"].strip().splitlines()
        assert {turn.partition(": ")[0] for turn in turns} == {"agent", "customer"}
        assert all(turn.partition(": ")[2] for turn in turns)
        assert all(voice in TOLD["voices"] for voice in contact["recording"]["voices"])
