from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, Direction, RecordingState
from service.web.searchform import FIELDS, BoxKind, decide_kinds, parse_search


def search(**query):
    query = {name.rstrip("_"): value for name, value in query.items()}
    return parse_search(query, timezone=ZoneInfo("Europe/Helsinki"), region="FI")


@pytest.mark.parametrize(
    "text",
    ["040 123 4567", "+358 40 123 4567", "0035840123 4567", " 358401234567", "(040) 123-4567"],
)
def test_a_telephone_number_is_recognised_in_every_form(text):
    form = search(text=text)
    assert form.kind is BoxKind.PHONE
    assert form.criteria.phone == "+358401234567"


@pytest.mark.parametrize(
    ("text", "criterion", "value"),
    [
        ("100234", "customer_number", "100234"),
        ("a-17/b", "customer_number", "A-17/B"),
        ("Maija@EXAMPLE.fi", "email", "maija@example.fi"),
        ("6430 0757 0000 0123 45", "metering_point", "643007570000012345"),
    ],
)
def test_the_box_tells_what_was_typed_into_it(text, criterion, value):
    form = search(text=text)
    assert form.kind == criterion
    assert getattr(form.criteria, criterion) == value
    assert form.criteria.names() == (criterion,)


def test_what_could_be_two_things_offers_the_other():
    assert decide_kinds("358401234567") == (BoxKind.CUSTOMER_NUMBER, BoxKind.PHONE)
    form = search(text="0401234567")
    assert form.others == (BoxKind.CUSTOMER_NUMBER,)
    other = search(text="0401234567", as_="customer_number")
    assert other.criteria.names() == ("customer_number",)
    assert other.others == (BoxKind.PHONE,)


def test_the_last_day_is_searched_whole():
    form = search(from_="2026-09-01", to="2026-09-03")
    assert form.criteria.started_from == datetime(2026, 8, 31, 21, tzinfo=UTC)
    assert form.criteria.started_to == datetime(2026, 9, 3, 21, tzinfo=UTC)


def test_every_filter_is_a_criterion_of_its_own():
    form = search(
        channel="call", direction="inbound", recording="lost", queue=" Myynti ", agent="A-17"
    )
    criteria = form.criteria
    assert (criteria.channel, criteria.direction) == (Channel.CALL, Direction.INBOUND)
    assert (criteria.recording, criteria.queue) == (RecordingState.LOST, "Myynti")
    assert set(criteria.names()) == {"channel", "direction", "recording", "queue", "agent"}


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("text", "x@", "email"),
        ("text", "+12", "phone"),
        ("text", "matti meikäläinen & co", "customer_number"),
        ("text", "\u202e100234", "customer_number"),
        ("channel", "fax", "channel"),
        ("recording", "<b>", "recording"),
        ("from", "2026-02-30", "from"),
        ("to", "9999-12-31", "to"),
        ("queue", "a\u200bb", "queue"),
        ("agent", "\u202e", "agent"),
    ],
)
def test_what_cannot_be_understood_is_said_of_its_field_and_searches_nothing(field, value, key):
    form = search(**{field: value})
    assert form.criteria is None
    assert form.problem(field) == f"search.wrong.{key}"


def test_a_period_that_ends_before_it_begins_is_refused():
    assert search(from_="2026-09-03", to="2026-09-01").problem("to") == "search.wrong.order"


def test_an_address_keeps_the_search_and_starts_paging_anew():
    form = search(text="+358 40", queue="a&b", cursor="c1")
    assert parse_qs(urlsplit(form.address()).query) == {"text": ["+358 40"], "queue": ["a&b"]}
    assert parse_qs(urlsplit(form.address(text=None)).query) == {"queue": ["a&b"]}
    assert "cursor=c2" in form.address(cursor="c2")
    assert search().address() == "/search"


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.text(max_size=12) | st.text("0123456789 +-()@", max_size=24) | st.dates().map(str),
    )
)
def test_no_query_breaks_the_form(query):
    form = parse_search(query, timezone=ZoneInfo("Europe/Helsinki"), region="FI")
    assert (form.criteria is None) == bool(form.problems)
    assert form.address().startswith("/search")


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        (" 358405550142", "+358405550142"),
        (" 358 40 555 0142", "+358 40 555 0142"),
        # Pasted with a space before it; a form would have sent the plus sign.
        (" 0405550142", "0405550142"),
        (" 100198", "100198"),
        ("  K-100198 ", "K-100198"),
    ],
)
def test_a_space_before_a_number_is_a_lost_plus_sign_only_where_that_makes_a_number(
    text, understood
):
    assert search(text=text).values["text"] == understood
