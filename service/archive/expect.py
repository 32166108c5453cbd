"""Recordings that should have come: from *expected* to *lost* when the source's grace time is over.

One that comes late heals the contact by itself (`service.archive.draft`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.archive.records import (
    SealedRecording,
    contact_of,
    contact_row,
    decide_recording_state,
)
from service.archive.remarks import raise_attention
from service.archive.vault import Vault, seal_value
from service.domain.contact import RecordingState
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StaleError
from storage.ports import Append, Change, Replace, Span, Store
from storage.rows import ContactRow, RecordingRow

CAUSE = "not_delivered_in_time"
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Expectations:
    """Turns expected recordings whose time is over into lost ones."""

    store: Store
    vault: Vault

    async def give_up(self, *, now: datetime) -> int:
        """Mark as lost what was expected until now and has not come; return how many.

        A recording that arrives at the same moment wins: its commit makes this one stale, and nothing is lost.
        """
        overdue = await self.store.find(
            RecordingRow,
            {
                "state": RecordingState.EXPECTED.value,
                "expected_until": Span(None, to_microseconds(now)),
            },
            limit=_BATCH,
        )
        if not overdue:
            return 0
        ids = sorted({row.contact_id for row in overdue})
        contacts = {row.id: row for row in await self.store.find(ContactRow, {"id": ids})}
        siblings: dict[str, list[RecordingRow]] = {}
        for row in await self.store.find(RecordingRow, {"contact_id": ids}):
            siblings.setdefault(row.contact_id, []).append(row)
        changes = await self._changes(overdue, contacts, siblings, now=now)
        lost = 0
        for error in await self.store.commit_each(changes):
            if error is None:
                lost += 1
            elif not isinstance(error, StaleError):
                raise error
        return lost

    async def _changes(
        self,
        overdue: Sequence[RecordingRow],
        contacts: Mapping[str, ContactRow],
        siblings: Mapping[str, Sequence[RecordingRow]],
        *,
        now: datetime,
    ) -> list[Change]:
        sealers = await self.vault.find_sealers(list(contacts))
        changes: list[Change] = []
        for row in overdue:
            stored, sealer = contacts.get(row.contact_id), sealers.get(row.contact_id)
            if stored is None or sealer is None:
                continue
            version = row.version + 1
            sealed = seal_value(
                sealer,
                SealedRecording(cause=CAUSE),
                table="recordings",
                row=row.id,
                version=version,
            )
            lost = replace(
                row,
                version=version,
                state=RecordingState.LOST.value,
                expected_until=None,
                sealed=sealed,
            )
            others = [s.state for s in siblings[row.contact_id] if s.id != row.id]
            contact = replace(
                contact_of(stored, sealer),
                version=stored.version + 1,
                recording_state=decide_recording_state([*others, lost.state]),
            )
            entry = LogEntry(
                type=EntryType.RECORDING_LOST,
                at=now,
                actor="system",
                about=(row.contact_id, row.id),
                data={"cause": CAUSE},
            )
            changes.append(
                [
                    Replace(
                        contact_row(contact, source_token=stored.source_token, sealer=sealer)
                    ),
                    Replace(lost),
                    Append(encode_entry(entry), entry.about),
                    *raise_attention(
                        "recording_lost",
                        about=row.contact_id,
                        source=stored.source,
                        actor="system",
                        now=now,
                    ),
                ]
            )
        return changes
