"""Asterisk's call detail records: rows become calls, local times the times that they were."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import ContactFacts, Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.asterisk import understand_event, understand_request
from service.sources.asterisk_files import recognise_file
from service.sources.events import SourceRule
from service.sources.files import RecordingFile, RequestFile
from service.sources.requests import received_request

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "asterisk"
RULE = SourceRule(company_numbers=frozenset({"+358201234567"}))
CUSTOM = (
    *("clid", "src", "dst", "start_epoch", "start", "end", "-", "-", "disposition"),
    *("uniqueid", "linkedid", "recordingfile", "sequence"),
)


def row(**told):
    """Return a row of cdr_csv with the new columns."""
    fields = {
        "accountcode": "",
        "src": "+358401234567",
        "dst": "0201234567",
        "dcontext": "default",
        "clid": '"Matti" <+358401234567>',
        "channel": "PJSIP/trunk-00000000",
        "dstchannel": "PJSIP/anna-00000001",
        "lastapp": "Dial",
        "lastdata": "PJSIP/anna,20",
        "start": "2026-11-22 11:47:25",
        "answer": "2026-11-22 11:47:27",
        "end": "2026-11-22 11:47:35",
        "duration": "10",
        "billsec": "8",
        "disposition": "ANSWERED",
        "amaflags": "DOCUMENTATION",
        "uniqueid": "1795340845.0",
        "userfield": "queue=viat",
        "peeraccount": "",
        "linkedid": "1795340845.0",
        "sequence": "0",
        **told,
    }
    return ",".join('"' + value.replace('"', '""') + '"' for value in fields.values()) + "\n"


def understand(*rows, rule=RULE):
    data = rows[0] if rows and isinstance(rows[0], bytes) else "".join(rows).encode()
    request = received_request("POST", "/intake/pbx", [], data)
    return understand_request(request.encode(), rule, NOW)


def call_of(*rows, rule=RULE):
    (facts,) = understand(*rows, rule=rule).contacts
    return facts


def test_the_rows_of_a_call_are_one_contact_and_the_hang_up_extension_tells_nothing():
    transferred = row(
        dstchannel="PJSIP/bo-00000002",
        start="2026-11-22 11:47:35",
        end="2026-11-22 11:50:00",
        sequence="2",
    )
    hung_up = row(dst="h", dstchannel="", end="2026-11-22 12:00:00", sequence="3")
    facts = call_of(transferred, hung_up, row())
    assert facts.source_id == "1795340845.0"
    assert facts.is_part
    assert facts.direction is Direction.INBOUND
    assert facts.started_at == datetime(2026, 11, 22, 9, 47, 25, tzinfo=UTC)
    assert facts.answered_at == datetime(2026, 11, 22, 9, 47, 27, tzinfo=UTC)
    assert facts.ended_at == datetime(2026, 11, 22, 9, 50, tzinfo=UTC)
    assert (facts.queue, facts.outcome) == ("viat", "answered")
    customer, company, *agents = facts.parties
    assert (customer.role, customer.phone, customer.name) == (
        PartyRole.CUSTOMER,
        "+358401234567",
        "Matti",
    )
    assert company.phone == "+358201234567"
    assert [agent.agent_id for agent in agents] == ["anna", "bo"]


def test_a_call_out_has_its_customer_at_the_other_end():
    facts = call_of(
        row(src="100", dst="0401234567", channel="SIP/100-0000000a", clid='"100" <100>')
    )
    assert facts.direction is Direction.OUTBOUND
    assert facts.parties[0].phone == "+358401234567"
    assert facts.parties[-1].agent_id == "100"


@pytest.mark.parametrize(
    ("disposition", "outcome"),
    [
        ("NO ANSWER", "unanswered"),
        ("BUSY", "busy"),
        ("FAILED", "failed"),
        ("CONGESTION", "failed"),
        ("X", None),
    ],
)
def test_a_call_that_nobody_answered_was_not_answered(disposition, outcome):
    facts = call_of(row(answer="", disposition=disposition))
    assert (facts.answered_at, facts.outcome, facts.recording) == (None, outcome, None)


@pytest.mark.parametrize(
    ("unique", "hour"),
    [
        # 2026-10-25 03:30 was twice in Helsinki: at 00:30 and at 01:30 UTC.
        ("1792888200.7", "2026-10-25T00:30:00+00:00"),
        ("1792891800.7", "2026-10-25T01:30:00+00:00"),
        ("helsinki-1792891800.7", "2026-10-25T01:30:00+00:00"),
        ("1700000000.7", "2026-10-25T00:30:00+00:00"),
    ],
)
def test_the_hour_that_is_twice_is_told_by_the_uniqueid(unique, hour):
    at = "2026-10-25 03:30:00"
    facts = call_of(row(start=at, answer=at, end=at, uniqueid=unique, linkedid=unique))
    assert facts.started_at == datetime.fromisoformat(hour)


def test_epochs_are_believed_before_local_times():
    custom = (
        '"""Matti"" <+358401234567>","+358401234567","0201234567","1795340845.922584","2030-01-01 00:00:00",'
        '"2026-11-22 11:47:35","9.53","9.51","ANSWERED","1795340845.0","1795340845.0","a.wav","0"\n'
    )
    facts = call_of(custom, rule=SourceRule(columns=CUSTOM))
    assert facts.started_at.timestamp() == pytest.approx(1795340845.922584)
    assert facts.recording == "expected"


