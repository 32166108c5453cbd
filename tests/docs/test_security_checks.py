"""What docs/security-checks.md names as shown is shown by tests that exist."""

import ast
import re
from functools import cache

import pytest

from tests.docs.pages import ROOT, read

PAGE = read("security-checks.md")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in re.findall(r"(?m)^\| \d+ \|.*\|$", PAGE)
]
NAMED = sorted(set(re.findall(r"`(tests/\S+?)::(\w+)`", PAGE)))


@cache
def names_in(file):
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, functions)
    )


def test_every_attack_has_one_row():
    assert [int(row[0]) for row in ROWS] == list(range(1, 83))


def test_every_row_says_what_happens_and_what_shows_it_or_why_not():
    for _, attack, happens, shown in ROWS:
        assert attack
        assert happens
        is_shown = "`tests/" in shown or shown.startswith("no test yet")
        assert is_shown != (not shown and "does not apply yet, " in happens), attack


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_that_is_named_exists(file, test):
    assert test in names_in(file)
    assert test.startswith("test_")
