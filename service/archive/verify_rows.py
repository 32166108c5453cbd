"""Verifying what belongs to no contact: customers, grants, deliveries, and recordings that wait for their contact."""

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from service.archive.checks import Check, Code, Outcome, failed, passed, unknown
from service.archive.contact_checks import NO_KEY, NO_KEYS, ContactChecker
from service.archive.customers import customer_tokens
from service.archive.evidence import read_evidence
from service.archive.grants import find_grant
from service.archive.records import customer_of
from service.archive.vault import Vault
from service.crypto.blind_index import BlindIndex
from service.domain.customer import Customer
from service.domain.errors import TamperedError, UnavailableError
from service.log.entry import EntryType, decode_entry
from service.log.errors import FormatError
from storage.ports import Condition, LogStore, Span, Store
from storage.rows import CustomerRow, CustomerTokenRow, DeliveryRow, GrantRow, ObjectRow, Row

PAGE: Final = 256
_READINGS: Final = 3
_QUARTER: Final = 15 * 60 * 1_000_000
_LONGEST_DAY: Final = 27 * 3600 * 1_000_000
"""Microseconds by which the beginnings of one day lie apart in any two time zones, summer time included."""

R = TypeVar("R", bound=Row)


async def pages(
    store: Store, table: type[R], where: dict[str, Condition] | None = None
) -> AsyncIterator[Sequence[R]]:
    """Go through all rows of ``table`` that meet ``where``, in the order of their ids."""
    after = ""
    while True:
        # Ids have no characters before the space, so this begins after the last id, and only after it.
        span = {**(where or {}), "id": Span(start=f"{after} ")}
        rows = await store.find(table, span, order=("id",), limit=PAGE)
        if not rows:
            return
        yield rows
        after = rows[-1].id  # type: ignore[attr-defined]  # every table that is paged has ids


@dataclass(frozen=True, slots=True)
class RowChecker:
    """Checks rows outside of contacts. ``timezone`` is that in which customers' occupancies are days."""

    checker: ContactChecker
    timezone: str

    @property
    def _store(self) -> Store:
        return self.checker.store

    @property
    def _log(self) -> LogStore:
        return self.checker.log

    async def customers(self) -> AsyncIterator[Check]:
        """Check that every customer's row opens, and that they are found by what it says."""
        vault = self.checker.vault
        async for rows in pages(self._store, CustomerRow, {"state": "kept"}):
            for row in rows:
                yield await self._customer(row, vault)

    async def _customer(self, row: CustomerRow, vault: Vault | None) -> Check:
        if vault is None:
            return unknown(Code.CUSTOMER_ROW, row.id, NO_KEYS)
        check = await _customer(row, vault, self._store, self.timezone)
        for _ in range(_READINGS - 1):
            if check.outcome is Outcome.PASSED:
                break
            # Customers may be imported meanwhile.
            again = await self._store.find(CustomerRow, {"id": row.id})
            if again:
                check = await _customer(again[0], vault, self._store, self.timezone)
        return check

    async def grants(self) -> AsyncIterator[Check]:
        """Check that every grant is what was recorded when it was made."""
        vault = self.checker.vault
        async for rows in pages(self._store, GrantRow):
            for row in rows:
                yield await _grant(self._store, vault, row)

    async def deliveries(self) -> AsyncIterator[Check]:
        """Check that every delivery that is kept is the one that the log noted."""
        async for rows in pages(self._store, DeliveryRow):
            for row in rows:
                if row.sealed:
                    yield await self._delivery(row)

    async def waiting(self) -> AsyncIterator[tuple[ObjectRow, Sequence[Check]]]:
        """Check every object that has no contact yet; yield each with its checks.

        Parts of uploads that are not over are no part of the archive yet, and in no log.
        """
        async for rows in pages(self._store, ObjectRow, {"contact_id": None}):
            for row in (row for row in rows if row.kind != "part"):
                evidence, broken = read_evidence(await self._log.log_about(row.id), [row.id])
                checks = await self.checker.check_bytes([row], evidence)
                yield row, (*broken, *checks)

    async def _delivery(self, row: DeliveryRow) -> Check:
        digest = hashlib.sha256(row.sealed).hexdigest()
        stated = set()
        for stored in await self._log.log_about(row.id):
            try:
                entry = decode_entry(stored.entry)
            except FormatError:
                continue
            if entry.type is EntryType.DELIVERY_RECEIVED:
                stated.add(entry.data.get("sealed_sha256"))
        if stated != {digest}:
            return failed(Code.DELIVERY_ROW, row.id, "It is not what the log noted on arrival.")
        return passed(Code.DELIVERY_ROW, row.id)


async def _customer(row: CustomerRow, vault: Vault, store: Store, timezone: str) -> Check:
    try:
        sealers = await vault.find_sealers([row.id])
        if row.id not in sealers:
            return unknown(Code.CUSTOMER_ROW, row.id, NO_KEY)
        customer = customer_of(row, sealers[row.id])
    except (TamperedError, ValueError):
        return failed(Code.CUSTOMER_ROW, row.id, "It is not what was sealed there.")
    except UnavailableError as error:
        return unknown(Code.CUSTOMER_ROW, row.id, str(error))
    return await _check_tokens(row, customer, vault.index, store=store, timezone=timezone)


async def _check_tokens(
    row: CustomerRow, customer: Customer, index: BlindIndex, *, store: Store, timezone: str
) -> Check:
    if row.number_token != index.token("customer_number", customer.number):
        return failed(Code.CUSTOMER_ROW, row.id, "It is listed under another number.")
    expected = set(customer_tokens(customer, index, timezone=timezone))
    stored = set(await store.find(CustomerTokenRow, {"customer_id": row.id}))
    if stored == expected:
        return passed(Code.CUSTOMER_ROW, row.id)
    if _differ_in_timezone(stored, expected):
        told = "Its days begin at other hours than in the time zone that is configured now."
        return unknown(Code.CUSTOMER_ROW, row.id, told)
    return failed(Code.CUSTOMER_ROW, row.id, "It is not found by what it says.")


def _differ_in_timezone(
    stored: Collection[CustomerTokenRow], expected: Collection[CustomerTokenRow]
) -> bool:
    if len(stored) != len(expected):
        return False

    def place(row: CustomerTokenRow) -> tuple[bytes, str, int, int]:
        return row.token, row.field, row.valid_from, row.valid_to

    for one, other in zip(sorted(stored, key=place), sorted(expected, key=place), strict=True):
        if (one.token, one.field) != (other.token, other.field):
            return False
        apart = (one.valid_from - other.valid_from, one.valid_to - other.valid_to)
        # Midnights lie whole quarters of an hour apart.
        if any(abs(span) > _LONGEST_DAY or span % _QUARTER for span in apart):
            return False
    return True


async def _grant(store: Store, vault: Vault | None, row: GrantRow) -> Check:
    if vault is None:
        return unknown(Code.GRANT_ROW, row.id, NO_KEYS)
    try:
        found = await find_grant(store, vault, row.id)
    except (TamperedError, ValueError):
        return failed(Code.GRANT_ROW, row.id, "It is not what was recorded when it was made.")
    except UnavailableError as error:
        return unknown(Code.GRANT_ROW, row.id, str(error))
    if found is None:
        return unknown(Code.GRANT_ROW, row.id, NO_KEY)
    return passed(Code.GRANT_ROW, row.id)
