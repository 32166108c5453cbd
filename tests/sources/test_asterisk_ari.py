"""Events of Asterisk's REST interface: recordings find their calls, and calls in applications begin and end."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.asterisk_ari import (
    KEPT,
    HeardEvent,
    Place,
    missed_events,
    read_event,
    recording_named,
    subject_of,
    understand_ari,
)
from service.sources.events import SourceRule
from service.sources.generic import TIME_OUT_OF_WINDOW

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "asterisk"
STORED = "https://pbx.example:8089/ari/recordings/stored"
RULE = SourceRule(company_numbers=frozenset({"+358201234567"}), stored_recordings=STORED)
CALL = "1795340871.8"


def channel(ident=CALL, **changes):
    return {
        "id": ident,
        "name": "PJSIP/trunk-00000004",
        "caller": {"name": "Matti", "number": "+358401234567"},
        "dialplan": {"context": "default", "exten": "0201234567"},
        "creationtime": "2026-11-22T11:47:51.602+0200",
        **changes,
    }


def start(ident=CALL, **changes):
    return {
        "type": "StasisStart",
        "timestamp": "2026-11-22T11:47:51.607+0200",
        "args": [],
        "channel": channel(ident, **changes),
    }


def recording(kind="RecordingFinished", **changes):
    told = {"name": f"arkisto-{CALL}", "format": "wav", "state": "done", **changes}
    told.setdefault("target_uri", f"channel:{CALL}")
    return {"type": kind, "timestamp": "2026-11-22T11:47:58.027+0200", "recording": told}


def understand(told, linkedid="", rule=RULE):
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return understand_ari(HeardEvent(text, linkedid).encode(), rule, NOW)


def facts_of(told, linkedid="", rule=RULE):
    (facts,) = understand(told, linkedid, rule).contacts
    return facts


def test_a_call_in_an_application_begins_with_its_first_channel():
    facts = facts_of(start(), CALL)
    assert (facts.source_id, facts.direction) == (CALL, Direction.INBOUND)
    assert facts.started_at == datetime(2026, 11, 22, 9, 47, 51, 602000, tzinfo=UTC)
    assert facts.can_begin
    customer, company = facts.parties
    assert (customer.phone, customer.name) == ("+358401234567", "Matti")
    assert (company.role, company.phone) == (PartyRole.OTHER, "+358201234567")


def test_a_call_out_has_its_customer_at_the_other_end():
    out = start(caller={"name": "Anna", "number": "100"}, dialplan={"exten": "0401234567"})
    facts = facts_of(out, CALL)
    assert facts.direction is Direction.OUTBOUND
    assert [(one.phone, one.name) for one in facts.parties] == [("+358401234567", None)]


def test_a_further_channel_is_the_agent_of_its_call_and_begins_none():
    facts = facts_of(start("1795340872.9", name="PJSIP/anna-0000000a"), CALL)
    assert facts.source_id == CALL
    assert not facts.can_begin
    assert [party.agent_id for party in facts.parties] == ["anna"]


def test_a_channel_of_which_nothing_more_is_known_begins_no_call():
    facts = facts_of(start())
    assert (facts.source_id, facts.can_begin, facts.parties) == (CALL, False, ())


def test_a_call_ends_when_its_first_channel_leaves_the_application():
    told = {**start(), "type": "StasisEnd", "timestamp": "2026-11-22T11:48:01.119+0200"}
    assert facts_of(told, CALL).ended_at == datetime(2026, 11, 22, 9, 48, 1, 119000, tzinfo=UTC)
    assert understand(told, "1795340860.1").contacts == ()
    assert understand(told).contacts == ()


@pytest.mark.parametrize(
    ("linkedid", "changes", "call"),
    [
        ("1795340860.1", {}, "1795340860.1"),
        ("", {}, CALL),
        ("", {"name": "x/y-helsinki", "target_uri": "channel:7.1"}, "7.1"),
        ("", {"target_uri": "bridge:edc5157f"}, CALL),
        ("1795340860.1", {"name": "x", "target_uri": "bridge:edc5157f"}, "1795340860.1"),
    ],
)
def test_a_recording_is_of_the_call_that_was_asked_for_else_of_the_one_it_names(
    linkedid, changes, call
):
    facts = facts_of(recording(**changes), linkedid)
    assert facts.source_id == call
    (announced,) = facts.recordings
    assert announced.name.endswith(".wav")


def test_a_recording_is_where_its_name_leads_and_nowhere_else():
    name = "../../etc/passwd?x=1#ä %2F-1795340871.8"
    (announced,) = facts_of(recording(name=name)).recordings
    assert announced.url == (
        f"{STORED}/..%2F..%2Fetc%2Fpasswd%3Fx%3D1%23%C3%A4%20%252F-1795340871.8/file"
    )


def test_a_recording_that_has_begun_is_expected():
    told = recording("RecordingStarted", state="recording")
    assert facts_of(told).recording == "expected"
    nowhere = recording("RecordingStarted", state="recording", name="x", target_uri="bridge:1")
    assert understand(nowhere).contacts == ()


@pytest.mark.parametrize(
    ("kind", "state"), [("RecordingFailed", "failed"), ("RecordingFinished", "canceled")]
)
def test_a_recording_that_there_is_not_says_why(kind, state):
    facts = facts_of(recording(kind, state=state))
    assert (facts.recording, facts.not_recorded_reason) == ("none", state)
    assert facts.recordings == ()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no object"),
        (b'{"type":1}', "no object"),
        ({"type": "ChannelVarset"}, "tells nothing"),
        (recording(name="x", target_uri="bridge:1"), "of which call"),
        (recording(state="queued"), "neither done"),
        (recording(format="../wav"), "without a name or a format"),
        (recording(name=""), "without a name or a format"),
        (recording(name="a\nb-1795340871.8"), "cannot be seen"),
        (recording(name="\ud800-1795340871.8"), "cannot be seen"),
        ({"type": "StasisStart"}, "is empty"),
    ],
)
def test_what_it_is_not_told_rightly_it_refuses(told, words):
    with pytest.raises(InvalidInputError, match=words):
        understand(told)


def test_without_the_interface_nothing_tells_where_a_recording_is():
    with pytest.raises(InvalidInputError, match="ari is not set"):
        understand(recording(), rule=SourceRule())
    with pytest.raises(InvalidInputError):
        understand_ari(b"\xc1", RULE, NOW)


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00.000+0200", "2031-01-01T00:00:00.000-0500"])
def test_a_time_that_cannot_be_is_pointed_out(at):
    assert understand(start(creationtime=at), CALL).remarks == (TIME_OUT_OF_WINDOW,)


@pytest.mark.parametrize(
    "at", ["", "2026-11-22 11:47:51", "2026-13-01T00:00:00.000+0200", None]
)
def test_a_time_that_is_none_begins_nothing(at):
    assert not facts_of(start(creationtime=at), CALL).can_begin


def test_an_event_names_whom_to_ask_for_its_call():
    assert subject_of(start()) == (Place.CHANNEL, CALL)
    assert subject_of(recording(target_uri="bridge:edc5")) == (Place.BRIDGE, "edc5")
    for told in ({}, recording(target_uri="bridge:"), recording(target_uri="channel:a b")):
        assert subject_of(told) is None


def test_what_callers_say_may_be_no_utf_8():
    text = json.dumps(start()).encode().replace(b"Matti", b"M\xe4kel\xe4")
    assert read_event(text)["type"] == "StasisStart"
    assert facts_of(text, CALL).parties[0].phone == "+358401234567"


def test_what_was_stored_while_nobody_listened_is_told_of():
    since = datetime.fromtimestamp(1795340871, UTC)
    old = int((since - timedelta(hours=13)).timestamp())
    listing = [
        {"name": f"arkisto-{CALL}", "format": "wav"},
        {"name": f"arkisto-{old}.1", "format": "wav"},
        {"name": "arkisto-helsinki", "format": "wav"},
        {"name": 5},
        "x",
    ]
    (text,) = missed_events(listing, since=since)
    assert recording_named(read_event(text)) == f"arkisto-{CALL}"
    missed, finished = facts_of(text), facts_of(recording())
    assert (missed.source_id, missed.recordings) == (CALL, finished.recordings)
    for nothing in (None, {}, "x", 5):
        assert list(missed_events(nothing, since=since)) == []


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "name", "format", "state", "target_uri", "caller", "number", "dialplan"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*KEPT, "RecordingStored"]), _VALUES, _VALUES, st.text(max_size=5))
def test_no_event_breaks_it(kind, one, other, linkedid):
    told = {"type": kind, "channel": one, "recording": other, "timestamp": one}
    list(missed_events([one, other], since=NOW))
    subject_of(told)
    try:
        understood = understand(told, linkedid)
    except InvalidInputError:
        return
    assert all(facts.source_id for facts in understood.contacts)


@pytest.mark.skipif(not SAMPLES.exists(), reason="the captures beside the checkout are absent")
def test_what_asterisk_said_is_understood():
    lines = [
        line for line in (SAMPLES / "ari.jsonl").read_bytes().splitlines() if line[:1] == b"{"
    ]
    events = {read_event(line)["type"]: line for line in lines}
    kept = [line for line in lines if read_event(line)["type"] in KEPT]
    assert len(kept) == 4
    assert facts_of(events["StasisStart"], CALL).started_at.minute == 47
    assert facts_of(events["StasisEnd"], CALL).ended_at.minute == 48
    assert facts_of(events["RecordingStarted"]).recording == "expected"
    (announced,) = facts_of(events["RecordingFinished"]).recordings
    assert (announced.name, announced.url) == (
        f"arkisto-{CALL}.wav",
        f"{STORED}/arkisto-{CALL}/file",
    )
