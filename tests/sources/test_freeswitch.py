"""What the legs of FreeSWITCH tell of a call."""

import itertools
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, Party, PartyRole
from service.domain.errors import InvalidInputError
from service.domain.times import from_microseconds
from service.sources.events import SourceRule
from service.sources.freeswitch import DAMAGED, understand_request
from service.sources.generic import TIME_OUT_OF_WINDOW
from service.sources.requests import received_request
from tests.freeswitch import (
    ANSWER,
    END,
    START,
    A,
    B,
    as_json,
    as_xml,
    form,
    further,
    packed,
    profile,
    record,
    sample,
    variables,
    with_encoded_values,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULE = SourceRule(company_numbers=frozenset({"+358201234567"}))
MATTI = Party(role=PartyRole.CUSTOMER, phone="+358401234567", name="Matti")
LINE = Party(role=PartyRole.OTHER, phone="+358201234567")
AGENT = Party(role=PartyRole.AGENT, agent_id="1001")


def understood(body, *, target=f"/intake/switch?uuid={A}", rule=RULE):
    if isinstance(body, dict):
        body = as_json(body).encode()
    request = received_request("POST", target, [(b"Content-Type", b"text/plain")], body)
    return understand_request(request.encode(), rule, NOW)


def told(body, **more):
    (facts,) = understood(body, **more).contacts
    return facts


# -- a call


def test_the_first_leg_tells_the_call():
    facts = told(record())
    assert (facts.source_id, facts.channel, facts.direction) == (
        A,
        Channel.CALL,
        Direction.INBOUND,
    )
    assert facts.started_at == from_microseconds(START)
    assert facts.ended_at == from_microseconds(END)
    assert facts.queue == "sähkökatko"
    assert facts.parties == (MATTI, LINE)
    assert (facts.recording, facts.not_recorded_reason) == ("expected", None)
    assert facts.is_part
    assert understood(record()).remarks == ()


def test_a_leg_that_another_made_tells_who_answered():
    facts = told(further(), target=f"/intake/switch?uuid={B}")
    assert (facts.source_id, facts.direction, facts.parties) == (A, Direction.INBOUND, (AGENT,))
    assert facts.recording is None
    assert facts.queue is None


@pytest.mark.parametrize(
    "changes",
    [
        {"call_uuid": A, "originating_leg_uuid": None},
        {"call_uuid": None, "originating_leg_uuid": A},
        {"call_uuid": None, "originating_leg_uuid": None, "originator": A},
        {"call_uuid": B, "originating_leg_uuid": A},
        {"call_uuid": B, "originating_leg_uuid": None, "cc_member_session_uuid": A},
        {"call_uuid": None, "originating_leg_uuid": None},
    ],
)
def test_whichever_way_a_leg_names_the_first_it_belongs_to_its_call(changes):
    assert told(further(**changes), target=f"/x?uuid={B}").source_id == A


def test_a_leg_that_nobody_answered_has_no_agent():
    assert told(further(answer_uepoch="0"), target="/x").parties == ()


def test_a_leg_whose_call_does_not_tell_who_began_waits_for_the_first():
    leg = further(number="+358 50 555 0000")
    del leg["callflow"][0]["caller_profile"]["originator"]
    facts = told(leg, target="/x")
    assert (facts.direction, facts.can_begin) == (None, False)
    assert facts.parties == (Party(role=PartyRole.OTHER, phone="+358505550000"),)


def test_where_no_number_is_known_as_the_companys_one_who_is_reached_outside_may_be_anybody():
    facts = told(further(number="0505550000"), target="/x", rule=SourceRule())
    assert (facts.direction, facts.can_begin) == (None, False)
    assert facts.parties == (Party(role=PartyRole.OTHER, phone="+358505550000"),)
    inside = told(further(), target="/x", rule=SourceRule())
    assert inside.direction is Direction.INBOUND


def test_a_call_that_is_forwarded_to_a_mobile_is_answered_by_an_agent_there():
    facts = told(further(number="0505550000"), target="/x")
    assert facts.parties == (Party(role=PartyRole.AGENT, phone="+358505550000"),)


def test_the_user_that_was_dialled_is_the_agent_whatever_the_address_of_the_telephone():
    facts = told(further(number="kj3h4k7f", dialed_user="1001"), target="/x")
    assert facts.parties == (AGENT,)


def test_an_agent_of_a_queue_is_the_same_on_both_legs():
    first = told(record(cc_agent="1001@default", cc_queue="vika@default", queue_name=None))
    second = told(further(cc_agent="1001@default"), target="/x")
    agent = Party(role=PartyRole.AGENT, agent_id="1001@default")
    assert first.parties[-1] == agent
    assert second.parties[0].agent_id == agent.agent_id
    assert first.queue == "vika"


# -- directions


@pytest.mark.parametrize(
    ("caller", "dialled", "direction", "parties"),
    [
        ("0401234567", "0201234567", Direction.INBOUND, (MATTI, LINE)),
        ("358401234567", "100", Direction.INBOUND, (MATTI,)),
        (
            "1001",
            "0401234567",
            Direction.OUTBOUND,
            (
                Party(role=PartyRole.AGENT, agent_id="1001", name="Matti"),
                Party(role=PartyRole.CUSTOMER, phone="+358401234567"),
            ),
        ),
        (
            "020 1234567",
            "+358 40 1234567",
            Direction.OUTBOUND,
            (
                Party(role=PartyRole.AGENT, phone="+358201234567", name="Matti"),
                Party(role=PartyRole.CUSTOMER, phone="+358401234567"),
            ),
        ),
        (
            "sip:maija@example.org;transport=udp",
            "0201234567",
            Direction.INBOUND,
            (
                Party(role=PartyRole.CUSTOMER, phone_as_sent="maija", name="Matti"),
                LINE,
            ),
        ),
        (
            "1001",
            "1002",
            Direction.INBOUND,
            (Party(role=PartyRole.OTHER, phone_as_sent="1001", name="Matti"),),
        ),
    ],
)
def test_the_direction_is_the_customers(caller, dialled, direction, parties):
    flow = profile(caller_id_number=caller, destination_number=dialled)
    facts = told(record(variables(), flow))
    assert (facts.direction, facts.parties) == (direction, parties)


def test_an_agent_who_shows_a_number_of_the_company_or_any_other_is_an_agent():
    flow = profile(caller_id_number="+358405550000", destination_number="0401234567")
    facts = told(record(variables(sip_auth_username="1001"), flow))
    assert facts.direction is Direction.OUTBOUND
    agent = Party(role=PartyRole.AGENT, phone="+358405550000", agent_id="1001", name="Matti")
    assert facts.parties[0] == agent


def test_an_agent_is_called_first_and_then_the_customer():
    flow = profile(caller_id_number="0201234567", destination_number="1001")
    legs = f"{B};Outbound Call;+358401234567"
    facts = told(
        record(variables(direction="outbound", call_uuid=A, originated_legs=legs), flow)
    )
    assert (facts.source_id, facts.direction) == (A, Direction.OUTBOUND)
    assert facts.parties == (AGENT, Party(role=PartyRole.CUSTOMER, phone="+358401234567"))


def test_a_customer_who_is_called_by_no_leg_is_called_by_the_company():
    flow = profile(caller_id_number="0201234567", destination_number="0401234567")
    facts = told(record(variables(direction="outbound"), flow))
    assert facts.direction is Direction.OUTBOUND
    assert facts.parties[1] == Party(role=PartyRole.CUSTOMER, phone="+358401234567")


def test_a_leg_to_the_customer_of_an_outbound_call_tells_the_customer():
    leg = further(number="0401234567")
    made_by = profile(caller_id_number="1001", destination_number="0401234567")
    leg["callflow"][0]["caller_profile"]["originator"] = {
        "originator_caller_profiles": [made_by]
    }
    facts = told(leg, target="/x")
    assert facts.direction is Direction.OUTBOUND
    assert facts.parties == (Party(role=PartyRole.CUSTOMER, phone="+358401234567"),)


def test_after_a_transfer_the_first_number_is_what_was_dialled_and_the_first_start_the_start():
    newest = profile(destination_number="050 555 0000")
    told_record = record(variables(start_uepoch=str(START + 9)), newest, profile())
    told_record["callflow"][1]["times"] = {"created_time": str(START)}
    facts = told(told_record)
    assert (facts.parties, facts.started_at) == ((MATTI, LINE), from_microseconds(START))


# -- who calls


@pytest.mark.parametrize(
    "number",
    ["anonymous", "Anonymous", "restricted", "0000000000", "sip:anonymous@anonymous.invalid"],
)
def test_a_caller_who_withholds_the_number_is_a_customer_without_one(number):
    flow = profile(caller_id_number=number, caller_id_name="Anonymous")
    facts = told(
        record(variables(**{"sip_P-Asserted-Identity": "sip:+358405550000@example.org"}), flow)
    )
    (customer, _) = facts.parties
    assert facts.direction is Direction.INBOUND
    assert (customer.role, customer.phone, customer.name) == (PartyRole.CUSTOMER, None, None)
    assert customer.phone_as_sent in number


def test_a_caller_of_whom_nothing_is_told_is_a_customer():
    facts = told(record(variables(), profile(caller_id_number="", caller_id_name="")))
    assert facts.parties[0] == Party(role=PartyRole.CUSTOMER)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ('"Matti"', "Matti"),
        ('Matti "Masa" M', 'Matti "Masa" M'),
        ("Matti\r\nX-Evil: 1", "Matti X-Evil: 1"),
        ("Åsa Öström", "Åsa Öström"),
        ("A\u030asa", "Åsa"),
        ("Mat\x00ti\u202eitaM", "Mat ti itaM"),
        ("+358401234567", None),
        ("0401234567", None),
        ("unknown", None),
        ("agentti", "agentti"),
        (" ", None),
        ("x" * 1000, "x" * 254),
    ],
)
def test_a_display_name_is_one_line_of_text_or_none(sent, name):
    assert told(record(variables(), profile(caller_id_name=sent))).parties[0].name == name


