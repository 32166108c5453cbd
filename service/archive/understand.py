"""Understanding: deliveries become contacts. What cannot be understood is kept, shown, and can be tried again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from service.archive.deliveries import DeliveryOpener
from service.archive.draft import raise_attention
from service.archive.interpret import Arrival, Interpreter, Outcome, SourceRule
from service.archive.receive import ReceivedRecording, SealedDelivery
from service.domain.errors import InvalidInputError, TamperedError
from service.sources.events import Understood
from storage.errors import StaleError
from storage.ports import Change, Replace, Span, Store
from storage.rows import ContactRow, DeliveryRow, ObjectRow

Adapter = Callable[[bytes, SourceRule, datetime], Understood]
"""A source's pure function: raw bytes, the source's rules and the time of receipt in; what they tell out."""

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Understanding:
    """Turns deliveries into contacts, by each source's adapter."""

    store: Store
    interpreter: Interpreter
    opener: DeliveryOpener
    adapters: Mapping[str, Adapter]

    async def understand(
        self, deliveries: Sequence[tuple[DeliveryRow, SealedDelivery]], *, now: datetime
    ) -> list[Outcome]:
        """Understand deliveries that are at hand; return what became of those that could be parsed."""
        arrivals: list[Arrival] = []
        failures: list[Change] = []
        objects = await self._objects([row for row, _ in deliveries])
        for row, delivery in deliveries:
            try:
                arrivals += self._arrivals(row, delivery, objects, now=now)
            except (InvalidInputError, msgspec.MsgspecError):
                failures.append(_fail(row, "not_understood", now=now))
        if failures:
            for error in await self.store.commit_each(failures):
                # Another process came first; it has said what is to be said.
                if error is not None and not isinstance(error, StaleError):
                    raise error
        if not arrivals:
            return []
        outcomes = await self.interpreter.interpret(arrivals, now=now)
        await self._meet(arrivals, outcomes, now=now)
        return outcomes

    async def understand_rows(
        self, rows: Sequence[DeliveryRow], *, now: datetime
    ) -> list[Outcome]:
        """Understand deliveries from their sealed form, as after a crash.

        Raises:
            UnavailableError: The keys are not at hand.
        """
        try:
            opened = await self.opener.open(rows)
        except TamperedError:
            if len(rows) == 1:
                await self.store.commit(_fail(rows[0], "altered", now=now))
                return []
            return [o for row in rows for o in await self.understand_rows([row], now=now)]
        gone = [_fail(row, "erased", now=now) for row in rows if row.id not in opened]
        if gone:
            await self.store.commit_each(gone)
        return await self.understand(
            [(row, opened[row.id]) for row in rows if row.id in opened], now=now
        )

    async def catch_up(self, *, now: datetime, received_before: int) -> int:
        """Understand what was received before (microseconds) and is still as received; return how many."""
        done = 0
        while True:
            rows = await self.store.find(
                DeliveryRow,
                {"state": "received", "received_at": Span(None, received_before)},
                order=("received_at",),
                limit=_BATCH,
            )
            await self.understand_rows(rows, now=now)
            done += len(rows)
            if len(rows) < _BATCH:
                return done

    async def fail(self, row: DeliveryRow, reason: str, *, now: datetime) -> None:
        """Note that a delivery could not be understood, and why, unless somebody else did meanwhile."""
        await self.store.commit_each([_fail(row, reason, now=now)])

    async def attach_waiting(self, tokens: Sequence[bytes], *, now: datetime) -> None:
        """Understand again what waits for the contacts of ``tokens``, which exist now."""
        rows = await self.store.find(
            DeliveryRow, {"await_token": list(tokens), "state": "waiting"}
        )
        if rows:
            await self.understand_rows(rows, now=now)

    async def retry(self, delivery_id: str, *, now: datetime) -> bool:
        """Try a failed or waiting delivery again; tell whether it is understood now."""
        rows = await self.store.find(DeliveryRow, {"id": delivery_id})
        await self.understand_rows([row for row in rows if row.state != "understood"], now=now)
        rows = await self.store.find(DeliveryRow, {"id": delivery_id, "state": "understood"})
        return bool(rows)

    async def explain(self, delivery_id: str, *, now: datetime) -> str | None:
        """Return what is wrong with a delivery that cannot be understood; None when nothing is."""
        rows = await self.store.find(DeliveryRow, {"id": delivery_id})
        opened = await self.opener.open(rows)
        objects = await self._objects(rows)
        try:
            for row in rows:
                self._arrivals(row, opened[row.id], objects, now=now)
        except InvalidInputError as error:
            return error.detail
        except (KeyError, msgspec.MsgspecError):
            return "the delivery can no longer be read"
        return None

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
            return [
                Arrival(
                    source=row.source,
                    source_id=received.source_id,
                    recording=(received, objects[row.object_id or ""]),
                    delivery=row,
                    remarks=delivery.remarks,
                )
            ]
        adapter = self.adapters.get(row.source)
        if adapter is None:
            raise InvalidInputError(f"the source {row.source} is not configured any more")
        understood = adapter(delivery.body, self.interpreter.rule_of(row.source), now)
        return [
            Arrival(
                source=row.source,
                source_id=facts.source_id,
                facts=facts,
                # Several contacts of one delivery settle it together with the last of them.
                delivery=row if position == len(understood.contacts) - 1 else None,
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
        waiting = {token_of(a.source, a.source_id) for a, o in pairs if o.contact is None}
        if waiting:
            rows = await self.store.find(ContactRow, {"source_token": list(waiting)})
            begun |= {row.source_token for row in rows if row.state == "kept"}
        if begun:
            await self.attach_waiting(sorted(begun), now=now)


def _fail(row: DeliveryRow, reason: str, *, now: datetime) -> Change:
    if row.state == "failed" and row.reason == reason:
        return []
    failed = replace(row, version=row.version + 1, state="failed", reason=reason)
    attention = raise_attention(
        reason, about=row.id, source=row.source, actor="system", now=now
    )
    return [Replace(failed), *attention]
