"""Reading a message: with what nobody needs to see hidden; or all of it, which is a step of its own and on record."""

import asyncio
from datetime import datetime

from service.archive.open import Opener
from service.archive.openings import OpenedContent
from service.archive.targets import Asked
from service.domain.actor import Actor
from service.domain.errors import UnavailableError
from service.domain.masking import Masked, mask_text
from service.domain.permission import Permission
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Append


async def read_masked(content: OpenedContent) -> Masked:
    """Return the text of a message that is open, masked. Nothing counts as sent yet.

    Raises:
        TamperedError: Stored bytes do not authenticate.
        UnavailableError: The blob is not at hand.
    """
    text = (await read_whole(content)).decode("utf-8", "replace")
    # A long text takes long enough to hold up everybody else.
    return await asyncio.to_thread(mask_text, text)


async def read_unmasked(content: OpenedContent) -> Masked:
    """Return the same with nothing hidden, of what ``unmask`` opened.

    Raises:
        TamperedError, UnavailableError: As for ``read_masked``.
    """
    return Masked((await read_whole(content)).decode("utf-8", "replace"), 0)


async def read_whole(content: OpenedContent) -> bytes:
    """Return all that is open, as it was archived.

    Raises:
        TamperedError, UnavailableError: As for ``read_masked``.
    """
    size = content.size_bytes
    return bytes(await content.payload.read(0, size)) if size else b""


async def unmask(
    opener: Opener, asked: Asked, *, actor: Actor, grant_id: str | None, now: datetime
) -> OpenedContent:
    """Return the message, opened, after recording that it is shown with nothing hidden: once for each asking.

    Raises:
        NotPermittedError: None of the actor's roles may see what is hidden. The refusal is on record.
        UnavailableError: The log cannot be written. Nothing was revealed.
        GrantRequiredError, NotFoundError, ErasedError, TamperedError: As ``Opener.open``.
    """
    await opener.require_permitted(Permission.UNMASK, asked, actor=actor, now=now)
    content = await opener.open(asked, actor=actor, grant_id=grant_id, now=now)
    row = content.track.row
    entry = LogEntry(
        type=EntryType.MESSAGE_UNMASKED,
        at=now,
        actor=actor.id,
        about=(row.id, row.grant_id, asked.id, row.contact_id, row.object_id),
        data={"purpose": content.grant.purpose.value},
    )
    try:
        await opener.store.commit([Append(encode_entry(entry), entry.about)])
    except StorageError as error:
        raise UnavailableError("that it is shown could not be recorded") from error
    return content
