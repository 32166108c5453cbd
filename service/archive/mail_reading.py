"""Understanding mails: each is opened, read by a process that holds nothing else, and its parts are sealed.

Order: the blobs of the parts become durable here; the interpreter stores their keys and then their rows, with the
contact. A crash between leaves orphaned blobs, and the mail is read again.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import msgspec

from service.archive.arrivals import Arrival, ArrivedMail, Outcome
from service.archive.draft_recordings import mail_check_job
from service.archive.mail_port import MailReader, MailSession
from service.archive.mail_records import (
    MailPart,
    SealedEnvelope,
    SealedMail,
    SealedPart,
)
from service.archive.mail_threads import find_conversations
from service.archive.objects import SealedObject, seal_object
from service.archive.payload import Payload, get_file_key, open_blob, open_payload
from service.archive.receive import SealedDelivery, remove_unless_stored
from service.archive.records import SealedMessage
from service.archive.vault import Vault
from service.domain.errors import NotFoundError, TamperedError
from service.domain.ids import new_id
from service.domain.times import from_microseconds
from service.log.entry import commitment
from service.sources.events import SourceRule
from service.sources.mail.facts import MAX_HTML_BYTES, Flag, Part, PartKind, ReadMail
from service.sources.mail.understand import UnderstoodMail, understand_mail
from service.sources.mail.verdicts import is_public
from service.sources.mail_envelope import ReceivedMail, decode_mail
from storage.errors import StorageError
from storage.ports import BlobStore, Put, Store
from storage.rows import DeliveryRow, ObjectRow

MAIL: Final = "mail"
"""The kind of the deliveries that are mails, and of the objects that hold them."""

_SALT_BYTES: Final = 16
_MOST_BYTES: Final = 1 << 32
_NO_TEXT: Final = Part(
    kind=PartKind.TEXT,
    size_bytes=0,
    sha256=hashlib.sha256(b"").hexdigest(),
    content_type="text/plain",
)

RuleOf = Callable[[str], SourceRule]
Delivered = tuple[DeliveryRow, SealedDelivery]


@dataclass(frozen=True, slots=True)
class _Read:
    """A mail that was read, and its parts as they are sealed: the text first."""

    row: DeliveryRow
    delivery: SealedDelivery
    envelope: ReceivedMail
    raw: ObjectRow
    understood: UnderstoodMail
    read: ReadMail
    parts: tuple[tuple[Part, SealedObject], ...]


@dataclass(frozen=True, slots=True)
class MailReading:
    """Makes arrivals of the mails that were delivered."""

    store: Store
    blobs: BlobStore
    vault: Vault
    reader: MailReader
    rule_of: RuleOf

    async def arrivals(
        self,
        deliveries: Sequence[tuple[Delivered, ObjectRow | None]],
        *,
        now: datetime,
    ) -> tuple[list[tuple[DeliveryRow, Arrival]], list[tuple[DeliveryRow, Exception]]]:
        """Return what is to be worked into contacts, and why the others cannot be, each beside its delivery.

        Raises:
            storage.errors.StorageError: The store is not at hand.
        """
        read: list[_Read] = []
        failed: list[tuple[DeliveryRow, Exception]] = []
        async with self.reader.session() as session:
            for (row, delivery), stored in deliveries:
                try:
                    read.append(await self._read(session, row, delivery, stored, now=now))
                except StorageError:
                    await self._discard([part for one in read for _, part in one.parts])
                    raise
                except Exception as error:  # noqa: BLE001  # whatever goes wrong is about this one mail
                    failed.append((row, error))
        return await self._placed(read, now=now), failed

    async def tidy(self, arrivals: Sequence[Arrival], outcomes: Sequence[Outcome]) -> None:
        """Remove what was sealed of mails that were archived before, or were refused."""
        for arrival, outcome in zip(arrivals, outcomes, strict=True):
            mail = arrival.mail
            if mail is not None and (outcome.is_duplicate or outcome.contact is None):
                await self._discard([mail.text, *mail.objects])

    async def drop(self, arrivals: Sequence[Arrival]) -> None:
        """Remove what was sealed of mails that could not be worked in, unless they were all the same."""
        for arrival in arrivals:
            if arrival.mail is not None:
                await self._discard([arrival.mail.text, *arrival.mail.objects])

    async def _read(
        self,
        session: MailSession,
        row: DeliveryRow,
        delivery: SealedDelivery,
        stored: ObjectRow | None,
        *,
        now: datetime,
    ) -> _Read:
        envelope = decode_mail(delivery.body)
        if stored is None:
            raise NotFoundError(f"the bytes of {row.id} are not recorded")
        kept = _Keeping(self, now=now)
        try:
            read = await self._told(session, stored, envelope, kept)
            if not read.body.parts or read.body.parts[0].kind is not PartKind.TEXT:
                await self._discard(kept.objects)
                kept.parts.clear()
                await kept.keep(_NO_TEXT, _nothing())
                read = msgspec.structs.replace(
                    read, body=msgspec.structs.replace(read.body, parts=())
                )
        except BaseException:
            await self._discard(kept.objects)
            raise
        understood = understand_mail(
            read,
            envelope,
            company=self.rule_of(row.source).company_addresses,
            received_at=from_microseconds(row.received_at),
        )
        return _Read(row, delivery, envelope, stored, understood, read, tuple(kept.parts))

    async def _told(
        self, session: MailSession, stored: ObjectRow, envelope: ReceivedMail, kept: "_Keeping"
    ) -> ReadMail:
        async with AsyncExitStack() as stack:
            raw = _Raw(await self._open(stack, stored))
            read = await session.read(raw, kept.keep)
        if not read.problem and raw.sha256 != envelope.sha256:
            raise TamperedError(f"{stored.id} is not the mail that was received")
        return read

    async def _open(self, stack: AsyncExitStack, stored: ObjectRow) -> Payload:
        file_key = await get_file_key(self.vault, stored.id)
        return await open_payload(
            await open_blob(stack, self.blobs, stored.id), stored, file_key=file_key
        )

    async def _placed(
        self, read: Sequence[_Read], *, now: datetime
    ) -> list[tuple[DeliveryRow, Arrival]]:
        """Return the mails as arrivals, each at the contact of its conversation."""
        placed = []
        for source in dict.fromkeys(one.row.source for one in read):
            own = [one for one in read if one.row.source == source]
            conversations = [one.understood.conversation for one in own]
            ids = await find_conversations(self.store, self.vault, source, conversations)
            placed += [
                (one.row, self._arrival(one, source_id, now=now))
                for one, source_id in zip(own, ids, strict=True)
            ]
        return placed

    def _arrival(self, one: _Read, source_id: str, *, now: datetime) -> Arrival:
        (_, text), *beside = one.parts
        return Arrival(
            source=one.row.source,
            source_id=source_id,
            facts=replace(one.understood.facts, source_id=source_id),
            mail=ArrivedMail(
                identity=one.understood.identity,
                sent_at=one.understood.sent_at,
                text=text,
                objects=tuple(sealed for _, sealed in beside),
                raw=one.raw,
                sealed=self._message(one),
            ),
            delivery=one.row,
            also=(Put(mail_check_job(one.raw.id, now=now)),) if self._is_checked(one) else (),
            remarks=one.delivery.remarks,
        )

    def _is_checked(self, one: _Read) -> bool:
        """Tell whether there is something to be found out about who sent a mail."""
        is_signed = Flag.SIGNED in one.understood.flags
        is_direct = one.envelope.protocol == "smtp" and is_public(one.envelope.peer)
        return self.rule_of(one.row.source).checks_mail and (is_signed or is_direct)

    def _message(self, one: _Read) -> SealedMessage:
        (_, text), *beside = one.parts
        salt = self.vault.random(_SALT_BYTES)
        return SealedMessage(
            sender=one.understood.sender,
            sha256=text.sha256,
            salt=salt,
            commitment=commitment(salt, bytes.fromhex(text.sha256)),
            mail=_sealed_mail(one, tuple(self._sealed_part(*part) for part in beside)),
        )

    def _sealed_part(self, part: Part, sealed: SealedObject) -> SealedPart:
        salt = self.vault.random(_SALT_BYTES)
        return SealedPart(
            object_id=sealed.row.id,
            kind=MailPart(part.kind.value),
            sha256=sealed.sha256,
            salt=salt,
            commitment=commitment(salt, bytes.fromhex(sealed.sha256)),
            size_bytes=part.size_bytes,
            name=part.name,
            content_type=part.content_type,
            is_risky=part.is_risky,
        )

    async def _discard(self, objects: Sequence[SealedObject]) -> None:
        for one in objects:
            await remove_unless_stored(one.row.id, self.store, self.vault.keys, self.blobs)


@dataclass(slots=True)
class _Keeping:
    """Seals the parts of one mail as they come."""

    reading: MailReading
    now: datetime = field(kw_only=True)
    parts: list[tuple[Part, SealedObject]] = field(default_factory=list)

    @property
    def objects(self) -> list[SealedObject]:
        """What was sealed."""
        return [sealed for _, sealed in self.parts]

    async def keep(self, part: Part, pieces: AsyncIterator[bytes]) -> None:
        """Seal a part; on return its blob is durable."""
        sealed = await seal_object(
            new_id("ob"),
            pieces,
            kind="message" if part.kind is PartKind.TEXT else part.kind.value,
            blobs=self.reading.blobs,
            seal_header=self.reading.vault.ring.seal_header,
            limit_bytes=MAX_HTML_BYTES if part.kind is PartKind.HTML else _MOST_BYTES,
            now=self.now,
        )
        self.parts.append((part, sealed))


class _Raw:
    """A payload as a reader reads it: once, from its beginning, hashed on the way."""

    def __init__(self, payload: Payload) -> None:
        self.size_bytes = payload.size_bytes
        self._payload = payload
        self._digest = hashlib.sha256()

    async def read(self, offset: int, length: int) -> bytes:
        data = bytes(await self._payload.read(offset, offset + length)) if length else b""
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        """The hash of what was read so far."""
        return self._digest.hexdigest()


def _sealed_mail(one: _Read, parts: tuple[SealedPart, ...]) -> SealedMail:
    envelope, headers = one.envelope, one.read.headers
    raw = SealedPart(
        object_id=one.raw.id,
        kind=MailPart.RAW,
        sha256=envelope.sha256,
        salt=envelope.salt,
        commitment=envelope.commitment,
        size_bytes=envelope.size_bytes,
        content_type="message/rfc822",
    )
    journaled = one.read.report.recipients if one.read.report else ()
    return SealedMail(
        received_at=from_microseconds(one.row.received_at),
        envelope=SealedEnvelope(
            mail_from=envelope.mail_from,
            recipients=tuple(envelope.recipients),
            peer=envelope.peer,
            helo=envelope.helo,
            protocol=envelope.protocol,
            is_tls=envelope.is_tls,
            mailbox=" ".join(map(str, envelope.mailbox)) if envelope.mailbox else "",
        ),
        message_id=headers.message_id,
        subject=headers.subject,
        date=headers.date,
        senders=headers.senders,
        reply_to=headers.reply_to,
        to=headers.to,
        cc=headers.cc,
        journaled=tuple(party.address for party in journaled),
        flags=one.understood.flags,
        problem=one.read.problem,
        parts=(raw, *parts),
    )


async def _nothing() -> AsyncIterator[bytes]:
    yield b""
