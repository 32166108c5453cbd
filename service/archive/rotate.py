"""Rotating keys: a new epoch, everything that survives rewrapped to it, the old one destroyed.

Only wrappings change, never what they open. Every batch is replaced in one step, so that killed at any point every
object has a header that opens, and running it again goes on. What was destroyed meanwhile stays destroyed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from service.archive.vault import epoch_of
from service.domain.actor import Actor
from service.domain.errors import ArchiveError
from service.keys.epoch import Epoch
from service.keys.provider import KeyProvider
from service.keys.ring import KeyRing
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Append, KeyStore, Store
from storage.rows import KeyRow

BATCH = 500
SETTLE = timedelta(minutes=1)
"""A running service takes up a new epoch within seconds; until this has passed it could still seal to the old one."""


class EpochInUseError(ArchiveError):
    """The epoch cannot be destroyed yet; ``str`` says what to do."""

    code = "epoch_in_use"
    public = "This epoch is still in use."


@dataclass(frozen=True, slots=True)
class EpochUse:
    """An epoch, and how many keys it opens."""

    epoch: Epoch
    keys: int
    is_current: bool


@dataclass(frozen=True, slots=True)
class Rotation:
    """The use cases of epochs."""

    store: Store
    keys: KeyStore
    provider: KeyProvider
    ring: KeyRing

    async def find_epochs(self) -> list[EpochUse]:
        """Return every epoch, with how many keys it opens."""
        counts: Mapping[str, int] = await self.keys.count_keys()
        return [
            EpochUse(
                epoch,
                counts.get(f"epoch:{epoch.number}", 0),
                epoch.number == self.ring.current_epoch,
            )
            for epoch in self.ring.epochs
        ]

    async def rotate(
        self, *, actor: Actor, now: datetime, progress: Callable[[int, int], None]
    ) -> int:
        """Begin a new epoch and rewrap everything to it; return how many keys were rewrapped.

        When an earlier rotation was interrupted, that one is finished and no other begun.
        """
        if not any(use.keys for use in await self.find_epochs() if not use.is_current):
            epoch = self.provider.add_epoch(now=now)
            self.ring.adopt(self.provider.load())
            await self._note(EntryType.KEY_EPOCH_CREATED, epoch.number, actor=actor, now=now)
        uses = [use for use in await self.find_epochs() if use.keys and not use.is_current]
        total, done = sum(use.keys for use in uses), 0
        for use in uses:
            after = ""
            while rows := await self.keys.find_keys(
                f"epoch:{use.epoch.number}", after=after, limit=BATCH
            ):
                await self.keys.replace_keys([self._rewrapped(row) for row in rows])
                after = rows[-1].id
                done += len(rows)
                progress(done, max(total, done))
            await self._note(
                EntryType.KEY_EPOCH_RETIRED, use.epoch.number, actor=actor, now=now
            )
        return done

    async def destroy(self, number: int, *, actor: Actor, now: datetime) -> tuple[str, ...]:
        """Destroy an epoch that opens nothing any more; return which copies elsewhere must go too.

        Raises:
            EpochInUseError: It is current, still opens keys, or was left only a moment ago.
            NotFoundError: There never was such an epoch.
        """
        uses = await self.find_epochs()
        newest = uses[-1].epoch
        for use in uses:
            if use.epoch.number == number and use.is_current:
                raise EpochInUseError(
                    f"epoch {number} is the current one: run keys rotate first"
                )
            if use.epoch.number == number and use.keys:
                raise EpochInUseError(
                    f"epoch {number} still opens {use.keys} keys: run keys rotate"
                )
        if now < newest.created_at + SETTLE:
            raise EpochInUseError(
                "the newest epoch is less than a minute old: try again in a minute"
            )
        copies = self.provider.destroy_epoch(number, now=now)
        self.ring.adopt(self.provider.load())
        await self._note(EntryType.KEY_EPOCH_DESTROYED, number, actor=actor, now=now)
        return copies

    def _rewrapped(self, row: KeyRow) -> KeyRow:
        rewrap = self.ring.rewrap_key if row.kind == "row" else self.ring.rewrap_header
        epoch, wrapped = rewrap(epoch_of(row), row.wrapped)
        return replace(row, wrapped_by=f"epoch:{epoch}", wrapped=wrapped)

    async def _note(self, kind: EntryType, number: int, *, actor: Actor, now: datetime) -> None:
        entry = LogEntry(type=kind, at=now, actor=actor.id, data={"epoch": number})
        await self.store.commit([Append(encode_entry(entry))])
