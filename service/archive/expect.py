"""Recordings that should have come: from *expected* to *lost* when the source's grace time is over.

One that comes late heals the contact by itself (`service.archive.draft`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from service.archive.alarm import REASON, raise_alarm
from service.archive.digest import append_proving
from service.archive.draft_recordings import AWAITED
from service.archive.records import (
    contact_of,
    contact_row,
    decide_recording_state,
    recording_of,
)
from service.archive.remarks import raise_attention
from service.archive.vault import Vault, seal_value
from service.crypto.fields import FieldSealer
from service.domain.actor import SYSTEM
from service.domain.contact import RecordingState
from service.domain.errors import TamperedError
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry
from storage.errors import StaleError
from storage.ports import Change, Replace, Span, Store, Write
from storage.rows import AttentionRow, ContactRow, RecordingRow

CAUSE = "not_delivered_in_time"
RECORDING_LOST = "recording_lost"
"""The reason under which a recording that did not come needs attention."""
_BATCH = 500


@dataclass(frozen=True, slots=True)
class _Overdue:
    """A recording whose time is over, its contact, and what became of the contact's other recordings."""

    row: RecordingRow
    contact: ContactRow
    others: Sequence[str]


@dataclass(frozen=True, slots=True)
class Expectations:
    """Turns expected recordings whose time is over into lost ones."""

    store: Store
    vault: Vault

    async def give_up(self, *, now: datetime) -> int:
        """Mark as lost what was expected until now and has not come; return how many.

        A recording that arrives at the same moment wins: its commit makes this one stale, and nothing is lost. What
        belongs to an erased contact is passed over; what does not authenticate raises the alarm, once.

        Raises:
            storage.errors.StorageError: Not all of it could be done; the next run goes on.
        """
        after, lost = "", 0
        while rows := await self._page(now, after):
            lost += await self._give_up(rows, now=now)
            # Some rows may stay as they are; they must not hide the others.
            after = rows[-1].id
        return lost

    async def lose(self, recording_id: str, cause: str, *, now: datetime) -> Change | None:
        """Return what marks an awaited recording as lost because of ``cause``, to be committed by the caller.

        None when it is not awaited any more: it came, or was erased. One that is lost already is given the new cause.

        Raises:
            TamperedError: The contact or the recording is not what was sealed there.
        """
        where = {"id": recording_id, "state": list(AWAITED)}
        found = await self._read(await self.store.find(RecordingRow, where))
        sealers = await self.vault.find_sealers([one.contact.id for one in found])
        for one in found:
            if one.contact.id in sealers:
                return _lost(one, sealers[one.contact.id], cause, now=now)
        return None

    async def _page(self, now: datetime, after: str) -> Sequence[RecordingRow]:
        where = {
            "state": RecordingState.EXPECTED.value,
            "expected_until": Span(None, to_microseconds(now) + 1),
            "id": Span(f"{after}\0"),
        }
        return await self.store.find(RecordingRow, where, order=("id",), limit=_BATCH)

    async def _give_up(self, rows: Sequence[RecordingRow], *, now: datetime) -> int:
        found = await self._read(rows)
        sealers = await self.vault.find_sealers([one.contact.id for one in found])
        changes: list[Change] = []
        for one in found:
            sealer = sealers.get(one.contact.id)
            if sealer is None:
                continue
            try:
                changes.append(_lost(one, sealer, CAUSE, now=now) + _raised(one, now=now))
            except TamperedError:
                await self._alarm(one.contact.id, now=now)
        lost = 0
        for error in await self.store.commit_each(changes):
            if error is None:
                lost += 1
            elif not isinstance(error, StaleError):
                raise error
        return lost

    async def _read(self, rows: Sequence[RecordingRow]) -> list[_Overdue]:
        # The contact is read first: what changes after that makes the commit stale.
        ids = sorted({row.contact_id for row in rows})
        contacts: Mapping[str, ContactRow] = {
            row.id: row
            for row in await self.store.find(ContactRow, {"id": ids, "state": "kept"})
        }
        siblings: dict[str, list[RecordingRow]] = {}
        for sibling in await self.store.find(RecordingRow, {"contact_id": ids}):
            siblings.setdefault(sibling.contact_id, []).append(sibling)
        return [
            _Overdue(
                row,
                contacts[row.contact_id],
                [one.state for one in siblings[row.contact_id] if one.id != row.id],
            )
            for row in rows
            if row.contact_id in contacts
        ]

    async def _alarm(self, contact_id: str, *, now: datetime) -> None:
        where = {"reason": REASON, "about": contact_id, "state": "open"}
        if not await self.store.count(AttentionRow, where):
            await raise_alarm(
                self.store,
                "expect",
                about=contact_id,
                contact_id=None,
                actor_id=SYSTEM.id,
                now=now,
            )


def _lost(one: _Overdue, sealer: FieldSealer, cause: str, *, now: datetime) -> list[Write]:
    """Return the writes that give the recording up.

    Raises:
        TamperedError: The contact or the recording is not what was sealed there.
    """
    version = one.row.version + 1
    before = recording_of(one.row, sealer)
    sealed = seal_value(
        sealer,
        msgspec.structs.replace(before, cause=cause),
        table="recordings",
        row=one.row.id,
        version=version,
    )
    lost = replace(
        one.row,
        version=version,
        state=RecordingState.LOST.value,
        expected_until=None,
        sealed=sealed,
    )
    contact = replace(
        contact_of(one.contact, sealer),
        version=one.contact.version + 1,
        recording_state=decide_recording_state([*one.others, lost.state]),
    )
    entry = LogEntry(
        type=EntryType.RECORDING_LOST,
        at=now,
        actor=SYSTEM.id,
        about=(contact.id, lost.id),
        data={"cause": cause},
    )
    row = contact_row(contact, source_token=one.contact.source_token, sealer=sealer)
    return [Replace(row), Replace(lost), append_proving(entry, [row, lost])]


def _raised(one: _Overdue, *, now: datetime) -> list[Write]:
    return raise_attention(
        RECORDING_LOST,
        about=one.contact.id,
        source=one.contact.source,
        actor=SYSTEM.id,
        now=now,
    )
