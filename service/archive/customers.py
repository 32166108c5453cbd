"""Importing customers, and linking again whatever their identifiers concern.

Each batch is one commit; a crash leaves the batches before it, and importing the same file again changes only the rest.
The file is the truth about the customers that it names; customers that it does not name are left alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from itertools import islice
from typing import TypeVar
from zoneinfo import ZoneInfo

from service.archive.interpret import Interpreter, company_numbers_of
from service.archive.link import relink
from service.archive.records import contact_of, customer_of, customer_row
from service.archive.register import WrongRow, add_up
from service.crypto.blind_index import BlindIndex
from service.domain.actor import Actor
from service.domain.customer import Customer
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Append, Remove, Replace, Store, Write
from storage.rows import (
    ContactRow,
    ContactTokenRow,
    CustomerRow,
    CustomerTokenRow,
    KeyRow,
)

BATCH = 1000
_EVER_FROM, _EVER_TO = -(2**62), 2**62

T = TypeVar("T")


@dataclass(slots=True)
class Imported:
    """What an import did: customers by what became of them, rows left out, contacts linked again."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    relinked: int = 0
    wrong: list[WrongRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Register:
    """Imports customers."""

    store: Store
    interpreter: Interpreter
    timezone: str

    async def bring_in(
        self,
        rows: Iterable[Customer | WrongRow],
        *,
        actor: Actor,
        now: datetime,
        progress: Callable[[int, int], None],
    ) -> Imported:
        """Import the rows; ``progress`` is told how many customers of how many are done."""
        imported = Imported()
        customers: dict[str, Customer] = {}
        for row in rows:
            if isinstance(row, WrongRow):
                imported.wrong.append(row)
            else:
                customers[row.number] = add_up(customers.get(row.number), row)
        done = 0
        for batch in _batches(customers.values(), BATCH):
            touched = await self._bring_in_batch(batch, imported, now=now)
            await self._relink(touched, imported, actor=actor, now=now)
            done += len(batch)
            progress(done, len(customers))
        entry = LogEntry(
            type=EntryType.CUSTOMERS_IMPORTED,
            at=now,
            actor=actor.id,
            data={
                "added": imported.added,
                "changed": imported.changed,
                "unchanged": imported.unchanged,
                "left_out": len(imported.wrong),
            },
        )
        await self.store.commit([Append(encode_entry(entry))])
        return imported

    async def _bring_in_batch(
        self, batch: Sequence[Customer], imported: Imported, *, now: datetime
    ) -> set[bytes]:
        """Store a batch; return the tokens that were added or removed."""
        vault = self.interpreter.vault
        tokens = {c.number: vault.index.token("customer_number", c.number) for c in batch}
        rows = await self.store.find(CustomerRow, {"number_token": list(tokens.values())})
        sealers = await vault.find_sealers([row.id for row in rows])
        known = {
            row.number_token: customer_of(row, sealers[row.id])
            for row in rows
            if row.id in sealers
        }
        old = await self._tokens_of([row.id for row in rows])
        keys: list[KeyRow] = []
        writes: list[Write] = []
        touched: set[bytes] = set()
        for told in batch:
            before = known.get(tokens[told.number])
            if (
                before is not None
                and replace(told, id=before.id, version=before.version) == before
            ):
                imported.unchanged += 1
                continue
            if before is None:
                key = vault.new_key(new_id("cu"), now=now)
                keys.append(key.row)
                customer, sealer = replace(told, id=key.id, version=1), key.sealer
                imported.added += 1
            else:
                customer = replace(told, id=before.id, version=before.version + 1)
                sealer = sealers[before.id]
                imported.changed += 1
            row = customer_row(
                customer, number_token=tokens[told.number], sealer=sealer, now=now
            )
            writes.append(Add(row) if before is None else Replace(row))
            after = set(customer_tokens(customer, vault.index, timezone=self.timezone))
            gone = old.get(customer.id, set()) - after
            fresh = after - old.get(customer.id, set())
            writes += [
                Remove(CustomerTokenRow, (r.token, r.customer_id, r.valid_from)) for r in gone
            ]
            writes += [Add(token) for token in fresh]
            touched |= {token.token for token in gone | fresh}
        if keys:
            await vault.keys.put_keys(keys)
        if writes:
            await self.store.commit(writes)
        return touched

    async def _tokens_of(self, ids: Sequence[str]) -> Mapping[str, set[CustomerTokenRow]]:
        tokens: dict[str, set[CustomerTokenRow]] = {}
        if ids:
            for row in await self.store.find(CustomerTokenRow, {"customer_id": list(ids)}):
                tokens.setdefault(row.customer_id, set()).add(row)
        return tokens

    async def _relink(
        self, touched: set[bytes], imported: Imported, *, actor: Actor, now: datetime
    ) -> None:
        """Decide again about the contacts that have a token which changed hands."""
        for tokens in _batches(touched, BATCH):
            found = await self.store.find(ContactTokenRow, {"token": list(tokens)})
            for ids in _batches(sorted({row.contact_id for row in found}), BATCH):
                await self._relink_batch(list(ids), actor=actor, now=now)
                imported.relinked += len(ids)

    async def _relink_batch(self, ids: Sequence[str], *, actor: Actor, now: datetime) -> None:
        vault = self.interpreter.vault
        pending = ids
        while pending:
            rows = await self.store.find(ContactRow, {"id": list(pending)})
            sealers = await vault.find_sealers([row.id for row in rows])
            contacts = [contact_of(r, sealers[r.id]) for r in rows if r.id in sealers]
            writes = await relink(
                self.store,
                vault.index,
                contacts,
                company_numbers=company_numbers_of(self.interpreter.rules),
                new=(),
                actor="system" if actor.id == "operator" else actor.id,
                now=now,
            )
            changes = [(contact_id, change) for contact_id, change in writes.items() if change]
            errors = await self.store.commit_each([change for _, change in changes])
            pending = []
            for (contact_id, _), error in zip(changes, errors, strict=True):
                if isinstance(error, StaleError | ConflictError):
                    pending.append(contact_id)
                elif error is not None:
                    raise error


def customer_tokens(
    customer: Customer, index: BlindIndex, *, timezone: str
) -> list[CustomerTokenRow]:
    """Return the tokens by which ``customer`` is recognised; occupancies are days in ``timezone``."""

    def row(
        name: str, value: str, start: int = _EVER_FROM, stop: int = _EVER_TO
    ) -> CustomerTokenRow:
        return CustomerTokenRow(
            token=index.token(name, value),
            customer_id=customer.id,
            field=name,
            valid_from=start,
            valid_to=stop,
        )

    return [
        row("customer_number", customer.number),
        *(row("phone", phone) for phone in customer.phones),
        *(row("email", email) for email in customer.emails),
        *(
            row(
                "metering_point",
                occupancy.metering_point,
                _midnight(occupancy.occupied_from, timezone, _EVER_FROM),
                _midnight(occupancy.occupied_to, timezone, _EVER_TO),
            )
            for occupancy in customer.occupancies
        ),
    ]


def _midnight(day: date | None, timezone: str, otherwise: int) -> int:
    if day is None:
        return otherwise
    return to_microseconds(datetime.combine(day, time(), ZoneInfo(timezone)))


def _batches(values: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
