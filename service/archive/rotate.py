"""Rotating keys: a new epoch, everything that survives rewrapped to it, the old one destroyed.

Only wrappings change, never what they open. Every batch is replaced in one step, so that killed at any point every
object has a header that opens, and running it again goes on. What was destroyed meanwhile stays destroyed.

Other processes take up a new epoch within seconds. Rewrapping waits for that; before an epoch is destroyed the key
store closes it, so that a process that has not heard of it is refused instead of sealing what nobody could open.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from service.archive.alarm import raise_alarm
from service.archive.vault import epoch_of
from service.domain.actor import Actor
from service.domain.errors import ArchiveError, NotFoundError, TamperedError
from service.domain.times import to_microseconds
from service.keys.epoch import Epoch, EpochState
from service.keys.provider import KeyProvider
from service.keys.ring import KeyRing
from service.log.entry import EntryType, LogEntry, decode_entry, encode_entry
from storage.ports import Append, KeyStore, LogStore, Store
from storage.rows import CLOSED, KeyRow

BATCH: Final = 500
TAKE_UP: Final = timedelta(seconds=7)
"""A running service looks for new epochs more often than this."""
SETTLE: Final = timedelta(minutes=1)
"""No epoch is destroyed sooner after a rotation began: by then every running service has taken the new one up."""

_PASSES: Final = 5


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
    """The use cases of epochs. ``take_up`` is how long others may need to notice a new epoch."""

    store: Store
    keys: KeyStore
    provider: KeyProvider
    ring: KeyRing
    log: LogStore
    take_up: timedelta = TAKE_UP

    async def find_epochs(self) -> list[EpochUse]:
        """Return every epoch, with how many keys it opens."""
        counts: Mapping[str, int] = await self.keys.count_keys()
        return [
            EpochUse(
                epoch,
                counts.get(_wrapper(epoch.number), 0),
                epoch.number == self.ring.current_epoch,
            )
            for epoch in self.ring.epochs
        ]

    async def rotate(
        self, *, actor: Actor, now: datetime, progress: Callable[[int, int], None]
    ) -> int:
        """Begin a new epoch and rewrap everything to it; return how many keys were rewrapped.

        When an earlier rotation was interrupted, that one is finished and no other begun.

        Raises:
            TamperedError: Some keys do not authenticate, and stay as they are. An alarm was raised for each; all
                others were rewrapped.
        """
        await self._adopt()
        if not await self._is_interrupted():
            await asyncio.to_thread(self.provider.add_epoch, now=now)
            await self._adopt()
        await self._note_created(actor=actor, now=now)
        await asyncio.sleep(self._settling(now, self.take_up).total_seconds())
        done, altered = await self._rewrap_all(progress)
        for row in altered:
            await raise_alarm(
                self.store, "key", about=row.id, contact_id=None, actor_id=actor.id, now=now
            )
        for use in await self.find_epochs():
            if not use.keys and not use.is_current:
                await self._note_once(
                    EntryType.KEY_EPOCH_RETIRED, use.epoch.number, actor=actor, now=now
                )
        if altered:
            raise TamperedError(f"{len(altered)} keys do not authenticate: {altered[0].id}, …")
        return done

    async def destroy(self, number: int, *, actor: Actor, now: datetime) -> tuple[str, ...]:
        """Destroy an epoch that opens nothing any more; return which copies elsewhere must go too.

        Order: the key store closes the epoch, the keys are counted again, the provider destroys it, the log says so.
        Interrupted, it is destroyed by calling again.

        Raises:
            EpochInUseError: It is current, still opens keys, or the newest epoch is less than a minute old.
            NotFoundError: There never was such an epoch.
        """
        await self._adopt()
        await self._require_unused(number)
        if self._settling(now, SETTLE):
            raise EpochInUseError(
                "the newest epoch is less than a minute old: try again in a minute"
            )
        closing = KeyRow(
            id=_wrapper(number),
            kind=CLOSED,
            wrapped_by="",
            wrapped=b"",
            made_at=to_microseconds(now),
        )
        await self.keys.put_keys([closing])
        # Now nothing can be added any more, and what came in between is counted.
        await self._require_unused(number)
        copies = await asyncio.to_thread(self.provider.destroy_epoch, number, now=now)
        await self._adopt()
        await self._note_once(EntryType.KEY_EPOCH_DESTROYED, number, actor=actor, now=now)
        return copies

    async def _adopt(self) -> None:
        self.ring.adopt(await asyncio.to_thread(self.provider.load))

    def _settling(self, now: datetime, period: timedelta) -> timedelta:
        """Return how much of ``period`` after the newest epoch was made is still to come."""
        # Epochs are dated to the second, rounded down.
        made_at = self.ring.epochs[-1].created_at + timedelta(seconds=1)
        return min(max(made_at + period - now, timedelta()), period)

    async def _require_unused(self, number: int) -> None:
        uses = {use.epoch.number: use for use in await self.find_epochs()}
        if number not in uses:
            raise NotFoundError(f"there is no epoch {number}")
        if uses[number].is_current:
            raise EpochInUseError(f"epoch {number} is the current one: run keys rotate first")
        if uses[number].keys and uses[number].epoch.state is not EpochState.DESTROYED:
            raise EpochInUseError(
                f"epoch {number} still opens {uses[number].keys} keys: run keys rotate"
            )

    # -- rewrapping

    async def _is_interrupted(self) -> bool:
        """Tell whether a rotation was begun and not finished."""
        noted = await self._noted(EntryType.KEY_EPOCH_RETIRED)
        return any(
            use.keys or use.epoch.number not in noted
            for use in await self.find_epochs()
            if not use.is_current and use.epoch.state is not EpochState.DESTROYED
        )

    async def _rewrap_all(
        self, progress: Callable[[int, int], None]
    ) -> tuple[int, list[KeyRow]]:
        """Rewrap what older epochs open, and what was added meanwhile; return how many, and what does not open."""
        done, altered = 0, dict[str, KeyRow]()
        for _ in range(_PASSES):
            uses = [
                use
                for use in await self.find_epochs()
                if use.keys
                and not use.is_current
                and use.epoch.state is not EpochState.DESTROYED
            ]
            left = sum(use.keys for use in uses) - len(altered)
            if left <= 0:
                break
            total = done + left
            for use in uses:
                after = ""
                while rows := await self.keys.find_keys(
                    _wrapper(use.epoch.number), after=after, limit=BATCH
                ):
                    rewrapped, refused = await asyncio.to_thread(self._rewrapped, rows)
                    await self.keys.replace_keys(rewrapped)
                    altered.update({row.id: row for row in refused})
                    after = rows[-1].id
                    done += len(rewrapped)
                    progress(done, max(total, done))
        return done, list(altered.values())

    def _rewrapped(self, rows: Sequence[KeyRow]) -> tuple[list[KeyRow], list[KeyRow]]:
        rewrapped, altered = [], []
        for row in rows:
            rewrap = self.ring.rewrap_key if row.kind == "row" else self.ring.rewrap_header
            try:
                epoch, wrapped = rewrap(epoch_of(row), row.wrapped)
            except TamperedError:
                altered.append(row)
            else:
                rewrapped.append(replace(row, wrapped_by=_wrapper(epoch), wrapped=wrapped))
        return rewrapped, altered

    # -- the log

    async def _note_created(self, *, actor: Actor, now: datetime) -> None:
        """Log the epochs that are not in the log, as when an earlier attempt was killed before it could."""
        for epoch in self.ring.epochs[1:]:
            await self._note_once(
                EntryType.KEY_EPOCH_CREATED, epoch.number, actor=actor, now=now
            )

    async def _note_once(
        self, kind: EntryType, number: int, *, actor: Actor, now: datetime
    ) -> None:
        if number in await self._noted(kind):
            return
        entry = LogEntry(
            type=kind, at=now, actor=actor.id, about=(_SUBJECT,), data={"epoch": number}
        )
        await self.store.commit([Append(encode_entry(entry), entry.about)])

    async def _noted(self, kind: EntryType) -> set[int]:
        entries = [decode_entry(one.entry) for one in await self.log.log_about(_SUBJECT)]
        found = (entry.data.get("epoch") for entry in entries if entry.type is kind)
        return {number for number in found if isinstance(number, int)}


_SUBJECT: Final = "epochs"


def _wrapper(epoch: int) -> str:
    return f"epoch:{epoch}"
