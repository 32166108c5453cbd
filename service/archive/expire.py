"""Deliveries whose time is over: what a source sent is erased after some days, whatever became of it.

What was understood lives on in its contact. What never was is erased too, but not before a person was told of it and
had time; and what nobody has tried to understand yet stays. The bytes of a recording that belongs to no contact are
part of their delivery.

Order: the tombstone with its log entry, then the keys, then the blobs, then the mark that all of it is done.
Interrupted anywhere, the next run goes on. After a restore of older rows they are over again, and erased again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from service.archive.remarks import raise_attention, settle_attention
from service.domain.actor import SYSTEM
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StaleError, StorageError
from storage.ports import Append, BlobStore, KeyStore, Remove, Replace, Span, Store, Write
from storage.rows import AttentionRow, DeliveryRow, ObjectRow

EXPIRING: Final = "delivery_expiring"
"""Needs attention: this delivery was never understood and will be erased."""

WITHOUT_CONTACT: Final = "recording_without_contact"
"""Needs attention: this recording has waited for its contact for a while."""

PART_WITHOUT_CONTACT: Final = "part_without_contact"
"""Needs attention: this part of a contact, such as a leg of a call, has waited for the rest for a while."""

NOTICE: Final = timedelta(days=7)
PATIENCE: Final = timedelta(hours=1)
_BATCH: Final = 100
_NOT_UNDERSTOOD: Final = ("failed", "waiting", "trial")


class Fate(Enum):
    """What is to become of a delivery now."""

    KEEP = auto()
    WARN = auto()
    ERASE = auto()


def decide_fate(
    state: str,
    *,
    received_at: datetime,
    warned_at: datetime | None,
    keep_for: timedelta,
    now: datetime,
) -> Fate:
    """Decide what becomes of a delivery. Nobody loses one unread, or without having been told a while before."""
    over_at = received_at + keep_for
    if state == "understood":
        return Fate.ERASE if now >= over_at else Fate.KEEP
    notice = min(NOTICE, keep_for / 2)
    if state not in _NOT_UNDERSTOOD or now < over_at - notice:
        return Fate.KEEP
    if warned_at is None:
        return Fate.WARN
    return Fate.ERASE if now >= max(over_at, warned_at + notice) else Fate.KEEP


@dataclass(frozen=True, slots=True)
class DeliveryExpiry:
    """Erases deliveries as received, ``keep_for`` after they came."""

    store: Store
    keys: KeyStore
    blobs: BlobStore
    keep_for: timedelta

    async def run(self, *, now: datetime) -> int:
        """Erase what is over, warn of what soon will be; return how many deliveries were erased.

        Raises:
            storage.errors.StorageError: Not all of it could be done; the next run goes on.
        """
        await self._finish_interrupted()
        return await self._erase_understood(now=now) + await self._erase_others(now=now)

    async def remind(self, *, now: datetime) -> None:
        """Raise attention to what waits for a contact that does not come, and settle it where the contact came."""
        after = ""
        while rows := await self._page(["waiting"], now - PATIENCE, after):
            recordings = [row for row in rows if row.kind == "recording"]
            parts = [row for row in rows if row.kind != "recording"]
            await self._remind_of(WITHOUT_CONTACT, recordings, now=now)
            await self._remind_of(PART_WITHOUT_CONTACT, parts, now=now)
            after = rows[-1].id
        await self._settle_understood(now=now)

    async def _remind_of(
        self, reason: str, rows: Sequence[DeliveryRow], *, now: datetime
    ) -> None:
        told = await self._told(reason, rows)
        for row in rows:
            if row.id not in told:
                await self._raise(reason, row, now=now)

    async def _erase_understood(self, *, now: datetime) -> int:
        over = Span(None, to_microseconds(now - self.keep_for) + 1)
        where = {"state": "understood", "received_at": over}
        total = 0
        while rows := await self.store.find(
            DeliveryRow, where, order=("received_at",), limit=_BATCH
        ):
            erased = await self._erase(rows, now=now)
            if not erased:
                break
            total += erased
        return total

    async def _erase_others(self, *, now: datetime) -> int:
        """Erase or warn of what was never understood; these stay as they are for days, and are few."""
        due = now - self.keep_for + min(NOTICE, self.keep_for / 2)
        after, total = "", 0
        while rows := await self._page(_NOT_UNDERSTOOD, due, after):
            told = await self._told(EXPIRING, rows)
            fates = [(row, self._fate(row, told, now=now)) for row in rows]
            for row in (row for row, fate in fates if fate is Fate.WARN):
                await self._raise(EXPIRING, row, now=now)
            over = [row for row, fate in fates if fate is Fate.ERASE]
            total += await self._erase(over, now=now)
            after = rows[-1].id
        return total

    def _fate(self, row: DeliveryRow, told: Mapping[str, int], *, now: datetime) -> Fate:
        warned_at = told.get(row.id)
        return decide_fate(
            row.state,
            received_at=from_microseconds(row.received_at),
            warned_at=None if warned_at is None else from_microseconds(warned_at),
            keep_for=self.keep_for,
            now=now,
        )

    async def _page(
        self, states: Sequence[str], before: datetime, after: str
    ) -> Sequence[DeliveryRow]:
        received = Span(None, to_microseconds(before) + 1)
        where = {"state": list(states), "received_at": received, "id": Span(f"{after}\0")}
        return await self.store.find(DeliveryRow, where, order=("id",), limit=_BATCH)

    # -- erasing

    async def _erase(self, rows: Sequence[DeliveryRow], *, now: datetime) -> int:
        """Erase ``rows`` together; where one of them is changed at the same moment, each for itself."""
        if not rows:
            return 0
        try:
            await self.store.commit(await self._tombstones(rows, now=now))
        except StaleError:
            if len(rows) == 1:
                return 0
            return sum([await self._erase([row], now=now) for row in rows])
        await self._finish([_erasing(row) for row in rows])
        return len(rows)

    async def _tombstones(self, rows: Sequence[DeliveryRow], *, now: datetime) -> list[Write]:
        objects = await self._objects(rows)
        loose = [one.id for one in objects if one.owner_id is None]
        entry = LogEntry(
            type=EntryType.DELIVERY_ERASED,
            at=now,
            actor=SYSTEM.id,
            about=(*(row.id for row in rows), *loose),
            data={"deliveries": len(rows), "recordings": len(loose)},
        )
        return [
            *(Replace(_erasing(row)) for row in rows),
            *(Remove(ObjectRow, (object_id,)) for object_id in loose),
            Append(encode_entry(entry), entry.about),
        ]

    async def _finish_interrupted(self) -> None:
        while rows := await self.store.find(DeliveryRow, {"state": "erasing"}, limit=_BATCH):
            await self._finish(rows)

    async def _finish(self, rows: Sequence[DeliveryRow]) -> None:
        """Destroy what opens the deliveries, and the recordings that went with them."""
        known = {one.id for one in await self._objects(rows)}
        gone = [row.object_id for row in rows if row.object_id and row.object_id not in known]
        await self.keys.destroy_keys([*(row.id for row in rows), *gone])
        for object_id in gone:
            await self.blobs.remove(object_id)
        done = [replace(row, version=row.version + 1, state="erased") for row in rows]
        _require_done(await self.store.commit_each([[Replace(row)] for row in done]))

    async def _objects(self, rows: Sequence[DeliveryRow]) -> Sequence[ObjectRow]:
        ids = [row.object_id for row in rows if row.object_id]
        return await self.store.find(ObjectRow, {"id": ids}) if ids else ()

    # -- telling

    async def _told(self, reason: str, rows: Collection[DeliveryRow]) -> Mapping[str, int]:
        """Return when attention was first raised for ``reason``, by delivery."""
        items = await self.store.find(
            AttentionRow, {"about": [row.id for row in rows], "reason": reason}
        )
        first: dict[str, int] = {}
        for item in items:
            first[item.about] = min(item.raised_at, first.get(item.about, item.raised_at))
        return first

    async def _raise(self, reason: str, row: DeliveryRow, *, now: datetime) -> None:
        await self.store.commit(
            raise_attention(reason, about=row.id, source=row.source, actor=SYSTEM.id, now=now)
        )

    async def _settle_understood(self, *, now: datetime) -> None:
        open_items = await self.store.find(
            AttentionRow,
            {"state": "open", "reason": [WITHOUT_CONTACT, PART_WITHOUT_CONTACT, EXPIRING]},
        )
        for start in range(0, len(open_items), _BATCH):
            items = open_items[start : start + _BATCH]
            understood = {
                row.id
                for row in await self.store.find(
                    DeliveryRow, {"id": [one.about for one in items], "state": "understood"}
                )
            }
            settled = [
                settle_attention(one, actor=SYSTEM.id, now=now)
                for one in items
                if one.about in understood
            ]
            _require_done(await self.store.commit_each(settled))


def _require_done(errors: Sequence[StorageError | None]) -> None:
    """Raise what went wrong, unless it is that somebody else did the same or decided otherwise meanwhile."""
    for error in errors:
        if error is not None and not isinstance(error, StaleError):
            raise error


def _erasing(row: DeliveryRow) -> DeliveryRow:
    return replace(
        row,
        version=row.version + 1,
        state="erasing",
        sealed=b"",
        await_token=None,
    )
