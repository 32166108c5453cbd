"""What a restored archive needs before anybody is answered: nobody signed in, its blobs, nothing else's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from service.backup.blobs import BlobCopier, Copied, unnamed_in
from service.backup.manifest import Manifest
from service.backup.records import RECORDS
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Append, BlobStore, KeyStore, Remove, Store
from storage.rows import InviteRow, SessionRow

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Afterwards:
    """Works on the restored stores."""

    store: Store
    keys: KeyStore
    blobs: BlobStore

    async def record(self, manifest: Manifest, *, actor: str, now: datetime) -> None:
        """Let the log say which backup was restored."""
        entry = LogEntry(
            type=EntryType.BACKUP_RESTORED,
            at=now,
            actor=actor,
            about=(RECORDS,),
            data={"name": manifest.name},
        )
        await self.store.commit([Append(encode_entry(entry), entry.about)])

    async def sign_everybody_out(self) -> None:
        """End sessions and void one-time links: some may have been ended since the backup."""
        while sessions := await self.store.find(SessionRow, {}, limit=_AT_ONCE):
            await self.store.commit([Remove(SessionRow, (row.id,)) for row in sessions])
        while invites := await self.store.find(InviteRow, {}, limit=_AT_ONCE):
            await self.store.commit([Remove(InviteRow, (row.id,)) for row in invites])

    async def bring_blobs(
        self, pool: BlobStore, progress: Callable[[int, int], None]
    ) -> tuple[Copied, list[str]]:
        """Bring the blobs of all rows; return what became of them, and which are missing though they have a key."""
        copied = await BlobCopier(self.store, pool, self.blobs).copy_all(progress)
        # What another attempt brought, for rows of another backup or erased since.
        for name in await unnamed_in(self.store, self.blobs):
            await self.blobs.remove(name)
        kept = await self.keys.get_keys(copied.damaged)
        return copied, sorted(kept)
