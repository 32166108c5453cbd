"""Gathering the writes of many changes, so that few statements carry them out; and what is the same on both engines."""

import hashlib
from collections.abc import Sequence
from operator import attrgetter

from sqlalchemy import Table

from storage.ports import Append, Change, Remove, Require, Write
from storage.rows import Row
from storage.tables import TABLES

Item = Row | tuple[object, ...]
Run = tuple[type[Write], list[Item]]


def sort_writes(changes: Sequence[Change]) -> tuple[dict[type[Row], list[Run]], list[Append]]:
    """Gather the writes by table, in order, with neighbours of one kind together.

    Raises:
        TypeError, AttributeError: Something among them is no write of ours.
    """
    runs: dict[type[Row], list[Run]] = {}
    appended: list[Append] = []
    for change in changes:
        for write in change:
            kind = type(write)
            if isinstance(write, Append):
                appended.append(write)
                continue
            item: Item
            if isinstance(write, Remove):
                table, item = write.table, write.key
            elif isinstance(write, Require):
                table, item = write.table, (*write.key, write.version)
            else:
                table, item = type(write.row), write.row
            if table not in TABLES:
                raise TypeError(f"there is no table of {table.__name__}")
            of_table = runs.setdefault(table, [])
            if not of_table or of_table[-1][0] is not kind:
                of_table.append((kind, []))
            of_table[-1][1].append(item)
    return runs, appended


def leaf_of(append: Append) -> bytes:
    """Return the leaf hash of an entry (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\0" + append.entry).digest()


def subjects_of(append: Append) -> tuple[str, ...]:
    """Return what an entry is about, each once."""
    return tuple(dict.fromkeys(append.about))


def require_versions(table: Table) -> None:
    """Return when rows of ``table`` have versions.

    Raises:
        TypeError: They have none, so that nobody can tell which is there.
    """
    if "version" not in table.c:
        raise TypeError(f"{table.name} has no versions; use Put")


def stale(table: type[Row], items: Sequence[Item] = ()) -> str:
    """Say that of ``items`` not all have the version that was expected, and which, where it is one."""
    named = TABLES[table].name
    if len(items) == 1:
        named += f" {attrgetter(*table.KEY)(items[0])}"
    return f"{named}: another version is there, or none"