def test_a_name_that_only_says_the_number_again_is_none():
    flow = profile(caller_id_number="agentti", caller_id_name="agentti")
    assert told(record(variables(), flow)).parties[0].name is None


def test_national_numbers_are_of_the_sources_country():
    rule = SourceRule(region="SE")
    flow = profile(caller_id_number="070 123 45 67")
    assert told(record(variables(), flow), rule=rule).parties[0].phone == "+46701234567"


# -- how it ended


@pytest.mark.parametrize(
    ("changes", "outcome", "answered_at"),
    [
        ({"bridge_uepoch": str(START + 9 * 10**6)}, "answered", START + 9 * 10**6),
        ({"bridge_uepoch": str(START)}, "answered", ANSWER),
        ({"bridge_uepoch": "0"}, "not_connected", None),
        ({}, "not_connected", None),
        ({"answer_uepoch": "0", "bridge_uepoch": str(START)}, "NORMAL_CLEARING", None),
        ({"answer_uepoch": "0", "hangup_cause": "NO_ANSWER"}, "unanswered", None),
        ({"answer_uepoch": "0", "hangup_cause": "USER_BUSY"}, "busy", None),
        ({"answer_uepoch": "0", "hangup_cause": "ORIGINATOR_CANCEL"}, "cancelled", None),
        ({"answer_uepoch": "0", "hangup_cause": "CALL_REJECTED"}, "rejected", None),
        ({"answer_uepoch": "0", "hangup_cause": "GATEWAY_DOWN"}, "GATEWAY_DOWN", None),
        ({"answer_uepoch": "0", "hangup_cause": None}, None, None),
    ],
)
def test_the_first_leg_tells_how_the_call_ended_and_when_somebody_was_reached(
    changes, outcome, answered_at
):
    facts = told(record(variables(**changes)))
    assert facts.outcome == outcome
    assert facts.answered_at == (answered_at and from_microseconds(answered_at))


