"""Verifying what belongs to no contact: customers, grants, deliveries, and recordings that wait for their contact."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from service.archive.checks import Check, Code, failed, passed, unknown
from service.archive.contact_checks import NO_KEY, NO_KEYS, ContactChecker
from service.archive.evidence import read_evidence
from service.archive.grants import find_grant
from service.archive.records import customer_of
from service.archive.vault import Vault
from service.domain.errors import TamperedError, UnavailableError
from service.log.entry import EntryType, decode_entry
from service.log.errors import FormatError
from storage.ports import Condition, LogStore, Span, Store
from storage.rows import CustomerRow, DeliveryRow, GrantRow, ObjectRow, Row

PAGE: Final = 256

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
    """Checks rows outside of contacts."""

    checker: ContactChecker

    @property
    def _store(self) -> Store:
        return self.checker.store

    @property
    def _log(self) -> LogStore:
        return self.checker.log

    async def customers(self) -> AsyncIterator[Check]:
        """Check that every customer's row opens."""
        vault = self.checker.vault
        async for rows in pages(self._store, CustomerRow, {"state": "kept"}):
            for check in await _customers(rows, vault):
                yield check

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
        """Check every object that has no contact yet; yield each with its checks."""
        async for rows in pages(self._store, ObjectRow, {"contact_id": None}):
            for row in rows:
                evidence, broken = read_evidence(await self._log.log_about(row.id))
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


async def _customers(rows: Sequence[CustomerRow], vault: Vault | None) -> list[Check]:
    if vault is None:
        return [unknown(Code.CUSTOMER_ROW, row.id, NO_KEYS) for row in rows]
    checks = []
    for row in rows:
        try:
            sealers = await vault.find_sealers([row.id])
            if row.id not in sealers:
                checks.append(unknown(Code.CUSTOMER_ROW, row.id, NO_KEY))
                continue
            customer_of(row, sealers[row.id])
            checks.append(passed(Code.CUSTOMER_ROW, row.id))
        except (TamperedError, ValueError):
            told = "It is not what was sealed there."
            checks.append(failed(Code.CUSTOMER_ROW, row.id, told))
        except UnavailableError as error:
            checks.append(unknown(Code.CUSTOMER_ROW, row.id, str(error)))
    return checks


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
