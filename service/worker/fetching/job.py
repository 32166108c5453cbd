"""The job that fetches a recording: what it brings is kept as if the source had sent it, once.

Order: the bytes are sealed as they come; when they are whole and what was announced, they are kept as a delivery (one
commit) and understood, which attaches them. Killed before that commit, an orphan is left at the most; killed after it,
the next attempt finds the delivery and asks nobody again.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.archive.alarm import raise_alarm
from service.archive.draft_recordings import AWAITED
from service.archive.expect import Expectations
from service.archive.fetch_faults import raise_fault, settle_faults
from service.archive.receive import Intake, find_kept_recording, keep_recording
from service.archive.records import contact_of, recording_of
from service.archive.understand import Understanding
from service.archive.vault import Vault
from service.domain.actor import SYSTEM
from service.domain.contact import AnnouncedRecording, Contact
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.domain.fetching import FETCH, FetchError, FetchFault, fetch_kind
from service.worker.fetching.client import Fetcher
from service.worker.fetching.rules import FetchRules
from service.worker.jobs import Ending, Kind, is_lasting, raise_dead
from storage.errors import StorageError
from storage.ports import Change, Remove, Store
from storage.rows import ContactRow, JobRow, RecordingRow

PAUSES: Final = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=12),
)
"""About a day: a phone system that is down over night is there again before the last attempt."""

KEPT: Final = "kept"
"""What an attempt is counted as that brought a recording; others are counted by their fault."""

_SPREAD: Final = 0.25
_AT_ONCE: Final = 4
_SETTLING: Final = timedelta(minutes=5)
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A recording that is to be fetched."""

    id: str
    contact: Contact = field(repr=False)
    announced: AnnouncedRecording = field(repr=False)


class _NotAwaitedError(Exception):
    """What was being fetched is not to be kept any more."""


def _nothing_yet() -> Counter[str]:
    # Each is there from the start: of a number that appears as 1 nobody would see that it grew.
    return Counter(dict.fromkeys((KEPT, *FetchFault), 0))


