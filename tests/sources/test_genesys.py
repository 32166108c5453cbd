"""Bulk exports of Genesys Cloud: metadata become calls, and every file is known by its place and name."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config.problems import ValueRefusedError
from service.config.values import GENESYS_NAMES, Context
from service.domain.contact import EXPECTED, Channel, Direction, Party, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.files import RecordingFile, RequestFile
from service.sources.generic import TIME_OUT_OF_WINDOW
from service.sources.genesys import understand_genesys
from service.sources.genesys_files import PGP_TYPE, recognise_file
from service.sources.requests import received_request

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CALL = "4d2c7a10-93b5-4e0f-8f6a-0c51b7a3d901"
OTHER = "9b7e0f43-1f0e-4a5c-b0a1-52d6c1e7aa02"
RECORDING = "c0a81f52-7d7e-4c55-9a5e-6f1d2b3c4d05"
ANNA = "11f0c3aa-5b6d-4a10-9d3e-7c8b9a0d1e06"
FOLDER = f"4f1e/year=2026/month=1/day=2/hour=9/conversation_id={CALL}"
RULE = SourceRule(company_numbers=frozenset({"+358201234567"}))
TOLD = {
    "mediaType": "Call",
    "provider": "Edge",
    "userIds": [ANNA],
    "conversationId": CALL,
    "recordingId": RECORDING,
    "initialDirection": "inbound",
    "startTime": "2026-11-22T09:47:25.873+0000",
    "endTime": "2026-11-22T09:51:30.493+0000",
    "durationMs": 244620,
    "ani": "tel:+358401234567",
    "dnis": "tel:+358201234567",
    "queueIds": ["viat"],
}


def understand(body=None, *, query=f"conversation={CALL}", rule=RULE, **told):
    """Return what the metadata tell; a value of None is not told."""
    if body is None:
        body = json.dumps({k: v for k, v in {**TOLD, **told}.items() if v is not None}).encode()
    request = received_request("POST", f"/intake/cloud?{query}", [], body)
    return understand_genesys(request.encode(), rule, NOW)


def facts_of(**more):
    (facts,) = understand(**more).contacts
    return facts


def test_the_metadata_of_a_recording_are_a_part_of_its_conversation():
    facts = facts_of()
    assert (facts.source_id, facts.channel, facts.is_part) == (CALL, Channel.CALL, True)
    assert (facts.direction, facts.queue, facts.recording) == (
        Direction.INBOUND,
        "viat",
        EXPECTED,
    )
    assert facts.started_at == datetime(2026, 11, 22, 9, 47, 25, 873000, UTC)
    assert facts.ended_at == datetime(2026, 11, 22, 9, 51, 30, 493000, UTC)
    assert facts.parties == (
        Party(role=PartyRole.CUSTOMER, phone="+358401234567"),
        Party(role=PartyRole.OTHER, phone="+358201234567"),
        Party(role=PartyRole.AGENT, agent_id=ANNA),
    )


def test_of_a_call_out_the_customer_is_who_was_dialled():
    facts = facts_of(
        initialDirection="Outbound",
        ani="tel:+358201234567",
        dnis="sip:+358401234567@example.com",
    )
    assert facts.direction is Direction.OUTBOUND
    assert facts.parties[0] == Party(role=PartyRole.CUSTOMER, phone="+358401234567")


@pytest.mark.parametrize(
    ("caller", "dialled", "direction"),
    [
        ("+358401234567", "+358201234567", Direction.INBOUND),
        ("+358201234567", "+358401234567", Direction.OUTBOUND),
    ],
)
def test_a_call_that_tells_no_direction_has_that_of_its_numbers(caller, dialled, direction):
    assert facts_of(initialDirection=None, ani=caller, dnis=dialled).direction is direction


@pytest.mark.parametrize(
    ("media", "channel"),
    [
        ("Call", Channel.CALL),
        ("Callback", Channel.CALL),
        ("Chat", Channel.CHAT),
        ("message", Channel.CHAT),
        ("EMAIL", Channel.EMAIL),
    ],
)
def test_each_kind_of_conversation_is_of_its_channel(media, channel):
    facts = facts_of(mediaType=media)
    assert facts.channel is channel
    assert facts.recording == (EXPECTED if channel is Channel.CALL else None)
    assert facts.can_begin


def test_a_picture_of_a_screen_begins_no_contact_and_belongs_to_one():
    facts = facts_of(mediaType="Screen")
    assert (facts.source_id, facts.channel, facts.can_begin) == (CALL, None, False)


def test_whoever_wrote_is_known_by_address_and_not_by_an_identification():
    (customer, *_) = facts_of(mediaType="Email", ani="maija@example.com", dnis=None).parties
    assert customer == Party(role=PartyRole.CUSTOMER, email="maija@example.com")
    parties = facts_of(mediaType="Chat", ani=OTHER, dnis=None, userIds=None).parties
    assert parties == ()


@pytest.mark.parametrize("number", ["anonymous", "sip:anonymous@anonymous.invalid"])
def test_who_withholds_the_number_stays_without_one(number):
    customer = facts_of(ani=number).parties[0]
    assert (customer.phone, customer.phone_as_sent) == (None, "anonymous")


def test_names_are_read_without_regard_to_capitals_and_as_the_settings_say():
    names = GENESYS_NAMES.read(["caller = callerNumber"], Context(Path()))
    rule = SourceRule(names=names)
    facts = facts_of(rule=rule, ani=None, CallerNumber="040 123 4567", ANI="tel:+358500000000")
    assert facts.parties[0].phone == "+358401234567"


@pytest.mark.parametrize(
    "names", [["caller"], ["nobody = x"], ["caller = a", "caller = b"], ["caller ="]]
)
def test_names_that_mean_nothing_are_refused(names):
    with pytest.raises(ValueRefusedError):
        GENESYS_NAMES.read(names, Context(Path()))


def test_the_folder_tells_the_conversation_where_the_metadata_do_not():
    assert facts_of(conversationId=None).source_id == CALL
    assert facts_of(query="", conversationId=CALL.upper()).source_id == CALL


def test_a_byte_order_mark_is_passed_over():
    body = b"\xef\xbb\xbf" + json.dumps(TOLD).encode()
    assert facts_of(body=body).source_id == CALL


def test_a_time_that_cannot_be_is_told_of():
    assert understand(startTime="2027-11-22T09:47:25Z").remarks == (TIME_OUT_OF_WINDOW,)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"query": f"conversation={OTHER}"}, "folder of another conversation"),
        ({"query": "", "conversationId": None}, "tell no conversation"),
        ({"conversationId": "../../etc/passwd"}, "tell no conversation"),
        ({"mediaType": "Hologram"}, "mediaType is none of"),
        ({"mediaType": None}, "mediaType is none of"),
        ({"startTime": "22.11.2026 11:47"}, "starttime: not a time"),
        ({"startTime": "2026-11-22T11:47:25"}, "starttime: not a time"),
        ({"startTime": 1795340845}, "starttime is no text"),
        ({"userIds": [1]}, "userids is no list of texts"),
        ({"userIds": "anna"}, "userids is no list of texts"),
        ({"userIds": ["an\u202ena"]}, "agent_id"),
        ({"ANI": "tel:+358401234567"}, "a name appears twice"),
        ({"body": b"[]"}, "no JSON object"),
        ({"body": '{"ani":"ä"}'.encode("iso-8859-1")}, "not UTF-8"),
        ({"body": b"-----BEGIN PGP MESSAGE-----"}, "not JSON"),
        ({"query": f"conversation={CALL}&encrypted=pgp", "body": b"\x85"}, "cannot be opened"),
    ],
)
def test_what_cannot_be_believed_says_why(more, words):
    with pytest.raises(InvalidInputError) as refused:
        understand(**more)
    assert words in refused.value.detail


def test_more_agents_than_a_contact_may_have_are_cut():
    assert len(facts_of(userIds=[f"agent {n}" for n in range(500)]).parties) == 200


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (f"{FOLDER}/{RECORDING}.opus", (f"{RECORDING}.opus", "audio/ogg", "opus")),
        (f"conversation_id={CALL}/{RECORDING}.wav", (f"{RECORDING}.wav", "audio/wav", "wav")),
        (f"{FOLDER}/{RECORDING}.opus.pgp", (f"{RECORDING}.opus.pgp", PGP_TYPE, "opus")),
        (f"{FOLDER}/{RECORDING}.mp4", (f"{RECORDING}.mp4", "audio/mp4", "mp4")),
    ],
)
def test_a_recording_is_of_the_conversation_of_its_folder_and_whole_with_its_metadata(
    name, what
):
    base, content_type, suffix = what
    above = name.rpartition("/")[0]
    whole_with = f"{above}/{RECORDING}.{suffix}_metadata.json"
    assert recognise_file(name, b"") == RecordingFile(CALL, base, content_type, whole_with)


@pytest.mark.parametrize(
    ("base", "query"),
    [
        (f"{RECORDING}.opus_metadata.json", f"recording={RECORDING}.opus"),
        (f"{RECORDING}_metadata.json", f"recording={RECORDING}"),
        (f"{RECORDING}_metadata.json.gpg", f"recording={RECORDING}&encrypted=pgp"),
    ],
)
def test_metadata_are_a_request_that_tells_their_place(base, query):
    found = recognise_file(f"{FOLDER}/{base}", b"{}")
    assert found == RequestFile(f"conversation={CALL}&{query}")


@pytest.mark.parametrize(
    "name",
    [
        f"{RECORDING}.opus",
        f"year=2026/{RECORDING}.opus",
        f"{FOLDER}/deeper/{RECORDING}.opus",
        f"{FOLDER}/{CALL}.opus_call_metadata.json",
        f"{FOLDER}/{CALL}-{OTHER}.transcript.json",
        f"{FOLDER}/{RECORDING}.json",
        f"{FOLDER}/{RECORDING}",
        f"{FOLDER}/..opus",
        f"{FOLDER}/_metadata.json",
        f"{FOLDER}/{RECORDING}.opus.1f2e3d.partial",
        "conversation_id=x/a.opus",
    ],
)
def test_what_is_no_recording_of_a_conversation_is_left_alone(name):
    assert recognise_file(name, b"") is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", f"conversation_id={CALL}/", f"{FOLDER}/"]))
def test_any_name_is_told_apart(name, above):
    found = recognise_file(above + name, b"")
    assert found is None or (above and "/" not in getattr(found, "name", ""))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(sorted(TOLD)), VALUES))
def test_any_metadata_are_understood_or_refused(told):
    body = told if isinstance(told, bytes) else json.dumps({**TOLD, **told}).encode()
    with suppress(InvalidInputError):
        assert understand(body).contacts
