"""Disposing of a contact: what it consists of, its tombstone, and the destruction of what opens it.

Order: one commit of the tombstone and its log entry, which empties every row; then whatever came at that very moment;
then the erasure ledger, before which no key goes, so that no restore brings back what was destroyed; then the keys,
the blobs, what the files of the database still hold, and the mark that all of it is done. From the first commit on
nobody is shown the contact and nothing stops its erasure: interrupted anywhere, the next run goes on where it stood.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from service.archive.digest import append_proving
from service.archive.erasure_ledger import ErasedContact, ErasureLedger, LedgerLine
from service.archive.remarks import settle_attention
from service.domain.actor import SYSTEM
from service.domain.contact import Channel, RecordingState
from service.domain.customer import LinkState
from service.domain.errors import TamperedError
from service.domain.retention import ErasureState
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, Value, decode_entry, encode_entry
from storage.errors import StaleError
from storage.ports import (
    Append,
    BlobStore,
    KeyStore,
    LogStore,
    Remove,
    Replace,
    Scrub,
    Store,
    Write,
)
from storage.rows import (
    AttentionRow,
    ContactRow,
    ContactTokenRow,
    DeliveryRow,
    ErasureRow,
    JobRow,
    LinkRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)

ERASED: Final = "erased"
KEPT: Final = "kept"
DESTROYS: Final = "destroys_sha256"
"""The name in the data of the log entry under which it commits to the ids of what is to be destroyed."""

_BATCH: Final = 500


class _Said(msgspec.Struct, frozen=True):
    erasure: str
    destroyed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that is stored of one contact, as it was read. ``contact`` is None when its row is not there."""

    contact: ContactRow | None
    recordings: Sequence[RecordingRow]
    messages: Sequence[MessageRow]
    objects: Sequence[ObjectRow]
    deliveries: Sequence[DeliveryRow]
    tokens: Sequence[ContactTokenRow]
    links: Sequence[LinkRow]
    attention: Sequence[AttentionRow]
    jobs: Sequence[JobRow]

    @property
    def is_left(self) -> bool:
        """Whether there is anything to erase."""
        is_kept = self.contact is not None and self.contact.state == KEPT
        rows = (self.messages, self.objects, self.deliveries, self.tokens)
        return is_kept or any(rows) or any(row.state != ERASED for row in self.recordings)

    def destroyed(self, contact_id: str) -> tuple[str, ...]:
        """Return the ids of what opens the contact and its parts."""
        objects, deliveries = (
            [one.id for one in self.objects],
            [one.id for one in self.deliveries],
        )
        return (contact_id, *objects, *deliveries)


