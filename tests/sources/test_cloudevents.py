"""CloudEvents in every mode, as the specification and the packages of their senders make them."""

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.cloudevents import MAX_EVENTS, decode_header, understand_cloudevents
from service.sources.events import SourceRule
from service.sources.generic import parse_contact
from service.sources.requests import received_request

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONTACT = {
    "source_id": "c-1",
    "channel": "call",
    "direction": "inbound",
    "started_at": "2026-11-22T12:08:04+02:00",
    "queue": "Sähkökatko",
    "parties": [{"role": "customer", "phone": "040 1234567"}],
}
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/kanava/1",
    "type": "org.example.contact",
    "subject": 'Sähkökatko "20 %"',
    "time": NOW,
    "datacontenttype": "application/json",
}
EVENT = {**ATTRIBUTES, "time": "2026-11-22T12:00:00Z", "data": CONTACT}


def contact(n=1):
    return {**CONTACT, "source_id": f"c-{n}"}


def understand(body=b"", content_type="application/json", **headers):
    told = (
        [("Content-Type", content_type), *headers.items()] if content_type else headers.items()
    )
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in told]
    request = received_request("POST", "/intake/bus", sent, body)
    return understand_cloudevents(request.encode(), SourceRule(), NOW)


def structured(event, content_type="application/cloudevents+json"):
    return understand(json.dumps(event).encode(), content_type)


def of_package(message):
    return understand(message.body, "", **message.headers)


EXPECTED = parse_contact(json.dumps(CONTACT).encode(), region="FI", now=NOW)[1]


def test_what_the_package_sends_is_understood_in_every_mode():
    event = CloudEvent(ATTRIBUTES, CONTACT)
    assert of_package(to_structured_event(event, JSONFormat())) == EXPECTED
    assert of_package(to_binary_event(event, JSONFormat())) == EXPECTED


def test_a_batch_tells_of_each():
    events = [{**EVENT, "id": f"e-{n}", "data": contact(n)} for n in range(1, 4)]
    told = structured(events, "application/cloudevents-batch+json")
    assert [facts.source_id for facts in told.contacts] == ["c-1", "c-2", "c-3"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "Application/CloudEvents+JSON; charset=utf-8",
    ],
)
def test_the_content_type_says_the_mode_whatever_its_case(content_type):
    assert structured(EVENT, content_type) == EXPECTED


def test_data_may_be_base64_and_attributes_may_be_unknown():
    encoded = base64.b64encode(json.dumps(CONTACT).encode()).decode()
    event = {
        **ATTRIBUTES,
        "time": None,
        "data_base64": encoded,
        "traceparent": "00",
        "flag1": True,
    }
    assert structured(event) == EXPECTED


def binary(**changed):
    headers = {f"ce-{name}": str(value) for name, value in EVENT.items() if name != "data"}
    del headers["ce-datacontenttype"]
    return {**headers, **{f"ce-{name}": value for name, value in changed.items()}}


@pytest.mark.parametrize("subject", ["Sähkökatko", "S%C3%A4hk%C3%B6katko", '"Sähkö\\"katko"'])
def test_older_senders_do_not_encode_their_headers(subject):
    assert understand(json.dumps(CONTACT).encode(), **binary(subject=subject)) == EXPECTED


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("S%C3%A4hk%C3%B6", "Sähkö"),
        ("Sähkö", "Sähkö"),
        ('"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        ('"20%25"', "20%"),
        ("%2525", "%25"),
        ('a"b', 'a"b'),
        ("%F0%9F%98%80", "😀"),
        ("20 % %zz", "20 % %zz"),
    ],
)
def test_a_header_is_unquoted_and_then_decoded_once(value, text):
    assert decode_header(value) == text


@pytest.mark.parametrize("value", ["%C0%A0", "%ED%A0%80", "%FF", "%E4"])
def test_a_header_that_encodes_no_text_is_refused(value):
    with pytest.raises(InvalidInputError, match="ce- header"):
        decode_header(value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"specversion": "0.3"}, "specversion is 1.0"),
        ({"id": ""}, "attribute id"),
        ({"id": 7}, "attribute id"),
        ({"source": None}, "attribute source"),
        ({"type": "x" * 1000}, "attribute type"),
        ({"time": "yesterday"}, "attribute time"),
        ({"Big": "x"}, "small letters and digits"),
        ({"data_base64": "e30="}, "either data or data_base64"),
        ({"datacontenttype": "text/plain"}, "as JSON"),
        ({"datacontenttype": 5}, "as JSON"),
        ({"data": "text"}, "Expected `object`"),
        ({"data": {**CONTACT, "channel": "fax"}}, "channel"),
    ],
)
def test_what_is_no_event_with_a_contact_is_refused_in_words(changed, said):
    with pytest.raises(InvalidInputError, match=said):
        structured({**EVENT, **changed})


def test_an_event_needs_data():
    with pytest.raises(InvalidInputError, match="data"):
        structured({name: value for name, value in EVENT.items() if name != "data"})


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"[]", "application/cloudevents+json", "JSON object"),
        (b"{}", "application/cloudevents-batch+json", "an array"),
        (
            b"[" + b"1," * MAX_EVENTS + b"1]",
            "application/cloudevents-batch+json",
            "fewer at once",
        ),
        (b"<a/>", "application/cloudevents+xml", "application/cloudevents[+]json alone"),
        (b"x", "application/cloudevents-batch+avro", "batch[+]json alone"),
        (b"{}", "application/json", "no CloudEvent"),
        (b"{}", "", "no CloudEvent"),
    ],
)
def test_what_is_no_request_of_events_is_refused_in_words(body, content_type, said):
    with pytest.raises(InvalidInputError, match=said):
        understand(body, content_type)


def test_of_a_batch_the_wrong_event_is_named():
    events = [{**EVENT, "data": contact(n)} for n in range(3)]
    events[1]["data"]["started_at"] = "yesterday"
    with pytest.raises(InvalidInputError, match=r"event 2 of 3: started_at"):
        structured(events, "application/cloudevents-batch+json")


def test_a_header_that_is_there_twice_or_contradicts_is_refused():
    body = json.dumps(CONTACT).encode()
    with pytest.raises(InvalidInputError, match="twice"):
        understand(body, **{**binary(), "Ce-Id": "other"})
    with pytest.raises(InvalidInputError, match="ce-datacontenttype"):
        understand(body, **binary(datacontenttype="text/plain"))


def test_an_empty_batch_tells_nothing():
    assert structured([], "application/cloudevents-batch+json").contacts == ()


@settings(max_examples=150)
@given(
    st.binary(max_size=200),
    st.sampled_from(
        [
            "application/json",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
        ]
    ),
    st.dictionaries(
        st.sampled_from(["ce-id", "ce-source", "ce-type", "ce-specversion", "ce-time"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20),
    ),
)
def test_whatever_is_sent_it_is_understood_or_refused(body, content_type, headers):
    with suppress(InvalidInputError):
        assert understand(body, content_type, **headers).remarks == ()
