"""TOML with line numbers: what a file says, on which line, and every place where it is not TOML.

The standard library's reader stops at the first mistake and forgets lines. Here each statement
that it refuses is blanked and the rest is read again, so that one run names them all.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.config.problems import Problem

# Past this many the file is not a configuration with mistakes but something else.
_MAX_SYNTAX_PROBLEMS = 50
# TOML 1.0: a string of any of the four kinds, a comment, or any one character.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\x00-\x08\x0a-\x1f\x7f]*"
    r"|.",
    re.DOTALL,
)
_KEY = re.compile(r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^="'\n])+(?==)""")
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_CLEARER = {
    "Invalid value": "not a value that TOML knows; text goes in double quotes",
    "Cannot overwrite a value": "set before in this section",
    "Expected '=' after a key in a key/value pair": "expected NAME = VALUE",
    "Invalid statement": "expected NAME = VALUE or [section]",
}


@dataclass(frozen=True, slots=True)
class Document:
    """The tables of a TOML text. What ``problems`` name is left out of ``tables``."""

    tables: Mapping[str, object]
    lines: Mapping[tuple[str | int, ...], int]
    problems: tuple[Problem, ...]

    def find_line(self, *path: str | int) -> int | None:
        """Return the line that sets ``path``, or the nearest table around it, counted from 1.

        A path is names, and for an array of tables the index after its name.
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


@dataclass(frozen=True, slots=True)
class _Statement:
    """One header or one ``name = value``, over the lines ``first`` to ``last``."""

    text: str
    first: int
    last: int

    @property
    def is_header(self) -> bool:
        return self.text.startswith("[")


def parse_document(text: str) -> Document:
    """Read ``text`` as TOML 1.0, as far as it is; never raises."""
    text = text.replace("\r\n", "\n")
    problems: list[Problem] = []
    while len(problems) < _MAX_SYNTAX_PROBLEMS:
        statements = _split(text)
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            statements = statements or [_Statement(text, 1, text.count("\n") + 1)]
            faulty = _find_faulty(statements, error)
            problems.append(_describe(error, statements[faulty]))
            text = _blank(text, statements, faulty)
        else:
            return Document(tables, _locate(statements), tuple(problems))
    return Document({}, {}, tuple(problems))


def _split(text: str) -> list[_Statement]:
    """Return the statements of ``text`` in order; on text that is not TOML, roughly."""
    statements: list[_Statement] = []
    pieces: list[str] = []
    line = first = 1
    depth = 0
    for piece in [*_TOKEN.findall(text), "\n"]:
        if piece in "[{":
            depth += 1
        elif piece in "]}":
            depth = max(0, depth - 1)
        line += piece.count("\n")
        if piece != "\n" or depth:
            pieces.append(piece if piece[0] != "#" else "")
            continue
        if statement := "".join(pieces).strip(" \t"):
            statements.append(_Statement(statement, first, line - 1))
        pieces.clear()
        first = line
    if statement := "".join(pieces).strip(" \t"):
        statements.append(_Statement(statement, first, line - 1))
    return statements


def _find_faulty(statements: Sequence[_Statement], error: Exception) -> int:
    """Return the index of the statement that ``error`` is about."""
    place = _PLACE.search(str(error))
    if place and place[1]:
        line = int(place[1])
        before = (i for i, statement in enumerate(statements) if statement.first <= line)
        return max(before, default=0)
    # An unfinished string is noticed at the end of the document, where it is not to be mended.
    for index, statement in enumerate(statements):
        try:
            tomllib.loads(statement.text)
        except (ValueError, RecursionError):
            return index
    return len(statements) - 1


def _describe(error: Exception, statement: _Statement) -> Problem:
    if isinstance(error, RecursionError):
        return Problem(statement.first, "nested too deeply")
    text = str(error)
    place = _PLACE.search(text)
    reason = text[: place.start()] if place else text
    # A name given twice is noticed behind its value, which may be lines further down.
    is_at_line = place and place[1] and not reason.startswith("Cannot")
    line = int(place[1]) if place and is_at_line else statement.first
    if re.match(r"Cannot declare .* twice", reason):
        reason = "this section was begun before"
    return Problem(line, f"not TOML: {_CLEARER.get(reason, reason)}")


def _blank(text: str, statements: Sequence[_Statement], faulty: int) -> str:
    """Return ``text`` without the faulty statement, its lines kept empty.

    A header takes what follows it along: read under another header, it would mislead.
    """
    first, last = statements[faulty].first, statements[faulty].last
    if statements[faulty].is_header:
        headers = (s.first for s in statements[faulty + 1 :] if s.is_header)
        last = next(headers, text.count("\n") + 2) - 1
    lines = text.split("\n")
    return "\n".join(
        "" if first <= number <= last else line for number, line in enumerate(lines, start=1)
    )


def _locate(statements: Sequence[_Statement]) -> dict[tuple[str | int, ...], int]:
    """Return the line of every header and every name."""
    lines: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    section: tuple[str | int, ...] = ()
    for statement in statements:
        if statement.is_header:
            section = _resolve(_names(statement.text), counts, statement)
            for length in range(1, len(section) + 1):
                lines.setdefault(section[:length], statement.first)
        elif key := _KEY.match(statement.text):
            names = _names(f"{key[0]}= 0")
            for length in range(1, len(names) + 1):
                lines.setdefault((*section, *names[:length]), statement.first)
    return lines


def _resolve(
    names: Sequence[str], counts: dict[tuple[str | int, ...], int], statement: _Statement
) -> tuple[str | int, ...]:
    """Return a header's path, with the index of each array of tables that it passes."""
    path: tuple[str | int, ...] = ()
    for position, name in enumerate(names, start=1):
        path = (*path, name)
        if position == len(names) and statement.text.startswith("[["):
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _names(statement: str) -> tuple[str, ...]:
    """Return the names that a header or ``name = 0`` sets, outermost first."""
    names: list[str] = []
    value: object = tomllib.loads(statement)
    while isinstance(value, dict | list) and value:
        if isinstance(value, list):
            value = value[0]
        else:
            name, value = next(iter(value.items()))
            names.append(name)
    return tuple(names)
