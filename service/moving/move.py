"""Moving an archive: claim the new place, copy, compare everything there, and only then let it be used.

What a stop between two steps leaves: before the record says *moving*, an archive that runs on as before, and a new
place that nobody can open; after it, an archive that nobody opens until the move goes on or is given up; after it says
*moved*, a new place that is whole, and is let go by asking for the same move again. Never two places to write to.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from service.archive.published import PublishedLog
from service.archive.verify_rows import pages
from service.domain.errors import ArchiveError, UnavailableError
from service.log.checkpoint import decode_checkpoint, verify_checkpoint
from service.moving.blobs import BlobMove
from service.moving.record import Move, MoveRecord, State
from service.moving.rows import Findings, RowComparison, Signed, copy_rows
from storage.moving import KEYS, LOG_TABLE, Moved, RowReader, RowTarget
from storage.ports import Store
from storage.rows import DeliveryRow, ErasureRow, ObjectRow

Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it is."""


@dataclass(frozen=True, slots=True)
class RowMove:
    """The tables that go from one store of rows to another."""

    source: RowReader
    target: RowTarget
    tables: Sequence[Moved]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a move has to do; zero is what stays where it is."""

    rows: int
    entries: int
    keys: int
    blobs: int
    blob_bytes: int

    @property
    def all_rows(self) -> int:
        """Rows, entries and keys together."""
        return self.rows + self.entries + self.keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """Moves the archive of ``store`` and ``published``; ``blobs`` is None where they stay."""

    record: MoveRecord
    store: Store
    published: PublishedLog
    rows: Sequence[RowMove]
    blobs: BlobMove | None
    findings: Findings
    progress: Progress

    async def plan(self) -> Plan:
        """Count what is to be moved.

        Raises:
            UnavailableError: An erasure is half done.
        """
        erasing = {
            table: await self.store.count(table, {"state": "erasing"})
            for table in (ErasureRow, DeliveryRow)
        }
        if any(erasing.values()):
            raise UnavailableError(
                "an erasure is not finished yet; start the service, which finishes it, and stop it again"
            )
        counts = {
            table.name: await one.source.count(table)
            for one in self.rows
            for table in one.tables
        }
        keys = sum(counts.pop(table.name, 0) for table in KEYS)
        entries = counts.pop(LOG_TABLE.name, 0)
        blobs = size = 0
        if self.blobs is not None:
            async for objects in pages(self.store, ObjectRow):
                blobs += len(objects)
                size += sum(row.sealed_bytes for row in objects)
        return Plan(
            rows=sum(counts.values()), entries=entries, keys=keys, blobs=blobs, blob_bytes=size
        )

    async def move(self, move: Move, plan: Plan) -> bool:
        """Do what is left of ``move``; tell whether all is moved and found equal, and the new place may be used.

        Raises:
            StorageError: A place is taken, or cannot be used now.
        """
        if move.state is not State.MOVED:
            await self._begin(move)
            await self._copy(plan)
            await self._compare_rows(plan.all_rows)
            await self._compare_blobs(plan.blobs)
            if self.findings.count:
                return False
            await self._keep(move, State.MOVED)
        await self._release(move)
        return True

    async def give_up(self, move: Move) -> bool:
        """Let the archive be used where it was; tell whether it may be, because nothing was written at the new place.

        Raises:
            StorageError: The new place is in use, or cannot be asked.
        """
        if move.state is State.MOVED:
            for one in self.rows:
                await one.target.reclaim(move.id)
            await self._compare_rows(sum([await self._count(one) for one in self.rows]))
            if self.blobs is not None:
                await self.blobs.compare_names()
            if self.findings.count:
                await self._release(move)
                return False
            if self.blobs is not None:
                await self.blobs.reclaim(move.id)
        await self._keep(move, State.GIVEN_UP)
        return True

    async def _begin(self, move: Move) -> None:
        """Claim the new place before anything else changes; copy afresh where the archive was used since."""
        if move.state is not State.MOVING:
            await self._keep(move, State.GIVEN_UP)
        for one in self.rows:
            await one.target.claim(move.id)
        if self.blobs is not None:
            await self.blobs.claim(move.id)
        if move.state is not State.MOVING:
            for one in self.rows:
                await one.target.empty()
            await self._keep(move, State.MOVING)

    async def _copy(self, plan: Plan) -> None:
        tell = self._telling("copying rows", plan.all_rows)
        for one in self.rows:
            for table in one.tables:
                await copy_rows(one.source, one.target, table, tell=tell)
        if self.blobs is not None:
            await self.blobs.copy(tell=self._telling("copying blobs", plan.blobs))

    async def _compare_rows(self, total: int) -> None:
        if not self.rows:
            return
        signed = await asyncio.to_thread(self._signed)
        tell = self._telling("comparing rows", total)
        for one in self.rows:
            comparison = RowComparison(one.source, one.target, self.findings, signed)
            for table in one.tables:
                await comparison.compare(table, tell=tell)

    async def _compare_blobs(self, total: int) -> None:
        if self.blobs is not None:
            await self.blobs.compare(tell=self._telling("comparing blobs", total))

    async def _release(self, move: Move) -> None:
        """Let the new place be used, the keys before the rows without which nobody looks for an archive."""
        if self.blobs is not None:
            await self.blobs.release(move.id)
        for one in reversed(self.rows):
            await one.target.release(move.id)

    async def _keep(self, move: Move, state: State) -> None:
        changed = msgspec.structs.replace(move, state=state)
        await asyncio.to_thread(self.record.put, changed)

    async def _count(self, one: RowMove) -> int:
        return sum([await one.source.count(table) for table in one.tables])

    def _signed(self) -> Sequence[Signed]:
        """Return what was signed of the log, each signature checked; name one that is not the archive's own."""
        view = self.published.view()
        if view is None:
            return ()
        signed = []
        for called, note in (
            ("ledger/last-checkpoint", view.last),
            ("log/checkpoint", view.checkpoint),
        ):
            if note is None:
                continue
            try:
                verify_checkpoint(note, view.key)
                checkpoint = decode_checkpoint(note)
            except ArchiveError:
                self.findings.add(f"{called}: is not signed by this archive")
            else:
                signed.append(Signed(view.position.first, checkpoint.size, checkpoint.root))
        return list(dict.fromkeys(signed))

    def _telling(self, what: str, total: int) -> Callable[[int], None]:
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            # Blobs that no row names are not counted beforehand.
            self.progress(what, done, max(total, done))

        return tell
