"""Receiving mail: the raw message is sealed as it streams, and kept byte for byte before it is acknowledged."""

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.archive.objects import seal_object
from service.archive.receive import (
    Intake,
    Kept,
    Upload,
    keep_delivery,
    remove_unless_stored,
)
from service.domain.ids import new_id
from service.log.entry import EntryType, LogEntry, commitment, encode_entry
from service.sources.mail_envelope import ReceivedMail
from storage.errors import StorageError
from storage.ports import Add, Append

_SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """By which way a mail came; see `ReceivedMail`."""

    mail_from: str
    recipients: tuple[str, ...]
    peer: str
    helo: str = ""
    protocol: str
    is_tls: bool
    mailbox: tuple[str, int, int] | None = None
    arrived_at: datetime | None = None


async def keep_mail(
    intake: Intake,
    chunks: AsyncIterator[bytes],
    envelope: Envelope,
    *,
    source: str,
    limit_bytes: int,
    remarks: tuple[str, ...] = (),
    now: datetime,
    random: Callable[[int], bytes] = os.urandom,
) -> Kept:
    """Keep the raw message that ``chunks`` yield. The same bytes are kept once, whoever sends them again.

    ``remarks`` travel with it to whoever reads it.

    Raises:
        TooLargeError: It is larger than ``limit_bytes``.
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """
    object_id = new_id("ob")
    sealed = await seal_object(
        object_id,
        chunks,
        kind="mail",
        blobs=intake.blobs,
        seal_header=intake.intake_keys().seal_header,
        limit_bytes=limit_bytes,
        now=now,
    )
    salt = random(_SALT_BYTES)
    received = ReceivedMail(
        mail_from=envelope.mail_from,
        recipients=envelope.recipients,
        peer=envelope.peer,
        helo=envelope.helo,
        protocol=envelope.protocol,
        is_tls=envelope.is_tls,
        mailbox=envelope.mailbox,
        arrived_at=envelope.arrived_at,
        sha256=sealed.sha256,
        size_bytes=sealed.row.plain_bytes,
        salt=salt,
        commitment=commitment(salt, bytes.fromhex(sealed.sha256)),
    )
    entry = LogEntry(
        type=EntryType.MAIL_RECEIVED,
        at=now,
        actor="system",
        about=(object_id,),
        data={
            "source": source,
            "blob_sha256": sealed.row.sha256.hex(),
            "plain_bytes": sealed.row.plain_bytes,
            "commitment": received.commitment,
        },
    )
    writes = (Add(sealed.row), Append(encode_entry(entry), entry.about))
    try:
        kept = await keep_delivery(
            intake,
            source=source,
            kind="mail",
            ident=sealed.sha256,
            body=received.encode(),
            now=now,
            remarks=remarks,
            upload=Upload(sealed, writes),
        )
    except StorageError:
        await remove_unless_stored(object_id, intake.store, intake.keys, intake.blobs)
        raise
    if kept.is_duplicate:
        await intake.keys.destroy_keys([object_id])
        await intake.blobs.remove(object_id)
    return kept
