"""The log entries of access: random ids, roles and reasons; never a login, a name or an address."""

from collections.abc import Mapping
from datetime import datetime

from service.log.entry import EntryType, LogEntry, Value, encode_entry
from storage.ports import Append


def entry(
    type_: EntryType,
    *about: str,
    actor: str,
    at: datetime,
    data: Mapping[str, Value] | None = None,
) -> Append:
    """Return the write that appends the entry, found again by each id of ``about``."""
    encoded = encode_entry(LogEntry(type_, at, actor, about, data or {}))
    return Append(encoded, about)
