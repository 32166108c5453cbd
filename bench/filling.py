"""Archives filled with contacts faster than they could be delivered.

Rows are written with the store's own statements, unsynced, each table in an order that suits it. The contacts of some
customers are sealed as they should be, so that whoever looks them up is shown them; of all others the sealed fields are
noise of the same length. The log does not tell of them, for no lookup reads it.
"""

import asyncio
import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import attrgetter
from typing import Final

from sqlalchemy.dialects import sqlite

from bench.archives import SOURCE, Archive
from bench.deliveries import customer_number, customer_phone
from service.archive.records import contact_row, customer_row
from service.crypto.blind_index import TOKEN_BYTES, BlindIndex
from service.crypto.fields import FieldSealer
from service.crypto.secret import DataKey
from service.crypto.wrap import WRAPPED_BYTES
from service.databases import KEY_STORE
from service.domain.contact import Channel, Contact, Direction, Party, PartyRole, RecordingState
from service.domain.customer import Customer
from service.domain.ids import new_id
from service.domain.times import from_microseconds, to_microseconds
from service.keys.ring import KeyRing
from service.wiring import key_provider
from storage.database.keys import SqliteKeyStore
from storage.database.statements import Statements
from storage.database.writing import Writing
from storage.ports import Add
from storage.rows import (
    ContactRow,
    ContactTokenRow,
    CustomerRow,
    CustomerTokenRow,
    KeyRow,
    LinkRow,
    Row,
)

# Microseconds.
_BEGUN: Final = to_microseconds(datetime(2020, 1, 1, tzinfo=UTC))
_EVERY: Final = 10_000_000
_AGENTS: Final = 97
_QUEUES: Final = ("laskutus", "muutot", "viat")
_EVER: Final = 2**62
_KEYS_AT_ONCE: Final = 20_000


def fill(archive: Archive, *, contacts: int, each: int, whole: int) -> None:
    """Put ``contacts`` in, ``each`` of one customer; those of the first ``whole`` customers can be shown."""
    filling = contents(archive, contacts=contacts, each=each, whole=whole)
    writing = Writing(Statements(sqlite.dialect(paramstyle="qmark")))
    with contextlib.closing(sqlite3.connect(archive.database, isolation_level=None)) as db:
        for pragma in ("synchronous=OFF", "cache_size=-2000000", "wal_autocheckpoint=100000"):
            db.execute(f"PRAGMA {pragma}")
        with _without_index(db, "contact_tokens_contact_id", "links_customer_id"):
            for kind, rows in filling.tables():
                statement = writing.statement(kind, Add)
                values = attrgetter(*statement.names)
                db.execute("BEGIN")
                db.executemany(statement.sql, map(values, rows))
                db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    asyncio.run(_put_keys(archive, filling.keys()))


