"""Gathering the writes of many changes, so that few statements carry them out."""

from collections.abc import Sequence

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