def test_a_further_leg_does_not_tell_how_the_call_ended():
    facts = told(further(bridge_uepoch=str(ANSWER), hangup_cause="LOSE_RACE"), target="/x")
    assert (facts.outcome, facts.answered_at) == (None, None)


# -- recordings


@pytest.mark.parametrize(
    ("changes", "recording", "reason"),
    [
        ({}, "expected", None),
        ({"record_seconds": None, "record_ms": "7130"}, "expected", None),
        ({"record_seconds": "0"}, "expected", None),
        ({"record_seconds": None}, "none", None),
        ({"record_seconds": None, "answer_uepoch": "0"}, "none", "unanswered"),
        ({"RECORD_DISCARDED": "true"}, "none", "too_short"),
        (
            {"record_seconds": None, "taltio_not_recorded": "customer_objected"},
            "none",
            "customer_objected",
        ),
    ],
)
def test_whether_a_recording_is_to_come(changes, recording, reason):
    facts = told(record(variables(**changes)))
    assert (facts.recording, facts.not_recorded_reason) == (recording, reason)


@pytest.mark.parametrize(
    ("told_of", "notice"),
    [("played", "played"), ("not_played", "not_played"), ("perhaps", None), ("", None)],
)
def test_the_dial_plan_says_whether_the_notice_was_played(told_of, notice):
    facts = told(record(variables(taltio_notice=told_of, taltio_notice_version="7 fi")))
    assert (facts.notice, facts.notice_version) == (notice, "7 fi")


def test_a_further_leg_tells_of_a_recording_and_never_that_there_is_none():
    assert told(further(record_ms="7130"), target="/x").recording == "expected"
    assert told(further(RECORD_DISCARDED="true"), target="/x").recording is None


