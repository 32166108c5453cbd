"""What is JSON to us, and what is not."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.strict_json import MAX_DEPTH, decode_json

CHARACTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | CHARACTERS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            CHARACTERS.filter(lambda name: name != "__proto__"), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.booleans())
def test_what_json_says_is_what_is_read(value, ascii_only):
    assert decode_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=60)
    | st.text('{}[]",:\\ud8eE+-.0123456789NaIntrufls \n', max_size=60).map(str.encode)
)
def test_any_bytes_are_read_as_the_json_module_reads_them_or_refused(data):
    try:
        value = decode_json(data)
    except InvalidInputError:
        return
    assert value == json.loads(data.decode())


@settings(max_examples=100, deadline=None)
@given(VALUES, st.data())
def test_a_truncated_document_never_raises_anything_else(value, data):
    document = json.dumps(value).encode()
    cut = data.draw(st.integers(0, len(document)))
    with contextlib.suppress(InvalidInputError):
        decode_json(document[:cut])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}{}", id="two documents"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b'{"a":1,}', id="trailing comma"),
        pytest.param(b'{"a":1} // note', id="comment"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), id="utf-16"),
        pytest.param('{"a":1}'.encode("utf-32-le"), id="utf-32"),
        pytest.param(b'{"a":"\xff"}', id="not utf-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', id="a surrogate in utf-8"),
        pytest.param(b'{"a":"\xc0\xaf"}', id="an overlong encoding"),
        pytest.param(b'{"a":"\\ud800"}', id="half of a pair"),
        pytest.param(b'{"\\uDC00":1}', id="half of a pair in a name"),
        pytest.param(b'"\\udc00\\ud800"', id="a pair the wrong way round"),
        pytest.param(b'{"a":1,"a":1}', id="a name twice"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="a name twice, escaped"),
        pytest.param(b'[{"b":{"a":1,"a":2}}]', id="a name twice, inside"),
        pytest.param(b'{"__proto__":{"role":"admin"}}', id="__proto__"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[-Infinity]", id="Infinity"),
        pytest.param(b"1e999", id="infinite by its exponent"),
        pytest.param(b"9007199254740992", id="beyond 2^53"),
        pytest.param(b"1" * 10_000_000, id="ten million digits"),
        pytest.param(b"1." + b"1" * 1_000_000, id="a million decimals"),
        pytest.param(b"01", id="leading zero"),
        pytest.param("\uff11".encode(), id="a digit that is not ASCII"),
        pytest.param(b'"a\nb"', id="a bare line feed in a string"),
        pytest.param(b'"a\x00b"', id="a bare NUL in a string"),
        pytest.param(b"[" * 100_000, id="a hundred thousand levels"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="the same, closed"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="65 levels"),
        pytest.param(b"\xa0{}", id="a space that is none"),
    ],
)
def test_refuses(data):
    with pytest.raises(InvalidInputError):
        decode_json(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a" : [1, 2.5, true, null]}\r\n', {"a": [1, 2.5, True, None]}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\u0000"', "\0"),
        (b"-9007199254740991", -(2**53) + 1),
        (b"1e-999", 0.0),
        (b'{"constructor":1}', {"constructor": 1}),
    ],
)
def test_reads(data, value):
    assert decode_json(data) == value


def test_64_levels_are_read_and_many_neighbours_are_no_depth():
    deep = decode_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    assert isinstance(deep, list)
    assert decode_json(b"[" + b",".join([b"[]"] * 1000) + b"]") == [[]] * 1000


def test_a_refusal_does_not_repeat_what_was_sent():
    with pytest.raises(InvalidInputError) as refused:
        decode_json(b'{"phone": "+358401234567" "name"}')
    assert "358401234567" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_minus_zero_stays_what_it_was():
    assert math.copysign(1, decode_json(b"-0.0")) == -1