@pytest.mark.parametrize("count", [16, 17, 18])
def test_older_orders_of_columns_are_known(count):
    text = ",".join(row().split(",")[: count + 1]) + "\n"  # lastdata has a comma
    if count == 16:
        with pytest.raises(InvalidInputError, match="linkedid"):
            understand(text)
        return
    assert call_of(text).source_id == "1795340845.0"


@pytest.mark.parametrize(
    "caller", ["anonymous", "", "sip:x@example.org", "<unknown>", "1" * 300, "a\nb"]
)
def test_a_caller_may_be_anything(caller):
    facts = call_of(row(src=caller, clid=caller))
    assert "\n" not in (facts.parties[0].phone_as_sent or "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n", "3 columns"),
        ('"' + "a," * 15, "line"),
        (row() + "x\n", "line 2: 1 columns"),
        (row(linkedid="", uniqueid=""), "linkedid"),
        (row() * 100_001, "rotate"),
    ],
)
def test_what_is_no_record_is_refused_by_its_line(text, words):
    with pytest.raises(InvalidInputError, match=words):
        understand(text)


def test_names_that_are_not_utf_8_are_read():
    facts = call_of(row(clid='"Mäkelä" <1>').encode("iso-8859-1"))
    assert facts.parties[0].name == "Mäkelä"


def test_a_call_of_which_only_the_hang_up_is_told_waits_for_the_rest():
    facts = call_of(row(dst="h", dstchannel=""))
    assert facts == ContactFacts(source_id="1795340845.0", is_part=True)


def test_an_event_of_the_manager_tells_the_same():
    event = (
        "Event: Cdr\r\nPrivilege: cdr,all\r\nSource: +358401234567\r\nDestination: 0201234567\r\n"
        'CallerID: "Matti" <+358401234567>\r\nDestinationChannel: SIP/agent1-00000001\r\n'
        "StartTime: 2026-11-22 11:47:25\r\nAnswerTime: 2026-11-22 11:47:25\r\nEndTime: 2026-11-22 11:47:35\r\n"
        "Disposition: ANSWERED\r\nUniqueID: 1795340845.0\r\nlinkedid: 1795340845.0\r\nrecordingfile: a.wav\r\n"
    )
    (facts,) = understand_event(event.encode(), RULE, NOW).contacts
    assert (facts.source_id, facts.recording) == ("1795340845.0", "expected")
    assert facts.parties[-1].agent_id == "agent1"
    for other in (b"", b"Event: Newchannel\r\n", b"\xff\xfe"):
        with pytest.raises(InvalidInputError):
            understand_event(other, RULE, NOW)


@pytest.mark.skipif(not SAMPLES.exists(), reason="the captures beside the checkout are absent")
def test_what_asterisk_wrote_is_understood():
    plain = understand((SAMPLES / "Master.csv").read_bytes()).contacts
    custom = understand(
        (SAMPLES / "Custom.csv").read_bytes(), rule=SourceRule(columns=CUSTOM)
    ).contacts
    assert {facts.source_id for facts in plain} == {facts.source_id for facts in custom}
    first, second = plain[:2]
    assert (first.outcome, second.outcome) == ("answered", "unanswered")
    for one, other in zip(plain, custom, strict=True):
        if one.started_at is None:
            # Of one only its hang-up was written: an application of ARI had handled it.
            assert one == other
        else:
            assert abs((one.started_at - other.started_at).total_seconds()) < 1
    blocks = (SAMPLES / "ami.txt").read_bytes().replace(b"\r\n", b"\n").split(b"\n\n")
    cdrs = [block for block in blocks if block.startswith(b"Event: Cdr")]
    told = [understand_event(block, RULE, NOW).contacts for block in cdrs]
    assert {facts.source_id for contacts in told for facts in contacts} == {
        facts.source_id for facts in plain
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Master.csv", RequestFile("")),
        (
            "2026/11/22/in-0201234567-+358401234567-20261122-114725-1795340845.0.wav",
            ("1795340845.0", "in-0201234567-+358401234567-20261122-114725-1795340845.0.wav"),
        ),
        (
            "q-x-114725-helsinki-1795340845.12-rx.wav",
            ("helsinki-1795340845.12", "q-x-114725-helsinki-1795340845.12-rx.wav"),
        ),
        ("voice.WAV", ("voice", "voice.WAV")),
        ("notes.txt", None),
    ],
)
def test_a_file_tells_what_it_is_by_its_name(name, expected):
    found = recognise_file(name, b"")
    if isinstance(found, RecordingFile):
        found = (found.source_id, found.name)
    assert found == expected


@settings(max_examples=300)
@given(st.binary(max_size=300), st.lists(st.text(max_size=20), min_size=21, max_size=21))
def test_no_bytes_break_it(data, fields):
    text = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    for sent in (data, text.encode(errors="replace")):
        try:
            understood = understand(sent)
        except InvalidInputError:
            continue
        assert all(facts.source_id for facts in understood.contacts)
    with suppress(InvalidInputError):
        understand_event(b"Event: Cdr\r\n" + data, RULE, NOW)
