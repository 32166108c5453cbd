"""The Range header: what is served, what is ignored, what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.ranges import ByteRange, UnsatisfiableRangeError, decide_if_range, parse_range

SIZE = 1000


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        pytest.param("bytes=0-0", 0, 1, id="the first byte"),
        pytest.param("bytes=0-999", 0, 1000, id="all of it"),
        pytest.param("bytes=999-", 999, 1000, id="the last byte, open"),
        pytest.param("bytes=-1", 999, 1000, id="the last byte, suffix"),
        pytest.param("bytes=10-99999", 10, 1000, id="cut to the end"),
        pytest.param("bytes=-99999", 0, 1000, id="a suffix longer than the content"),
        pytest.param("bytes=500-", 500, 1000, id="open"),
        pytest.param("BYTES=1-2", 1, 3, id="units know no case"),
        pytest.param("bytes=,1-2,,", 1, 3, id="empty list elements"),
        pytest.param("bytes=1-2 ,\t", 1, 3, id="white space around commas"),
        pytest.param("bytes=0-" + "9" * 23, 0, 1000, id="10^23 as the end"),
        pytest.param("bytes=-" + "9" * 5000, 0, 1000, id="five thousand digits of suffix"),
        pytest.param("bytes=" + "0" * 5000 + "7-8", 7, 9, id="five thousand leading zeros"),
    ],
)
def test_one_range_is_served(text, start, stop):
    assert parse_range(text, SIZE) == ByteRange(start, stop)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("bytes", id="no equals sign"),
        pytest.param("bytes=", id="no range"),
        pytest.param("bytes=-", id="only a dash"),
        pytest.param("bytes=9-2", id="backwards"),
        pytest.param("bytes=--5", id="negative suffix"),
        pytest.param("bytes=-5-9", id="negative start"),
        pytest.param("bytes=0x0-0x9", id="hexadecimal"),
        pytest.param("bytes=1.0-2", id="fraction"),
        pytest.param("bytes=+1-2", id="plus sign"),
        pytest.param("bytes=1_0-20", id="underscore"),
        pytest.param("bytes=\u0661-\u0662", id="Arabic digits"),
        pytest.param("bytes=\uff11-\uff12", id="full-width digits"),
        pytest.param("bytes=\u00b2-\u00b3", id="superscript digits"),
        pytest.param("bytes =0-1", id="space before the equals sign"),
        pytest.param("items=0-1", id="another unit"),
        pytest.param("bytes=0-1,3-4", id="two ranges"),
        pytest.param("bytes=" + ",".join(["0-"] * 1000), id="a thousand overlapping ranges"),
        pytest.param("bytes=" + "," * 1000 + "0-1", id="a thousand empty elements"),
        pytest.param("bytes=0-1\n", id="newline"),
        pytest.param("bytes=0-1;q=1", id="parameters"),
    ],
)
def test_what_may_be_ignored_is_ignored(text):
    assert parse_range(text, SIZE) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("bytes=-0", SIZE, id="a suffix of nothing"),
        pytest.param("bytes=-00", SIZE, id="a suffix of nothing, longer"),
        pytest.param("bytes=1000-", SIZE, id="just past the end"),
        pytest.param("bytes=1000-1001", SIZE, id="past the end"),
        pytest.param("bytes=" + "9" * 23 + "-", SIZE, id="10^23"),
        pytest.param("bytes=" + "9" * 5000 + "-", SIZE, id="five thousand digits"),
        pytest.param("bytes=0-", 0, id="any byte of nothing"),
        pytest.param("bytes=-0", 0, id="a suffix of nothing of nothing"),
    ],
)
def test_what_no_byte_lies_in_is_unsatisfiable(text, size):
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(text, size)


def test_a_suffix_of_an_empty_content_is_the_empty_content():
    assert parse_range("bytes=-5", 0) is None


def test_a_content_range_counts_from_zero_and_includes_its_end():
    assert ByteRange(5, 10).format(1000) == "bytes 5-9/1000"


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        pytest.param(None, True, id="none"),
        pytest.param('"ob_1"', True, id="the same"),
        pytest.param(' "ob_1" ', True, id="white space around"),
        pytest.param('"ob_2"', False, id="another"),
        pytest.param('W/"ob_1"', False, id="weak"),
        pytest.param("ob_1", False, id="without quotes"),
        pytest.param('"ob_1", "ob_2"', False, id="a list"),
        pytest.param("Sun, 22 Nov 2026 10:00:00 GMT", False, id="a date"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_range_counts_only_for_the_content_it_was_meant_for(text, counts):
    assert decide_if_range(text, '"ob_1"') is counts


@settings(max_examples=500, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=40),
        st.from_regex(r"bytes=[0-9,\- \t]{0,30}", fullmatch=True),
        st.from_regex(r"bytes=[0-9]{0,25}-[0-9]{0,25}", fullmatch=True),
    ),
    size=st.integers(min_value=0, max_value=2**63),
)
def test_whatever_is_asked_the_answer_lies_within_the_content(text, size):
    try:
        found = parse_range(text, size)
    except UnsatisfiableRangeError:
        return
    assert found is None or 0 <= found.start < found.stop <= size


@settings(max_examples=200, deadline=None)
@given(first=st.integers(0, SIZE - 1), length=st.integers(1, SIZE))
def test_a_well_formed_range_is_the_slice_that_it_names(first, length):
    content = bytes(i % 256 for i in range(SIZE))
    found = parse_range(f"bytes={first}-{first + length - 1}", SIZE)
    assert found is not None
    assert content[found.start : found.stop] == content[first : first + length]
