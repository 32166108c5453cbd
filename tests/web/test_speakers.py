"""Who is heard on which channel: named only where the source's kind is known to write it so."""

import pytest

from service.domain.contact import Direction, PartyRole
from service.sources.kinds import KINDS, Stereo
from service.web.detail import _speakers

AGENT, CUSTOMER = PartyRole.AGENT, PartyRole.CUSTOMER


@pytest.mark.parametrize(
    ("stereo", "direction", "speakers"),
    [
        (Stereo.CALLER_FIRST, Direction.INBOUND, (CUSTOMER, AGENT)),
        (Stereo.CALLER_FIRST, Direction.OUTBOUND, (AGENT, CUSTOMER)),
        (Stereo.AGENT_FIRST, Direction.INBOUND, (AGENT, CUSTOMER)),
        (Stereo.AGENT_FIRST, Direction.OUTBOUND, (AGENT, CUSTOMER)),
        (Stereo.UNTOLD, Direction.INBOUND, (None, None)),
        (Stereo.UNTOLD, Direction.OUTBOUND, (None, None)),
    ],
)
def test_nobodys_words_are_put_into_the_others_mouth(stereo, direction, speakers):
    assert _speakers(stereo, direction) == speakers


def test_channels_are_named_where_the_page_of_the_source_says_whose_they_are():
    told = {name for name, kind in KINDS.items() if kind.stereo is not Stereo.UNTOLD}
    assert told == {"standard-webhooks", "api", "freeswitch"}
