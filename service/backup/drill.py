"""A drill: a backup is brought up in a temporary place, compared, and heard; then it is removed again.

Its blobs are read where they lie with the backups, so that a drill takes no more room than the rows and keys do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from service.archive.checks import Check, Outcome
from service.archive.contact_checks import ContactChecker
from service.archive.marked import AuthenticLog, Marker
from service.archive.vault import Vault
from service.backup.blobs import hash_of
from service.backup.bringing_up import BringingUp, Rows
from service.backup.check import Verdict
from service.backup.create import LOG_FILE
from service.backup.manifest import Manifest
from service.backup.working import on_thread, scratch
from service.domain.errors import ArchiveError
from service.domain.ids import new_id
from service.keys.ring import KeyRing
from storage.backups import translated
from storage.errors import StorageError
from storage.ports import BlobStore, Condition, KeyStore, Span
from storage.rows import ObjectRow, Row

HASHES: Final = 20


@dataclass(slots=True)
class Drilled:
    """What a drill compared, and what is wrong.

    ``is_up`` once the backup was brought up; ``opened`` recordings were decrypted from end to end.
    """

    name: str
    is_up: bool = False
    rows: int = 0
    hashes: int = 0
    opened: int = 0
    erased: int = 0
    verdict: Verdict = field(default_factory=Verdict)


@dataclass(frozen=True, slots=True)
class Drill:
    """Brings backups up to see that they could be used.

    ``tables`` are the row classes by the names under which backups count them.
    """

    bringing_up: BringingUp
    pool: BlobStore
    scratch_in: Path
    ring: KeyRing = field(repr=False)
    marker: Marker = field(repr=False)
    tables: dict[str, type[Row]]

    async def run(self, manifest: Manifest, *, now: datetime) -> Drilled:
        """Bring a backup up with the newest keys, compare its counts and random hashes, open a random recording.

        Whatever stops it is the verdict: a backup that cannot be brought up is no better than none.
        """
        drilled = Drilled(manifest.name)
        try:
            with translated(self.scratch_in):
                async with self._brought_up(manifest, now=now) as (rows, keys):
                    await on_thread(partial(self._unpack_log, manifest))
                    drilled.is_up = True
                    await self._count(manifest, rows, drilled)
                    await self._hash(manifest, rows, keys, drilled)
                    await self._open(rows, keys, drilled)
        except (ArchiveError, StorageError) as error:
            drilled.verdict.add(manifest.name, error)
        return drilled

    def _unpack_log(self, manifest: Manifest, check: Callable[[], None]) -> None:
        """Unpack the published log as a restore would."""
        with scratch(self.scratch_in) as folder:
            self.bringing_up.unpacker.unpack_log(manifest, LOG_FILE, folder)
            check()

    @asynccontextmanager
    async def _brought_up(
        self, manifest: Manifest, *, now: datetime
    ) -> AsyncIterator[tuple[Rows, KeyStore]]:
        newest = await asyncio.to_thread(
            partial(self.bringing_up.newest_keys, now=now, rows=manifest)
        )
        async with (
            self.bringing_up.rows_of(manifest, scratch_in=self.scratch_in) as rows,
            self.bringing_up.keys_of(newest, scratch_in=self.scratch_in) as keys,
        ):
            yield rows, keys

    async def _count(self, manifest: Manifest, rows: Rows, drilled: Drilled) -> None:
        for name, table in self.tables.items():
            self._compare(manifest, name, await rows.count(table, {}), drilled)
        self._compare(manifest, "log", await rows.log_size(), drilled)

    def _compare(self, manifest: Manifest, name: str, found: int, drilled: Drilled) -> None:
        # A table that is younger than the backup came with the way to this program's tables.
        wanted = manifest.rows.get(name, found)
        drilled.rows += found
        if found != wanted:
            drilled.verdict.add(
                manifest.name, f"{name}: {wanted} rows were backed up, and {found} came back"
            )

    async def _hash(
        self, manifest: Manifest, rows: Rows, keys: KeyStore, drilled: Drilled
    ) -> None:
        for row in await _some(rows, {}, HASHES):
            digest = await hash_of(self.pool, row.id)
            if digest is None and not await keys.get_keys([row.id]):
                drilled.erased += 1
            elif digest != row.sha256 and row.id not in manifest.damaged:
                what = "is missing" if digest is None else "was altered"
                drilled.verdict.add(manifest.name, f"the blob {row.id} {what}")
            else:
                drilled.hashes += 1

    async def _open(self, rows: Rows, keys: KeyStore, drilled: Drilled) -> None:
        """Check a contact with a recording as ``taltio verify`` would, and the whole of what was recorded.

        Raises:
            TamperedError: The archive did not write what the log says of it, such as that it was erased.
        """
        vault = Vault(self.ring, keys, self.ring.blind_index())
        checker = ContactChecker(rows, AuthenticLog(rows, self.marker), self.pool, vault)
        for row in await _some(rows, {"kind": "recording"}, HASHES):
            if row.contact_id is None or not await keys.get_keys([row.id]):
                continue
            contact = (await checker.read([row.contact_id]))[row.contact_id]
            evidence, broken = await checker.get_evidence(contact)
            if evidence.is_erased:
                continue
            checks = await checker.check(contact, evidence, wants_plain_hash=True)
            self._judge((*broken, *checks), drilled)
            drilled.opened += 1
            return

    def _judge(self, checks: Collection[Check], drilled: Drilled) -> None:
        for check in checks:
            if check.outcome is Outcome.FAILED:
                drilled.verdict.add(
                    drilled.name, f"{check.about} ({check.code}): {check.detail}"
                )


async def _some(rows: Rows, where: dict[str, Condition], most: int) -> Sequence[ObjectRow]:
    """Return random objects: their ids are random, so those that follow a random id are."""
    start = new_id("ob")
    after = await rows.find(ObjectRow, {**where, "id": Span(start)}, order=("id",), limit=most)
    before = await rows.find(
        ObjectRow, {**where, "id": Span(None, start)}, order=("id",), limit=most - len(after)
    )
    return [*after, *before]
