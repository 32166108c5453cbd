"""Twilio's call-backs: what each tells, in whichever order they come."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.requests import received_request
from service.sources.twilio import understand_twilio

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALL, CHILD, RECORDING = "CA" + "a" * 32, "CA" + "b" * 32, "RE" + "c" * 32
MEDIA = f"https://api.twilio.com/2010-04-01/Accounts/AC{'0' * 32}/Recordings/{RECORDING}"
STATUS = {
    "CallSid": CALL,
    "AccountSid": "AC" + "0" * 32,
    "From": "+358401234567",
    "To": "+358201234567",
    "Direction": "inbound",
    "CallStatus": "completed",
    "Timestamp": "Sun, 22 Nov 2026 10:09:00 +0000",
    "CallDuration": "60",
    "Duration": "1",
    "SequenceNumber": "3",
    "SomethingNew": "?",
}
RECORDED = {
    "CallSid": CALL,
    "RecordingSid": RECORDING,
    "RecordingUrl": MEDIA,
    "RecordingStatus": "completed",
    "RecordingDuration": "58",
    "RecordingChannels": "2",
}


def understand(told, *, method="POST", body=None):
    query = urlencode(told)
    target = f"/intake/cloud?{query}" if method == "GET" else "/intake/cloud"
    sent = body if body is not None else b"" if method == "GET" else query.encode()
    request = received_request(method, target, [], sent)
    return understand_twilio(request.encode(), SourceRule(), NOW)


def facts_of(told, **more):
    understood = understand({**told, **more})
    (facts,) = understood.contacts
    return facts


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_call_that_is_over_tells_when_it_was_and_between_whom(method):
    (facts,) = understand(STATUS, method=method).contacts
    assert (facts.source_id, facts.channel, facts.is_part) == (CALL, Channel.CALL, True)
    assert facts.direction is Direction.INBOUND
    assert facts.ended_at == datetime(2026, 11, 22, 10, 9, tzinfo=UTC)
    assert facts.started_at == facts.ended_at - timedelta(minutes=1)
    customer, company = facts.parties
    assert (customer.role, customer.phone) == (PartyRole.CUSTOMER, "+358401234567")
    assert (company.role, company.phone) == (PartyRole.OTHER, "+358201234567")


def test_a_call_that_goes_on_tells_no_end():
    facts = facts_of(STATUS, CallStatus="ringing", CallDuration="")
    assert facts.started_at == datetime(2026, 11, 22, 10, 9, tzinfo=UTC)
    assert facts.ended_at is None


def test_a_call_out_has_its_customer_at_the_other_end():
    facts = facts_of(STATUS, Direction="outbound-api", From="+358201234567", To="+358401234567")
    assert facts.direction is Direction.OUTBOUND
    assert facts.parties[0].phone == "+358401234567"


def test_a_child_leg_tells_whom_the_call_was_put_through_to_and_begins_nothing():
    facts = facts_of(
        STATUS, CallSid=CHILD, ParentCallSid=CALL, Direction="outbound-dial", To="client:anna"
    )
    assert (facts.source_id, facts.can_begin) == (CALL, False)
    (agent,) = facts.parties
    assert (agent.role, agent.phone_as_sent) == (PartyRole.AGENT, "client:anna")


@pytest.mark.parametrize("status", ["busy", "failed", "no-answer", "canceled"])
def test_a_call_that_nobody_answered_says_that_there_is_no_recording(status):
    facts = facts_of(STATUS, CallStatus=status, CallDuration="0")
    assert (facts.recording, facts.not_recorded_reason) == ("none", f"not answered ({status})")


@pytest.mark.parametrize(
    "caller", ["Anonymous", "sip:anna@example.org", "", "+266696687", "x\r\ny"]
)
def test_a_caller_may_be_anything(caller):
    customer = facts_of(STATUS, From=caller).parties[0]
    assert "\n" not in (customer.phone_as_sent or "")


def test_a_recording_is_announced_with_both_channels_apart():
    facts = facts_of(RECORDED)
    (recording,) = facts.recordings
    assert (facts.source_id, facts.can_begin) == (CALL, False)
    assert (recording.name, recording.url) == (
        f"{RECORDING}.wav",
        f"{MEDIA}?RequestedChannels=2",
    )
    (mono,) = facts_of(RECORDED, RecordingChannels="1").recordings
    assert mono.url == MEDIA


@pytest.mark.parametrize(
    ("told", "recording", "reason"),
    [
        ({"RecordingStatus": "in-progress"}, "expected", None),
        ({"RecordingStatus": "absent", "ErrorCode": "16101"}, "none", "absent (16101)"),
        ({"RecordingStatus": "failed", "ErrorCode": "16105"}, "none", "failed (16105)"),
        ({"RecordingStatus": "absent", "ErrorCode": "<script>"}, "none", "absent"),
    ],
)
def test_a_recording_that_is_not_there_says_why(told, recording, reason):
    facts = facts_of(RECORDED, **told)
    assert (facts.recording, facts.not_recorded_reason) == (recording, reason)
    assert facts.recordings == ()
    assert not facts.denies_all, "the call may have others"


@pytest.mark.parametrize("before", ["", "encryption_"], ids=["now", "before"])
def test_an_encrypted_recording_tells_the_key_that_opens_it(before):
    names = {"public_key_sid": "CR01", "iv": "AAAA"}
    details = {f"{before}{name}": value for name, value in names.items()}
    details[f"{before or 'encrypted_'}cek"] = "//8="
    (recording,) = facts_of(RECORDED, EncryptionDetails=json.dumps(details)).recordings
    key = recording.content_key
    assert (key.key_id, key.wrapped, key.iv) == ("CR01", b"\xff\xff", b"\0\0\0")
    assert "xff" not in repr(recording)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "CallSid"),
        ({**STATUS, "CallSid": "../../etc"}, "CallSid"),
        ({**STATUS, "ParentCallSid": "x"}, "CallSid"),
        ({**RECORDED, "RecordingSid": "a/b"}, "RecordingSid"),
        ({**RECORDED, "RecordingUrl": ""}, "RecordingUrl"),
        ({**RECORDED, "RecordingStatus": "paused"}, "RecordingStatus"),
        ({**RECORDED, "EncryptionDetails": "{}"}, "key"),
        ({**RECORDED, "EncryptionDetails": "[1]"}, "EncryptionDetails"),
        ({**RECORDED, "EncryptionDetails": "{"}, "JSON"),
        ({**RECORDED, "EncryptionDetails": '{"public_key_sid":"CR01","iv":"!"}'}, "base64"),
        ({str(n): "" for n in range(1_001)}, "parameters"),
    ],
)
def test_what_is_no_call_back_is_refused_in_words(told, words):
    with pytest.raises(InvalidInputError, match=words):
        understand(told)


@pytest.mark.parametrize("time", ["", "now", "Sun, 99 Nov 2026 10:09:00 +0000", "1e99"])
def test_without_a_time_it_is_when_it_came(time):
    assert facts_of(STATUS, Timestamp=time, CallDuration="").ended_at == NOW


@settings(max_examples=300)
@given(
    st.binary(max_size=300),
    st.dictionaries(st.sampled_from(list(STATUS | RECORDED)), st.text()),
)
def test_no_body_breaks_it(body, told):
    for sent in (body, urlencode(told).encode(errors="replace")):
        try:
            understood = understand({}, body=sent)
        except InvalidInputError:
            continue
        assert len(understood.contacts) == 1