@dataclass(frozen=True, slots=True)
class Disposal:
    """What disposing needs: stores and the ledger, and no key that opens anything.

    ``log`` gives only what the archive itself wrote.
    """

    store: Store
    log: LogStore
    keys: KeyStore
    blobs: BlobStore
    ledger: ErasureLedger
    scrub: Scrub

    async def read(self, contact_id: str, also: Sequence[str] = ()) -> Parts:
        """Return what is stored of the contact, with deliveries and objects that are named in ``also``."""
        find, where = self.store.find, {"contact_id": contact_id}
        # First: what changes it later makes a change that was decided on it stale.
        contacts = await find(ContactRow, {"id": contact_id})
        recordings = await find(RecordingRow, where)
        deliveries = {row.id: row for row in await find(DeliveryRow, where)}
        for ids in _batches([one for one in also if one.startswith("dl_")]):
            deliveries |= {row.id: row for row in await find(DeliveryRow, {"id": ids})}
        objects = {row.id: row for row in await find(ObjectRow, where)}
        brought = [row.object_id for row in deliveries.values() if row.object_id]
        for ids in _batches([*brought, *(one for one in also if one.startswith("ob_"))]):
            objects |= {row.id: row for row in await find(ObjectRow, {"id": ids})}
        about = [contact_id, *deliveries]
        return Parts(
            recordings=recordings,
            messages=await find(MessageRow, where),
            objects=tuple(objects.values()),
            deliveries=[row for row in deliveries.values() if row.state != ERASED],
            tokens=await find(ContactTokenRow, where),
            links=await find(LinkRow, where),
            attention=[
                row
                for ids in _batches(about)
                for row in await find(AttentionRow, {"about": ids})
            ],
            jobs=await find(JobRow, {"subject": [*(row.id for row in recordings), *objects]}),
            contact=contacts[0] if contacts else None,
        )

    async def finish(self, row: ErasureRow, *, now: datetime, is_replay: bool = False) -> None:
        """Do what remains of an erasure that was committed; on return nothing opens the contact any more.

        Raises:
            TamperedError: The log knows nothing of this erasure. Nothing was destroyed.
            storage.errors.StorageError: Not all of it could be done; doing it again goes on.
        """
        await self._require_logged(row)
        row = await self._swept(row, now=now)
        ids = row.parts.split(",")
        if not is_replay:
            await self.ledger.add(await self._line(row, ids))
        await self.destroy(ids)
        await self.scrub.scrub()
        items = await self.store.find(AttentionRow, {"about": row.id, "state": "open"})
        done = replace(
            row,
            version=row.version + 1,
            state=ErasureState.ERASED.value,
            finished_at=to_microseconds(now),
            parts="",
        )
        entry = LogEntry(
            type=EntryType.ERASURE_FINISHED,
            at=now,
            actor=SYSTEM.id,
            about=(row.id, row.contact_id),
            data={"destroyed": len(ids)},
        )
        try:
            await self.store.commit(
                [
                    Replace(done),
                    Append(encode_entry(entry), entry.about),
                    *(
                        write
                        for one in items
                        for write in settle_attention(one, actor=SYSTEM.id, now=now)
                    ),
                ]
            )
        except StaleError:
            # Somebody else finished it too.
            return

    async def _swept(self, row: ErasureRow, *, now: datetime) -> ErasureRow:
        """Empty what was added while the tombstone was being committed; since then nothing more can be added."""
        parts = without_late(await self.read(row.contact_id), row.parts.split(","))
        parts = replace(parts, attention=())
        if not parts.is_left:
            return row
        ids = dict.fromkeys((*row.parts.split(","), *parts.destroyed(row.contact_id)))
        swept = replace(row, version=row.version + 1, parts=",".join(ids))
        await self.store.commit([Replace(swept), *tombstone(parts, swept, now=now)])
        return swept

    async def destroy(self, ids: Sequence[str]) -> None:
        """Destroy the keys ``ids``, and the blobs of those that are objects."""
        await self.keys.destroy_keys(ids)
        for one in ids:
            if one.startswith("ob_"):
                await self.blobs.remove(one)

    async def _require_logged(self, row: ErasureRow) -> None:
        """Return when the archive itself decided this: a row alone, which others may have written, destroys nothing."""
        for stored in await self.log.log_about(row.id):
            entry = decode_entry(stored.entry)
            if (
                entry.type is EntryType.CONTACT_ERASED
                and entry.about == (row.contact_id, row.id)
                and entry.data.get(DESTROYS) == parts_digest(row)
            ):
                return
        raise TamperedError(f"the log does not know that {row.id} was decided")

    async def _line(self, row: ErasureRow, ids: Sequence[str]) -> LedgerLine:
        (contact,) = await self.store.find(ContactRow, {"id": row.contact_id})
        links = await self.store.find(LinkRow, {"contact_id": row.contact_id})
        return LedgerLine(
            v=1,
            erasure=row.id,
            ground=row.ground,
            requested_by=row.requested_by,
            requested_at=row.requested_at,
            approved_by=row.approved_by or "",
            at=row.approved_at or 0,
            contact=ErasedContact(
                id=contact.id,
                source=contact.source,
                source_token=contact.source_token.hex(),
                channel=contact.channel,
                direction=contact.direction,
                started_at=contact.started_at,
                created_at=contact.created_at,
                customers=tuple(
                    sorted(link.customer_id for link in links if link.state == ERASED)
                ),
            ),
            destroyed=tuple(ids),
        )


def without_late(parts: Parts, named: Collection[str]) -> Parts:
    """Return the parts without what the contact's source sent after its erasure, except what is ``named``.

    That is for a person to decide about: deliveries that are kept as failed, what they brought, and the items that
    tell of them.
    """
    late = [one for one in parts.deliveries if one.state == "failed" and one.id not in named]
    ids = {one.id for one in late}
    brought = {one.object_id for one in late}.difference(named)
    return replace(
        parts,
        deliveries=[one for one in parts.deliveries if one.id not in ids],
        objects=[one for one in parts.objects if one.id not in brought],
        attention=[one for one in parts.attention if one.about not in ids],
    )


