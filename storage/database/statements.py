"""What the store asks, in statements built with SQLAlchemy Core, compiled once for each shape, run on the driver.

A statement's text depends on the shape of what is asked alone, never on its values.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Dialect,
    Table,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql import ClauseElement, ColumnElement

from storage.ports import Condition, Span
from storage.rows import Row
from storage.tables import LOG, LOG_ABOUT, TABLES

MOST_VALUES: Final = 16_384
"""So many values a list in a condition may have; SQLite binds at the most 32,766."""

_MARKS: Final = 256
"""So many marks are looked for at a time."""

Values = dict[str, object]
Shape = tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """The text of a statement, the names of its parameters in order, and what some of them always are."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, object]

    def bind(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """Return the parameters in the order of the text."""
        known = {**self.constants, **values}
        return tuple(known[name] for name in self.names)


class Statements:
    """Statements for one engine, whose ``dialect`` has positional parameters."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[object, Statement] = {}

    def once(self, shape: object, build: Callable[[], ClauseElement]) -> Statement:
        """Return the statement of ``shape``, built and compiled the first time."""
        known = self._known.get(shape)
        if known is None:
            compiled = build().compile(dialect=self._dialect)
            known = Statement(
                str(compiled),
                tuple(getattr(compiled, "positiontup", None) or ()),
                {
                    name: value
                    for name, value in (compiled.params or {}).items()
                    if value is not None
                },
            )
            self._known[shape] = known
        return known

    def find(
        self, row: type[Row], shape: Shape, order: Sequence[str], *, has_limit: bool
    ) -> Statement:
        """Select rows in an order, the key last so that it is always the same one."""
        return self.once(
            ("find", row, shape, tuple(order), has_limit),
            lambda: _find(TABLES[row], shape, _total(order, row.KEY), has_limit=has_limit),
        )

    def count(self, row: type[Row], shape: Shape) -> Statement:
        """Count rows."""
        table = TABLES[row]
        return self.once(
            ("count", row, shape),
            lambda: select(func.count()).select_from(table).where(*met(table, shape)),
        )

    def log_size(self) -> Statement:
        """Count the log's entries by the place of the last."""
        return self.once("log size", lambda: select(_size()))

    def log_entries(self) -> Statement:
        """Select the entries of a range."""
        position = LOG.c.position
        within = position >= bindparam("start"), position < bindparam("stop")
        return self.once(
            "log entries", lambda: select(*LOG.columns).where(*within).order_by(position)
        )

    def log_about(self) -> Statement:
        """Select the entries about a subject."""
        about = LOG_ABOUT.c.position
        return self.once(
            "log about",
            lambda: (
                select(*LOG.columns)
                .where(LOG_ABOUT.c.subject == bindparam("subject"), LOG.c.position == about)
                .order_by(about)
            ),
        )

    def log_first(self) -> Statement:
        """Select the first place of each mark of a portion."""
        wanted = LOG.c.mark.in_([bindparam(f"mark_{n}") for n in range(_MARKS)])
        return self.once(
            "log first",
            lambda: (
                select(LOG.c.mark, func.min(LOG.c.position)).where(wanted).group_by(LOG.c.mark)
            ),
        )


def portions_of_marks(marks: Collection[bytes]) -> Iterator[Values]:
    """Yield the values of ``log_first`` until all ``marks`` were in them; the last is filled up with its own."""
    wanted = list(marks)
    for start in range(0, len(wanted), _MARKS):
        some = wanted[start : start + _MARKS]
        some += some[:1] * (_MARKS - len(some))
        yield {f"mark_{n}": mark for n, mark in enumerate(some)}


def shape_of(where: Mapping[str, Condition]) -> tuple[Shape, Values] | None:
    """Split ``where`` into its shape and its values; None when nothing can meet it.

    Raises:
        ValueError: A list is longer than ``MOST_VALUES``.
    """
    shape: list[tuple[str, str, int]] = []
    values: Values = {}
    for column, condition in where.items():
        if condition is None:
            shape.append((column, "absent", 0))
        elif isinstance(condition, Span):
            if condition.start is not None:
                shape.append((column, "from", 1))
                values[f"{column}__from"] = condition.start
            if condition.stop is not None:
                shape.append((column, "to", 1))
                values[f"{column}__to"] = condition.stop
        elif isinstance(condition, list | tuple):
            if not condition:
                return None
            kind, listed = _listed(condition)
            shape.append((column, kind, len(listed)))
            values.update({f"{column}__{n}": value for n, value in enumerate(listed)})
        else:
            shape.append((column, "is", 1))
            values[f"{column}__0"] = condition
    return tuple(shape), values


def _listed(condition: Collection[object]) -> tuple[str, list[object]]:
    """Repeat the last value up to a power of two, so that few statements serve lists of all lengths."""
    listed = list(dict.fromkeys(value for value in condition if value is not None))
    if len(listed) > MOST_VALUES:
        raise ValueError(f"{len(listed)} values in one condition; at the most {MOST_VALUES}")
    kind = "in" if None not in condition else "in or absent" if listed else "absent"
    if listed:
        listed += listed[-1:] * ((1 << (len(listed) - 1).bit_length()) - len(listed))
    return kind, listed


def met(table: Table, shape: Shape) -> list[ColumnElement[bool]]:
    """Build the conditions of a shape on the columns of ``table``."""
    return [_met(table.c[column], kind, count) for column, kind, count in shape]


def _met(column: ColumnElement[Any], kind: str, count: int) -> ColumnElement[bool]:
    name = column.key
    match kind:
        case "absent":
            return column.is_(None)
        case "is":
            return column == bindparam(f"{name}__0")
        case "from":
            return column >= bindparam(f"{name}__from")
        case "to":
            return column < bindparam(f"{name}__to")
    within = column.in_([bindparam(f"{name}__{n}") for n in range(count)])
    return within if kind == "in" else or_(column.is_(None), within)


def _find(
    table: Table, shape: Shape, order: Sequence[str], *, has_limit: bool
) -> ClauseElement:
    query = (
        select(*table.columns)
        .where(*met(table, shape))
        .order_by(*(_ordered(table, name) for name in order))
    )
    return query.limit(bindparam("limit")) if has_limit else query


def _total(order: Sequence[str], key: Sequence[str]) -> tuple[str, ...]:
    """Complete ``order`` with the key, in the first column's direction, as an index would have it."""
    named = {name.removeprefix("-") for name in order}
    sign = "-" if order and order[0].startswith("-") else ""
    return (*order, *(sign + name for name in key if name not in named))


def _ordered(table: Table, name: str) -> ColumnElement[Any]:
    """Order by a column; engines disagree about where absent values stand, so say it."""
    column = table.c[name.removeprefix("-")]
    ordered = column.desc() if name.startswith("-") else column.asc()
    if not column.nullable:
        return ordered
    return ordered.nulls_last() if name.startswith("-") else ordered.nulls_first()


def _size() -> ColumnElement[int]:
    return func.coalesce(func.max(LOG.c.position) + literal_column("1"), literal_column("0"))
