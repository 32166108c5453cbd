"""Handing a contact out, with everything that proves it: as age files for somebody's key, or as a vCon in the clear.

A vCon is signed where the archive has a certificate, unless it is asked for without.

The disclosure is in the log, with who, why and under which grant, before the first byte is written. If writing fails
after that, the log shows a disclosure that gave nothing away; the reverse cannot happen.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn

from service.archive.alarm import raise_alarm
from service.archive.contact_json import Json, known
from service.archive.evidence import ContactRows, Evidence
from service.archive.export_files import (
    README,
    ExportedPart,
    evidence_json,
    verification_json,
)
from service.archive.export_writer import ExportWriter, Found
from service.archive.grants import Grants
from service.archive.mail_records import MailPart, SealedPart
from service.archive.media_types import suffix_of, type_of
from service.archive.package import Package, new_package
from service.archive.records import SealedMessage, SealedRecording, contact_of, message_of
from service.archive.targets import MESSAGE_TYPE, Rendition
from service.archive.vault import Vault, open_value
from service.archive.vcon import WrittenPart
from service.archive.verify import Verifier
from service.crypto.fields import FieldSealer
from service.crypto.jws import JwsSigner
from service.crypto.recipients import Recipient
from service.domain.actor import Actor
from service.domain.errors import (
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import new_id, parse_id
from service.domain.permission import Permission, require_permission
from service.domain.purpose import Grant, Purpose
from service.domain.times import format_time, from_microseconds
from service.log.checkpoint import log_key
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Append, BlobStore, Store
from storage.rows import MessageRow, RecordingRow

_SUFFIX: Final = re.compile(r"\.[a-z0-9]{1,5}", re.ASCII)


INTERNAL: Final = "internal"
"""The state of a note among the company's own, which a vCon does not have."""
_VERDICTS: Final = Rendition.VERDICTS.value


