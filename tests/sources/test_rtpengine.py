"""rtpengine: what it leaves beside a recording, and what it notifies of, as a contact."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.contact import EXPECTED, Direction, PartyRole
from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule
from service.sources.files import RecordingFile, RequestFile
from service.sources.generic import TIME_OUT_OF_WINDOW
from service.sources.requests import ReceivedRequest
from service.sources.rtpengine import understand_rtpengine
from service.sources.rtpengine_files import PCAP_TYPE, recognise_file

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULE = SourceRule(company_numbers=frozenset({"+358201234567"}))
SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "rtpengine"
CALL = "1-26865@127.0.0.1"
STEM = "1-26865%40127.0.0.1-b6c7f0053c4d1bf3"
SAID = "from:+358401234567|to:0201234567|queue:sahkokatko"


def metadata(said=SAID, *, ended="1795340458246.092", stem=STEM, sdp="s=-"):
    """Return what rtpengine writes of a call."""
    end = f"\nTimestamp terminated ms(first monologue): {ended}\n" if ended else ""
    return (
        f"/var/spool/rtpengine/pcaps/{stem}.pcap\n\n\n"
        "Timestamp started ms: 1795340448731.926\nSDP mode: offer\nSDP before RTP packet: 1\n\n"
        f"v=0\n{sdp}\nm=audio 30000 RTP/AVP 8 101\n\n"
        "Timestamp started ms: 1795340448731.933\nSDP mode: answer\nSDP before RTP packet: 1\n\n"
        f"v=0\nm=audio 30012 RTP/AVP 8 101\n{end}\n"
        "call start time: 2026-11-22T09:40:48\ncall end time: 2026-11-22T09:40:59\n\n\n"
        f"{said}\n"
    )


def understood(text, headers=(), rule=RULE):
    body = text.encode() if isinstance(text, str) else text
    request = ReceivedRequest("POST", "/intake/sip", tuple(headers), body)
    return understand_rtpengine(request.encode(), rule, NOW)


def told(*arguments, **more):
    (facts,) = understood(*arguments, **more).contacts
    return facts


def test_a_call_that_was_recorded_is_a_contact():
    facts = told(metadata())
    assert facts.source_id == CALL
    assert facts.direction is Direction.INBOUND
    assert facts.started_at == datetime(2026, 11, 22, 9, 40, 48, 731926, tzinfo=UTC)
    assert facts.ended_at == datetime(2026, 11, 22, 9, 40, 58, 246092, tzinfo=UTC)
    assert (facts.queue, facts.recording) == ("sahkokatko", EXPECTED)
    customer, line = facts.parties
    assert (customer.role, customer.phone) == (PartyRole.CUSTOMER, "+358401234567")
    assert (line.role, line.phone) == (PartyRole.OTHER, "+358201234567")


@pytest.mark.parametrize("number", [0, 1])
def test_what_was_captured_from_rtpengine_is_understood(number):
    if not SAMPLES.is_dir():
        pytest.skip("the captures of rtpengine are absent (shared samples)")
    file = sorted((SAMPLES / "metadata").iterdir())[number]
    facts = told(file.read_bytes())
    assert facts.source_id == f"{number + 1}-26865@127.0.0.1"
    assert facts.can_begin
    name = f"metadata/{file.name}"
    pcap = sorted((SAMPLES / "pcaps").iterdir())[number].name
    assert recognise_file(name, b"") == RequestFile("")
    found = recognise_file(f"pcaps/{pcap}", b"")
    assert (found.source_id, found.whole_with) == (facts.source_id, name)


@pytest.mark.parametrize(
    ("said", "direction", "roles"),
    [
        ("from:0201234567|to:0401234567", Direction.OUTBOUND, ["customer", "other"]),
        ("from:1001|to:0401234567", Direction.OUTBOUND, ["customer", "agent"]),
        ("from:1001|to:1002", None, ["other", "agent"]),
        ("from:|to:0201234567", Direction.INBOUND, ["customer", "other"]),
        ("from:0401234567|to:0201234567|agent:17", Direction.INBOUND, ["customer", "agent"]),
        ("direction:Outbound|to:0401234567", Direction.OUTBOUND, ["customer"]),
        ("direction:sideways|queue:x", None, []),
        ("", None, []),
        ("nonsense without colons", None, []),
    ],
)
def test_whose_call_it_is_follows_from_its_numbers(said, direction, roles):
    facts = told(metadata(said))
    assert facts.direction is direction
    assert [party.role.value for party in facts.parties] == roles


def test_further_keys_are_taken_where_they_are_what_they_say():
    said = f"{SAID}|customer:1000042|metering_point:643007574000000019|name:Maija|other:x"
    facts = told(metadata(said))
    assert facts.customer_number == "1000042"
    assert facts.parties[0].name == "Maija"
    odd = told(metadata(f"{SAID}|customer:\x00|metering_point:12|name:0401234567"))
    assert (odd.customer_number, odd.metering_point, odd.parties[0].name) == (None, None, None)


def test_the_proxy_says_that_the_notice_was_played():
    facts = told(metadata(f"{SAID}|notice:7 fi"))
    assert (facts.notice, facts.notice_version) == ("played", "7 fi")
    assert told(metadata()).notice is None


def test_of_a_key_that_comes_twice_the_proxys_own_counts():
    facts = told(metadata("from:+358401234567|to:0201234567|name:x|to:112|from:0501234567"))
    assert facts.parties[0].phone == "+358401234567"
    assert facts.direction is Direction.INBOUND


def test_words_of_a_caller_in_the_sdp_are_not_read_as_rtpengines():
    sdp = "s=call end time: 2026\ni=from:0501234567|to:0201234567\na=call start time: x"
    assert told(metadata(sdp=sdp)) == told(metadata())


def test_a_call_that_was_cut_off_has_no_end():
    assert told(metadata(ended="")).ended_at is None


@pytest.mark.parametrize(
    "text",
    ["", "x", "/a/b.pcap\n", "x.txt\nTimestamp started ms: 1795340448731.926\n", b"\xff\xfe"],
)
def test_what_is_no_metadata_is_said_to_be_none(text):
    with pytest.raises(InvalidInputError):
        understood(text)


def test_a_time_that_cannot_be_is_told():
    text = metadata().replace("1795340448731", "0000000001000")
    assert understood(text).remarks == (TIME_OUT_OF_WINDOW,)
    late = understood(metadata().replace("1795340448731.", "9999999999999."))
    assert late.remarks == (TIME_OUT_OF_WINDOW,)


def test_a_notification_tells_the_same():
    headers = [
        ("x-recording-call-id", CALL),
        ("x-recording-file-name", "a-mix"),
        ("x-recording-call-start-time", "1795340448.731926"),
        ("x-recording-call-end-time", "1795340458.246092"),
        ("x-recording-call-metadata", SAID),
    ]
    assert told("", headers) == told(metadata())
    odd = told("", [headers[0], ("x-recording-call-start-time", "yesterday")])
    assert (odd.started_at, odd.ended_at, odd.parties) == (None, None, ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            f"tmp/rtpengine-meta-{STEM}.tmp",
            RequestFile("", is_unfinished=True, grows_with=f"pcaps/{STEM}.pcap"),
        ),
        (f"metadata/rtpengine-meta-{STEM}.txt", RequestFile("")),
        (
            f"pcaps/{STEM}.pcap",
            RecordingFile(
                CALL,
                "1-26865@127.0.0.1-b6c7f0053c4d1bf3.pcap",
                PCAP_TYPE,
                f"metadata/rtpengine-meta-{STEM}.txt",
            ),
        ),
        (
            "x@y-0123456789abcdef-mix.wav",
            RecordingFile("x@y", "x@y-0123456789abcdef-mix.wav", "audio/wav"),
        ),
        ("strange.wav", RecordingFile("strange", "strange.wav", "audio/wav")),
        ("metadata/readme.txt", None),
        ("pcaps/x.pcap.gz", None),
    ],
)
def test_files_are_known_by_their_names(name, expected):
    assert recognise_file(name, b"") == expected


@given(st.text(max_size=300))
def test_anything_as_metadata_or_name_is_understood_or_refused(text):
    recognise_file(text, b"")
    for made in (
        text,
        metadata(text),
        metadata(sdp=text),
        metadata(stem=text.replace("\n", "")),
    ):
        try:
            facts = told(made)
        except (InvalidInputError, UnicodeEncodeError):
            continue
        assert facts.source_id
