"""Digests of rows: what a log entry says about a row, so that no column of it can be changed unseen.

Whoever stores a row of a contact, recording or message appends the entry that `append_proving` makes in the same
change; a row that no entry commits to, or that is newer than what the log commits to, counts as altered.

A digest covers every column, the sealed ones as they are sealed. Their nonces are random, so a digest tells
nothing of what is in them, and nothing at all once the row is gone.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Final

import msgspec

from service.log.entry import LogEntry, encode_entry
from service.log.errors import FormatError
from storage.ports import Append
from storage.rows import ContactRow, MessageRow, RecordingRow

FIELD = "rows"
"""The name in the data of an entry under which it commits to rows."""

_STATED: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}):([1-9][0-9]{0,17}):([0-9a-f]{64})"
)

ProvenRow = ContactRow | RecordingRow | MessageRow

_COLUMNS = {
    kind: attrgetter(*(column.name for column in fields(kind)))
    for kind in (ContactRow, RecordingRow, MessageRow)
}


def append_proving(entry: LogEntry, rows: Iterable[ProvenRow]) -> Append:
    """Return the append of ``entry``, which commits to ``rows`` as they are written beside it."""
    committed = commit_to_rows(rows)
    if committed:
        entry = replace(entry, data={**entry.data, FIELD: committed})
    return Append(encode_entry(entry), entry.about)


def commit_to_rows(rows: Iterable[ProvenRow]) -> tuple[str, ...]:
    """Return what an entry says of ``rows``: id, version and SHA-256 of each, for ``data["rows"]``."""
    return tuple(f"{row.id}:{version_of(row)}:{row_digest(row)}" for row in rows)


def version_of(row: ProvenRow) -> int:
    """Return the version of the row; messages never change."""
    return 1 if isinstance(row, MessageRow) else row.version


def row_digest(row: ProvenRow) -> str:
    """Return the SHA-256 of the row: its class's name and its columns in order, as MessagePack, in hexadecimal."""
    encoded = msgspec.msgpack.encode([type(row).__name__, *_COLUMNS[type(row)](row)])
    return hashlib.sha256(encoded).hexdigest()


def find_committed_rows(entries: Iterable[LogEntry]) -> Mapping[str, tuple[int, str]]:
    """Return the newest version of each row that ``entries`` commit to, and its digest, by id.

    Raises:
        FormatError: An entry does not say it as ``commit_to_rows`` does.
    """
    newest: dict[str, tuple[int, str]] = {}
    for entry in entries:
        stated = entry.data.get(FIELD, ())
        if not isinstance(stated, tuple):
            raise FormatError("What an entry says of rows is not a list.")
        for text in stated:
            match = _STATED.fullmatch(str(text))
            if match is None:
                raise FormatError(
                    "What an entry says of a row is not its id, version and digest."
                )
            newest[match[1]] = max(newest.get(match[1], (0, "")), (int(match[2]), match[3]))
    return newest
