"""Contacts as the desk and the interface use them: add, complete with a recording, read, link by hand."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.archive.interpret import Arrival, Interpreter, Outcome
from service.archive.message_versions import MessageView, arranged
from service.archive.objects import SealedObject, seal_object
from service.archive.receive import (
    received_recording,
    recording_entry,
    remove_unless_stored,
)
from service.archive.records import (
    SealedMessage,
    SealedRecording,
    contact_of,
    customer_of,
    link_of,
    message_of,
    recording_of,
)
from service.archive.tombstones import Tombstone, erased_error, find_tombstones_of
from service.archive.understand import Understanding
from service.crypto.fields import FieldSealer
from service.domain.actor import Actor
from service.domain.contact import Contact, ContactFacts
from service.domain.customer import Certainty, Customer, Link, LinkState
from service.domain.errors import (
    ArchiveError,
    ContradictionError,
    ErasedError,
    NotFoundError,
    TamperedError,
)
from service.domain.ids import new_id, parse_id
from service.domain.permission import Permission, require_permission, require_source
from service.domain.times import from_microseconds
from storage.errors import StorageError
from storage.ports import Store
from storage.rows import (
    ContactRow,
    CustomerRow,
    LinkRow,
    MessageRow,
    ObjectRow,
    OpeningRow,
    RecordingRow,
)

ALTERED = "altered"
"""The cause that is shown for a recording whose row does not authenticate."""


@dataclass(frozen=True, slots=True)
class RecordingView:
    """A recording of a contact as it may be shown without opening it."""

    row: RecordingRow
    sealed: SealedRecording
    stored: ObjectRow | None
    rendition: ObjectRow | None
    peaks: ObjectRow | None


@dataclass(frozen=True, slots=True)
class ContactView:
    """A contact with everything that may be shown without opening its content."""

    contact: Contact
    links: tuple[Link, ...]
    customers: tuple[Customer, ...]
    recordings: tuple[RecordingView, ...]
    messages: tuple[MessageView, ...]
    openings: tuple[OpeningRow, ...]
    objects: Mapping[str, ObjectRow]


@dataclass(frozen=True, slots=True)
class AddedRecording:
    """A recording that is archived; ``is_new`` is False when the same bytes were there already."""

    id: str
    sealed: SealedObject
    is_new: bool


@dataclass(frozen=True, slots=True)
class Contacts:
    """The use cases of contacts."""

    store: Store
    interpreter: Interpreter
    understanding: Understanding
    max_recording_bytes: int

    async def add(
        self,
        facts: ContactFacts,
        *,
        source: str,
        actor: Actor,
        now: datetime,
        remarks: tuple[str, ...] = (),
    ) -> Outcome:
        """Add a contact, or amend the one that ``source`` calls so where it was empty.

        Raises:
            NotPermittedError: The actor may not add contacts, or not of this source.
            ContradictionError: It differs from what is archived, or its source is not live. Nothing was changed.
            ErasedError: It was erased, and stays so.
        """
        require_permission(actor, Permission.ADD_CONTACT)
        require_source(actor, source)
        self._require_live(source)
        arrival = Arrival(
            source=source,
            source_id=facts.source_id,
            facts=facts,
            remarks=remarks,
            actor=actor.id,
            is_strict=True,
        )
        outcome = await self._interpret(arrival, now=now)
        if outcome.is_new:
            token = self.interpreter.token_of(source, facts.source_id)
            await self.understanding.attach_waiting([token], now=now)
        return outcome

    async def require_open(self, contact_id: str, *, actor: Actor) -> None:
        """Return when ``actor`` may add a recording to the contact.

        Raises:
            NotPermittedError, NotFoundError, ErasedError: As for ``add_recording``.
        """
        require_permission(actor, Permission.ADD_CONTACT)
        contact, _ = await self._read(contact_id)
        require_source(actor, contact.source)

    async def add_recording(
        self,
        contact_id: str,
        name: str,
        content_type: str,
        chunks: AsyncIterator[bytes],
        *,
        actor: Actor,
        now: datetime,
    ) -> AddedRecording:
        """Add a recording to a contact, sealing it as it streams. On return it is durable.

        Raises:
            NotPermittedError: The actor may not add to contacts of this source.
            NotFoundError: There is no such contact.
            TooLargeError: It is larger than is taken.
            ContradictionError: Another recording has the name. It was kept, and this one was not.
            ErasedError: The contact was erased.
        """
        require_permission(actor, Permission.ADD_CONTACT)
        contact, _ = await self._read(contact_id)
        require_source(actor, contact.source)
        sealed = await self._seal(chunks, now=now)
        received = received_recording(
            sealed, source_id=contact.source_id, name=name, content_type=content_type
        )
        entry = recording_entry(sealed, received, source=contact.source, now=now)
        arrival = Arrival(
            source=contact.source,
            source_id=contact.source_id,
            recording=(received, sealed.row),
            also=(entry,),
            also_keys=(sealed.header,),
            actor=actor.id,
            is_strict=True,
        )
        try:
            outcome = await self._interpret(arrival, now=now)
        except (ArchiveError, StorageError):
            # Not when cancelled: what was being committed may be stored all the same.
            await self._remove(sealed)
            raise
        if outcome.is_duplicate:
            await self._remove(sealed)
        return AddedRecording(
            outcome.recording_id or "", sealed, is_new=not outcome.is_duplicate
        )

    async def _seal(self, chunks: AsyncIterator[bytes], *, now: datetime) -> SealedObject:
        return await seal_object(
            new_id("ob"),
            chunks,
            kind="recording",
            blobs=self.interpreter.blobs,
            seal_header=self.interpreter.vault.ring.seal_header,
            limit_bytes=self.max_recording_bytes,
            now=now,
        )

    async def get(self, contact_id: str, *, actor: Actor) -> ContactView:
        """Return a contact with everything that may be shown without opening its content.

        Raises:
            NotPermittedError: The actor may not read contacts.
            NotFoundError: There is no such contact.
            ErasedError: It was erased.
            TamperedError: The contact's row is not what was sealed there. An altered recording or message is shown as
                such (``ALTERED`` as its cause, no sender).
        """
        require_permission(actor, Permission.READ_CONTACT)
        contact, sealer = await self._read(contact_id)
        where = {"contact_id": contact.id}
        links = tuple(link_of(row) for row in await self.store.find(LinkRow, where))
        objects = {row.id: row for row in await self.store.find(ObjectRow, where)}
        recordings = await self.store.find(RecordingRow, where, order=("received_at", "id"))
        messages = await self.store.find(MessageRow, where, order=("sent_at", "id"))
        openings = await self.store.find(OpeningRow, where, order=("-opened_at",))
        return ContactView(
            contact=contact,
            links=links,
            customers=await self.find_customers([link.customer_id for link in links]),
            recordings=tuple(_recording_view(row, sealer, objects) for row in recordings),
            messages=arranged([_message_view(row, sealer, objects) for row in messages]),
            openings=tuple(openings),
            objects=objects,
        )

    async def get_customer(self, customer_id: str, *, actor: Actor) -> Customer:
        """Return a customer.

        Raises:
            NotPermittedError: The actor may not read contacts.
            NotFoundError: There is no such customer.
        """
        require_permission(actor, Permission.READ_CONTACT)
        customers = await self.find_customers([parse_id("cu", customer_id)])
        if not customers:
            raise NotFoundError("no such customer")
        return customers[0]

    async def find_tombstones(self, customer_id: str, *, actor: Actor) -> Sequence[Tombstone]:
        """Return what is shown of a customer's contacts that were erased, newest first.

        Raises:
            NotPermittedError: The actor may not read contacts.
            NotFoundError: The id is none of a customer.
        """
        require_permission(actor, Permission.READ_CONTACT)
        return await find_tombstones_of(self.store, parse_id("cu", customer_id))

    async def link(
        self,
        contact_id: str,
        customer_id: str,
        *,
        state: LinkState,
        actor: Actor,
        now: datetime,
    ) -> None:
        """Decide by hand whether a contact is a customer's. It stands until decided otherwise.

        Raises:
            NotPermittedError: The actor may not link.
            NotFoundError: There is no such contact or customer.
            ErasedError: The contact was erased.
            UnavailableError: The contact kept changing.
        """
        require_permission(actor, Permission.LINK)
        contact, _ = await self._read(contact_id)
        await self.get_customer(customer_id, actor=actor)
        link = Link(
            customer_id=customer_id,
            state=state,
            reasons=("by_hand",),
            certainty=Certainty.SURE,
            made_by=actor.id,
            made_at=now,
        )
        await self.interpreter.linking.relink(
            [contact.id], actor=actor.id, now=now, by_hand=link
        )

    def _require_live(self, source: str) -> None:
        book = self.understanding.book
        known = None if book is None else book.find(source)
        if known is not None and known.is_connecting:
            raise ContradictionError(
                f"the source {source} is not live: nothing of it is a contact yet"
            )

    async def _interpret(self, arrival: Arrival, *, now: datetime) -> Outcome:
        (outcome,) = await self.interpreter.interpret([arrival], now=now)
        if outcome.contradictions:
            names = ", ".join(outcome.contradictions)
            raise ContradictionError(f"differs from what is archived: {names}")
        if outcome.refusal is not None:
            raise ErasedError(f"the contact was refused: {outcome.refusal}")
        if outcome.contact is None:
            raise NotFoundError("no such contact")
        return outcome

    async def _remove(self, sealed: SealedObject) -> None:
        interpreter = self.interpreter
        await remove_unless_stored(
            sealed.row.id, self.store, interpreter.vault.keys, interpreter.blobs
        )

    async def _read(self, contact_id: str) -> tuple[Contact, FieldSealer]:
        rows = await self.store.find(ContactRow, {"id": parse_id("ct", contact_id)})
        if not rows:
            raise NotFoundError("no such contact")
        if rows[0].state != "kept":
            raise await erased_error(self.store, contact_id)
        sealer = await self.interpreter.vault.get_sealer(rows[0].id)
        return contact_of(rows[0], sealer), sealer

    async def find_customers(self, ids: Sequence[str]) -> tuple[Customer, ...]:
        """Return the customers that there are; for those who have been permitted to read what names them."""
        if not ids:
            return ()
        rows = await self.store.find(CustomerRow, {"id": list(ids)})
        sealers = await self.interpreter.vault.find_sealers([row.id for row in rows])
        return tuple(customer_of(row, sealers[row.id]) for row in rows if row.id in sealers)


def _recording_view(
    row: RecordingRow, sealer: FieldSealer, objects: dict[str, ObjectRow]
) -> RecordingView:
    try:
        sealed = recording_of(row, sealer)
    except TamperedError:
        # What is altered hides nothing that is not; verification says what, and opening it is refused.
        sealed = SealedRecording(cause=ALTERED)
    made = {o.kind: o for o in objects.values() if o.owner_id == row.id}
    return RecordingView(
        row,
        sealed,
        objects.get(row.object_id or ""),
        rendition=made.get("rendition"),
        peaks=made.get("peaks"),
    )


def _message_view(
    row: MessageRow, sealer: FieldSealer, objects: dict[str, ObjectRow]
) -> MessageView:
    try:
        sealed = message_of(row, sealer)
    except TamperedError:
        sealed = SealedMessage("", "", b"", "")
    stored = objects.get(row.object_id)
    return MessageView(
        row.id,
        sealed.sender,
        from_microseconds(row.sent_at),
        stored.plain_bytes if stored else 0,
        sealed.mail,
        sealed.ident,
        sealed.change,
        sealed.changed_at,
        sealed.is_internal,
        writer=sealed.writer,
    )
