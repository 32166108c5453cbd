"""TOML with lines, and every mistake in it."""

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config.document import parse_document

WITH_EVERYTHING = '''\
# comment = 1
top = 1
[a]   # [b]
text = "[c]\\n#\\" x = 1"
raw = '[d]\\'
"quoted name" = 1
'raw name'=1
many = """
[e]
x = 1
""""
rest = [
  "]",  # ]
  1,
]
a.b."c d" = 1
inline = { x = 1, y = [2] }
[[list]]
x = 1
[list.sub]
y = 1
[[list]]

x = 2
[list.sub]
y = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("a",), 3),
        (("a", "text"), 4),
        (("a", "raw"), 5),
        (("a", "quoted name"), 6),
        (("a", "raw name"), 7),
        (("a", "many"), 8),
        (("a", "rest"), 12),
        (("a", "a"), 16),
        (("a", "a", "b", "c d"), 16),
        (("a", "inline", "x"), 17),
        (("a", "missing"), 3),
        (("list", 0), 18),
        (("list", 0, "x"), 19),
        (("list", 0, "sub", "y"), 21),
        (("list", 1), 22),
        (("list", 1, "x"), 24),
        (("list", 1, "sub", "y"), 26),
        (("missing",), None),
    ],
)
def test_every_name_has_the_line_that_sets_it(path, line):
    document = parse_document(WITH_EVERYTHING)
    assert document.problems == ()
    assert document.find_line(*path) == line


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param("a = b\n", [(1, "text goes in double quotes")], id="no quotes"),
        pytest.param("x = 1\na = 127.0.0.1\n", [(2, "Expected newline")], id="an address"),
        pytest.param("a\n", [(1, "expected NAME = VALUE")], id="no value"),
        pytest.param("a = 1\na = 2\n", [(2, "set before in this section")], id="twice"),
        pytest.param("[a]\n[a]\nb = 1\n", [(2, "this section was begun before")], id="section"),
        pytest.param("[a\nb = 1\n[c]\n", [(1, "Expected ']'")], id="open header"),
        pytest.param("a = [\n1,\nb,\n]\n", [(3, "")], id="inside a list"),
        pytest.param("a = 1\nb = [\n1,\n", [(2, "")], id="open list"),
        pytest.param('a = 1\nb = """\nc = 2\n', [(2, "")], id="open text"),
        pytest.param(
            "a = 'x\nb = y\n[c]\nd = 1\n[c]\n", [(1, ""), (2, ""), (5, "")], id="three"
        ),
        pytest.param("a = " + "[" * 3000, [(1, "nested too deeply")], id="deep"),
        pytest.param("b = 1\na = " + "1" * 5000, [(2, "")], id="long number"),
        pytest.param("a = 2026-13-13\n", [(1, "")], id="no such day"),
    ],
)
def test_every_mistake_has_its_line(text, problems):
    found = parse_document(text).problems
    assert [problem.line for problem in found] == [line for line, _ in problems]
    for problem, (_, message) in zip(found, problems, strict=True):
        assert message in problem.message


def test_what_is_right_is_read_in_spite_of_mistakes():
    assert parse_document("a = 1\nb = c\n[d]\ne = 2\n").tables == {"a": 1, "d": {"e": 2}}


def test_a_text_that_is_nothing_like_toml_is_given_up():
    document = parse_document("Lorem ipsum\n" * 1000)
    assert len(document.problems) == 50
    assert document.tables == {}


_NAMES = st.text("ab-_1 .\"'#[=ä", min_size=1, max_size=4)
_VALUES = st.sampled_from(['"[x]"', "1", "[\n1,\n# ]\n2]", "'#'", '"""\na = 1\n"""', "{a = 1}"])


@st.composite
def _toml(draw: st.DrawFn) -> str:
    quoted = _NAMES.map(lambda name: '"' + name.replace('"', '\\"') + '"')
    lines = draw(
        st.lists(
            st.one_of(
                st.builds("{} = {}".format, quoted, _VALUES),
                st.builds("[{}]".format, quoted),
                st.builds("[[{}]]".format, quoted),
                st.sampled_from(["", "# [a]", "  "]),
            ),
            max_size=8,
        )
    )
    return "\n".join(lines)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from _paths(inner, (*path, name))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*path, index))


@settings(max_examples=150, deadline=None)
@given(_toml())
def test_every_name_that_is_read_stands_on_the_line_that_is_told(text):
    document = parse_document(text)
    lines = text.split("\n")
    for path in _paths(document.tables):
        line = document.find_line(*path)
        assert line is not None
        names = [part.replace('"', '\\"') for part in path if isinstance(part, str)]
        assert any(name in lines[line - 1] for name in names)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.text(max_size=60), st.text("a=[]{}\"'\n#.\\ 1\r\0\x85", max_size=60), _toml())
)
def test_any_text_is_read_or_named_wrong_as_the_standard_reader_does(text):
    document = parse_document(text)
    try:
        expected = tomllib.loads(text)
    except ValueError:
        lines = [problem.line for problem in document.problems]
        assert lines
        assert len(set(lines)) == len(lines)
        assert set(lines) <= set(range(1, text.count("\n") + 2))
    else:
        assert document.problems == ()
        assert document.tables == expected