class Form(StrEnum):
    """As what a contact is handed out."""

    AGE = "age"
    VCON = "vcon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be handed out to whom and why. ``recipient`` is for age, and only for it.

    ``is_unsigned`` asks for a vCon without a signature although there is a certificate.
    """

    contact_id: str
    form: Form
    purpose: Purpose
    reference: str | None
    recipient: Recipient | None
    out: Path
    is_unsigned: bool = False


@dataclass(frozen=True, slots=True)
class Exporter:
    """The use case. The vault must be at hand. ``signer`` is what vCons are signed with; None: they are not."""

    store: Store
    blobs: BlobStore
    vault: Vault
    verifier: Verifier
    grants: Grants
    signer: JwsSigner | None = None

    async def export(self, order: Order, *, actor: Actor, now: datetime) -> Path:
        """Hand the contact out into a new directory below ``order.out``, and return it. It is whole and durable.

        Raises:
            NotPermittedError: The actor may not open content, or not for this purpose.
            InvalidInputError: A reference or recipient is missing or needless, or the directory is there already.
            NotFoundError, ErasedError: There is no such contact any more.
            TamperedError: Something stored does not authenticate. Nothing is left behind; an alarm was raised.
            UnavailableError: The log cannot be written, or keys or blobs are not at hand. Nothing is left behind.
        """
        require_permission(actor, Permission.OPEN)
        if (order.form is Form.AGE) != (order.recipient is not None):
            raise InvalidInputError("age needs a recipient (age1…), and vCon has none")
        if order.form is Form.AGE and order.is_unsigned:
            raise InvalidInputError("only a vCon is signed")
        contact_id = parse_id("ct", order.contact_id)
        async with new_package(order.out, contact_id) as package:
            try:
                await self._export(package, order, actor=actor, now=now)
            except TamperedError as error:
                await self._alarm(error, contact_id, actor, now=now)
            except StorageError as error:
                raise UnavailableError(f"{contact_id} could not be handed out") from error
        return order.out / contact_id

    async def _export(
        self, package: Package, order: Order, *, actor: Actor, now: datetime
    ) -> None:
        verification = await self.verifier.verify(order.contact_id, actor=actor, now=now)
        rows, evidence = await self._read(order.contact_id)
        if evidence.is_erased:
            # Either it was erased this moment, or the log tells of an erasure that the archive did not write.
            await self.verifier.verify(order.contact_id, actor=actor, now=now)
            raise TamperedError("what says that it was erased is not the archive's")
        found = await self._open_rows(rows, order.form)
        grant = await self.grants.create(
            actor=actor,
            purpose=order.purpose,
            contact_ids=[order.contact_id],
            reference=order.reference,
            now=now,
        )
        await self._record(order, found, grant, now=now)
        writer = ExportWriter(self.blobs, self.vault, package, found, evidence)
        if order.recipient is None:
            await writer.write_vcon(signer=self._signer_of(order), now=now)
        else:
            await writer.write_age(order.recipient)
        key = log_key(await self._origin(), self.vault.ring.log_signing_key).format()
        for proof in verification.proofs:
            await package.write(f"log/{proof.index}.json", proof.entry)
            await package.write(f"log/{proof.index}.tlog-proof", proof.proof)
        await package.write("log/vkey", f"{key}\n".encode())
        evidence_file = evidence_json(order.contact_id, found.parts, verification, log_key=key)
        await package.write("evidence.json", evidence_file)
        await package.write("verification.json", verification_json(verification))
        await package.write("README.txt", README.encode())

    async def _read(self, contact_id: str) -> tuple[ContactRows, Evidence]:
        rows = (await self.verifier.checker.read([contact_id]))[contact_id]
        evidence, _ = await self.verifier.checker.get_evidence(rows)
        if rows.contact is None:
            raise NotFoundError(f"no contact {contact_id}")
        return rows, evidence

    async def _origin(self) -> str:
        view = self.verifier.published.view()
        return view.position.origin if view else "unpublished"

    async def _open_rows(self, rows: ContactRows, form: Form) -> Found:
        if rows.contact is None:
            raise NotFoundError(f"no contact {rows.id}")
        sealer = await self.vault.get_sealer(rows.id)
        found = Found(contact_of(rows.contact, sealer), (), dict(rows.objects), {}, {})
        parts = []
        recordings = sorted(rows.recordings, key=lambda row: (row.received_at or 0, row.id))
        for number, recording in enumerate(recordings, 1):
            parts.append(_recording(recording, sealer, number, form=form, found=found))
        messages = sorted(rows.messages, key=lambda row: (row.sent_at, row.id))
        for number, message in enumerate(messages, 1):
            parts += _message(message, sealer, number, form=form, found=found)
            parts += _verdicts(message, number, form=form, found=found)
        return replace(found, parts=tuple(parts))

    async def _record(self, order: Order, found: Found, grant: Grant, *, now: datetime) -> None:
        objects = tuple(part.object_id for part in found.parts if part.object_id)
        data = {"format": order.form.value, "purpose": grant.purpose.value}
        if order.recipient is not None:
            data["recipient_sha256"] = hashlib.sha256(str(order.recipient).encode()).hexdigest()
        signer = self._signer_of(order)
        if signer is not None:
            data["signed_by_sha256"] = signer.fingerprint
        entry = LogEntry(
            type=EntryType.DISCLOSURE_MADE,
            at=now,
            actor=grant.actor_id,
            about=(new_id("di"), grant.id, order.contact_id, *objects),
            data=data,
        )
        await self.store.commit([Append(encode_entry(entry), entry.about)])

    def _signer_of(self, order: Order) -> JwsSigner | None:
        return self.signer if order.form is Form.VCON and not order.is_unsigned else None

    async def _alarm(
        self, error: TamperedError, contact_id: str, actor: Actor, *, now: datetime
    ) -> NoReturn:
        await raise_alarm(
            self.store, "export", about=contact_id, contact_id=None, actor_id=actor.id, now=now
        )
        raise error


def _recording(
    row: RecordingRow, sealer: FieldSealer, number: int, *, form: Form, found: Found
) -> ExportedPart:
    place = {"table": "recordings", "row": row.id}
    sealed = open_value(sealer, row.sealed, SealedRecording, **place, version=row.version)
    part = ExportedPart(id=row.id, kind="recording", state=row.state, name=sealed.name)
    if row.object_id is None:
        return part
    if sealed.is_internal and form is Form.VCON:
        return replace(part, state=INTERNAL)
    seconds = (sealed.facts or {}).get("duration_seconds")
    if isinstance(seconds, int | float) and seconds > 0:
        found.durations[row.id] = float(seconds)
    content_type = type_of(sealed.content_type, sealed.facts)
    suffix = Path(sealed.name).suffix.lower()
    suffix = suffix if _SUFFIX.fullmatch(suffix) else suffix_of(content_type)
    file = f"recording-{number}{suffix}.age" if form is Form.AGE else "contact.vcon"
    return _with_object(
        part,
        sealed,
        object_id=row.object_id,
        file=file,
        found=found,
        content_type=content_type,
    )


def _message(
    row: MessageRow, sealer: FieldSealer, number: int, *, form: Form, found: Found
) -> list[ExportedPart]:
    """Return a message, and of a mail the mail as it came and its attachments."""
    sealed = message_of(row, sealer)
    found.messages[row.id] = _written(row, sealed)
    part = ExportedPart(id=row.id, kind="message", state="present", told=_told(sealed))
    if sealed.is_internal and form is Form.VCON:
        # It was never part of the conversation, and a vCon may travel to who took part in it.
        return [replace(part, state=INTERNAL)]
    file = f"message-{number}.txt.age" if form is Form.AGE else "contact.vcon"
    text = _with_object(
        part,
        sealed,
        object_id=row.object_id,
        file=file,
        found=found,
        content_type=MESSAGE_TYPE,
    )
    beside = sealed.mail.parts if sealed.mail else ()
    # A vCon has the mail as it came, in which the attachments are.
    kinds = {MailPart.RAW} if form is Form.VCON else {MailPart.RAW, MailPart.ATTACHMENT}
    kept = [one for one in beside if one.kind in kinds]
    return [text, *(_mail_part(row, one, number, form=form, found=found) for one in kept)]


def _written(row: MessageRow, sealed: SealedMessage) -> WrittenPart:
    return WrittenPart(
        sender=sealed.sender,
        sent_at=from_microseconds(row.sent_at),
        ident=sealed.ident,
        change=sealed.change,
        changed_at=sealed.changed_at,
        writer=sealed.writer,
    )


def _told(sealed: SealedMessage) -> Json:
    """Return what a message is a version of, and whether the customer never saw it."""
    return known(
        {
            "message": sealed.ident or None,
            "change": sealed.change,
            "changed_at": sealed.changed_at and format_time(sealed.changed_at),
            "internal": sealed.is_internal or None,
        }
    )


def _verdicts(row: MessageRow, number: int, *, form: Form, found: Found) -> list[ExportedPart]:
    """Return the newest verdicts on a mail, if there are any; the archive made them, and the log has their blob."""
    made = [o for o in found.objects.values() if (o.owner_id, o.kind) == (row.id, _VERDICTS)]
    return [
        ExportedPart(
            id=row.id,
            kind=_VERDICTS,
            state="present",
            file=f"message-{number}.verdicts.json.age" if form is Form.AGE else "contact.vcon",
            object_id=newest.id,
            name=f"message-{number}.verdicts.json",
            content_type="application/json",
            blob_sha256=newest.sha256.hex(),
        )
        for newest in sorted(made, key=lambda one: one.made_at)[-1:]
    ]


def _mail_part(
    row: MessageRow, sealed: SealedPart, number: int, *, form: Form, found: Found
) -> ExportedPart:
    name = sealed.name or (f"message-{number}.eml" if sealed.kind is MailPart.RAW else "")
    suffix = Path(name).suffix.lower()
    suffix = suffix if _SUFFIX.fullmatch(suffix) else ".bin"
    # Named by its object: two attachments may be called the same, or nothing.
    middle = "" if sealed.kind is MailPart.RAW else f"-{sealed.object_id}"
    file = f"message-{number}{middle}{suffix}.age" if form is Form.AGE else "contact.vcon"
    return _with_object(
        ExportedPart(id=row.id, kind=sealed.kind.value, state="present", name=name),
        sealed,
        object_id=sealed.object_id,
        file=file,
        found=found,
        content_type=sealed.content_type,
    )


def _with_object(
    part: ExportedPart,
    sealed: SealedRecording | SealedMessage | SealedPart,
    *,
    object_id: str,
    file: str,
    found: Found,
    content_type: str,
) -> ExportedPart:
    stored = found.objects.get(object_id)
    if stored is None or stored.owner_id != part.id:
        raise TamperedError(f"{part.id} names an object that is not its own")
    return replace(
        part,
        file=file,
        object_id=object_id,
        content_type=content_type,
        sha256=sealed.sha256,
        salt=sealed.salt,
        commitment=sealed.commitment,
        blob_sha256=stored.sha256.hex(),
    )
