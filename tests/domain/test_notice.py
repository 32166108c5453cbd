"""The notice: what is not told of is not recorded."""

from datetime import date

import pytest

from service.domain.contact import Channel, Direction
from service.domain.errors import InvalidInputError
from service.domain.notice import ALL_TRAFFIC, Notice, Traffic

CALLS_IN = Traffic(Channel.CALL, Direction.INBOUND)
CALLS_OUT = Traffic(Channel.CALL, Direction.OUTBOUND)
TODAY = date(2026, 11, 22)


@pytest.mark.parametrize("traffic", ALL_TRAFFIC)
def test_what_is_written_is_read_again(traffic):
    assert Traffic.parse(str(traffic)) == traffic


@pytest.mark.parametrize(
    "text",
    ["", "call", "call  inbound", "inbound call", "fax inbound", "call inbound ", "CALL in"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidInputError, match="call inbound"):
        Traffic.parse(text)


def test_what_the_notice_does_not_name_is_not_covered():
    notice = Notice(covers=frozenset({CALLS_IN}))
    assert notice.decide_uncovered([CALLS_OUT, CALLS_IN], today=TODAY) == (CALLS_OUT,)
    assert notice.decide_uncovered([CALLS_IN], today=TODAY) == ()


@pytest.mark.parametrize(
    ("valid_from", "uncovered"),
    [(None, ()), (TODAY, ()), (date(2026, 11, 21), ()), (date(2026, 11, 23), (CALLS_IN,))],
)
def test_a_notice_covers_from_its_first_day_on(valid_from, uncovered):
    notice = Notice("2026-11", valid_from, frozenset({CALLS_IN}))
    assert notice.decide_uncovered([CALLS_IN], today=TODAY) == uncovered


def test_without_a_notice_nothing_is_covered():
    assert Notice().decide_uncovered(ALL_TRAFFIC, today=TODAY) == ALL_TRAFFIC
