"""Writing the contents of a contact that is handed out. What is written was held against the log, or authenticated."""

import asyncio
import hashlib
import json
import secrets
from base64 import urlsafe_b64encode
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from service.archive.evidence import Evidence
from service.archive.export_files import ExportedPart, contact_json
from service.archive.package import Package, PackageFile
from service.archive.payload import (
    BATCH_BYTES,
    Payload,
    get_file_key,
    open_blob,
    open_payload,
)
from service.archive.vault import Vault
from service.archive.vcon import AttachedPart, RecordedPart, WrittenPart, build_vcon
from service.crypto.age import seal_header
from service.crypto.jws import JwsSigner, SigningStream
from service.crypto.recipients import Recipient
from service.crypto.secret import FileKey
from service.crypto.stream import PayloadSealer
from service.domain.contact import Contact
from service.domain.errors import TamperedError
from storage.ports import BlobStore
from storage.rows import ObjectRow


@dataclass(frozen=True, slots=True)
class Found:
    """The contact in the clear, without contents, and its parts with the objects that hold them."""

    contact: Contact
    parts: tuple[ExportedPart, ...]
    objects: dict[str, ObjectRow]
    durations: dict[str, float]
    messages: dict[str, WrittenPart]


@dataclass(frozen=True, slots=True)
class ExportWriter:
    """Writes the contents of one contact."""

    blobs: BlobStore
    vault: Vault
    package: Package
    found: Found
    evidence: Evidence

    async def write_age(self, recipient: Recipient) -> None:
        """Write each part as an age file for ``recipient``: a new header, and the payload as it is stored."""
        for part in self.found.parts:
            if part.object_id is None or part.file is None:
                continue
            file_key = await get_file_key(self.vault, part.object_id)
            async with self.package.opened(part.file) as file:
                await file.write(seal_header(file_key, [recipient]))
                await self._copy(part, file)
        file_key = FileKey.generate()
        sealer = PayloadSealer(file_key)
        details = contact_json(self.found.contact, self.found.parts)
        sealed = seal_header(file_key, [recipient]) + sealer.update(details) + sealer.finish()
        await self.package.write("contact.json.age", sealed)

    async def write_vcon(self, *, signer: JwsSigner | None = None, now: datetime) -> None:
        """Write the contact as a vCon, signed if there is a ``signer``; recordings are embedded as they stream."""
        # Random, so that no text of a message can be one.
        places = {f"@{secrets.token_hex(16)}@": part for part in self._of_kind("recording")}
        recordings = [
            RecordedPart(place, part.content_type, part.name, self.found.durations.get(part.id))
            for place, part in places.items()
        ]
        messages = [await self._written(part) for part in self._of_kind("message")]
        beside = (*self._of_kind("mail"), *self._of_kind("verdicts"))
        mails = {f"@{secrets.token_hex(16)}@": part for part in beside}
        attached = [
            AttachedPart(
                place,
                self._message_number(part),
                part.name,
                part.content_type,
                _PURPOSES[part.kind],
            )
            for place, part in mails.items()
        ]
        places |= mails
        vcon = build_vcon(self.found.contact, recordings, messages, attached, now=now)
        text = json.dumps(vcon, ensure_ascii=False)
        async with self.package.opened("contact.vcon") as whole:
            file = whole if signer is None else _Signed(whole, signer.begin(str(vcon["uuid"])))
            for place, part in places.items():
                before, _, text = text.partition(place)
                await file.write(before.encode())
                await self._embed(part, file)
            await file.write(text.encode())
            if isinstance(file, _Signed):
                await file.finish()

    def _message_number(self, part: ExportedPart) -> int:
        ids = [one.id for one in self._of_kind("message")]
        return ids.index(part.id)

    def _of_kind(self, kind: str) -> list[ExportedPart]:
        return [part for part in self.found.parts if part.kind == kind and part.object_id]

    async def _copy(self, part: ExportedPart, file: PackageFile) -> None:
        """Copy the payload as it is stored, holding it against the log."""
        digest = hashlib.sha256()
        async with AsyncExitStack() as stack:
            reader = await open_blob(stack, self.blobs, part.object_id or "")
            for offset in range(0, reader.size_bytes, BATCH_BYTES):
                data = await reader.read(offset, BATCH_BYTES)
                digest.update(data)
                await file.write(data)
        stated = self.evidence.stated(part.object_id or "", "blob_sha256")
        if stated != {digest.hexdigest()}:
            raise TamperedError(f"the blob {part.object_id} is not the one in the log")

    async def _embed(self, part: ExportedPart, file: "PackageFile | _Signed") -> None:
        """Write the recording in base64url without padding (RFC 4648, section 5)."""
        digest, rest = hashlib.sha256(), b""
        async with AsyncExitStack() as stack:
            payload = await self._payload(part, stack)
            async for batch in payload.read_range(0, payload.size_bytes):
                digest.update(batch)
                data = rest + bytes(batch)
                whole = len(data) - len(data) % 3
                await file.write(urlsafe_b64encode(data[:whole]))
                rest = data[whole:]
        await file.write(urlsafe_b64encode(rest).rstrip(b"="))
        _require_received(part, digest.hexdigest())

    async def _written(self, part: ExportedPart) -> WrittenPart:
        async with AsyncExitStack() as stack:
            payload = await self._payload(part, stack)
            data = b"".join(
                [bytes(batch) async for batch in payload.read_range(0, payload.size_bytes)]
            )
        _require_received(part, hashlib.sha256(data).hexdigest())
        return replace(self.found.messages[part.id], text=data.decode())

    async def _payload(self, part: ExportedPart, stack: AsyncExitStack) -> Payload:
        stored = self.found.objects[part.object_id or ""]
        file_key = await get_file_key(self.vault, stored.id)
        reader = await open_blob(stack, self.blobs, stored.id)
        return await open_payload(reader, stored, file_key=file_key)


@dataclass(frozen=True, slots=True)
class _Signed:
    """A file whose content is signed as it is written."""

    file: PackageFile
    stream: SigningStream

    async def write(self, data: bytes) -> None:
        """Write what ``data`` adds to the signed form; thousands of characters are hashed beside the loop."""
        await self.file.write(await asyncio.to_thread(self.stream.update, data))

    async def finish(self) -> None:
        """Sign what was written."""
        await self.file.write(await asyncio.to_thread(self.stream.finish))


_PURPOSES: Final = {
    "mail": "the mail as it came",
    "verdicts": "who sent it, as found when it came, with the public keys of then",
}


def _require_received(part: ExportedPart, sha256: str) -> None:
    # What the archive made itself was never received; its blob is in the log.
    if part.commitment and sha256 != part.sha256:
        raise TamperedError(f"{part.id} is not what was delivered")
