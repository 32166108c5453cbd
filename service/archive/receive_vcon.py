"""Receiving a vCon: it is sealed as it streams, and kept byte for byte before it is acknowledged.

A recording may be in it, so that it is kept as recordings are, and not in the row of its delivery.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

import msgspec

from service.archive.objects import seal_object
from service.archive.receive import (
    Intake,
    Kept,
    Upload,
    keep_delivery,
    remove_unless_stored,
)
from service.domain.ids import new_id
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Add, Append

VCON: Final = "vcon"
"""The kind of the deliveries that are vCons, and of the objects that hold them."""


class ReceivedVcon(msgspec.Struct, frozen=True):
    """What is known of a vCon when its bytes have been received; the body of its delivery. ``sha256`` is theirs."""

    content_type: str
    sha256: str
    size_bytes: int


async def keep_vcon(
    intake: Intake,
    chunks: AsyncIterator[bytes],
    *,
    source: str,
    content_type: str,
    limit_bytes: int,
    now: datetime,
) -> Kept:
    """Keep the vCon that ``chunks`` yield. The same bytes are kept once, whoever sends them again.

    Raises:
        TooLargeError: It is larger than ``limit_bytes``.
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """
    object_id = new_id("ob")
    sealed = await seal_object(
        object_id,
        chunks,
        kind=VCON,
        blobs=intake.blobs,
        seal_header=intake.intake_keys().seal_header,
        limit_bytes=limit_bytes,
        now=now,
    )
    received = ReceivedVcon(content_type, sealed.sha256, sealed.row.plain_bytes)
    entry = LogEntry(
        type=EntryType.VCON_RECEIVED,
        at=now,
        actor="system",
        about=(object_id,),
        data={
            "source": source,
            "blob_sha256": sealed.row.sha256.hex(),
            "plain_bytes": sealed.row.plain_bytes,
        },
    )
    writes = (Add(sealed.row), Append(encode_entry(entry), entry.about))
    try:
        kept = await keep_delivery(
            intake,
            source=source,
            kind=VCON,
            ident=sealed.sha256,
            body=msgspec.msgpack.encode(received),
            now=now,
            upload=Upload(sealed, writes),
        )
    except StorageError:
        await remove_unless_stored(object_id, intake.store, intake.keys, intake.blobs)
        raise
    if kept.is_duplicate:
        await intake.keys.destroy_keys([object_id])
        await intake.blobs.remove(object_id)
    return kept
