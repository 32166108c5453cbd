"""Verifying backups: every file authenticated, every blob hashed, nothing taken away and nothing put back.

Nothing here raises for what is wrong with a backup: it is found, as altered or as what could not be checked.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from service.archive.checks import Outcome
from service.archive.verify_rows import pages
from service.backup.blobs import hash_of
from service.backup.bringing_up import BringingUp, Rows
from service.backup.manifest import MANIFEST, Kind, Manifest
from service.backup.places import Listed, find_backups, is_ahead
from service.backup.records import Record
from service.backup.working import Progress, on_thread
from service.domain.errors import ArchiveError, TamperedError, UnavailableError
from storage.errors import StorageError
from storage.ports import BlobStore
from storage.rows import ObjectRow


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong with the backup ``name``, or with all of them (an empty name)."""

    name: str
    text: str
    outcome: Outcome


@dataclass(slots=True)
class Verdict:
    """What was read, and what is wrong. ``missing`` are blobs, by backup, that may have been erased meanwhile."""

    backups: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """The gravest outcome."""
        outcomes = {one.outcome for one in self.troubles}
        if Outcome.FAILED in outcomes:
            return Outcome.FAILED
        return Outcome.UNKNOWN if outcomes else Outcome.PASSED

    def add(self, name: str, error: Exception | str) -> None:
        """Keep what is wrong; an error that tells of tampering is altered, any other could not be checked."""
        is_altered = isinstance(error, TamperedError | str)
        outcome = Outcome.FAILED if is_altered else Outcome.UNKNOWN
        self.troubles.append(Trouble(name, str(error), outcome))


