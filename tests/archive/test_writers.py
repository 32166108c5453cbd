"""Whose words a message is: as the source says, and by a name only where one party alone has it."""

from datetime import UTC, datetime

import pytest

from service.archive.vcon import WrittenPart, build_vcon
from service.domain.contact import Channel, Contact, Direction, Party, PartyRole
from service.web.detail import role_of

AT = datetime(2026, 11, 24, tzinfo=UTC)
CUSTOMER = Party(role=PartyRole.CUSTOMER, name="Anna", email="anna@example.com")
AGENT = Party(role=PartyRole.AGENT, name="Anna", email="anna@example.fi", agent_id="3")


def contact(*parties, direction=Direction.INBOUND):
    return Contact(
        id="ct_1",
        version=1,
        source="chat",
        source_id="5",
        channel=Channel.CHAT,
        direction=direction,
        started_at=AT,
        ended_at=AT,
        created_at=AT,
        queue=None,
        subject=None,
        customer_number=None,
        metering_point=None,
        parties=parties,
        recording_state=None,
        not_recorded_reason=None,
    )


def test_a_name_that_two_have_tells_nobody():
    assert role_of("Anna", contact(CUSTOMER, AGENT)) is None
    assert role_of("anna@EXAMPLE.com", contact(CUSTOMER, AGENT)) is PartyRole.CUSTOMER
    assert role_of("3", contact(CUSTOMER, AGENT)) is PartyRole.AGENT
    assert role_of("", contact(CUSTOMER)) is None


@pytest.mark.parametrize("direction", list(Direction))
def test_the_words_of_each_stand_beside_them_in_a_vcon(direction):
    said = [
        WrittenPart("Anna", AT, "Haluan irtisanoa", writer=PartyRole.CUSTOMER),
        WrittenPart("Anna", AT, "Sovittu", writer=PartyRole.AGENT),
    ]
    vcon = build_vcon(contact(CUSTOMER, AGENT, direction=direction), [], said, now=AT)
    writers = [vcon["parties"][dialog["parties"][0]] for dialog in vcon["dialog"]]
    assert [one["mailto"] for one in writers] == ["anna@example.com", "anna@example.fi"]


def test_who_took_the_name_of_another_is_not_them_in_a_vcon():
    visitor = Party(role=PartyRole.CUSTOMER, phone="+358401234567")
    said = [
        WrittenPart("Anna", AT, "En tilannut", writer=PartyRole.CUSTOMER),
        WrittenPart("Anna", AT, "Hei", writer=PartyRole.AGENT),
        WrittenPart("Anna", AT, "vanha rivi"),
    ]
    vcon = build_vcon(contact(AGENT, visitor), [], said, now=AT)
    writers = [vcon["parties"][dialog["parties"][0]] for dialog in vcon["dialog"]]
    assert writers[0] == {"name": "Anna", "role": "customer"}
    assert writers[1]["mailto"] == writers[2]["mailto"] == "anna@example.fi"