def tombstone(
    parts: Parts,
    erasure: ErasureRow,
    *,
    now: datetime,
    is_replay: bool = False,
    stones: Sequence[ContactRow] = (),
) -> list[Write]:
    """Return the writes that leave nothing of a contact but its tombstone, with the log entry that says so.

    ``erasure`` is the erasure as it is to be stored from now on. ``stones`` are tombstones that are added beside these
    writes. The contact's row comes first.
    """
    contact = parts.contact
    emptied = [_emptied(contact)] if contact is not None and contact.state == KEPT else []
    data: dict[str, Value] = {
        "erasure": erasure.id,
        "ground": erasure.ground,
        "requested_by": erasure.requested_by,
        "approved_by": erasure.approved_by or "",
        "recordings": len(parts.recordings),
        "messages": len(parts.messages),
        "deliveries": len(parts.deliveries),
        DESTROYS: parts_digest(erasure),
    }
    if is_replay:
        data["replayed"] = 1
    entry = LogEntry(
        type=EntryType.CONTACT_ERASED,
        at=now,
        actor=SYSTEM.id if is_replay else erasure.approved_by or SYSTEM.id,
        about=(erasure.contact_id, erasure.id),
        data=data,
    )
    return [
        *(Replace(row) for row in emptied),
        append_proving(entry, [*emptied, *stones]),
        *_cleared(parts),
        *(write for row in parts.attention for write in _silenced(row, now=now)),
    ]


def said_by(line: bytes) -> bytes:
    """Return a digest of what a line of the ledger says to be destroyed, and by which erasure.

    An erasure that goes on where it stood says the same again, and the ledger need not grow by it. What is no line
    stands for itself.
    """
    try:
        said = msgspec.json.decode(line, type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return hashlib.sha256(line).digest()
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def parts_digest(erasure: ErasureRow) -> str:
    """Return the SHA-256 of what an erasure is to destroy; ids only, in hexadecimal."""
    return hashlib.sha256(erasure.parts.encode()).hexdigest()


def _cleared(parts: Parts) -> list[Write]:
    kept = [row for row in parts.recordings if row.state != ERASED]
    return [
        *(Replace(_erased_delivery(row)) for row in parts.deliveries),
        *(Replace(_erased_recording(row)) for row in kept),
        *(Remove(MessageRow, (row.id,)) for row in parts.messages),
        *(Remove(ObjectRow, (row.id,)) for row in parts.objects),
        *(Remove(ContactTokenRow, (t.token, t.started_at, t.contact_id)) for t in parts.tokens),
        *(Remove(JobRow, (row.id,)) for row in parts.jobs),
        *(_cut(link) for link in parts.links if link.state != ERASED),
    ]


def _cut(link: LinkRow) -> Write:
    """Keep of a link only whose contact it was; by what that was found out is gone, and so is a guess."""
    if link.state != LinkState.LINKED:
        return Remove(LinkRow, (link.contact_id, link.customer_id))
    return Replace(replace(link, version=link.version + 1, state=ERASED, reasons=""))


def _emptied(row: ContactRow) -> ContactRow:
    is_call = row.channel == Channel.CALL.value
    return replace(
        row,
        version=row.version + 1,
        ended_at=None,
        recording_state=RecordingState.ERASED.value if is_call else None,
        state=ERASED,
        sealed=b"",
    )


def _erased_recording(row: RecordingRow) -> RecordingRow:
    return replace(
        row,
        version=row.version + 1,
        # A name's token would tell whether it was called so.
        name_token=row.id.encode(),
        state=ERASED,
        expected_until=None,
        received_at=None,
        object_id=None,
        sealed=b"",
    )


def _erased_delivery(row: DeliveryRow) -> DeliveryRow:
    return replace(
        row, version=row.version + 1, state=ERASED, sealed=b"", await_token=None, size_bytes=0
    )


def _silenced(row: AttentionRow, *, now: datetime) -> list[Write]:
    """Settle what is open about the contact, and forget what was told of it."""
    if row.state == "open":
        return settle_attention(replace(row, sealed=None), actor=SYSTEM.id, now=now)
    if row.sealed is not None:
        return [Replace(replace(row, version=row.version + 1, sealed=None))]
    return []


def _batches(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
