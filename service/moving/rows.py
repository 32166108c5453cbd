"""Copying rows to where they are going, and comparing them there, value by value."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from service.log.frontier import Frontier
from storage.moving import LOG_TABLE, Moved, RowReader, RowTarget, Values

Tell = Callable[[int], None]
"""Is told how many more are done."""

_MOST_NAMED: Final = 100


@dataclass(slots=True)
class Findings:
    """What is not as it should be: the first in words, and how many in all."""

    named: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.named) < _MOST_NAMED:
            self.named.append(text)


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint of the log that was found to be signed; ``first`` is the position of the log's first entry."""

    first: int
    size: int
    root: bytes


async def copy_rows(source: RowReader, target: RowTarget, table: Moved, *, tell: Tell) -> None:
    """Copy what has not arrived yet of ``table``.

    Raises:
        StorageError: A store cannot do it now. What has arrived stays.
    """
    key = await target.last_key(table)
    if key is not None:
        tell(await target.count(table))
    while rows := await source.after(table, key):
        await target.add(table, rows)
        key = table.key_of(rows[-1])
        tell(len(rows))


class RowComparison:
    """Compares all rows of a target with those of its source; the log also with what was signed of it."""

    def __init__(
        self, source: RowReader, target: RowTarget, findings: Findings, signed: Sequence[Signed]
    ) -> None:
        self._source = source
        self._target = target
        self._findings = findings
        self._signed = signed

    async def compare(self, table: Moved, *, tell: Tell) -> int:
        """Compare ``table``; return how many rows the source has.

        Raises:
            StorageError: A store cannot be read now.
        """
        log = _LogCheck(self._findings, self._signed) if table == LOG_TABLE else None
        key: Values | None = None
        seen = 0
        while rows := await self._source.after(table, key):
            last = table.key_of(rows[-1])
            found = await self._target.between(table, key, last, limit=len(rows) + 1)
            self._compare(table, rows, found)
            if log is not None:
                log.take(found)
            key = last
            seen += len(rows)
            tell(len(rows))
        if log is not None:
            log.end()
        there = await self._target.count(table)
        if there != seen:
            self._findings.add(
                f"{table.name}: {there:,} rows at the new place, {seen:,} at the old one"
            )
        return seen

    def _compare(self, table: Moved, rows: Sequence[Values], found: Sequence[Values]) -> None:
        if rows == found:
            return
        if len(found) > len(rows):
            # More than was asked for: what lies behind the last was not looked at, and its rows are not missing.
            last = cast("tuple[int | str | bytes, ...]", table.key_of(found[-1]))
            rows = [row for row in rows if table.key_of(row) <= last]
        there = {table.key_of(row): row for row in found}
        for row in rows:
            other = there.pop(table.key_of(row), None)
            if other is None:
                self._findings.add(f"{table.called(row)}: is missing at the new place")
            elif other != row:
                self._findings.add(f"{table.called(row)}: is not the same at both places")
        for row in there.values():
            self._findings.add(f"{table.called(row)}: is at the new place alone")


class _LogCheck:
    """Holds the log's entries against their hashes, and the tree of these against what was signed."""

    def __init__(self, findings: Findings, signed: Sequence[Signed]) -> None:
        self._findings = findings
        self._left = sorted(signed, key=lambda one: one.size)
        self._next = 0
        self._frontier = Frontier()

    def take(self, rows: Sequence[Values]) -> None:
        """Take the next entries: position, entry and leaf hash."""
        leaves = []
        for row in rows:
            position, entry, leaf = cast("tuple[int, bytes, bytes]", row[:3])
            if position != self._next:
                self._findings.add(f"log {self._next}: the entry is missing")
            if hashlib.sha256(b"\0" + entry).digest() != leaf:
                self._findings.add(f"log {position}: the entry is not the one that was hashed")
            self._next = position + 1
            # Every signed state is of the log that is written now, and so begins at one place.
            if self._left and position >= self._left[0].first:
                leaves.append(leaf)
        self._extend(leaves)

    def _extend(self, leaves: Sequence[bytes]) -> None:
        while self._left and len(leaves) >= (
            missing := self._left[0].size - self._frontier.size
        ):
            self._frontier = self._frontier.extended(leaves[:missing])
            leaves, signed = leaves[missing:], self._left.pop(0)
            if self._frontier.root != signed.root:
                self._findings.add(
                    f"log: its first {signed.size:,} entries are not those that were signed"
                )
        self._frontier = self._frontier.extended(leaves)

    def end(self) -> None:
        """Note what was signed and never came."""
        for signed in self._left:
            if signed.size:
                self._findings.add(
                    f"log: {signed.size:,} entries were signed, and there are fewer"
                )
