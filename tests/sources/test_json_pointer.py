"""JSON Pointers, by the examples of RFC 6901, section 5."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.json_pointer import ABSENT, JsonPointer, leaves_of

DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_the_specification_hold(text, value):
    pointer = JsonPointer.parse(text)
    assert pointer.find(DOCUMENT) == value
    assert str(pointer) == text


@pytest.mark.parametrize(
    "text",
    [
        "/nothing",
        "/foo/2",
        "/foo/-",
        "/foo/01",
        "/foo/-1",
        "/foo/bar",
        "/a~1b/0",
        "/foo/0/0",
        "/foo/\u0661",
    ],
)
def test_where_nothing_stands_nothing_is_found(text):
    assert JsonPointer.parse(text).find(DOCUMENT) is ABSENT


@pytest.mark.parametrize("text", ["foo", "#/foo", "/a~2", "/a~", "~0", "/" + "a" * 300])
def test_what_is_no_pointer_is_refused(text):
    with pytest.raises(InvalidInputError):
        JsonPointer.parse(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_every_leaf_is_found_again_by_its_pointer(document):
    for pointer, value in leaves_of(document, limit=100):
        assert JsonPointer.parse(str(pointer)).find(document) == value


def test_no_more_leaves_are_listed_than_asked_for():
    document = json.loads(json.dumps({str(n): n for n in range(500)}))
    assert len(list(leaves_of(document, limit=200))) == 200