@dataclass(frozen=True, slots=True)
class FetchJob:
    """Fetches recordings, each once. ``fetchers`` are those of the sources; of any other nothing is fetched.

    ``outcomes`` counts attempts: those that brought a recording, and the others by their fault.
    """

    store: Store
    vault: Vault
    intake: Intake
    understanding: Understanding
    expectations: Expectations
    fetchers: Mapping[str, Fetcher]
    outcomes: Counter[str] = field(default_factory=_nothing_yet)

    @property
    def rules(self) -> Mapping[str, FetchRules]:
        """The rules of each source, by its name."""
        return {name: fetcher.rules for name, fetcher in self.fetchers.items()}

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """How its jobs are done: those of each source in places of its own, so that a slow one holds up no other."""
        ending = Ending(
            pauses=PAUSES,
            spread=_SPREAD,
            at_least=wished_pause,
            is_final=is_final,
            bury=self.bury,
        )
        of_sources = {
            fetch_kind(name): Kind(
                self.run,
                limit=fetcher.rules.longest + _SETTLING,
                concurrency=_AT_ONCE,
                ending=ending,
            )
            for name, fetcher in self.fetchers.items()
        }
        return {FETCH: Kind(self.run, limit=_SETTLING, ending=ending), **of_sources}

    async def run(self, recording_id: str, now: datetime) -> None:
        """Fetch a recording, unless it came by another way, or is not there any more.

        Raises:
            FetchError: It could not be had, or may not be asked for. Nothing of it was kept.
            TamperedError: Its contact does not authenticate. An alarm was raised.
            UnavailableError: It is kept, and could not be attached yet.
            storage.errors.StorageError: It could not be kept.
        """
        try:
            awaited = await self._find(recording_id)
            if awaited is not None:
                # What is not awaited any more when it is there is not kept.
                with suppress(_NotAwaitedError):
                    await self._bring(awaited, now=now)
                if await self._find(recording_id) is not None:
                    raise UnavailableError(f"{recording_id} is kept, and not attached yet")
        except TamperedError:
            await self._alarm(recording_id, now=now)
            raise
        for row in await self.store.find(RecordingRow, {"id": recording_id}):
            await settle_faults(self.store, row.contact_id, now=now)

    async def bury(self, dead: JobRow, now: datetime) -> Change | None:
        """Return what marks a recording as lost for what its job failed for, and puts the contact before a person.

        The recording itself says then what is to be fetched, and nothing is left of the job.
        """
        code = dead.last_error
        fault = FetchFault(code) if code in set(FetchFault) else FetchFault.FAILED
        rows = await self.store.find(RecordingRow, {"id": dead.subject})
        contacts = await self.store.find(ContactRow, {"id": [row.contact_id for row in rows]})
        try:
            lost = await self.expectations.lose(dead.subject, fault.value, now=now)
        except TamperedError:
            return await raise_dead(dead, now)
        if lost is None:
            return None
        raised = [
            write
            for contact in contacts
            for write in await raise_fault(
                self.store, fault, contact_id=contact.id, source=contact.source, now=now
            )
        ]
        return [*lost, *raised, Remove(JobRow, (dead.id,))]

    async def _find(self, recording_id: str) -> _Awaited | None:
        """Return the recording if it is awaited still and was announced with a URL.

        Raises:
            TamperedError: Its row or its contact's is not what was sealed there.
        """
        where = {"id": recording_id, "state": list(AWAITED)}
        for row in await self.store.find(RecordingRow, where):
            for contact in await self.store.find(
                ContactRow, {"id": row.contact_id, "state": "kept"}
            ):
                try:
                    sealer = await self.vault.get_sealer(contact.id)
                except ErasedError:
                    return None
                announced = recording_of(row, sealer).announced
                if announced is not None:
                    return _Awaited(row.id, contact_of(contact, sealer), announced)
        return None

    async def _bring(self, awaited: _Awaited, *, now: datetime) -> None:
        contact = awaited.contact
        named = {
            "source": contact.source,
            "source_id": contact.source_id,
            "name": awaited.announced.name,
        }
        if await find_kept_recording(self.intake, **named) is None:
            try:
                await self._fetch(awaited, named, now=now)
            except (StorageError, UnavailableError):
                self.outcomes[FetchFault.FAILED] += 1
                raise
            except FetchError as error:
                self.outcomes[error.fault.value] += 1
                await self._tell(awaited, error, now=now)
                raise
            self.outcomes[KEPT] += 1
        delivery = await find_kept_recording(self.intake, **named)
        if delivery is not None:
            await self.understanding.retry(delivery.id, now=now)

    async def _fetch(
        self, awaited: _Awaited, named: Mapping[str, str], *, now: datetime
    ) -> None:
        fetcher = self.fetchers.get(named["source"]) or Fetcher(FetchRules())
        async with fetcher.asked(awaited.announced) as answer:
            await keep_recording(
                self.intake,
                self._while_awaited(awaited, answer.chunks()),
                **named,
                content_type=answer.content_type,
                now=now,
                # Two attempts at once bring one recording, also of a server that answers each time otherwise.
                yields=True,
            )

    async def _while_awaited(
        self, awaited: _Awaited, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Yield ``chunks``, unless it is not to be kept by then: erased, called off, delivered, or announced otherwise.

        Raises:
            _NotAwaitedError: It is not awaited any more.
            FetchError: Other bytes are awaited now, which are fetched anew.
        """
        async for chunk in chunks:
            yield chunk
        then, now = awaited.announced, await self._find(awaited.id)
        if now is None:
            raise _NotAwaitedError
        told = now.announced
        if _promised(told) != _promised(then):
            raise FetchError(FetchFault.OTHER_BYTES, "others were announced meanwhile")

    async def _tell(self, awaited: _Awaited, error: FetchError, *, now: datetime) -> None:
        """Tell the operator why; and put before a person, at once, what may be an attempt to reach into the network."""
        contact = awaited.contact
        extra = {"contact": contact.id, "recording": awaited.id, "source": contact.source}
        # Its text is of statuses and kinds of failures, and of nothing that a sender wrote.
        _log.warning("fetch.failed", extra={**extra, "why": str(error)})
        if error.fault is not FetchFault.ADDRESS_REFUSED:
            return
        _log.error("fetch.address_refused", extra=extra)
        raised = await raise_fault(
            self.store, error.fault, contact_id=contact.id, source=contact.source, now=now
        )
        if raised:
            await self.store.commit(raised)

    async def _alarm(self, recording_id: str, *, now: datetime) -> None:
        await raise_alarm(
            self.store,
            "fetch",
            about=recording_id,
            contact_id=None,
            actor_id=SYSTEM.id,
            now=now,
        )


def wished_pause(error: Exception) -> timedelta:
    """Return for how long a server wishes not to be asked again."""
    return error.pause if isinstance(error, FetchError) else timedelta()


def is_final(error: Exception, attempts: int) -> bool:
    """Tell whether fetching has failed for good after so many attempts."""
    if isinstance(error, FetchError) and error.tries is not None:
        return attempts >= error.tries
    return is_lasting(error, attempts)


def _promised(told: AnnouncedRecording) -> tuple[int | None, str | None, str | None]:
    """Return what tells the bytes of a recording from others."""
    return told.size_bytes, told.sha256, told.sha512
