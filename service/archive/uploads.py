"""Uploads that can be resumed (tus 1.0): a recording that comes in pieces, over connections that break.

Each piece is sealed as it comes and durable before it is acknowledged. When all of it is there, the recording is kept
as if it had come in one request: under its contact, or waiting for it.

Order of writes: a part's blob, its header, then one commit of its row and the new offset. The recording is kept
before the upload is done, and that before its parts are destroyed; after a crash whoever asks next, or housekeeping,
takes the step once more.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import msgspec

from service.archive.contacts import Contacts
from service.archive.incoming import Checksum, Incoming
from service.archive.objects import SealedObject
from service.archive.receive import Intake, Kept, keep_recording
from service.archive.upload_parts import Parts
from service.archive.upload_view import (
    ChecksumMismatchError,
    Target,
    UploadView,
    is_due,
    with_length,
)
from service.archive.vault import open_value, seal_value
from service.domain.actor import Actor
from service.domain.errors import (
    BusyError,
    ContradictionError,
    ErasedError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    TooLargeError,
    TooManyUploadsError,
)
from service.domain.ids import new_id, parse_id
from service.domain.permission import Permission, require_permission, require_source
from service.domain.times import to_microseconds
from storage.errors import StaleError
from storage.ports import Add, Replace
from storage.rows import UploadRow

MAX_OPEN: Final = 100
"""So many uploads one actor may have begun and not finished."""

MAX_OPEN_RECORDINGS: Final = 16
"""Together they may hold so many recordings of the largest size."""

_TABLE: Final = "uploads"


HOPELESS: Final = (
    ContradictionError,
    ErasedError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
)
"""Why a recording cannot be kept, whenever it is tried again."""


def _nobody(_: Kept) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """The use cases of uploads. ``offer`` hands on what waits to be understood."""

    parts: Parts
    contacts: Contacts
    intake: Intake
    offer: Callable[[Kept], None] = _nobody
    _taken: set[str] = field(default_factory=set, repr=False)

    @property
    def max_bytes(self) -> int:
        """How long an upload may be."""
        return self.intake.max_recording_bytes

    # -- beginning and looking

    async def begin(
        self,
        target: Target,
        *,
        kind: str,
        length: int | None,
        actor: Actor,
        now: datetime,
    ) -> UploadView:
        """Begin an upload of ``length`` bytes (None: told later). One of no bytes is done on return.

        Raises:
            NotPermittedError, NotFoundError, ErasedError: The actor may not add this recording.
            TooLargeError: It is longer than is taken.
            TooManyUploadsError: The actor has begun too much.
        """
        await self._require_permitted(target, kind, actor)
        if length is not None and length > self.max_bytes:
            raise TooLargeError(f"an upload of {length} bytes")
        await self._require_room(actor, length)
        view = await self._add(target, kind=kind, offset=0, length=length, actor=actor, now=now)
        return await self.finish(view, actor=actor, now=now) if view.is_whole else view

    async def join(
        self, target: Target, ids: Sequence[str], *, actor: Actor, now: datetime
    ) -> UploadView:
        """Make one recording of partial uploads that are whole, in the order of ``ids``. It is done on return.

        Raises:
            NotPermittedError, NotFoundError, ErasedError: The actor may not add this recording, or has no such uploads.
            InvalidInputError: One of them is not partial, not whole, or named twice.
            TooLargeError: Together they are longer than is taken.
            TooManyUploadsError: The actor has begun too much.
        """
        await self._require_permitted(target, "final", actor)
        await self._require_room(actor, 0)
        views = [await self.get(one, actor=actor, now=now) for one in ids]
        if len(set(ids)) != len(ids) or any(
            not view.is_whole or view.row.kind != "partial" for view in views
        ):
            raise InvalidInputError("Upload-Concat: partial uploads that are whole, each once")
        length = sum(view.row.offset_bytes for view in views)
        if length > self.max_bytes:
            raise TooLargeError(f"uploads of {length} bytes together")
        target = msgspec.structs.replace(target, partials=tuple(ids))
        view = await self._add(
            target, kind="final", offset=length, length=length, actor=actor, now=now
        )
        with self.taking(view.row.id):
            try:
                return await self.finish(view, actor=actor, now=now)
            except HOPELESS:
                # Its sender learns no name of it; the partial uploads stay as they are.
                await self.end(view.row)
                raise

    async def get(self, upload_id: str, *, actor: Actor, now: datetime) -> UploadView:
        """Return an upload of the actor.

        Raises:
            NotFoundError: There is none, or it is somebody else's.
            ErasedError: Its time is over.
        """
        require_permission(actor, Permission.ADD_CONTACT)
        rows = await self.parts.store.find(UploadRow, {"id": parse_id("up", upload_id)})
        if not rows or rows[0].actor_id != actor.id or rows[0].state == "removing":
            raise NotFoundError("no such upload")
        view = await self.view_of(rows[0])
        if view.expires_at <= now:
            raise ErasedError(f"{upload_id} is over", detail="The time of this upload is over.")
        return view

    async def look(self, upload_id: str, *, actor: Actor, now: datetime) -> UploadView:
        """Return the same; where every byte is there, the recording is kept on return.

        A sender that learns that all has come does not come again: it may not be told so before.

        Raises:
            NotFoundError, ErasedError: As for ``get``.
            ArchiveError: Whatever keeps the recording from being kept.
        """
        view = await self.get(upload_id, actor=actor, now=now)
        if not is_due(view):
            return view
        with self.taking(upload_id):
            # Who had it until now may have ended it.
            view = await self.get(upload_id, actor=actor, now=now)
            return await self.finish(view, actor=actor, now=now)

    # -- going on

    async def append(
        self,
        upload_id: str,
        chunks: AsyncIterator[bytes],
        *,
        offset: int,
        length: int | None,
        checksum: Checksum | None,
        actor: Actor,
        now: datetime,
    ) -> UploadView:
        """Keep the bytes of ``chunks`` from ``offset`` on. On return they are durable; with the last, the recording is.

        What ends ``chunks`` early is raised once what came before it is kept; with a ``checksum`` nothing of it is.
        ``length`` is that of the upload, where it was not told before.

        Raises:
            NotFoundError, ErasedError: As for ``get``.
            NotPermittedError: It was made of partial uploads.
            BusyError: Another request is adding to it.
            ContradictionError: The upload ends elsewhere than at ``offset``. Nothing was kept.
            ChecksumMismatchError: The bytes are not what was said. None of them was kept.
            TooLargeError: More came than the upload is long. What fits was kept.
        """
        with self.taking(upload_id):
            view = await self.get(upload_id, actor=actor, now=now)
            if view.row.kind == "final":
                raise NotPermittedError(f"{upload_id} is made of partial uploads")
            view = with_length(view, length, most=self.max_bytes)
            if view.row.offset_bytes != offset:
                raise ContradictionError(f"the upload has {view.row.offset_bytes} bytes")
            most = self.max_bytes if view.row.length_bytes is None else view.row.length_bytes
            incoming = Incoming(chunks, checksum=checksum, limit_bytes=most - offset)
            view = await self._take(view, incoming, told=length is not None, now=now)
            if incoming.broken is not None:
                raise incoming.broken
            return await self.finish(view, actor=actor, now=now) if is_due(view) else view

    async def remove(self, upload_id: str, *, actor: Actor, now: datetime) -> None:
        """Remove an upload with every byte of it. A recording that was made of it stays.

        Raises:
            NotFoundError, ErasedError: As for ``get``.
            BusyError: Another request is adding to it.
        """
        with self.taking(upload_id):
            view = await self.get(upload_id, actor=actor, now=now)
            await self.end(view.row)

    async def _take(
        self, view: UploadView, incoming: Incoming, *, told: bool, now: datetime
    ) -> UploadView:
        """Keep what comes: part by part, or all of it at its end where a checksum decides."""
        after, held = await self.parts.last_at(view.row.id), list[SealedObject]()
        while await incoming.has_more():
            held.append(await self._seal(incoming, held, after=after, now=now))
            after = held[-1].row.made_at
            if not incoming.is_checked:
                view, held = await self._grow(view, held, now=now), []
        if held and (incoming.broken is not None or not incoming.is_sound()):
            await self.parts.discard(held)
            held = []
        if not incoming.is_sound() and incoming.broken is None:
            raise ChecksumMismatchError("the bytes are not those of Upload-Checksum")
        if held or (told and incoming.broken is None):
            return await self._grow(view, held, now=now)
        return view

    async def _seal(
        self, incoming: Incoming, held: Sequence[SealedObject], *, after: int, now: datetime
    ) -> SealedObject:
        """Seal the next part; where that fails, nothing stays of those that are ``held`` either."""
        try:
            return await self.parts.seal(incoming, after=after, now=now)
        except BaseException:
            await self.parts.discard(held)
            raise

    async def _grow(
        self, view: UploadView, sealed: Sequence[SealedObject], *, now: datetime
    ) -> UploadView:
        """Store the rows of parts together with the offset that they make.

        Raises:
            ContradictionError: Another process added to the upload meanwhile. Nothing of these was kept.
        """
        row = replace(
            view.row,
            version=view.row.version + 1,
            offset_bytes=view.row.offset_bytes + sum(one.row.plain_bytes for one in sealed),
            touched_at=to_microseconds(now),
        )
        adds = [Add(replace(one.row, owner_id=row.id)) for one in sealed]
        # Where it cannot be told whether they were stored, they stay: better bytes that nobody finds than none.
        try:
            await self.parts.vault.keys.put_keys([one.header for one in sealed])
            await self.parts.store.commit([*adds, Replace(row)])
        except StaleError as error:
            await self.parts.discard(sealed)
            raise ContradictionError("another request added to the upload") from error
        return replace(view, row=row)

    # -- ending

    async def finish(self, view: UploadView, *, actor: Actor, now: datetime) -> UploadView:
        """Keep the recording, and let the upload be done. Twice at once it is kept once: the bytes are the same.

        Raises:
            ArchiveError: It cannot be kept, as ``Contacts.add_recording`` says.
        """
        target, row = view.target, view.row
        if row.kind == "partial" or row.state == "done":
            return view
        chunks = self.parts.read(target.partials or (row.id,), size_bytes=row.offset_bytes)
        async with aclosing(chunks):
            await self._keep(target, chunks, actor=actor, now=now)
        done = replace(
            row, version=row.version + 1, state="done", touched_at=to_microseconds(now)
        )
        try:
            await self.parts.store.commit([Replace(done)])
        except StaleError:
            return await self.get(row.id, actor=actor, now=now)
        await self.parts.clear(done)
        for one in await self.parts.store.find(UploadRow, {"id": list(target.partials)}):
            await self.end(one)
        return replace(view, row=done)

    async def _keep(
        self, target: Target, chunks: AsyncIterator[bytes], *, actor: Actor, now: datetime
    ) -> None:
        """Keep the recording as if it had come in one request."""
        if target.contact_id is not None:
            await self.contacts.add_recording(
                target.contact_id,
                target.name,
                target.content_type,
                chunks,
                actor=actor,
                now=now,
            )
            return
        kept = await keep_recording(
            self.intake,
            chunks,
            source=target.source or "",
            source_id=target.source_id or "",
            name=target.name,
            content_type=target.content_type,
            now=now,
        )
        self.offer(kept)

    async def end(self, row: UploadRow) -> None:
        """Remove an upload with what is left of it.

        Raises:
            BusyError: Somebody went on with it since ``row`` was read.
        """
        removing = replace(row, version=row.version + 1, state="removing")
        try:
            await self.parts.store.commit([Replace(removing)])
        except StaleError as error:
            raise BusyError(f"{row.id} changed meanwhile") from error
        await self.parts.clear(removing)

    # -- what these share

    async def _require_permitted(self, target: Target, kind: str, actor: Actor) -> None:
        require_permission(actor, Permission.ADD_CONTACT)
        if kind == "partial":
            return
        if target.contact_id is not None:
            await self.contacts.require_open(target.contact_id, actor=actor)
            return
        require_permission(actor, Permission.DELIVER)
        require_source(actor, target.source or "")

    async def _require_room(self, actor: Actor, length: int | None) -> None:
        rows = await self.parts.store.find(UploadRow, {"actor_id": actor.id, "state": "open"})
        told = [row.length_bytes for row in rows] + [length]
        announced = sum(self.max_bytes if one is None else one for one in told)
        if len(told) > MAX_OPEN or announced > MAX_OPEN_RECORDINGS * self.max_bytes:
            raise TooManyUploadsError(f"{actor.id} has {len(rows)} uploads open")

    async def _add(
        self,
        target: Target,
        *,
        kind: str,
        offset: int,
        length: int | None,
        actor: Actor,
        now: datetime,
    ) -> UploadView:
        target = msgspec.structs.replace(target, bound_to=actor.source)
        vault, upload_id = self.parts.vault, new_id("up")
        key = vault.new_key(upload_id, now=now)
        await vault.put([key])
        row = UploadRow(
            id=upload_id,
            version=1,
            actor_id=actor.id,
            kind=kind,
            state="open",
            offset_bytes=offset,
            length_bytes=length,
            touched_at=to_microseconds(now),
            sealed=seal_value(key.sealer, target, table=_TABLE, row=upload_id, version=1),
        )
        await self.parts.store.commit([Add(row)])
        return UploadView(row, target)

    async def view_of(self, row: UploadRow) -> UploadView:
        """Return the upload of ``row``, opened."""
        sealer = await self.parts.vault.get_sealer(row.id)
        # It is sealed once, when the upload begins, and stays as it is.
        target = open_value(sealer, row.sealed, Target, table=_TABLE, row=row.id, version=1)
        return UploadView(row, target)

    @contextmanager
    def taking(self, upload_id: str) -> Iterator[None]:
        """Let nobody else of this process change the upload inside the block; other processes find its version.

        Raises:
            BusyError: Somebody is changing it.
        """
        if upload_id in self._taken:
            raise BusyError(f"{upload_id} is being added to")
        self._taken.add(upload_id)
        try:
            yield
        finally:
            self._taken.discard(upload_id)
