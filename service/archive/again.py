"""Trying again what needs attention: each reason is looked at anew, and is over when it no longer holds.

What happened once stays so, however often one looks: that a source contradicts itself, used an identification twice or
sent too late is over only when a person says so.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.archive.alarm import REASON as INTEGRITY
from service.archive.checks import State
from service.archive.draft import RECORDED_THOUGH_NONE
from service.archive.expect import RECORDING_LOST
from service.archive.fetch_faults import FETCH_REASONS, fetch_again
from service.archive.jobs import JOB_DEAD
from service.archive.records import contact_of, customer_of
from service.archive.understand import Understanding
from service.archive.verify import Verifier
from service.domain.actor import SYSTEM
from service.domain.contact import NONE, Contact, RecordingState
from service.domain.errors import ErasedError, NotFoundError, TamperedError
from service.domain.times import from_microseconds
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from storage.rows import (
    AttentionRow,
    ContactRow,
    CustomerRow,
    MessageRow,
    ObjectRow,
    RecordingRow,
)

_SOUND: Final = frozenset({State.ANCHORED, State.PENDING})
_RETRIED: Final = frozenset(
    {
        JOB_DEAD,
        INTEGRITY,
        RECORDING_LOST,
        RECORDED_THOUGH_NONE,
        TIME_OUT_OF_WINDOW,
        *FETCH_REASONS,
    }
)

Look = Callable[[str, datetime], Awaitable[bool]]
"""Looks again at what an item is about; tells whether its reason is over."""


def reasons_of(row: AttentionRow) -> tuple[str, ...]:
    """Return the codes of an item's reasons, without the fields that they are about."""
    return tuple(reason.partition(":")[0] for reason in row.reason.split(";"))


def is_delivery(row: AttentionRow) -> bool:
    """Tell whether an item is about a delivery."""
    return row.about.startswith("dl_")


def can_change(row: AttentionRow) -> bool:
    """Tell whether trying an item again can end it: everything that it is raised for can be over by itself."""
    return is_delivery(row) or _RETRIED.issuperset(reasons_of(row))


@dataclass(frozen=True, slots=True)
class Again:
    """Looks again at what items are about."""

    understanding: Understanding
    verifier: Verifier
    _looks: Mapping[str, Look] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        looks: Mapping[str, Look] = {
            INTEGRITY: self._is_sound,
            RECORDING_LOST: self._has_come,
            RECORDED_THOUGH_NONE: self._is_not_recorded,
            TIME_OUT_OF_WINDOW: self._is_plausible,
            **dict.fromkeys(FETCH_REASONS, self._is_fetched),
        }
        object.__setattr__(self, "_looks", looks)

    async def is_over(self, row: AttentionRow, *, now: datetime) -> bool:
        """Try again what an item is about; tell whether all that it was raised for is over.

        A delivery is understood again. A contact is verified again, is given what waits for it, is read again; its
        recordings are fetched again.

        Raises:
            UnavailableError: What is needed for it is not at hand.
        """
        if is_delivery(row):
            return await self.understanding.retry(row.about, now=now)
        over = True
        for reason in reasons_of(row):
            look = self._looks.get(reason)
            over = look is not None and await look(row.about, now) and over
        return over

    async def _is_sound(self, about: str, now: datetime) -> bool:
        if about.startswith("cu_"):
            return await self._opens_customer(about)
        contact_id = await self._contact_id(about)
        if contact_id is None:
            return False
        try:
            # By the archive: what comes of it shows whoever asked only whether the item stays.
            verified = await self.verifier.verify(contact_id, actor=SYSTEM, now=now)
        except ErasedError:
            return True
        except NotFoundError:
            return False
        return verified.state in _SOUND

    async def _opens_customer(self, about: str) -> bool:
        """Tell whether a customer's row can be read again, as when it was put back."""
        store = self.understanding.store
        rows = await store.find(CustomerRow, {"id": about, "state": "kept"})
        sealers = await self.understanding.interpreter.vault.find_sealers([about])
        try:
            return bool([customer_of(row, sealers[about]) for row in rows if about in sealers])
        except TamperedError:
            return False

    async def _contact_id(self, about: str) -> str | None:
        """Return the contact that a contact, recording, message or object belongs to; None when there is none."""
        if about.startswith("ct_"):
            return about
        store, where = self.understanding.store, {"id": about}
        found = [row.contact_id for row in await store.find(RecordingRow, where)]
        found += [row.contact_id for row in await store.find(MessageRow, where)]
        of_objects = [row.contact_id for row in await store.find(ObjectRow, where)]
        return next(iter([*found, *of_objects]), None)

    async def _has_come(self, about: str, now: datetime) -> bool:
        store = self.understanding.store
        rows = await store.find(ContactRow, {"id": about, "state": "kept"})
        if rows:
            await self.understanding.attach_waiting([rows[0].source_token], now=now)
        lost = {"contact_id": about, "state": RecordingState.LOST.value}
        return not await store.count(RecordingRow, lost)

    async def _is_fetched(self, about: str, now: datetime) -> bool:
        """Tell whether the contact's recordings have come, or are fetched anew: if that fails, it is raised again."""
        store, interpreter = self.understanding.store, self.understanding.interpreter
        for contact in await store.find(ContactRow, {"id": about, "state": "kept"}):
            kind = interpreter.rule_of(contact.source).fetched_as
            if await fetch_again(store, interpreter.vault, about, kind, now=now):
                return True
        return await self._has_come(about, now)

    async def _is_not_recorded(self, about: str, now: datetime) -> bool:
        del now
        contact = await self._contact(about)
        if contact is None:
            return False
        present = {"contact_id": about, "state": RecordingState.PRESENT.value}
        recordings = await self.understanding.store.count(RecordingRow, present)
        return contact.announced != NONE or not recordings

    async def _is_plausible(self, about: str, now: datetime) -> bool:
        contact = await self._contact(about)
        if contact is None:
            return False
        messages = await self.understanding.store.find(MessageRow, {"contact_id": about})
        told = [contact.started_at, *(from_microseconds(one.sent_at) for one in messages)]
        if contact.ended_at is not None:
            told.append(contact.ended_at)
        return all(is_plausible(at, now=now) for at in told)

    async def _contact(self, about: str) -> Contact | None:
        """Return the contact as it is kept; None where it is not, or cannot be read."""
        rows = await self.understanding.store.find(ContactRow, {"id": about, "state": "kept"})
        sealers = await self.understanding.interpreter.vault.find_sealers([about])
        if not rows or about not in sealers:
            return None
        try:
            return contact_of(rows[0], sealers[about])
        except TamperedError:
            return None
