"""What documents of SIPREC tell of calls, as vendors write them."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.contact import Channel, Direction, Party, PartyRole
from service.sources.files import RecordingFile, RequestFile
from service.sources.generic import TIME_OUT_OF_WINDOW
from service.sources.siprec_files import recognise_file
from service.sources.siprec_session import session_name
from tests.siprec import (
    ACME,
    ALICE,
    BOB,
    ID,
    NOW,
    SONUS,
    STOP,
    UUID,
    broadworks,
    rfc,
    told,
    understood,
)

BEGAN = datetime(2026, 11, 22, 9, 47, 51, tzinfo=UTC)
ENDED = datetime(2026, 11, 22, 9, 52, tzinfo=UTC)
LINE = "sip:0201234567@sbc.example.com"
AINO = Party(role=PartyRole.CUSTOMER, phone="+358401234567", name="Aino")
ANNA = Party(role=PartyRole.AGENT, agent_id="1001", name="Anna")


# -- documents of each vendor


def test_a_document_of_the_rfc_tells_the_call():
    facts = told(rfc(stop=STOP))
    assert (facts.source_id, facts.channel, facts.direction) == (
        ID,
        Channel.CALL,
        Direction.INBOUND,
    )
    assert (facts.started_at, facts.ended_at) == (BEGAN, ENDED)
    assert facts.parties == (AINO, ANNA)
    assert (facts.recording, facts.is_part) == ("expected", True)
    assert facts.aliases == (
        "ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2",
    )
    assert understood(rfc()).remarks == ()


def test_acme_tells_who_called_whoever_is_listed_first():
    facts = told(ACME)
    assert (facts.source_id, facts.direction, facts.started_at) == (
        ID,
        Direction.INBOUND,
        BEGAN,
    )
    assert facts.parties == (AINO, Party(role=PartyRole.AGENT, agent_id="1001"))
    assert facts.aliases == ("00FA080018803B69810C6D;encoding=hex",)


def test_sonus_tells_who_called_by_the_headers_of_the_call():
    facts = told(SONUS)
    assert facts.direction is Direction.INBOUND
    assert facts.parties == (
        Party(role=PartyRole.CUSTOMER, phone="+358401234567"),
        Party(role=PartyRole.AGENT, agent_id="1001"),
    )
    assert facts.aliases == ("1-2@192.0.2.1", "4711")


@pytest.mark.parametrize(
    ("caller", "first"),
    [
        ("0401234567", "customer"),
        ("00358401234567", "customer"),
        ("4567", "agent"),
        ("", "agent"),
    ],
)
def test_who_called_is_known_also_by_the_number_without_its_country(caller, first):
    headers = SONUS.replace("sip:+358401234567@sbc", f"sip:{caller}@sbc")
    facts = told(headers.replace("sip:1001@sbc", "sip:somebody@sbc"))
    assert str(facts.parties[0].role) == first


@pytest.mark.parametrize(
    ("half", "direction", "customer"),
    [("origCall", Direction.OUTBOUND, "Pekka"), ("termCall", Direction.INBOUND, "Aino")],
)
def test_broadworks_tells_which_half_of_the_call_is_the_companys(half, direction, customer):
    facts = told(broadworks(half))
    assert (facts.source_id, facts.direction) == (UUID, direction)
    assert [(one.role, one.name) for one in facts.parties if one.name == customer] == [
        (PartyRole.CUSTOMER, customer)
    ]
    assert {one.role for one in facts.parties} == {PartyRole.CUSTOMER, PartyRole.OTHER}
    assert facts.aliases == ("34876:1", "callhalf-1:0")


# -- times


@pytest.mark.parametrize(
    ("start", "stop", "times"),
    [
        ("1970-01-01T00:00:05Z", None, (NOW, None)),
        ("1970-01-01T00:00:05Z", "1970-01-01T00:01:05Z", (NOW - timedelta(minutes=1), NOW)),
        ("1970-01-01T00:01:05Z", "1970-01-01T00:00:05Z", (NOW, NOW)),
        ("1970-01-01T00:00:05Z", STOP, (ENDED, ENDED)),
        ("2026-11-22T11:47:51+02:00", "1970-01-01T00:01:05Z", (BEGAN, None)),
        (STOP, "2026-11-22T11:47:51+02:00", (ENDED, None)),
        ("2126-11-22T11:47:51+02:00", None, (NOW, None)),
    ],
)
def test_a_clock_that_was_wrong_is_told_and_the_receipt_counts(start, stop, times):
    result = understood(rfc(start=start, stop=stop))
    assert (result.contacts[0].started_at, result.contacts[0].ended_at) == times
    assert result.remarks == (TIME_OUT_OF_WINDOW,)


def test_a_time_without_an_offset_is_of_the_sources_zone():
    assert told(rfc(start="2026-11-22T11:47:51")).started_at == BEGAN


def test_without_a_start_who_joined_first_tells_it():
    assert told(rfc(start=None)).started_at == BEGAN
    assert told(rfc(start="soon")).started_at == BEGAN


# -- who took part


@pytest.mark.parametrize(
    ("people", "direction", "roles"),
    [
        ([("a", ALICE, ""), ("b", LINE, "")], Direction.INBOUND, "customer other"),
        ([("a", BOB, ""), ("b", ALICE, "")], Direction.OUTBOUND, "agent customer"),
        ([("a", LINE, ""), ("b", ALICE, "")], Direction.OUTBOUND, "other customer"),
        (
            [("a", "tel:+358401234567", ""), ("b", "1001", "")],
            Direction.INBOUND,
            "customer agent",
        ),
        ([("a", "", ""), ("b", BOB, "")], Direction.INBOUND, "customer agent"),
        (
            [("a", "sip:anonymous@anonymous.invalid", ""), ("b", BOB, "")],
            Direction.INBOUND,
            "customer agent",
        ),
        (
            [("a", BOB, ""), ("b", LINE, ""), ("c", ALICE, "")],
            Direction.OUTBOUND,
            "agent other customer",
        ),
        ([("a", BOB, ""), ("b", "1002", "")], Direction.INBOUND, "agent agent"),
        (
            [("a", ALICE, ""), ("b", BOB, ""), ("c", "sip:0505550000@x", "")],
            Direction.INBOUND,
            "customer agent other",
        ),
        ([("a", ALICE, "")], Direction.INBOUND, "customer"),
    ],
)
def test_numbers_tell_who_is_who(people, direction, roles):
    facts = told(rfc(people=people))
    assert facts.direction is direction
    assert [str(one.role) for one in facts.parties] == roles.split()


def test_a_name_that_is_blank_or_the_number_is_none():
    facts = told(rfc(people=[("a", ALICE, "+358401234567"), ("b", "1001", "1001")]))
    assert [one.name for one in facts.parties] == [None, None]


def test_of_several_sessions_each_has_its_own_people():
    document = rfc().replace("</recording>", "")
    second = "c2Vjb25kc2Vjb25kc2Vjbw=="
    document += (
        f'<session session_id="{second}"><start-time>{STOP}</start-time></session>'
        f'<participantsessionassoc participant_id="p2" session_id="{second}"/></recording>'
    )
    first, other = understood(document).contacts
    assert (first.source_id, first.parties) == (ID, (AINO, ANNA))
    assert (other.source_id, other.parties, other.started_at) == (second, (ANNA,), ENDED)


def test_a_partial_document_tells_only_what_it_tells():
    facts = told(rfc(start=None, stop=STOP, mode="partial", people=[]))
    assert (facts.direction, facts.started_at, facts.ended_at) == (None, None, ENDED)
    assert not facts.can_begin
    joined = told(
        rfc(start=None, mode="partial", people=[("p3", "sip:+358505550000@x", "Pekka")])
    )
    assert (joined.direction, joined.parties[0].role) == (None, PartyRole.OTHER)


# -- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"urn:uuid:{UUID.upper()}", UUID),
        (UUID, UUID),
        (ID, ID),
        ("Xk9pVPpVEeiTMTUl8hpsaA", ID),
        ("_-9pVPpVEeiTMTUl8hpsaA", "/+9pVPpVEeiTMTUl8hpsaA=="),
        (" hVpd7YQgRW2nD22h7q60JQ==\n", "hVpd7YQgRW2nD22h7q60JQ=="),
        ("0000-4711", "0000-4711"),
    ],
)
def test_a_session_has_one_name(text, name):
    assert session_name(text) == name


def test_files_are_documents_and_recordings_of_the_session_in_their_names():
    assert recognise_file(f"day/{UUID}.xml", b"<") == RequestFile("")
    assert recognise_file(f"day/{UUID}.1.wav", b"RIFF") == RecordingFile(
        UUID, f"{UUID}.1.wav", "audio/wav"
    )
    assert recognise_file("_-9pVPpVEeiTMTUl8hpsaA==.wav", b"") == RecordingFile(
        "/+9pVPpVEeiTMTUl8hpsaA==", "_-9pVPpVEeiTMTUl8hpsaA==.wav", "audio/wav"
    )
    assert recognise_file("notes.txt", b"") is None
    assert recognise_file(".wav", b"") is None