def contents(archive: Archive, *, contacts: int, each: int, whole: int) -> "Filling":
    """Return what `fill` puts in."""
    ring = KeyRing(key_provider(archive.config).load())
    return Filling(
        ring,
        ring.blind_index(),
        contact_ids=[new_id("ct") for _ in range(contacts)],
        customer_ids=[new_id("cu") for _ in range(max(1, contacts // each))],
        whole=whole,
    )


@contextlib.contextmanager
def _without_index(db: sqlite3.Connection, *names: str) -> Iterator[None]:
    """Make the indexes at the end, sorted, as SQLite does best."""
    asked = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?"
    made = [db.execute(asked, (name,)).fetchone()[0] for name in names]
    for name in names:
        db.execute(f"DROP INDEX {name}")
    yield
    for sql in made:
        db.execute(sql)


async def _put_keys(archive: Archive, rows: Iterator[KeyRow]) -> None:
    path = archive.config.archive.directory / KEY_STORE
    async with SqliteKeyStore.opened(path, create=False) as keys:
        while some := list(islice(rows, _KEYS_AT_ONCE)):
            await keys.put_keys(some)


@dataclass(frozen=True, slots=True)
class Filling:
    """What is filled in. Contact ``n`` is of customer ``n % customers``; a row's key follows from its id."""

    ring: KeyRing
    index: BlindIndex
    contact_ids: Sequence[str]
    customer_ids: Sequence[str]
    whole: int

    def tables(self) -> Iterator[tuple[type[Row], Iterator[Row]]]:
        """Yield each table with its rows."""
        yield CustomerRow, self.customer_rows()
        yield CustomerTokenRow, self.customer_tokens()
        yield ContactRow, self.contact_rows()
        yield LinkRow, self.links()
        yield ContactTokenRow, self.contact_tokens()

    @property
    def contacts(self) -> int:
        """How many contacts."""
        return len(self.contact_ids)

    @property
    def customers(self) -> int:
        """How many customers."""
        return len(self.customer_ids)

    def customer_rows(self) -> Iterator[Row]:
        """Yield customers."""
        for n, customer_id in enumerate(self.customer_ids):
            number = customer_number(n)
            customer = Customer(
                id=customer_id, version=1, number=number, phones=(customer_phone(n),)
            )
            yield customer_row(
                customer,
                number_token=self.index.token("customer_number", number),
                sealer=FieldSealer(_key(customer_id)),
                now=from_microseconds(_BEGUN),
            )

    def customer_tokens(self) -> Iterator[Row]:
        """Yield what customers are found by."""
        for n, customer_id in enumerate(self.customer_ids):
            for name, value in (
                ("customer_number", customer_number(n)),
                ("phone", customer_phone(n)),
            ):
                yield CustomerTokenRow(
                    token=self.index.token(name, value),
                    customer_id=customer_id,
                    field=name,
                    valid_from=-_EVER,
                    valid_to=_EVER,
                )

    def contact_rows(self) -> Iterator[Row]:
        """Yield contacts."""
        noise = len(self._whole_row(0).sealed)
        for n, contact_id in enumerate(self.contact_ids):
            if n % self.customers < self.whole:
                yield self._whole_row(n)
                continue
            started_at = _started_at(n)
            yield ContactRow(
                id=contact_id,
                version=1,
                source=SOURCE,
                source_token=os.urandom(TOKEN_BYTES),
                channel="call",
                direction="inbound",
                started_at=started_at,
                ended_at=started_at,
                created_at=started_at,
                recording_state="not_recorded",
                state="kept",
                sealed=os.urandom(noise),
            )

    def _whole_row(self, n: int) -> ContactRow:
        contact = self._contact(n)
        token = self.index.token("source_id", f"{SOURCE}\n{contact.source_id}")
        return contact_row(contact, source_token=token, sealer=FieldSealer(_key(contact.id)))

    def _contact(self, n: int) -> Contact:
        customer, at = n % self.customers, from_microseconds(_started_at(n))
        return Contact(
            id=self.contact_ids[n],
            version=1,
            source=SOURCE,
            source_id=f"filled-{n}",
            channel=Channel.CALL,
            direction=Direction.INBOUND,
            started_at=at,
            ended_at=at,
            created_at=at,
            queue=_QUEUES[n % len(_QUEUES)],
            subject=None,
            customer_number=None,
            metering_point=None,
            parties=(
                Party(role=PartyRole.CUSTOMER, phone=customer_phone(customer)),
                Party(role=PartyRole.AGENT, agent_id=f"agent-{n % _AGENTS}"),
            ),
            recording_state=RecordingState.NOT_RECORDED,
            not_recorded_reason=None,
        )

    def links(self) -> Iterator[Row]:
        """Yield whose contacts they are."""
        for n, contact_id in enumerate(self.contact_ids):
            yield LinkRow(
                contact_id=contact_id,
                customer_id=self.customer_ids[n % self.customers],
                version=1,
                state="linked",
                reasons="phone",
                certainty="likely",
                made_by="system",
                made_at=_BEGUN,
            )

    def contact_tokens(self) -> Iterator[Row]:
        """Yield tokens in the order of their table, which makes them quick to write."""
        every = [
            (self.index.token(name, value), start, step)
            for name, value, start, step in self._tokens()
        ]
        for token, start, step in sorted(every):
            for n in range(start, self.contacts, step):
                yield ContactTokenRow(
                    token=token,
                    started_at=_started_at(n),
                    contact_id=self.contact_ids[n],
                )

    def _tokens(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield each field and value with the numbers of the contacts that have it: every so many from one on."""
        for n in range(self.customers):
            yield "customer_number", customer_number(n), n, self.customers
            yield "phone", customer_phone(n), n, self.customers
        for n in range(_AGENTS):
            yield "agent", f"agent-{n}", n, _AGENTS
        for n, queue in enumerate(_QUEUES):
            yield "queue", queue, n, len(_QUEUES)

    def keys(self) -> Iterator[KeyRow]:
        """Yield the keys of all rows."""
        for ids in (self.customer_ids, self.contact_ids):
            for n, row_id in enumerate(ids):
                wrapped = os.urandom(WRAPPED_BYTES)
                if ids is self.customer_ids or n % self.customers < self.whole:
                    _, wrapped = self.ring.wrap(_key(row_id))
                yield KeyRow(
                    id=row_id,
                    kind="row",
                    wrapped_by=f"epoch:{self.ring.current_epoch}",
                    wrapped=wrapped,
                    made_at=_BEGUN,
                )


def _started_at(n: int) -> int:
    return _BEGUN + n * _EVERY


def _key(row_id: str) -> DataKey:
    return DataKey(hashlib.sha256(row_id.encode()).digest())