@dataclass(frozen=True, slots=True)
class BackupVerifier:
    """Verifies backups. ``scratch_in`` is where what is opened lies meanwhile."""

    bringing_up: BringingUp
    pool: BlobStore
    scratch_in: Path

    async def verify(
        self,
        *,
        names: Sequence[str] = (),
        records: Sequence[Record] | None,
        progress: Progress,
        now: datetime,
    ) -> Verdict:
        """Verify the backups ``names``, or all; against ``records`` of the log, where the archive is at hand.

        Raises:
            UnavailableError: Their directories cannot be read.
        """
        verdict = Verdict()
        archive, keys = await self._listed(Kind.ARCHIVE), await self._listed(Kind.KEYS)
        if not archive:
            verdict.add("", "there is no backup of the archive")
        if not keys:
            verdict.add("", "there is no backup of the key store")
        for name in set(names) - {one.name for one in (*archive, *keys)}:
            verdict.add(name, "there is no such backup")
        if records is not None:
            await asyncio.to_thread(self._compare, records, archive, keys, verdict)
        for one in keys:
            if not names or one.name in names:
                await self._files(one, Kind.KEYS, verdict)
        await self._archives(
            [one for one in archive if not names or one.name in names], verdict, progress
        )
        for one in (*archive, *keys):
            is_asked_for = not names or one.name in names
            if is_asked_for and one.manifest and is_ahead(one.manifest, now=now):
                verdict.add(
                    one.name, UnavailableError("it says that it was made in the future")
                )
        await self._judge_missing(verdict, now=now)
        return verdict

    async def _judge_missing(self, verdict: Verdict, *, now: datetime) -> None:
        """Find out which of the missing blobs were erased while the backup was made: those whose key is gone."""
        if not verdict.missing:
            return
        ids = {object_id for _, object_id in verdict.missing}
        try:
            newest = self.bringing_up.newest_keys(now=now)
            async with self.bringing_up.keys_of(newest, scratch_in=self.scratch_in) as keys:
                ids = set(await keys.get_keys(ids))
        except (ArchiveError, StorageError) as error:
            verdict.add("", error)
        for name, object_id in verdict.missing:
            if object_id in ids:
                verdict.add(name, f"the blob {object_id} is missing")

    async def _listed(self, kind: Kind) -> Sequence[Listed]:
        unpacker = self.bringing_up.unpacker
        return await asyncio.to_thread(
            find_backups, unpacker.places, kind, unpacker.keys.index_key
        )

    def _compare(
        self,
        records: Sequence[Record],
        archive: Sequence[Listed],
        keys: Sequence[Listed],
        verdict: Verdict,
    ) -> None:
        """Compare what is there with what the log says was made: the newest must be there, and none be another."""
        newest = records[-1].name if records else ""
        for kind, listed in ((Kind.ARCHIVE, archive), (Kind.KEYS, keys)):
            there = {one.name: one for one in listed}
            if newest and newest not in there:
                verdict.add(newest, f"the newest backup ({kind}) that was made is missing")
            for record in records:
                # One that says nothing of itself is found by that.
                if record.name not in there or not there[record.name].manifest:
                    continue
                wanted = (
                    record.manifest_sha256
                    if kind is Kind.ARCHIVE
                    else record.keys_manifest_sha256
                )
                path = self.bringing_up.unpacker.places.of(kind).file(record.name, MANIFEST)
                if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
                    verdict.add(record.name, f"this is not the backup ({kind}) that was made")

    async def _files(self, one: Listed, kind: Kind, verdict: Verdict) -> None:
        """Authenticate every file of a backup."""
        verdict.backups += 1
        if one.manifest is None:
            verdict.add(one.name, one.trouble or "it does not say what it is")
            return
        unpacker = self.bringing_up.unpacker
        if unpacker.keys.index_key is None:
            verdict.troubles.append(
                Trouble(
                    one.name,
                    f"{kind}: the keys are not at hand, so what it says of itself is not authenticated",
                    Outcome.UNKNOWN,
                )
            )
        for file in one.manifest.files:
            step = partial(unpacker.unpack, one.manifest, file, None)
            try:
                await on_thread(lambda check, step=step: step(check=check))  # type: ignore[misc]  # bound at once
            except (ArchiveError, StorageError) as error:
                verdict.add(one.name, error)

    async def _archives(
        self, listed: Sequence[Listed], verdict: Verdict, progress: Progress
    ) -> None:
        """Verify backups of the archive, newest first; a blob that several of them name is read once."""
        newest: Rows | None = None
        async with AsyncExitStack() as stack:
            for one in reversed(listed):
                await self._files(one, Kind.ARCHIVE, verdict)
                if one.manifest is None:
                    continue
                for object_id in one.manifest.damaged:
                    verdict.add(one.name, f"{object_id} was damaged when the backup was made")
                rows = await self._blobs_of(one.manifest, newest, verdict, progress, stack)
                newest = newest or rows

    async def _blobs_of(
        self,
        manifest: Manifest,
        newer: Rows | None,
        verdict: Verdict,
        progress: Progress,
        stack: AsyncExitStack,
    ) -> Rows | None:
        """Hash the blobs of a backup that ``newer`` does not name; return its rows, open as long as ``stack``."""
        own = AsyncExitStack()
        try:
            rows = await own.enter_async_context(
                self.bringing_up.rows_of(manifest, scratch_in=self.scratch_in)
            )
            await self._hash(manifest, rows, newer, verdict, partial(progress, "blobs"))
        except (ArchiveError, StorageError) as error:
            await own.aclose()
            verdict.add(manifest.name, error)
            return None
        except BaseException:
            await own.aclose()
            raise
        if newer is not None:
            await own.aclose()
            return None
        stack.push_async_exit(own)
        return rows

    async def _hash(
        self,
        manifest: Manifest,
        rows: Rows,
        newer: Rows | None,
        verdict: Verdict,
        progress: Callable[[int, int], None],
    ) -> None:
        seen, total = 0, await rows.count(ObjectRow, {})
        async for some in pages(rows, ObjectRow):
            known = set(manifest.damaged)
            if newer is not None:
                where = {"id": [row.id for row in some]}
                known |= {row.id for row in await newer.find(ObjectRow, where)}
            for row in some:
                if row.id not in known:
                    await self._check_blob(manifest, row, verdict)
            seen += len(some)
            progress(seen, total)

    async def _check_blob(self, manifest: Manifest, row: ObjectRow, verdict: Verdict) -> None:
        digest = await hash_of(self.pool, row.id)
        verdict.blobs += 1
        verdict.blob_bytes += row.sealed_bytes
        if digest is None:
            verdict.missing.append((manifest.name, row.id))
        elif digest != row.sha256:
            verdict.add(manifest.name, f"the blob {row.id} was altered")
