"""The job that checks who sent a mail: its signatures, and whether its server might; with the keys of the day.

Order: the worker's own opening in the log (committed), the key, the mail, DNS, the blob of the verdicts, its header,
then one commit of object and log entry. A crash leaves at worst an orphaned blob and an unused header, and the job is
done anew. Where DNS does not answer, that is the verdict for now; the job is tried again, and a later verdict stands
beside the first.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import msgspec

from service.archive.alarm import raise_alarm
from service.archive.mail_records import SealedMail
from service.archive.objects import SealedObject, seal_object
from service.archive.payload import (
    Payload,
    get_file_key,
    open_blob,
    open_payload,
    require_committed,
)
from service.archive.receive import remove_unless_stored
from service.archive.records import message_of
from service.archive.targets import Rendition
from service.archive.vault import Vault
from service.domain.actor import SYSTEM
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.domain.ids import new_id
from service.log.entry import EntryType, LogEntry, encode_entry
from service.sources.mail.verdicts import Verdicts
from service.worker.mail.check import MailChecker, Sent
from storage.errors import StaleError, StorageError
from storage.ports import Add, Append, BlobStore, Change, LogStore, Require, Store
from storage.rows import ContactRow, JobRow, MessageRow, ObjectRow

PURPOSE: Final = "mail_check"
"""Why the worker opens mails, in the log."""

KIND: Final = Rendition.VERDICTS.value
"""The kind of the objects that hold verdicts."""

_ATTEMPTS: Final = 8
_MOST_BYTES: Final = 1 << 20
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class _Found:
    """A mail that is to be checked."""

    object: ObjectRow
    message: MessageRow
    mail: SealedMail = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailCheckJob:
    """Checks mails."""

    store: Store
    log: LogStore
    blobs: BlobStore
    vault: Vault
    checker: MailChecker = field(default_factory=MailChecker)

    async def run(self, object_id: str, now: datetime) -> None:
        """Check the mail whose bytes are ``object_id``, unless it is not there any more.

        Raises:
            TamperedError: It does not authenticate. An alarm was raised.
            UnavailableError: Something could not be checked now. What could be is kept.
            storage.errors.StorageError: Nothing was stored.
        """
        try:
            found = await self._find(object_id)
            if found is None:
                return
            verdicts = await self._check(found, now=now)
        except ErasedError:
            return
        except TamperedError:
            await raise_alarm(
                self.store,
                PURPOSE,
                about=object_id,
                contact_id=None,
                actor_id=SYSTEM.id,
                now=now,
            )
            raise
        is_first = not await self.store.find(
            ObjectRow, {"owner_id": found.message.id, "kind": KIND}, limit=1
        )
        # That nothing could be checked is said once.
        if is_first or not verdicts.is_provisional:
            await self._keep(found, verdicts, now=now)
        if verdicts.is_provisional:
            raise UnavailableError("DNS did not answer about the senders of a mail")

    async def _find(self, object_id: str) -> _Found | None:
        objects = await self.store.find(ObjectRow, {"id": object_id})
        if not objects or objects[0].owner_id is None:
            return None
        rows = await self.store.find(MessageRow, {"id": objects[0].owner_id})
        if not rows:
            return None
        sealer = await self.vault.get_sealer(rows[0].contact_id)
        mail = message_of(rows[0], sealer).mail
        if mail is None or object_id not in mail.by_object:
            raise TamperedError(f"{rows[0].id} does not name {object_id}")
        return _Found(objects[0], rows[0], mail)

    async def _check(self, found: _Found, *, now: datetime) -> Verdicts:
        await self.store.commit([_opened(found, now=now)])
        envelope = found.mail.envelope
        is_direct = envelope.protocol == "smtp"
        sent = Sent(
            peer=envelope.peer if is_direct else "",
            helo=envelope.helo,
            mail_from=envelope.mail_from,
        )
        async with AsyncExitStack() as stack:
            file_key = await get_file_key(self.vault, found.object.id)
            reader = await open_blob(stack, self.blobs, found.object.id)
            payload = await open_payload(reader, found.object, file_key=file_key)
            await require_committed(payload, found.object, log=self.log)
            return await self.checker.check(_Raw(payload), sent, now=now)

    async def _keep(self, found: _Found, verdicts: Verdicts, *, now: datetime) -> None:
        async def encoded() -> AsyncIterator[bytes]:
            yield msgspec.json.encode(verdicts)

        sealed = await seal_object(
            new_id("ob"),
            encoded(),
            kind=KIND,
            blobs=self.blobs,
            seal_header=self.vault.ring.seal_header,
            limit_bytes=_MOST_BYTES,
            now=now,
        )
        try:
            await self.vault.keys.put_keys([sealed.header])
            await self._commit(found, sealed, now=now)
        except StorageError:
            await self._discard(sealed)
            raise

    async def _commit(self, found: _Found, sealed: SealedObject, *, now: datetime) -> None:
        """Store the verdicts, unless the contact is being erased; where it changes meanwhile, again."""
        for _ in range(_ATTEMPTS):
            contacts = await self.store.find(
                ContactRow, {"id": found.message.contact_id, "state": "kept"}
            )
            if not contacts:
                await self._discard(sealed)
                return
            try:
                await self.store.commit(_made(found, sealed, contacts[0], now=now))
            except StaleError:
                continue
            return
        await self._discard(sealed)
        raise UnavailableError(f"{found.message.contact_id} kept changing while it was checked")

    async def _discard(self, sealed: SealedObject) -> None:
        await remove_unless_stored(sealed.row.id, self.store, self.vault.keys, self.blobs)


async def bury(dead: JobRow, now: datetime) -> Change | None:
    """Return that nothing is left to be done: what could not be checked says so itself."""
    del now
    extra = {"object": dead.subject, "code": dead.last_error}
    _log.info("mail_check.given_up", extra=extra)
    return None


def _opened(found: _Found, *, now: datetime) -> Append:
    """Return the entry that the worker opened the mail itself."""
    entry = LogEntry(
        type=EntryType.OPENING_MADE,
        at=now,
        actor=SYSTEM.id,
        about=(found.message.id, found.message.contact_id, found.object.id),
        data={"purpose": PURPOSE},
    )
    return Append(encode_entry(entry), entry.about)


def _made(found: _Found, sealed: SealedObject, contact: ContactRow, *, now: datetime) -> Change:
    message = found.message
    stored = replace(sealed.row, owner_id=message.id, contact_id=contact.id)
    entry = LogEntry(
        type=EntryType.RENDITION_MADE,
        at=now,
        actor=SYSTEM.id,
        about=(contact.id, message.id, stored.id),
        data={
            "kind": stored.kind,
            "blob_sha256": stored.sha256.hex(),
            "plain_bytes": stored.plain_bytes,
        },
    )
    return [
        # Nothing is added to a contact that is erased meanwhile.
        Require(ContactRow, (contact.id,), contact.version),
        Add(stored),
        Append(encode_entry(entry), entry.about),
    ]


class _Raw:
    """A payload as the checker reads it."""

    def __init__(self, payload: Payload) -> None:
        self.size_bytes = payload.size_bytes
        self._payload = payload

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(await self._payload.read(offset, offset + length)) if length else b""
