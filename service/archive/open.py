"""Opening content: decided, put on record, and only then unsealed.

The order is: account and role, grant, the opening in the log (committed), the key, the bytes. If unsealing
fails after the commit, the log shows an opening that revealed nothing; the reverse cannot happen. One grant
opens one object once; what is asked for later adds to that opening. Refusals are in the log as well.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NoReturn
from weakref import WeakValueDictionary

from service.archive.alarm import raise_alarm
from service.archive.coverage import Intervals
from service.archive.grants import find_grant
from service.archive.openings import OpenedContent, Openings
from service.archive.payload import get_file_key, open_blob, open_payload, require_committed
from service.archive.targets import Asked, Target, get_target
from service.archive.tracking import Track
from service.archive.vault import Vault
from service.domain.actor import Actor
from service.domain.errors import (
    ArchiveError,
    GrantRequiredError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import new_id, parse_id
from service.domain.permission import Permission, require_permission
from service.domain.purpose import Grant, require_grant, require_purpose
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, decode_entry, encode_entry
from service.log.errors import FormatError
from storage.errors import ConflictError, StorageError
from storage.ports import Add, Append, BlobStore, LogStore, Store
from storage.rows import GrantRow, OpeningRow

RECHECK_EVERY: Final = timedelta(seconds=1)
"""For at most this long another process's withdrawal of a grant goes unnoticed; this process's own counts at
once."""

KEY_LIFE: Final = timedelta(seconds=60)
"""No payload key stays in memory for longer than this and a flush; then the key store is asked again."""


@dataclass(frozen=True, slots=True)
class Opener:
    """The use case. ``openings`` is what is open in this process."""

    store: Store
    log: LogStore
    blobs: BlobStore
    vault: Vault
    openings: Openings
    _locks: "WeakValueDictionary[object, asyncio.Lock]" = field(
        default_factory=WeakValueDictionary, repr=False
    )

    async def open(
        self, asked: Asked, *, actor: Actor, grant_id: str | None, now: datetime
    ) -> OpenedContent:
        """Return the content, after recording that it was opened.

        The first use of a grant on an object is one log entry, committed before its key is unwrapped. The true
        length of the content is known on return.

        Raises:
            NotPermittedError: None of the actor's roles may open content.
            GrantRequiredError: No valid grant of the actor's covers the contact.
            NotFoundError: There is no such thing.
            ErasedError: It was erased.
            TamperedError: Stored bytes do not authenticate. Nothing was revealed; an alarm was raised.
            UnavailableError: The log cannot be written, or the keys or the blob are not at hand. Nothing was
            revealed.
        """
        # The one refusal that needs no look at the archive, so that it is the same for whatever was asked.
        await self.require_permitted(Permission.OPEN, asked, actor=actor, now=now)
        if grant_id is not None:
            known = self.openings.find((actor.id, grant_id, asked), now)
            if known is not None and now - known.checked_at < RECHECK_EVERY:
                await self._require_purpose(known, asked, actor=actor, now=now)
                return known
        async with self._lock_of(actor, grant_id, asked):
            return await self._open(asked, actor=actor, grant_id=grant_id, now=now)

    def _lock_of(self, actor: Actor, grant_id: str | None, asked: Asked) -> asyncio.Lock:
        return self._locks.setdefault((actor.id, grant_id, asked), asyncio.Lock())

    async def require_permitted(
        self, permission: Permission, asked: Asked, *, actor: Actor, now: datetime
    ) -> None:
        """Return when one of the actor's roles permits it; what is asked for is not looked at.

        Raises:
            NotPermittedError: None does. The refusal is in the log.
            UnavailableError: The log cannot be written.
        """
        try:
            require_permission(actor, permission)
        except NotPermittedError as error:
            await self._refuse(error, asked, actor=actor, now=now)

    async def _open(
        self, asked: Asked, *, actor: Actor, grant_id: str | None, now: datetime
    ) -> OpenedContent:
        key = (actor.id, grant_id or "", asked)
        known = self.openings.find(key, now)
        if known is not None and await self._still_stands(known, now=now):
            await self._require_purpose(known, asked, actor=actor, now=now)
            return known
        try:
            target = await self._get_target(asked, actor=actor, now=now)
            grant = await self._require_grant(grant_id, target, actor=actor, now=now)
        except (NotFoundError, GrantRequiredError, NotPermittedError) as error:
            await self._refuse(error, asked, actor=actor, now=now)
        except StorageError as error:
            raise UnavailableError("the archive's rows could not be read") from error
        row = await self._record(target, grant, now=now)
        try:
            content = await self._unseal(target, grant, row, now=now)
        except TamperedError as error:
            await self._alarm(error, asked.id, target.contact_id, actor=actor, now=now)
        self.openings.add(content)
        return content

    async def _require_purpose(
        self, content: OpenedContent, asked: Asked, *, actor: Actor, now: datetime
    ) -> None:
        """Return while the actor's roles still have the purpose of what is open."""
        grant = content.grant
        try:
            require_purpose(actor, grant.purpose, reference=grant.reference)
        except NotPermittedError as error:
            self.openings.retire(content)
            await self._refuse(error, asked, actor=actor, now=now)

    async def _still_stands(self, content: OpenedContent, *, now: datetime) -> bool:
        """Tell whether the grant is as it was, and see to it that the key is not kept for long.

        Raises:
            ErasedError, TamperedError, UnavailableError: The key is there no more, or cannot be had.
        """
        if now - content.checked_at < RECHECK_EVERY:
            return True
        row = content.track.row
        try:
            grants = await self.store.find(GrantRow, {"id": row.grant_id})
        except StorageError as error:
            raise UnavailableError("the grant could not be read") from error
        if not grants or grants[0].version != content.grant.version:
            self.openings.retire(content)
            return False
        if now - content.unwrapped_at >= KEY_LIFE:
            file_key = await get_file_key(self.vault, row.object_id)
            stored = content.track.target.object
            content.payload = await open_payload(
                content.payload.reader, stored, file_key=file_key
            )
            content.unwrapped_at = now
        content.checked_at = now
        return True

    async def _get_target(self, asked: Asked, *, actor: Actor, now: datetime) -> Target:
        try:
            return await get_target(self.store, self.vault, asked)
        except TamperedError as error:
            await self._alarm(error, asked.id, None, actor=actor, now=now)

    async def _require_grant(
        self, grant_id: str | None, target: Target, *, actor: Actor, now: datetime
    ) -> Grant:
        if grant_id is None:
            raise GrantRequiredError(f"{actor.id} named no grant")
        try:
            grant = await find_grant(self.store, self.vault, parse_id("gr", grant_id))
        except NotFoundError as error:
            raise GrantRequiredError(f"{actor.id} named no grant") from error
        except TamperedError as error:
            await self._alarm(error, grant_id, target.contact_id, actor=actor, now=now)
        require_grant(grant, actor, target.contact_id, now=now)
        if grant is None:
            raise GrantRequiredError(f"{actor.id} named no grant")
        # A role that was taken away takes its purposes with it, whatever was granted before.
        require_purpose(actor, grant.purpose, reference=grant.reference)
        return grant

    async def _record(self, target: Target, grant: Grant, *, now: datetime) -> OpeningRow:
        """Return the opening of this grant on this object, which is in the log and durable."""
        where = {"grant_id": grant.id, "object_id": target.object.id}
        try:
            known = await self.store.find(OpeningRow, where)
            if known and await self._is_on_record(known[0]):
                return known[0]
            if known:
                # Somebody wrote the row and not the entry. There is no opening without one.
                row = known[0]
                await self.store.commit([_made(row, target, grant, now=now)])
                await raise_alarm(
                    self.store,
                    "opening",
                    about=row.id,
                    contact_id=target.contact_id,
                    actor_id=grant.actor_id,
                    now=now,
                )
                return row
            row = _new_opening(target, grant, now=now)
            try:
                await self.store.commit([Add(row), _made(row, target, grant, now=now)])
            except ConflictError:
                # Another process recorded the same opening a moment ago.
                return (await self.store.find(OpeningRow, where))[0]
        except StorageError as error:
            raise UnavailableError("the opening could not be recorded") from error
        return row

    async def require_standing(self, content: OpenedContent, *, now: datetime) -> None:
        """Return while what is being sent may go on; to be asked every second or so of a long answer.

        Raises:
            GrantRequiredError: The grant has expired or was withdrawn, or the contact was erased.
        """
        if content.is_closed or now >= content.grant.expires_at:
            raise GrantRequiredError(f"{content.track.row.id} was closed")
        if now - content.checked_at >= RECHECK_EVERY and not await self._still_stands(
            content, now=now
        ):
            raise GrantRequiredError(f"{content.track.row.id} does not stand any more")

    async def _is_on_record(self, row: OpeningRow) -> bool:
        """Tell whether the log has the opening of this row: by this actor, under this grant, of this object."""
        for stored in await self.log.log_about(row.id):
            try:
                entry = decode_entry(stored.entry)
            except FormatError:
                # What cannot be read vouches for no opening.
                continue
            if (
                entry.type is EntryType.OPENING_MADE
                and entry.actor == row.actor_id
                and {row.id, row.grant_id, row.object_id} <= set(entry.about)
            ):
                return True
        return False

    async def _unseal(
        self, target: Target, grant: Grant, row: OpeningRow, *, now: datetime
    ) -> OpenedContent:
        stack = AsyncExitStack()
        try:
            file_key = await get_file_key(self.vault, target.object.id)
            reader = await open_blob(stack, self.blobs, target.object.id)
            payload = await open_payload(reader, target.object, file_key=file_key)
            await require_committed(payload, target.object, log=self.log)
        except BaseException:
            await stack.aclose()
            raise
        return OpenedContent(
            key=(row.actor_id, grant.id, target.asked),
            track=Track(target, row),
            payload=payload,
            grant=grant,
            unwrapped_at=now,
            checked_at=now,
            used_at=now,
            stack=stack,
        )

    async def report_heard(
        self,
        asked: Asked,
        told: Intervals,
        *,
        actor: Actor,
        grant_id: str | None,
        now: datetime,
    ) -> Intervals:
        """Take a player's report of what it played (milliseconds) and return what counts, durably.

        Raises:
            NotPermittedError, GrantRequiredError: As ``open``.
            NotFoundError: There is no such recording, it was not opened under this grant, or nobody
                knows how long it is.
            UnavailableError: It could not be stored. Nothing of the report counts.
        """
        require_permission(actor, Permission.OPEN)
        known = self.openings.find((actor.id, grant_id or "", asked), now)
        if known is not None and await self._still_stands(known, now=now):
            await self._require_purpose(known, asked, actor=actor, now=now)
            return await known.track.report_heard(self.store, told, now=now)
        try:
            target = await get_target(self.store, self.vault, asked)
            grant = await self._require_grant(grant_id, target, actor=actor, now=now)
            rows = await self.store.find(
                OpeningRow, {"grant_id": grant.id, "object_id": target.object.id}
            )
        except StorageError as error:
            raise UnavailableError("the archive's rows could not be read") from error
        if not rows:
            raise NotFoundError(f"{asked.id} was not opened under {grant.id}")
        return await Track(target, rows[0]).report_heard(self.store, told, now=now)

    async def alarm(self, content: OpenedContent, *, now: datetime) -> None:
        """Raise the alarm for a chunk of ``content`` that does not authenticate, and close it."""
        self.openings.retire(content)
        await raise_alarm(
            self.store,
            "chunk",
            about=content.track.target.asked.id,
            contact_id=content.track.row.contact_id,
            actor_id=content.track.row.actor_id,
            now=now,
        )

    async def _alarm(
        self,
        error: TamperedError,
        about: str,
        contact_id: str | None,
        *,
        actor: Actor,
        now: datetime,
    ) -> NoReturn:
        await raise_alarm(
            self.store, "open", about=about, contact_id=contact_id, actor_id=actor.id, now=now
        )
        raise error

    async def _refuse(
        self, refusal: ArchiveError, asked: Asked, *, actor: Actor, now: datetime
    ) -> NoReturn:
        """Record the refusal and raise it."""
        entry = LogEntry(
            type=EntryType.OPENING_REFUSED,
            at=now,
            actor=actor.id,
            about=(asked.id,),
            data={"reason": refusal.code, "rendition": asked.rendition.value},
        )
        try:
            await self.store.commit([Append(encode_entry(entry), entry.about)])
        except StorageError as error:
            raise UnavailableError("the refusal could not be recorded") from error
        raise refusal


def _new_opening(target: Target, grant: Grant, *, now: datetime) -> OpeningRow:
    return OpeningRow(
        id=new_id("op"),
        version=1,
        grant_id=grant.id,
        object_id=target.object.id,
        actor_id=grant.actor_id,
        contact_id=target.contact_id,
        opened_at=to_microseconds(now),
        sent="",
        heard="",
    )


def _made(row: OpeningRow, target: Target, grant: Grant, *, now: datetime) -> Append:
    entry = LogEntry(
        type=EntryType.OPENING_MADE,
        at=now,
        actor=grant.actor_id,
        about=(row.id, grant.id, target.asked.id, target.contact_id, target.object.id),
        data={"purpose": grant.purpose.value, "rendition": target.asked.rendition.value},
    )
    return Append(encode_entry(entry), entry.about)
