"""The parts of an upload: each a sealed object of its own, as it came, and read again in their order.

Nothing of an upload is in the clear on any disk, at no time. A part's age header is in the key store and its bytes in
the blob store, as of any object; so backups, moves and rotations know them.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from service.archive.incoming import PART_BYTES, Incoming
from service.archive.objects import SealedObject, seal_object
from service.archive.payload import get_file_key, open_blob, open_payload
from service.archive.vault import Vault
from service.domain.errors import BusyError, ErasedError, TamperedError
from service.domain.ids import new_id
from storage.ports import BlobStore, Remove, Store
from storage.rows import ObjectRow, UploadRow

KIND = "part"


@dataclass(frozen=True, slots=True)
class Parts:
    """Where parts are kept."""

    store: Store
    blobs: BlobStore
    vault: Vault

    async def find(self, upload_id: str) -> Sequence[ObjectRow]:
        """Return the parts of the upload in the order in which they came."""
        where = {"owner_id": upload_id, "kind": KIND}
        return await self.store.find(ObjectRow, where, order=("made_at", "id"))

    async def last_at(self, upload_id: str) -> int:
        """Return when the last part came, in microseconds; 0 when there is none."""
        where = {"owner_id": upload_id, "kind": KIND}
        rows = await self.store.find(ObjectRow, where, order=("-made_at",), limit=1)
        return rows[0].made_at if rows else 0

    async def seal(self, incoming: Incoming, *, after: int, now: datetime) -> SealedObject:
        """Seal the next part; it is durable on return, and nobody can find it until its row is stored.

        ``after`` is when the part before it came: whatever the clock does, this one comes later.

        Raises:
            storage.errors.StorageError: As ``BlobWriter``.
        """
        sealed = await seal_object(
            new_id("ob"),
            incoming.part(),
            kind=KIND,
            blobs=self.blobs,
            seal_header=self.vault.ring.seal_header,
            # A part ends with the chunk that fills it, which may be as large.
            limit_bytes=4 * PART_BYTES,
            now=now,
        )
        return replace(
            sealed, row=replace(sealed.row, made_at=max(sealed.row.made_at, after + 1))
        )

    async def discard(self, sealed: Sequence[SealedObject]) -> None:
        """Remove parts whose rows were never stored."""
        await self.vault.keys.destroy_keys([one.row.id for one in sealed])
        for one in sealed:
            await self.blobs.remove(one.row.id)

    async def read(
        self, upload_ids: Sequence[str], *, size_bytes: int
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes of the uploads, one after the other, every chunk verified, with constant memory.

        Close the generator when it is not read to its end.

        Raises:
            BusyError: They have not ``size_bytes`` together: somebody else ended the upload meanwhile.
            TamperedError: A part is not what was sealed, or is missing.
            ErasedError, UnavailableError: A part cannot be opened.
        """
        rows = [row for upload_id in upload_ids for row in await self.find(upload_id)]
        if sum(row.plain_bytes for row in rows) != size_bytes:
            raise BusyError("the parts of an upload changed meanwhile")
        for row in rows:
            try:
                async with aclosing(self._open(row)) as batches:
                    async for batch in batches:
                        yield batch
            except (TamperedError, ErasedError) as error:
                # Whoever ended the upload destroys its parts, while we are among them.
                going_on = {"id": row.owner_id, "state": "open"}
                if await self.store.count(UploadRow, going_on):
                    raise
                raise BusyError("the upload was ended meanwhile") from error

    async def _open(self, row: ObjectRow) -> AsyncGenerator[bytes]:
        async with AsyncExitStack() as stack:
            reader = await open_blob(stack, self.blobs, row.id)
            key = await get_file_key(self.vault, row.id)
            payload = await open_payload(reader, row, file_key=key)
            batches = payload.read_range(0, payload.size_bytes)
            async for batch in await stack.enter_async_context(aclosing(batches)):
                yield bytes(batch)

    async def clear(self, row: UploadRow) -> None:
        """Destroy the parts of an upload that is over: keys, then blobs, then the rows that name them.

        Interrupted anywhere, it is done again. An upload that is not done goes with its parts.
        """
        parts = [part.id for part in await self.find(row.id)]
        is_kept = row.state == "done"
        await self.vault.keys.destroy_keys([*parts, *(() if is_kept else (row.id,))])
        for part in parts:
            await self.blobs.remove(part)
        itself = () if is_kept else (Remove(UploadRow, (row.id,)),)
        await self.store.commit([*(Remove(ObjectRow, (part,)) for part in parts), *itself])