def test_the_dial_plan_may_tell_whose_matter_it_is():
    facts = told(
        record(
            taltio_customer_number=" a-1001",
            taltio_metering_point="643000000000000015",
            taltio_subject="Muutto",
        )
    )
    assert (facts.customer_number, facts.metering_point, facts.subject) == (
        "A-1001",
        "643000000000000015",
        "Muutto",
    )
    facts = told(record(taltio_customer_number="#*", taltio_metering_point="12"))
    assert (facts.customer_number, facts.metering_point) == (None, None)


# -- which leg


@pytest.mark.parametrize(
    "target",
    [
        f"/intake/switch?uuid={A}",
        f"/intake/switch?uuid=a_{A}",
        f"/intake/switch?tenant=1&uuid=a_{A}",
        f"/intake/switch?tenant=1?uuid={A}",
        f"/intake/switch?uuid=other?uuid={A}",
    ],
)
def test_the_leg_is_that_of_the_query_and_of_the_record(target):
    result = understood(record(), target=target)
    assert (result.contacts[0].source_id, result.remarks) == (A, ())
    nameless = record(variables(uuid=None), profile(uuid=""))
    assert told(nameless, target=target).source_id == A


def test_the_record_counts_where_the_query_says_otherwise_and_it_is_remarked_upon():
    result = understood(record(), target=f"/intake/switch?uuid={B}")
    assert (result.contacts[0].source_id, result.remarks) == (A, (DAMAGED,))


def test_a_record_of_no_leg_is_refused():
    with pytest.raises(InvalidInputError, match="uuid of the leg"):
        understood(record(variables(uuid=None), profile(uuid="")), target="/intake/switch")


# -- times


@pytest.mark.parametrize("change", ["start_uepoch", "end_uepoch"])
@pytest.mark.parametrize("value", ["99999999999999999999", "-1", "1e3", "٣", "9" * 18])
def test_a_time_that_is_none_is_refused(change, value):
    with pytest.raises(InvalidInputError, match="time"):
        understood(record(**{change: value}))


def test_a_leg_without_a_start_waits_for_one_that_has():
    assert not told(record(start_uepoch="0")).can_begin


@pytest.mark.parametrize(
    "changes", [{"start_uepoch": "1"}, {"end_uepoch": str(START + 10**14)}]
)
def test_a_time_that_cannot_be_is_kept_and_remarked_upon(changes):
    assert understood(record(**changes)).remarks == (TIME_OUT_OF_WINDOW,)


def test_an_end_before_the_start_is_left_out_and_remarked_upon():
    result = understood(record(end_uepoch=str(START - 1)))
    assert (result.contacts[0].ended_at, result.remarks) == (None, (TIME_OUT_OF_WINDOW,))


def test_the_hour_that_comes_twice_in_autumn_is_told_by_the_epoch():
    first = int(datetime(2025, 10, 26, 0, 30, tzinfo=UTC).timestamp()) * 10**6
    for at in (first, first + 3600 * 10**6):
        facts = told(
            record(
                start_stamp="2025-10-26 03:30:00",
                start_uepoch=str(at),
                end_uepoch=str(at + 1),
            )
        )
        assert facts.started_at == from_microseconds(at)


# -- every encoding tells the same


def encodings():
    """Yield each way in which a record can come, as its name and a function of the record."""
    yield "json", lambda r: as_json(r).encode()
    yield "json, values", lambda r: as_json(with_encoded_values(r)).encode()
    yield "json, form", lambda r: form(as_json(r))
    yield "json, base64", lambda r: packed(as_json(r))
    yield "json, base64, values", lambda r: packed(as_json(with_encoded_values(r)))
    yield "xml, textxml", lambda r: as_xml(r).encode()
    yield "xml, plaintext", lambda r: b"cdr=" + as_xml(r).encode()
    yield "xml, form", lambda r: form(as_xml(r), is_double=True)
    yield "xml, base64", lambda r: packed(as_xml(r))
    yield "json, form, from err-log-dir", lambda r: form(as_json(r))[4:]
    yield "json, base64, from err-log-dir", lambda r: packed(as_json(r))[4:]
    yield "a proxy reads base64 as a form", lambda r: packed(as_json(r)).replace(b"+", b" ")
    yield "a byte order mark", lambda r: b"\xef\xbb\xbf" + as_json(r).encode() + b"\r\n"


