"""Query strings."""

import contextlib
from urllib.parse import quote_plus, urlencode

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.errors import MalformedQueryError
from service.http.queries import parse_query, read_query
from tests.http.conftest import raw, route

NAMES = ("customer_number", "phone", "email", "limit", "from")
VISIBLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VISIBLE))
def test_what_was_asked_is_what_is_read(asked):
    assert parse_query(urlencode(asked), NAMES) == asked


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text("phonlimt=&%+0123456789abcdefF;\x00 ", max_size=60))
def test_any_text_is_read_or_refused(raw_query):
    with contextlib.suppress(MalformedQueryError):
        found = parse_query(raw_query, NAMES, phones=["phone"])
        assert set(found) <= set(NAMES)


@pytest.mark.parametrize(
    "sent",
    [
        "+358401234567",
        "%2B358401234567",
        "%20358401234567",
        "++358401234567",
        "%2b358401234567",
    ],
)
def test_a_plus_that_became_a_space_is_mended_in_a_phone_number(sent):
    found = parse_query(f"phone={sent}", NAMES, phones=["phone"])
    assert found == {"phone": "+358401234567"}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("040+123+4567", "040 123 4567"),
        ("%2B358+40+123", "+358 40 123"),
        ("+358+40+123", "+358 40 123"),
        ("+(0)40", " (0)40"),
        ("", ""),
    ],
)
def test_spaces_inside_a_phone_number_stay(sent, read):
    assert parse_query(f"phone={sent}", NAMES, phones=["phone"]) == {"phone": read}


def test_other_parameters_keep_their_spaces():
    assert parse_query("customer_number=+1", NAMES) == {"customer_number": " 1"}


@pytest.mark.parametrize(
    ("raw_query", "said"),
    [
        pytest.param("custmer_number=1", "did you mean customer_number?", id="misspelt"),
        pytest.param("Phone=1", "did you mean phone?", id="capital"),
        pytest.param("phone[]=1", "did you mean phone?", id="brackets"),
        pytest.param("zzz=1", "there is no parameter zzz here", id="far from all"),
        pytest.param("0401234567", "there is no parameter here", id="a value as name"),
        pytest.param("=1", "there is no parameter here", id="no name"),
        pytest.param("__proto__=1", "there is no parameter here", id="__proto__"),
        pytest.param("phone=1&phone=1", "phone is given twice", id="twice, equal"),
        pytest.param("phone=1&ph%6Fne=2", "phone is given twice", id="twice, escaped"),
        pytest.param("phone=%", "not followed by two", id="bare %"),
        pytest.param("phone=%4", "not followed by two", id="half an escape"),
        pytest.param("phone=%u0041", "not followed by two", id="%u"),
        pytest.param("phone=%ff", "not UTF-8", id="not UTF-8"),
        pytest.param("phone=%c0%af", "not UTF-8", id="overlong"),
        pytest.param("phone=%ed%a0%80", "not UTF-8", id="a surrogate"),
        pytest.param("phone=\udcff", "not UTF-8", id="a raw byte"),
        pytest.param("phone=%00", "control character", id="NUL"),
        pytest.param("phone=%0d%0aX:1", "control character", id="line break"),
        pytest.param("phone=" + "1" * 9000, "longer than", id="long"),
    ],
)
def test_refuses(raw_query, said):
    with pytest.raises(MalformedQueryError) as refused:
        parse_query(raw_query, NAMES)
    assert said in refused.value.detail
    assert "0401234567" not in refused.value.detail


async def test_through_the_socket_nothing_is_repaired_on_the_way(serve_strangers):
    async def found(request):
        return web.json_response(dict(read_query(request, NAMES, phones=["phone"])))

    client = await serve_strangers(route("GET", "/", found))
    for sent, status in (
        ("phone=+358401234567", 200),
        ("phone=%zz", 400),
        ("phone=1;limit=2", 200),
        ("", 200),
        ("phone=1&phone=2", 400),
    ):
        head = f"GET /?{sent} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await raw(client, head.encode())
        assert answer.startswith(b"HTTP/1.1 %d" % status), (sent, answer)
    name = quote_plus("ä")
    async with client.get(f"/?{name}=1") as answer:
        assert answer.status == 400
