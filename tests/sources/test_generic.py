"""The archive's own contact JSON: what it tells, and what it refuses."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.domain.contact import (
    AnnouncedRecording,
    Channel,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.pauses import MAX_PAUSES, RecordingPause
from service.sources.generic import MAX_MESSAGES, parse_contact

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONTACT = {
    "source": "pbx",
    "source_id": "c-1",
    "channel": "call",
    "direction": "inbound",
    "started_at": "2026-11-20T14:02:00+02:00",
    "ended_at": "2026-11-20T14:11:00+02:00",
    "answered_at": "2026-11-20T14:03:00+02:00",
    "outcome": "answered",
    "notice": "played",
    "notice_version": "7 fi",
    "queue": "Asiakaspalvelu",
    "subject": "Lasku",
    "customer_number": "a-1001",
    "metering_point": "643 000 000 000 000 015",
    "parties": [
        {"role": "customer", "phone": "040 123 4567", "email": "Maija@Example.com"},
        {"role": "agent", "agent_id": "A-17", "name": "Aku"},
        {"role": "other", "phone": "anonymous"},
    ],
    "messages": [{"from": "Maija", "at": "2026-11-20T14:03:00Z", "text": "Hei"}],
    "recording": "none",
    "not_recorded_reason": "line_policy",
}


def parsed(**changes):
    body = json.dumps({**CONTACT, **changes}).encode()
    source, understood = parse_contact(body, region="FI", now=NOW)
    (facts,) = understood.contacts
    return source, facts, understood.remarks


def test_a_contact_is_told_in_canonical_form():
    source, facts, remarks = parsed()
    assert (source, facts.source_id, remarks) == ("pbx", "c-1", ())
    assert (facts.channel, facts.direction) == (Channel.CALL, Direction.INBOUND)
    assert facts.started_at == datetime(2026, 11, 20, 12, 2, tzinfo=UTC)
    assert facts.ended_at - facts.started_at == timedelta(minutes=9)
    assert facts.answered_at - facts.started_at == timedelta(minutes=1)
    assert facts.outcome == "answered"
    assert (facts.notice, facts.notice_version) == ("played", "7 fi")
    assert (facts.customer_number, facts.metering_point) == ("A-1001", "643000000000000015")
    assert facts.parties == (
        Party(role=PartyRole.CUSTOMER, phone="+358401234567", email="maija@example.com"),
        Party(role=PartyRole.AGENT, agent_id="A-17", name="Aku"),
        Party(role=PartyRole.OTHER, phone_as_sent="anonymous"),
    )
    assert [message.text for message in facts.messages] == ["Hei"]
    assert (facts.recording, facts.not_recorded_reason) == ("none", "line_policy")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-11-20T14:02:00+02:00", "2026-11-20T14:02:00+02:00"),
        ("2026-11-20T12:02:00-00:00", "2026-11-20T12:02:00-00:00"),
        ("2026-11-20T12:02:00.1234567Z", "2026-11-20T12:02:00.1234567Z"),
        ("2026-11-20T12:02:00Z", None),
        ("2026-11-20T12:02:00.125000Z", None),
    ],
)
def test_the_text_of_a_time_is_kept_where_it_says_more_than_the_time(sent, kept):
    _, facts, _ = parsed(started_at=sent, ended_at=sent)
    assert (facts.started_at_as_sent, facts.ended_at_as_sent) == (kept, kept)
    _, facts, _ = parsed(started_at=sent, ended_at=None)
    assert facts.ended_at_as_sent is None


@pytest.mark.parametrize("nothing", [None, "", "  ", "\u00a0"])
@pytest.mark.parametrize(
    "name",
    [
        "ended_at",
        "queue",
        "subject",
        "customer_number",
        "metering_point",
        "not_recorded_reason",
    ],
)
def test_an_empty_text_is_one_that_is_not_told(name, nothing):
    _, facts, _ = parsed(**{name: nothing})
    assert getattr(facts, name) is None


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_a_party_of_whom_nothing_is_told_has_a_role(nothing):
    party = dict.fromkeys(["phone", "email", "name", "agent_id"], nothing)
    _, facts, _ = parsed(parties=[{"role": "customer", **party}])
    assert facts.parties == (Party(role=PartyRole.CUSTOMER),)


@pytest.mark.parametrize("phone", ["anonymous", "1234", "112", "sip:a@b", "040\u200b1"])
def test_what_is_no_telephone_number_is_kept_as_it_was_sent(phone):
    _, facts, _ = parsed(parties=[{"role": "customer", "phone": phone}])
    assert facts.parties == (Party(role=PartyRole.CUSTOMER, phone_as_sent=phone),)


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": "1601-01-01T00:00:00Z", "ended_at": None},
        {"started_at": "2027-01-01T00:00:00Z", "ended_at": None},
        {"ended_at": "2030-01-01T00:00:00Z"},
        {"messages": [{"from": "a", "at": "1970-01-01T00:00:00Z", "text": "b"}]},
    ],
)
def test_times_that_cannot_be_right_are_kept_and_remarked_upon(changes):
    _, _, remarks = parsed(**changes)
    assert remarks == ("time_out_of_window",)


def test_a_leap_second_is_the_second_before_it():
    _, facts, _ = parsed(started_at="2016-12-31T23:59:60Z")
    assert facts.started_at == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_free_text_keeps_what_identifiers_may_not_have():
    text = "Hei \u202e!\u200b\n<img src=x onerror=alert(1)> =1+1"
    _, facts, _ = parsed(
        subject=text, messages=[{"from": "M", "at": "2026-11-20T14:03:00Z", "text": text}]
    )
    assert facts.subject == facts.messages[0].text == text


def without(name):
    return {key: value for key, value in CONTACT.items() if key != name}


def message(**changes):
    return {"messages": [{"from": "M", "at": "2026-11-20T14:03:00Z", "text": "Hei", **changes}]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"contact"', id="text"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"source_id=c-1&channel=call", id="form"),
        pytest.param(b"<contact/>", id="XML"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param(json.dumps(CONTACT).encode("utf-16"), id="UTF-16"),
        pytest.param(json.dumps(CONTACT).encode() + b"x", id="more after it"),
        pytest.param(b'{"source_id": "\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a":' * 100_000, id="deep objects"),
        pytest.param(b'{"source_id": "a", "source_id": "b"}', id="a name twice"),
        pytest.param(b'{"__proto__": {}}', id="__proto__"),
        pytest.param(b'{"started_at": NaN}', id="NaN"),
        pytest.param(b'{"started_at": Infinity}', id="Infinity"),
        pytest.param(b'{"started_at": ' + b"9" * 1_000_000 + b"}", id="a long number"),
        pytest.param(rb'{"source_id": "\ud800"}', id="half a surrogate pair"),
        *(
            pytest.param(json.dumps(without(name)).encode(), id=f"no {name}")
            for name in ["source_id", "channel", "direction", "started_at", "parties"]
        ),
    ],
)
def test_what_is_no_contact_is_refused(body):
    with pytest.raises(InvalidInputError) as refused:
        parse_contact(body, region="FI", now=NOW)
    assert refused.value.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"source_id": ""},
        {"source_id": " "},
        {"source_id": 7},
        {"source_id": None},
        {"source_id": "a\nb"},
        {"source_id": "a\x00b"},
        {"source_id": "a\u202eb"},
        {"source_id": "a" * 255},
        {"channel": "fax"},
        {"channel": "Call"},
        {"direction": "both"},
        {"started_at": "2026-11-20"},
        {"started_at": "2026-11-20T14:02:00"},
        {"started_at": 1795269600},
        {"started_at": "10000-01-01T00:00:00Z"},
        {"ended_at": "2026-11-20T14:01:59+02:00"},
        {"ended_at": "later"},
        {"queue": "a\u200bb"},
        {"subject": "a\x00b"},
        {"customer_number": "10;01"},
        {"metering_point": "123"},
        {"parties": None},
        {"parties": {}},
        {"parties": [{}]},
        {"parties": [{"role": "caller"}]},
        {"parties": [{"role": "customer", "email": "maija"}]},
        {"parties": [{"role": "customer", "agent_id": "\x07"}]},
        {"parties": [{"role": "customer", "name": "\x00"}]},
        {"parties": [{"role": "customer", "tel": "040"}]},
        {"parties": [{"role": "other"}] * 201},
        message(at="yesterday"),
        message(text=None),
        message(text="\x00"),
        message(sender="M"),
        {"messages": [{"from": "M", "at": "2026-11-20T14:03:00Z", "text": ""}] * 2_001},
        {"recording": "maybe"},
        {"recording": True},
        {"emotion": "angry"},
        {"constructor": {}},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_value_that_cannot_be_is_refused(changes):
    assert MAX_MESSAGES == 2_000
    with pytest.raises(InvalidInputError):
        parsed(**changes)


def test_a_refusal_names_the_field_and_repeats_no_value():
    for changes in [{"channel": "Maija Meikäläinen"}, {"parties": [{"role": "0401234567"}]}]:
        with pytest.raises(InvalidInputError) as refused:
            parsed(**changes)
        assert next(iter(changes)) in refused.value.detail
        assert "Maija" not in refused.value.detail
        assert "040" not in refused.value.detail
        assert refused.value.__cause__ is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*CONTACT, "else"]), _JSON, max_size=4))
@example({"parties": [{"role": "customer", "email": "@"}]})
def test_no_value_breaks_the_parser(changes):
    try:
        _, facts, _ = parsed(**changes)
    except InvalidInputError:
        return
    assert facts.source_id
    assert facts.started_at.tzinfo is UTC


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_break_the_parser(data):
    body = bytearray(json.dumps(CONTACT).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    try:
        parse_contact(bytes(body), region="FI", now=NOW)
    except InvalidInputError:
        return


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_other_bytes_break_the_parser(body):
    try:
        parse_contact(body, region="FI", now=NOW)
    except InvalidInputError:
        return


def test_a_source_with_a_country_of_its_own_reads_numbers_as_of_there():
    body = json.dumps(
        {
            "source": "se",
            "source_id": "1",
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:03:00Z",
            "parties": [{"role": "customer", "phone": "08-123 456 78"}],
        }
    ).encode()
    _, told = parse_contact(body, region="FI", regions={"se": "SE"}, now=NOW)
    assert told.contacts[0].parties[0].phone == "+46812345678"


RECORDING = {"name": "a.wav", "url": "https://pbx.example/a.wav?key=hush-hush"}


def announced(*recordings, **changes):
    _, facts, _ = parsed(recordings=list(recordings), **{"recording": None, **changes})
    return facts.recordings


def test_recordings_may_be_named_by_url():
    assert announced() == ()
    (plain,) = announced(RECORDING, recording="expected")
    assert plain == AnnouncedRecording(**RECORDING)
    told = {"content_type": "Audio/WAV; x=y", "size_bytes": 7, "sha256": "AB" * 32}
    (full,) = announced({**RECORDING, **told})
    assert (full.content_type, full.size_bytes, full.sha256) == ("audio/wav", 7, "ab" * 32)
    (empty,) = announced({**RECORDING, "content_type": "", "sha256": " "})
    assert (empty.content_type, empty.sha256) == (None, None)
    assert "hush" not in repr(full)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "https://a@b/", "nonsense", "https://a.example/a\u0308?x", "a\r\nb"],
)
def test_a_url_that_cannot_be_fetched_is_no_reason_to_lose_the_contact(url):
    (one,) = announced({**RECORDING, "url": url})
    assert one.url == url


@pytest.mark.parametrize(
    ("recordings", "reason"),
    [
        ([{"name": "a.wav"}], "url"),
        ([{**RECORDING, "name": ""}], "recordings.name is empty"),
        ([{**RECORDING, "name": "a\u202eb"}], "cannot be seen"),
        ([{**RECORDING, "url": ""}], "recordings.url has 1 to"),
        ([{**RECORDING, "url": "https://a/" + "a" * 9000}], "recordings.url has 1 to"),
        ([{**RECORDING, "url": "https://a/\x00"}], "recordings.url has characters"),
        ([{**RECORDING, "content_type": "hush hush"}], "recordings.content_type is not"),
        ([{**RECORDING, "size_bytes": -1}], "size_bytes"),
        ([{**RECORDING, "size_bytes": 2**53}], "beyond"),
        ([{**RECORDING, "size_bytes": "7"}], "size_bytes"),
        ([{**RECORDING, "sha256": "hush"}], "recordings.sha256 is not"),
        ([{**RECORDING, "password": "hush"}], "password"),
        ([RECORDING, {**RECORDING, "url": "https://b"}], "a name is there twice"),
        ([RECORDING, {**RECORDING, "name": "b"}], "a url is there twice"),
        ([{"name": str(n), "url": str(n)} for n in range(101)], "at most 100 recordings"),
    ],
)
def test_what_does_not_name_a_recording_is_refused_without_repeating_it(recordings, reason):
    with pytest.raises(InvalidInputError) as refused:
        announced(*recordings)
    assert reason in refused.value.detail
    assert "hush" not in refused.value.detail


def test_recordings_are_not_named_where_there_is_none():
    with pytest.raises(InvalidInputError):
        announced(RECORDING, recording="none")


PAUSE = {
    "recording": "call.wav",
    "start": "2026-11-20T14:05:00+02:00",
    "end": "2026-11-20T14:06:00+02:00",
    "reason": "card_payment",
    "who": "Aku",
    "start_seconds": 180,
    "end_seconds": 180.5,
}


def test_pauses_of_a_recording_are_told():
    bare = {"recording": "call.wav", "start": "2026-11-20T12:08:00Z", "reason": "hold"}
    _, facts, remarks = parsed(recording_pauses=[bare, PAUSE])
    at = datetime(2026, 11, 20, 12, 5, tzinfo=UTC)
    assert facts.recording_pauses == (
        RecordingPause(
            recording="call.wav",
            started_at=at,
            ended_at=at + timedelta(minutes=1),
            reason="card_payment",
            who="Aku",
            start_seconds=180,
            end_seconds=180.5,
        ),
        RecordingPause(
            recording="call.wav", started_at=at + timedelta(minutes=3), reason="hold"
        ),
    )
    assert remarks == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"recording": ""},
        {"recording": None},
        {"start": "14:05"},
        {"start": None},
        {"end": "2026-11-20T14:04:59+02:00"},
        {"reason": " "},
        {"reason": None},
        {"reason": "a\x00b"},
        {"start_seconds": -1},
        {"start_seconds": None},
        {"end_seconds": 179.0},
        {"end_seconds": 1e300},
        {"start_seconds": "180"},
        {"length": 60},
    ],
)
def test_a_pause_that_is_none_is_refused(changes):
    with pytest.raises(InvalidInputError):
        parsed(recording_pauses=[{**PAUSE, **changes}])


def test_pauses_that_contradict_each_other_or_are_too_many_are_refused():
    for wrong in ([PAUSE, {**PAUSE, "reason": "hold"}], [PAUSE] * (MAX_PAUSES + 1)):
        with pytest.raises(InvalidInputError):
            parsed(recording_pauses=wrong)


def test_a_pause_in_another_century_is_remarked_upon():
    _, _, remarks = parsed(recording_pauses=[{**PAUSE, "start": "1901-01-01T00:00:00Z"}])
    assert remarks == ("time_out_of_window",)
