"""Understanding: deliveries become contacts. What cannot be understood is kept, shown, and can be tried again.

No delivery holds up the others: where a batch fails, each is tried for itself, and the one that it is about is put
before a person.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from service.archive.deliveries import DeliveryOpener
from service.archive.interpret import Arrival, Interpreter, Outcome
from service.archive.mail_reading import MAIL, MailReading
from service.archive.receive import ReceivedRecording, SealedDelivery
from service.archive.receive_vcon import VCON
from service.archive.remarks import raise_attention
from service.archive.source_book import SourceBook
from service.archive.trials import TRIAL, Delivered, keep_trials_back
from service.archive.vcon_reading import VconReading
from service.domain.errors import (
    ErasedError,
    InvalidInputError,
    NotFoundError,
    TamperedError,
    UnavailableError,
)
from service.sources.events import Adapter
from service.sources.vcon.errors import NotBelievedError
from storage.errors import StaleError, StorageError
from storage.ports import Change, Replace, Span, Store
from storage.rows import ContactRow, DeliveryRow, ObjectRow

NOT_UNDERSTOOD: Final = "not_understood"
SOURCE_GONE: Final = "source_gone"
ALTERED: Final = "altered"
ERASED: Final = "erased"
UNREADABLE: Final = "contact_unreadable"
BROKEN: Final = "internal_error"
"""Why a delivery failed. Stable codes, which name what needs attention."""

_RETRIED: Final = frozenset({"received", "waiting", "failed", TRIAL})
_BATCH: Final = 200

_log: Final = logging.getLogger("taltio")


class _SourceGoneError(InvalidInputError):
    """No configured source has the name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a delivery tells and what was remarked when it came; or, in words, why nothing can be read in it."""

    arrivals: Sequence[Arrival] = ()
    remarks: tuple[str, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Understanding:
    """Turns deliveries into contacts, by each source's adapters: one for each kind of what it delivers.

    What comes from a source that is not live, as ``book`` has it, becomes none.
    """

    store: Store
    interpreter: Interpreter
    opener: DeliveryOpener
    adapters: Mapping[str, Mapping[str, Adapter]]
    mails: MailReading | None = None
    """What understands mails; without it they cannot be."""
    book: SourceBook | None = None
    vcons: VconReading | None = None
    """What understands vCons; without it they cannot be."""

    async def understand(
        self, deliveries: Sequence[Delivered], *, now: datetime
    ) -> list[Outcome]:
        """Understand deliveries that are at hand; return what became of those that could be parsed.

        Those that cannot be understood now, such as while a key is not at hand, stay as they are.

        Raises:
            storage.errors.StorageError: The store is not at hand.
        """
        deliveries = await keep_trials_back(self.store, self.book, deliveries)
        objects = await self._objects([row for row, _ in deliveries])
        parsed: list[tuple[DeliveryRow, Sequence[Arrival]]] = []
        reading = self.mails
        mails = [] if reading is None else self._mails(deliveries)
        others = {row.id for row, _ in mails}
        for row, delivery in deliveries:
            if row.id in others:
                continue
            try:
                parsed.append((row, await self._arrived(row, delivery, objects, now=now)))
            except Exception as error:  # noqa: BLE001  # whatever an adapter raises is about this one delivery
                await self._fail(row, error, now=now)
        try:
            if reading is None or not mails:
                arrivals, outcomes = await self._interpret(parsed, now=now)
            else:
                read = await self._read_mails(reading, mails, objects, now=now)
                arrivals, outcomes = await self._worked_in(reading, parsed, read, now=now)
        finally:
            if self.vcons is not None:
                await self.vcons.tidy([one for _, some in parsed for one in some])
        await self._meet(arrivals, outcomes, now=now)
        return outcomes

    async def _arrived(
        self,
        row: DeliveryRow,
        delivery: SealedDelivery,
        objects: Mapping[str, ObjectRow],
        *,
        now: datetime,
    ) -> list[Arrival]:
        """Return what a delivery tells. Of a vCon the recordings in it are sealed by then."""
        if row.kind != VCON or self.vcons is None or row.source not in self.adapters:
            return self._arrivals(row, delivery, objects, now=now)
        stored = objects.get(row.object_id or "")
        return [await self.vcons.arrival(row, delivery, stored, now=now)]

    def _mails(self, deliveries: Sequence[Delivered]) -> list[Delivered]:
        """Return those that are mails of a source which there is."""
        return [
            one for one in deliveries if one[0].kind == MAIL and one[0].source in self.adapters
        ]

    async def _read_mails(
        self,
        reading: MailReading,
        mails: Sequence[Delivered],
        objects: Mapping[str, ObjectRow],
        *,
        now: datetime,
    ) -> list[tuple[DeliveryRow, Sequence[Arrival]]]:
        read, failed = await reading.arrivals(
            [(one, objects.get(one[0].object_id or "")) for one in mails], now=now
        )
        for row, error in failed:
            reason = ALTERED if isinstance(error, TamperedError) else UNREADABLE
            await self._fail(row, error, now=now, reason=reason)
        return [(row, [arrival]) for row, arrival in read]

    async def _worked_in(
        self,
        reading: MailReading,
        parsed: Sequence[tuple[DeliveryRow, Sequence[Arrival]]],
        read: Sequence[tuple[DeliveryRow, Sequence[Arrival]]],
        *,
        now: datetime,
    ) -> tuple[list[Arrival], list[Outcome]]:
        """Interpret, and remove what was sealed of mails for nothing."""
        arrivals: list[Arrival] = []
        try:
            arrivals, outcomes = await self._interpret([*parsed, *read], now=now)
            await reading.tidy(arrivals, outcomes)
        finally:
            worked_in = set(map(id, arrivals))
            await reading.drop([a for _, some in read for a in some if id(a) not in worked_in])
        return arrivals, outcomes

    async def _interpret(
        self, parsed: Sequence[tuple[DeliveryRow, Sequence[Arrival]]], *, now: datetime
    ) -> tuple[list[Arrival], list[Outcome]]:
        """Interpret the deliveries together; where that fails, each for itself."""
        arrivals = [arrival for _, of_delivery in parsed for arrival in of_delivery]
        try:
            outcomes = await self.interpreter.interpret(arrivals, now=now) if arrivals else []
            await self._settle_others(parsed, arrivals, outcomes)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001  # told below, of the one delivery that it is about
            if len(parsed) > 1:
                apart = [await self._interpret([one], now=now) for one in parsed]
                return [a for some, _ in apart for a in some], [
                    o for _, os in apart for o in os
                ]
            await self._fail(parsed[0][0], error, now=now)
            return [], []
        return arrivals, outcomes

    async def _settle_others(
        self,
        parsed: Sequence[tuple[DeliveryRow, Sequence[Arrival]]],
        arrivals: Sequence[Arrival],
        outcomes: Sequence[Outcome],
    ) -> None:
        """Mark as understood what tells of no contact, or of several, after all of them.

        Where a contact of several has not begun, the delivery waits for it, and then tells all of them again.
        """
        token_of = self.interpreter.token_of
        awaited = {
            id(a): token_of(a.source, a.source_id)
            for a, o in zip(arrivals, outcomes, strict=True)
            if o.contact is None and o.refusal is None
        }
        settled: list[Change] = []
        for row, of_delivery in parsed:
            if len(of_delivery) == 1:
                continue
            token = next((awaited[id(a)] for a in of_delivery if id(a) in awaited), None)
            state = "understood" if token is None else "waiting"
            if (row.state, row.await_token) != (state, token):
                version = row.version + 1
                after = replace(
                    row, version=version, state=state, reason=None, await_token=token
                )
                settled.append([Replace(after)])
        if settled:
            await self._commit_unless_stale(settled)

    async def understand_rows(
        self, rows: Sequence[DeliveryRow], *, now: datetime
    ) -> list[Outcome]:
        """Understand deliveries from their sealed form, as after a crash.

        Raises:
            storage.errors.StorageError: The store is not at hand.
        """
        try:
            opened = await self.opener.open(rows)
        except (TamperedError, UnavailableError) as error:
            if len(rows) == 1:
                await self._fail(rows[0], error, now=now, reason=ALTERED)
                return []
            return [o for row in rows for o in await self.understand_rows([row], now=now)]
        gone = [_failed(row, ERASED, now=now) for row in rows if row.id not in opened]
        if gone:
            await self._commit_unless_stale(gone)
        return await self.understand(
            [(row, opened[row.id]) for row in rows if row.id in opened], now=now
        )

    async def catch_up(
        self, *, now: datetime, received_before: int | None, received_since: int | None = None
    ) -> int:
        """Understand what was received between (microseconds) and is still as received; return how many there were.

        Each is tried once: what stays as it is does not hold up what came after it.
        """
        tried = 0
        since = received_since
        # Those of the moment from which on is asked; they may still be as received.
        known: set[str] = set()
        while True:
            limit = _BATCH + len(known)
            rows = await self.store.find(
                DeliveryRow,
                {"state": "received", "received_at": Span(since, received_before)},
                order=("received_at",),
                limit=limit,
            )
            fresh = [row for row in rows if row.id not in known]
            await self.understand_rows(fresh, now=now)
            tried += len(fresh)
            if not fresh or len(rows) < limit:
                return tried
            if rows[-1].received_at != since:
                since, known = rows[-1].received_at, set()
            known |= {row.id for row in rows if row.received_at == since}

    async def fail(self, row: DeliveryRow, reason: str, *, now: datetime) -> None:
        """Note that a delivery could not be understood, and why, unless somebody else did meanwhile."""
        await self._commit_unless_stale([_failed(row, reason, now=now)])

    async def attach_waiting(self, tokens: Sequence[bytes], *, now: datetime) -> None:
        """Understand again what waits for the contacts of ``tokens``, which exist now."""
        after = ""
        while True:
            rows = await self.store.find(
                DeliveryRow,
                {"await_token": list(tokens), "state": "waiting", "id": Span(f"{after} ")},
                order=("id",),
                limit=_BATCH,
            )
            if not rows:
                return
            await self.understand_rows(rows, now=now)
            after = rows[-1].id

    async def meet_waiting(self, *, now: datetime) -> None:
        """Understand what waits for a contact that exists, because one of the two was stopped before it looked."""
        after = ""
        while True:
            rows = await self.store.find(
                DeliveryRow,
                {"state": "waiting", "id": Span(f"{after} ")},
                order=("id",),
                limit=_BATCH,
            )
            if not rows:
                return
            after = rows[-1].id
            tokens = {row.await_token for row in rows if row.await_token is not None}
            there = await self.store.find(ContactRow, {"source_token": sorted(tokens)})
            met = {row.source_token for row in there if row.state == "kept"}
            await self.understand_rows([row for row in rows if row.await_token in met], now=now)

    async def retry(self, delivery_id: str, *, now: datetime) -> bool:
        """Try a failed or waiting delivery again; tell whether it is understood now."""
        rows = await self.store.find(DeliveryRow, {"id": delivery_id})
        await self.understand_rows([row for row in rows if row.state in _RETRIED], now=now)
        rows = await self.store.find(DeliveryRow, {"id": delivery_id, "state": "understood"})
        return bool(rows)

    async def explain(self, delivery_id: str, *, now: datetime) -> str | None:
        """Return what is wrong with a delivery that cannot be understood; None when nothing is."""
        rows = await self.store.find(DeliveryRow, {"id": delivery_id})
        return next(iter([(await self.read(row, now=now)).fault for row in rows]), None)

    async def read(self, row: DeliveryRow, *, now: datetime) -> Reading:
        """Read one delivery with its source's adapter as it is now, and change nothing.

        Raises:
            storage.errors.StorageError: The store is not at hand.
        """
        try:
            opened = await self.opener.open([row])
            if row.kind == MAIL:
                # Nothing that a mail says is an error, and what it tells is read by a child.
                return Reading(remarks=opened[row.id].remarks)
            objects = await self._objects([row])
            delivery = opened[row.id]
            arrivals = await self._told(row, delivery, objects, now=now)
            return Reading(arrivals[0], (*delivery.remarks, *arrivals[1]))
        except InvalidInputError as error:
            return Reading(fault=error.detail)
        except UnavailableError:
            return Reading(fault="the keys that open the delivery are not at hand")
        except TamperedError:
            return Reading(fault="the stored delivery was altered")
        except (KeyError, NotFoundError, msgspec.MsgspecError):
            return Reading(fault="the delivery can no longer be read")

    async def _told(
        self,
        row: DeliveryRow,
        delivery: SealedDelivery,
        objects: Mapping[str, ObjectRow],
        *,
        now: datetime,
    ) -> tuple[Sequence[Arrival], Sequence[str]]:
        """Return what a delivery tells, and the remarks that are not in the arrivals; nothing is sealed."""
        if row.kind != VCON or self.vcons is None or row.source not in self.adapters:
            return self._arrivals(row, delivery, objects, now=now), ()
        stored = objects.get(row.object_id or "")
        told = await self.vcons.understand(row, delivery, stored, now=now)
        source_id = told.facts.source_id
        return [Arrival(source=row.source, source_id=source_id, facts=told.facts)], told.remarks

    def _arrivals(
        self,
        row: DeliveryRow,
        delivery: SealedDelivery,
        objects: Mapping[str, ObjectRow],
        *,
        now: datetime,
    ) -> list[Arrival]:
        if row.kind == "recording":
            received = msgspec.msgpack.decode(delivery.body, type=ReceivedRecording)
            stored = objects.get(row.object_id or "")
            if stored is None:
                raise NotFoundError(f"the bytes of {row.id} are not recorded")
            return [
                Arrival(
                    source=row.source,
                    source_id=received.source_id,
                    recording=(received, stored),
                    delivery=row,
                    remarks=delivery.remarks,
                )
            ]
        adapters = self.adapters.get(row.source)
        if adapters is None:
            raise _SourceGoneError(f"the source {row.source} is not configured any more")
        adapter = adapters.get(row.kind)
        if adapter is None:
            raise InvalidInputError(f"{row.source} is of a kind that delivers no {row.kind}")
        understood = adapter(delivery.body, self.interpreter.rule_of(row.source), now)
        return [
            Arrival(
                source=row.source,
                source_id=facts.source_id,
                facts=facts,
                # Several contacts of one delivery are settled after the last of them.
                delivery=row if len(understood.contacts) == 1 else None,
                remarks=(*delivery.remarks, *understood.remarks) if position == 0 else (),
            )
            for position, facts in enumerate(understood.contacts)
        ]

    async def _objects(self, rows: Sequence[DeliveryRow]) -> Mapping[str, ObjectRow]:
        ids = [row.object_id for row in rows if row.object_id]
        found = await self.store.find(ObjectRow, {"id": ids}) if ids else ()
        return {row.id: row for row in found}

    async def _meet(
        self, arrivals: Sequence[Arrival], outcomes: Sequence[Outcome], *, now: datetime
    ) -> None:
        """Let contacts and what waits for them meet, whichever was committed first.

        Each side looks for the other after its own commit, so one of them finds it.
        """
        token_of = self.interpreter.token_of
        pairs = list(zip(arrivals, outcomes, strict=True))
        begun = {token_of(a.source, a.source_id) for a, o in pairs if o.is_new}
        waiting = {
            token_of(a.source, a.source_id)
            for a, o in pairs
            if o.contact is None and o.refusal is None
        }
        if waiting:
            rows = await self.store.find(ContactRow, {"source_token": sorted(waiting)})
            begun |= {row.source_token for row in rows if row.state == "kept"}
        if begun:
            await self.attach_waiting(sorted(begun), now=now)

    async def _fail(
        self,
        row: DeliveryRow,
        error: Exception,
        *,
        now: datetime,
        reason: str = UNREADABLE,
    ) -> None:
        """Put a delivery before a person, unless it need only be tried again later. ``reason``: what was altered."""
        extra = {"delivery": row.id, "code": type(error).__name__}
        match error:
            case StorageError():
                raise error
            case UnavailableError():
                _log.warning("understanding.postponed", extra=extra)
                return
            case _SourceGoneError():
                reason = SOURCE_GONE
            case NotBelievedError():
                reason = error.reason
            case InvalidInputError() | msgspec.MsgspecError():
                reason = NOT_UNDERSTOOD
            case TamperedError() | ErasedError():
                pass
            case _:
                # Its message may repeat what was delivered; the place where it arose does not.
                _log.error("understanding.failed", extra={**extra, "place": _place(error)})
                reason = BROKEN
        await self.fail(row, reason, now=now)

    async def _commit_unless_stale(self, changes: Sequence[Change]) -> None:
        """Commit; where another process came first, it has said what is to be said."""
        for error in await self.store.commit_each(changes):
            if error is not None and not isinstance(error, StaleError):
                raise error


def _failed(row: DeliveryRow, reason: str, *, now: datetime) -> Change:
    if row.state == "failed" and row.reason == reason:
        return []
    failed = replace(row, version=row.version + 1, state="failed", reason=reason)
    attention = raise_attention(
        reason, about=row.id, source=row.source, actor="system", now=now
    )
    return [Replace(failed), *attention]


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