@pytest.mark.parametrize(
    "encode", [pytest.param(function, id=name) for name, function in encodings()]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_every_encoding_tells_the_same(encode, is_first):
    leg = record(taltio_subject='+ % "ä" & <sähkö>') if is_first else further()
    target = f"/x?uuid={A if is_first else B}"
    assert understood(encode(leg), target=target) == understood(leg, target=target)


def test_the_corrupting_combination_is_salvaged_and_remarked_upon():
    leg = record(taltio_subject='50 % "ale"')
    body = form(as_json(with_encoded_values(leg)))
    result = understood(body)
    assert result.remarks == (DAMAGED,)
    assert result.contacts == understood(leg).contacts


def test_in_a_damaged_record_a_display_name_cannot_tell_whose_call_it_is():
    other = "0c000000-0000-4000-8000-000000000003"
    evil = f'"x","uuid":"{other}","queue_name":"evil","y":""'
    body = form(as_json(with_encoded_values(record(sip_full_from=evil))))
    result = understood(body)
    (facts,) = result.contacts
    assert (facts.source_id, facts.queue, result.remarks) == (A, None, (DAMAGED,))


@pytest.mark.parametrize("other", ["0c000000-0000-4000-8000-000000000003", "another"])
def test_in_a_damaged_record_the_query_says_which_leg_it_is_of(other):
    evil = f'"x","uuid":"{other}","y":""'
    leg = record(variables(uuid=None, sip_full_from=evil), profile(uuid=""))
    assert told(form(as_json(with_encoded_values(leg)))).source_id == A


def test_in_a_damaged_record_what_is_no_uuid_names_no_call():
    leg = further(
        call_uuid=None, originating_leg_uuid="x", sip_full_from='"M" <sip:1@example.org>'
    )
    del leg["callflow"]
    assert told(form(as_json(with_encoded_values(leg))), target=f"/x?uuid={B}").source_id == B


def test_what_is_not_utf_8_is_read_as_iso_8859_1_and_remarked_upon():
    for body in (as_json(record()), as_xml(record())):
        result = understood(body.replace("Matti", "Mäkelä").encode("iso-8859-1"))
        assert result.remarks == (DAMAGED,)
        assert result.contacts[0].parties[0].name == "Mäkelä"


# -- captured


@pytest.mark.parametrize(
    ("folder", "number", "remarks"),
    [
        ("encode-base64", "001", ()),
        ("encode-base64", "003", ()),
        ("encode-base64", "004", ()),
        ("encode-form", "001", (DAMAGED,)),
        ("encode-form", "004", ()),
        ("encode-form", "007", ()),
    ],
)
def test_what_was_captured_is_understood(folder, number, remarks):
    _, target, body = sample(folder, number)
    result = understood(body, target=target)
    (facts,) = result.contacts
    assert result.remarks == remarks
    assert facts.direction is Direction.INBOUND
    is_agent = number == "001"
    assert facts.parties[0] == (
        Party(role=PartyRole.AGENT, agent_id="agentti") if is_agent else MATTI
    )
    assert facts.recording == (None if is_agent else "expected")
    assert facts.queue == ("sähkökatko" if number in {"003", "004"} else None)
    ended = {"003": "answered", "004": "answered", "007": "not_connected"}
    assert facts.outcome == ended.get(number)


def test_the_same_call_as_json_and_as_xml_tells_the_same():
    bodies = [sample("encode-base64", number) for number in ("003", "004")]
    first, second = (understood(body, target=target) for _, target, body in bodies)
    assert first == second


# -- whatever comes


PIECES = st.sampled_from(
    [
        "cdr=",
        "%7B",
        "{",
        "}",
        '"',
        '":"',
        '","',
        "<cdr>",
        "</cdr>",
        "%",
        "&",
        "ey",
        "=",
        "\\",
        "é",
        "%22",
    ]
) | st.sampled_from(
    ['"variables":{"', '"callflow":[', "<variables>", "<!DOCTYPE x>", "%0", "\x00", "uuid"]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_whatever_is_posted_is_understood_or_refused(body):
    raw = body.encode() if isinstance(body, str) else body
    with suppress(InvalidInputError):
        understood(raw)


@given(st.integers(0, 6), st.data())
@settings(max_examples=150, deadline=None)
def test_a_record_that_is_cut_or_changed_anywhere_is_understood_or_refused(which, data):
    body = bytearray(next(itertools.islice(encodings(), which, None))[1](further()))
    place = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        del body[place:]
    else:
        body[place] ^= data.draw(st.integers(1, 255))
    with suppress(InvalidInputError):
        understood(bytes(body))


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_whatever_the_callers_name_is_the_call_is_whose_the_query_says(name):
    leg = record(sip_full_from=f'"{name}" <sip:1@example.org>')
    for body in (form(as_json(with_encoded_values(leg))), packed(as_json(leg))):
        facts = told(body)
        assert facts.source_id == A
        assert facts.started_at == from_microseconds(START)
