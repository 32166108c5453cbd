"""Making a backup beside the running service, and letting go of those whose time is over.

Order: the newest checkpoint of the log; a copy of the rows, which continue it; then the blobs of all rows, each durable
before the row that names it; then the keys, which commit before the rows that need them. So every row of the copy finds
its log, its blob and its key, unless that was erased meanwhile. At last the backup of the keys gets its name, then that
of the archive, then the log says so. Killed anywhere before, the one before is still the newest; blobs that were
brought stay, and the next backup needs not bring them again.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from service.archive.alarm import raise_alarm
from service.backup.blobs import BlobCopier, Copied, unnamed_in
from service.backup.log_archive import read_checkpoint, write_log
from service.backup.manifest import (
    CODE,
    KEY_FIELD,
    MANIFEST,
    VERSION,
    Kind,
    Manifest,
    code_of,
    encode_manifest,
)
from service.backup.places import Keeping, Places, find_backups, is_ahead, recipients_of
from service.backup.records import RECORDS, find_records
from service.backup.sealed import PIECE_BYTES, SealedFile, Sealing
from service.backup.working import Progress, clear_scratch, on_thread, scratch
from service.crypto.recipients import Recipient
from service.domain.errors import UnavailableError
from service.keys.ring import KeyRing
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.backups import NewBackup, translated
from storage.ports import Append, BlobStore, LogStore, Snapshot, Snapshots, Store

LOG_FILE: Final = "log.tar.age"
ERASURES_FILE: Final = "erasures.age"
SUFFIX: Final = ".age"
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made, what became of the blobs, and the names of those that were let go of."""

    manifest: Manifest
    keys: Manifest
    copied: Copied
    removed: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMaker:
    """Makes backups of one archive.

    Attributes:
        pool: The blobs that the backups share.
        directory: That of the archive, for the published log and for what is copied and not sealed yet.
        erasures: The file of the erasure ledger.
        recipients: Whom to seal to, apart from the epoch and its offline recipients.
    """

    store: Store
    log: LogStore
    blobs: BlobStore
    pool: BlobStore
    rows: Snapshots
    keys: Snapshots
    ring: KeyRing = field(repr=False)
    places: Places
    directory: Path
    erasures: Path
    name: str
    recipients: Sequence[Recipient]
    keep: Keeping

    async def create(
        self, *, actor: str, now: datetime, progress: Progress, is_first: bool = False
    ) -> Made:
        """Make a backup. On return it is listed and survives a power cut.

        Damaged blobs are left out, named in it, and an alarm is raised for each.

        Raises:
            UnavailableError: Somebody else makes one, a place is not there or has lost all its backups (unless
                ``is_first``), or a database is damaged. The backups are as they were.
            InvalidInputError: The recipients do not suit the epoch.
        """
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, self.places.archive.locked())
            await asyncio.to_thread(stack.enter_context, self.places.keys.locked())
            await asyncio.to_thread(clear_scratch, self.directory)
            if not is_first:
                await self._require_mounted()
            with translated(self.places.archive.directory):
                made = await self._make(now, progress)
            await self._record(made, actor=actor, now=now)
            removed = await self.let_go(now=now)
        return Made(*made, removed)

    async def _require_mounted(self) -> None:
        """Refuse a place without any backup where there should be some, such as the directory below a lost mount."""
        recorded = await find_records(self.log)
        if recorded and not await asyncio.to_thread(self.places.archive.names):
            raise UnavailableError(
                f"{self.places.archive.directory} holds none of the {len(recorded)} backups that were made: is it "
                "mounted? If it is a new place: taltio backup create --first"
            )

    async def _make(
        self, now: datetime, progress: Progress
    ) -> tuple[Manifest, Manifest, Copied]:
        recipients = recipients_of(self.ring, self.recipients)
        name = await asyncio.to_thread(self._free_name, now)
        with ExitStack() as stack:
            archive = stack.enter_context(self.places.archive.begin(name))
            keys = stack.enter_context(self.places.keys.begin(name))
            checkpoint = await asyncio.to_thread(read_checkpoint, self.directory)
            snapshot, files = await self._seal_copy(self.rows, archive, recipients, progress)
            copier = BlobCopier(self.store, self.blobs, self.pool)
            copied = await copier.copy_all(partial(progress, "objects"))
            unnamed = await unnamed_in(self.store, self.pool)
            files[LOG_FILE] = await self._seal_log(checkpoint, archive, recipients)
            key_snapshot, key_files = await self._seal_copy(
                self.keys, keys, recipients, progress
            )
            erasures = await self._seal_erasures(keys, recipients)
            key_files |= {} if erasures is None else {ERASURES_FILE: erasures}
            about = {"version": VERSION, "name": name, "made_at": now, "archive": self.name}
            of_keys = _manifest(Kind.KEYS, key_snapshot, key_files, **about)
            of_archive = _manifest(
                Kind.ARCHIVE,
                snapshot,
                files,
                **about,
                objects=copied.objects,
                object_bytes=copied.object_bytes,
                damaged=sorted(copied.damaged),
                unnamed=unnamed,
            )
            for new, manifest in ((keys, of_keys), (archive, of_archive)):
                await asyncio.to_thread(self._finish, new, manifest)
        return of_archive, of_keys, copied

    def _free_name(self, now: datetime) -> str:
        name = now.strftime("%Y%m%dT%H%M%SZ")
        while (free := self.places.keys.free_name(name)) != self.places.archive.free_name(free):
            name = self.places.archive.free_name(free)
        return free

    def _finish(self, new: NewBackup, manifest: Manifest) -> None:
        encoded = encode_manifest(manifest)
        new.write(MANIFEST, encoded)
        new.write(CODE, code_of(self.ring.index_key(KEY_FIELD), encoded))
        new.finish()

    async def _seal_copy(
        self,
        snapshots: Snapshots,
        new: NewBackup,
        recipients: Sequence[Recipient],
        progress: Progress,
    ) -> tuple[Snapshot, dict[str, SealedFile]]:
        """Seal a copy of a store; where it does not stream, what is not sealed yet goes at once."""
        file = f"{snapshots.file_name}{SUFFIX}"

        def step(check: Callable[[], None]) -> tuple[Snapshot, dict[str, SealedFile]]:
            def told(done: int, total: int) -> None:
                check()
                progress(snapshots.file_name, done, total)

            sealing = Sealing(new.path(file), recipients)
            try:
                with scratch(self.directory) as folder:
                    snapshot = snapshots.copy_to(sealing, folder=folder, on_progress=told)
                    return snapshot, {file: sealing.finish()}
            finally:
                sealing.close()

        return await on_thread(step)

    async def _seal_log(
        self, checkpoint: bytes | None, new: NewBackup, recipients: Sequence[Recipient]
    ) -> SealedFile:
        def step(check: Callable[[], None]) -> SealedFile:
            sealing = Sealing(new.path(LOG_FILE), recipients)
            try:
                write_log(self.directory, checkpoint, sealing, check=check)
                return sealing.finish()
            finally:
                sealing.close()

        return await on_thread(step)

    async def _seal_erasures(
        self, new: NewBackup, recipients: Sequence[Recipient]
    ) -> SealedFile | None:
        """Seal what the erasure ledger says by now: for the day on which the ledger itself is lost."""
        if not self.erasures.exists():
            return None
        target = new.path(ERASURES_FILE)
        return await on_thread(lambda check: _seal(self.erasures, target, recipients, check))

    async def _record(
        self, made: tuple[Manifest, Manifest, Copied], *, actor: str, now: datetime
    ) -> None:
        archive, keys, copied = made
        entry = LogEntry(
            type=EntryType.BACKUP_MADE,
            at=now,
            actor=actor,
            about=(RECORDS,),
            data={
                "name": archive.name,
                "manifest_sha256": hashlib.sha256(encode_manifest(archive)).hexdigest(),
                "keys_manifest_sha256": hashlib.sha256(encode_manifest(keys)).hexdigest(),
                "objects": archive.objects,
                "damaged": len(archive.damaged),
            },
        )
        await self.store.commit([Append(encode_entry(entry), entry.about)])
        for object_id in copied.damaged:
            await raise_alarm(
                self.store, "backup", about=object_id, contact_id=None, actor_id=actor, now=now
            )

    async def let_go(self, *, now: datetime) -> Sequence[str]:
        """Remove backups that are older than they are kept, the newest of each kind excepted; return their names.

        Then the blobs go that no backup that is left names any more. One that cannot be believed goes by its age too,
        which its name tells, and names no blob.
        """
        removed: list[str] = []
        for kind in Kind:
            folders, limit = self.places.of(kind), now - self.keep.of(kind)
            oldest = limit.strftime("%Y%m%dT%H%M%SZ")
            believed = await asyncio.to_thread(
                find_backups, self.places, kind, self.ring.index_key(KEY_FIELD)
            )
            newest = max(
                (
                    one.name
                    for one in believed
                    if one.manifest and not is_ahead(one.manifest, now=now)
                ),
                default="",
            )
            for one in believed:
                if one.name < oldest and one.name < newest:
                    await asyncio.to_thread(folders.remove, one.name)
                    removed.append(f"{kind} {one.name}")
        await self._let_blobs_go()
        return removed

    async def _let_blobs_go(self) -> None:
        left = await asyncio.to_thread(
            find_backups, self.places, Kind.ARCHIVE, self.ring.index_key(KEY_FIELD)
        )
        manifests = [one.manifest for one in left if one.manifest]
        if len(manifests) < len(left) or not manifests:
            # What one that cannot be read names is not known.
            return
        for name in set.intersection(*(set(one.unnamed) for one in manifests)):
            await self.pool.remove(name)


def _seal(
    plain: Path, target: Path, recipients: Sequence[Recipient], check: Callable[[], None]
) -> SealedFile:
    sealing = Sealing(target, recipients)
    try:
        with plain.open("rb") as source:
            while piece := source.read(PIECE_BYTES):
                check()
                sealing.write(piece)
        return sealing.finish()
    finally:
        sealing.close()


def _manifest(
    kind: Kind, snapshot: Snapshot, files: dict[str, SealedFile], **more: object
) -> Manifest:
    return Manifest(
        kind=kind,
        engine=snapshot.engine,
        revision=snapshot.revision,
        rows=dict(snapshot.rows),
        files=files,
        **more,  # type: ignore[arg-type]  # the rest of the fields, as the caller names them
    )
