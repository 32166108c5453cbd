"""Importing customers, and linking again whatever their identifiers concern.

Each batch is one commit, with the job that links again what it concerns; a crash leaves the batches before it, and
importing the same file again finishes what was cut short and changes only the rest.
The file is the truth about the customers that it names, as far as it has columns: an empty value empties, and a column
that is missing leaves what is known. Customers that it does not name are left alone. One that was erased stays erased.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from operator import attrgetter
from zoneinfo import ZoneInfo

from service.archive.interpret import Interpreter
from service.archive.records import customer_of, customer_row
from service.archive.register import RegisterRow, WrongRow, add_up, complete
from service.archive.relink import Relinking, in_batches, relink_job
from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer
from service.domain.actor import OPERATOR, Actor
from service.domain.customer import Customer
from service.domain.errors import TamperedError, UnavailableError
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Append, Remove, Replace, Store, Write
from storage.rows import CustomerRow, CustomerTokenRow, JobRow, KeyRow

BATCH = 1000
_MOMENT = timedelta(microseconds=1)
_ATTEMPTS = 8
_EVER_FROM, _EVER_TO = -(2**62), 2**62


@dataclass(slots=True)
class Imported:
    """What an import did: customers by what became of them, rows left out, contacts linked again."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    relinked: int = 0
    wrong: list[WrongRow] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """What is to be stored of a batch of rows, and what will have been done then."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    wrong: list[WrongRow] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list, repr=False)
    writes: list[Write] = field(default_factory=list)
    touched: set[bytes] = field(default_factory=set)
    job: JobRow | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What is stored of the customers of a batch, by the tokens of their numbers."""

    rows: Mapping[bytes, CustomerRow]
    sealers: Mapping[str, FieldSealer] = field(repr=False)
    tokens: Mapping[str, set[CustomerTokenRow]]


@dataclass(frozen=True, slots=True)
class Register:
    """Imports customers."""

    store: Store
    interpreter: Interpreter
    timezone: str

    async def bring_in(
        self,
        rows: Iterable[RegisterRow | WrongRow],
        *,
        actor: Actor,
        now: datetime,
        progress: Callable[[int, int], None],
    ) -> Imported:
        """Import the rows; ``progress`` is told how many customers of how many are done.

        Raises:
            UnavailableError: Somebody else kept changing the same customers. The batches before are stored.
        """
        imported = Imported(relinked=await self.relinking.finish_pending(now=now))
        customers: dict[str, RegisterRow] = {}
        for row in rows:
            if isinstance(row, WrongRow):
                imported.wrong.append(row)
            else:
                number = row.customer.number
                customers[number] = _added_up(customers.get(number), row)
        done = 0
        by = "system" if actor == OPERATOR else actor.id
        for n, batch in enumerate(in_batches(customers.values(), BATCH)):
            # Each batch has its own moment, by which the job finds its customers.
            at = now + n * _MOMENT
            stored = await self._bring_in_batch(batch, imported, now=at)
            if stored.job is not None:
                imported.relinked += await self.relinking.relink_tokens(
                    stored.touched, actor=by, now=now
                )
                await self.relinking.finish(stored.job)
            done += len(batch)
            progress(done, len(customers))
        imported.wrong.sort(key=attrgetter("line"))
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

    @property
    def relinking(self) -> Relinking:
        """What links contacts again, also after a crash."""
        return Relinking(self.store, self.interpreter.linking)

    async def _bring_in_batch(
        self, batch: Sequence[RegisterRow], imported: Imported, *, now: datetime
    ) -> _Batch:
        """Store a batch, and with it the job of linking again what it concerns; return what was stored."""
        for _ in range(_ATTEMPTS):
            decided = await self._decide(batch, now=now)
            if decided.touched:
                decided.job = relink_job(now)
                decided.writes.append(Add(decided.job))
            if decided.keys:
                await self.interpreter.vault.keys.put_keys(decided.keys)
            try:
                if decided.writes:
                    await self.store.commit(decided.writes)
            except (StaleError, ConflictError):
                continue
            imported.added += decided.added
            imported.changed += decided.changed
            imported.unchanged += decided.unchanged
            imported.wrong += decided.wrong
            return decided
        raise UnavailableError("customers kept changing while they were imported")

    async def _decide(self, batch: Sequence[RegisterRow], *, now: datetime) -> _Batch:
        """Decide what is to be stored of the rows."""
        index = self.interpreter.vault.index
        numbers = {
            row.line: index.token("customer_number", row.customer.number) for row in batch
        }
        known = await self._known(list(numbers.values()))
        decided = _Batch()
        for row in batch:
            try:
                self._add(decided, row, numbers[row.line], known, now=now)
            except TamperedError:
                decided.wrong.append(WrongRow(row.line, "the stored customer was altered"))
        return decided

    def _add(
        self,
        decided: _Batch,
        row: RegisterRow,
        number_token: bytes,
        known: _Known,
        *,
        now: datetime,
    ) -> None:
        """Add to what is ``decided`` what becomes of one customer."""
        vault = self.interpreter.vault
        stored = known.rows.get(number_token)
        if stored is None:
            key = vault.new_key(new_id("cu"), now=now)
            decided.keys.append(key.row)
            customer, sealer = replace(row.customer, id=key.id, version=1), key.sealer
            decided.added += 1
        elif stored.state != "kept" or stored.id not in known.sealers:
            decided.wrong.append(WrongRow(row.line, "this customer was erased, and stays so"))
            return
        else:
            sealer = known.sealers[stored.id]
            before = customer_of(stored, sealer)
            customer = complete(row, before)
            if customer == before:
                decided.unchanged += 1
                return
            customer = replace(customer, version=stored.version + 1)
            decided.changed += 1
        sealed = customer_row(customer, number_token=number_token, sealer=sealer, now=now)
        decided.writes.append(Add(sealed) if stored is None else Replace(sealed))
        old = known.tokens.get(customer.id, set())
        after = set(customer_tokens(customer, vault.index, timezone=self.timezone))
        gone, fresh = old - after, after - old
        decided.writes += [
            Remove(CustomerTokenRow, (token.token, token.customer_id, token.valid_from))
            for token in gone
        ]
        decided.writes += [Add(token) for token in fresh]
        decided.touched |= {token.token for token in gone | fresh}

    async def _known(self, number_tokens: Sequence[bytes]) -> _Known:
        rows = await self.store.find(CustomerRow, {"number_token": list(number_tokens)})
        ids = [row.id for row in rows]
        tokens: dict[str, set[CustomerTokenRow]] = {}
        if ids:
            for row in await self.store.find(CustomerTokenRow, {"customer_id": ids}):
                tokens.setdefault(row.customer_id, set()).add(row)
        return _Known(
            rows={row.number_token: row for row in rows},
            sealers=await self.interpreter.vault.find_sealers(ids),
            tokens=tokens,
        )


def _added_up(known: RegisterRow | None, row: RegisterRow) -> RegisterRow:
    if known is None:
        return row
    return replace(known, customer=add_up(known.customer, row.customer))


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

    rows = [
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
    # One beginning has one end: the later one, when the register tells two.
    rows.sort(key=attrgetter("valid_to"))
    return list({(one.token, one.valid_from): one for one in rows}.values())


def _midnight(day: date | None, timezone: str, otherwise: int) -> int:
    if day is None:
        return otherwise
    return to_microseconds(datetime.combine(day, time(), ZoneInfo(timezone)))
