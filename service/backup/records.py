"""What the log says of backups: which were made, so that one that was taken away or put back is noticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.log.entry import EntryType, decode_entry
from storage.ports import LogStore

RECORDS: Final = "backups"
"""What entries about backups are about."""


@dataclass(frozen=True, slots=True)
class Record:
    """One backup that was made."""

    name: str
    made_at: datetime
    manifest_sha256: str
    keys_manifest_sha256: str


async def find_records(log: LogStore) -> Sequence[Record]:
    """Return every backup that the log knows of, oldest first."""
    entries = [decode_entry(one.entry) for one in await log.log_about(RECORDS)]
    return [
        Record(
            str(entry.data["name"]),
            entry.at,
            str(entry.data["manifest_sha256"]),
            str(entry.data["keys_manifest_sha256"]),
        )
        for entry in entries
        if entry.type is EntryType.BACKUP_MADE
    ]
