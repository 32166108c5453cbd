"""Verifying by what contacts are found, and whose they are said to be.

Links are held against the log; tokens are made again of what the contact and its customers tell. Somebody may write
meanwhile, so what does not fit is read anew before it is reported.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.archive.checks import Check, Code, failed, unknown
from service.archive.contact_checks import ContactChecker
from service.archive.link import IDENTIFYING, contact_tokens, finding_tokens
from service.archive.records import contact_of, link_of
from service.archive.vault import Vault
from service.archive.verify_rows import pages
from service.crypto.blind_index import BlindIndex
from service.domain.contact import Contact, PartyRole
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.domain.times import to_microseconds
from service.log.entry import SYSTEM_ACTOR, EntryType, LogEntry, decode_entry
from service.log.errors import FormatError
from storage.ports import StoredEntry
from storage.rows import ContactRow, ContactTokenRow, CustomerRow, CustomerTokenRow, LinkRow

_READINGS: Final = 3
_LINKING: Final = frozenset({EntryType.CONTACT_LINKED, EntryType.CONTACT_UNLINKED})
_BY_HAND: Final = "by_hand"


@dataclass(frozen=True, slots=True)
class _Found:
    """What is stored of a contact's links and tokens, and of the customers that it is tied to."""

    links: Sequence[LinkRow]
    tokens: Sequence[ContactTokenRow]
    own: Sequence[CustomerTokenRow]
    customers_changed_at: int


@dataclass(frozen=True, slots=True)
class LinkChecker:
    """Checks links and tokens. ``company_numbers`` are the company's own, by source."""

    checker: ContactChecker
    company_numbers: Mapping[str, Collection[str]] = field(default_factory=dict)

    async def contacts(self) -> AsyncIterator[tuple[str, Check]]:
        """Yield what is wrong with the links and tokens of each contact, by its id."""
        async for page in pages(self.checker.store, ContactRow, {"state": "kept"}):
            wrong: Mapping[str, Check] = {}
            rows: Sequence[ContactRow] = page
            for _ in range(_READINGS):
                wrong = await self._wrong(rows)
                if not wrong:
                    break
                rows = await self.checker.store.find(ContactRow, {"id": sorted(wrong)})
            for contact_id in sorted(wrong):
                yield contact_id, wrong[contact_id]

    async def _wrong(self, rows: Sequence[ContactRow]) -> Mapping[str, Check]:
        """Return what is wrong with each contact, the links first; nothing where all is as it should be."""
        found = await self._read([row.id for row in rows])
        vault = self.checker.vault
        wrong: dict[str, Check] = {}
        for row in rows:
            entries = _linking(await self.checker.log.log_about(row.id))
            told = next(_misfits(found[row.id].links, entries), None)
            if told is not None:
                wrong[row.id] = failed(Code.LINKS, row.id, told)
            elif vault is not None:
                check = await self._tokens(row, found[row.id], vault)
                if check is not None:
                    wrong[row.id] = check
        return wrong

    async def _read(self, ids: Sequence[str]) -> Mapping[str, _Found]:
        store = self.checker.store
        links, tokens = defaultdict(list), defaultdict(list)
        for link in await store.find(LinkRow, {"contact_id": list(ids)}):
            links[link.contact_id].append(link)
        for token in await store.find(ContactTokenRow, {"contact_id": list(ids)}):
            tokens[token.contact_id].append(token)
        customers = sorted({one.customer_id for group in links.values() for one in group})
        own, changed = defaultdict(list), dict[str, int]()
        if customers:
            where = {"customer_id": customers, "field": list(IDENTIFYING)}
            for known in await store.find(CustomerTokenRow, where):
                own[known.customer_id].append(known)
            for row in await store.find(CustomerRow, {"id": customers}):
                changed[row.id] = row.updated_at
        return {
            one: _Found(
                links[one],
                tokens[one],
                [row for link in links[one] for row in own[link.customer_id]],
                max((changed.get(link.customer_id, 0) for link in links[one]), default=0),
            )
            for one in ids
        }

    async def _tokens(self, row: ContactRow, found: _Found, vault: Vault) -> Check | None:
        try:
            contact = contact_of(row, await vault.get_sealer(row.id))
        except (TamperedError, ErasedError, UnavailableError, ValueError):
            # The contact's own checks say so.
            return None
        numbers = self.company_numbers.get(row.source, ())
        return _check_tokens(contact, found, vault.index, numbers)


def _linking(stored: Iterable[StoredEntry]) -> Mapping[str, list[LogEntry]]:
    """Return the entries that link a contact or unlink it, by customer, in the order of the log."""
    by_customer: dict[str, list[LogEntry]] = {}
    for one in stored:
        try:
            entry = decode_entry(one.entry)
        except FormatError:
            # That it cannot be read is reported with the contact.
            continue
        if entry.type in _LINKING:
            by_customer.setdefault(entry.about[1], []).append(entry)
    return by_customer


def _misfits(
    links: Sequence[LinkRow], entries: Mapping[str, Sequence[LogEntry]]
) -> Iterator[str]:
    kept = {row.customer_id for row in links}
    for row in links:
        about = entries.get(row.customer_id, ())
        if not about:
            yield f"The log knows no link to {row.customer_id}."
        elif not _is_as_logged(row, about):
            yield f"The link to {row.customer_id} is not as the log says."
    for customer_id, about in entries.items():
        newest = about[-1]
        stands = newest.type is EntryType.CONTACT_LINKED or _BY_HAND in _reasons(newest)
        if stands and customer_id not in kept:
            yield f"The link to {customer_id} is in the log, and its record is missing."


def _is_as_logged(row: LinkRow, about: Sequence[LogEntry]) -> bool:
    reasons = tuple(row.reasons.split(",")) if row.reasons else ()
    newest = about[-1]
    stated = (newest.data.get("state"), newest.data.get("certainty"), _reasons(newest))
    if stated != (row.state, row.certainty, reasons):
        return False
    made = [one for one in about if to_microseconds(one.at) == row.made_at]
    if _BY_HAND in reasons:
        return any(one.actor == row.made_by and _BY_HAND in _reasons(one) for one in made)
    return bool(made) and row.made_by == SYSTEM_ACTOR


def _reasons(entry: LogEntry) -> tuple[object, ...]:
    stated = entry.data.get("reasons", ())
    return stated if isinstance(stated, tuple) else ()


def _check_tokens(
    contact: Contact, found: _Found, index: BlindIndex, company_numbers: Collection[str]
) -> Check | None:
    """Return what is wrong with the tokens of ``contact``; None when nothing is."""
    expected = contact_tokens(
        contact, index, [link_of(row) for row in found.links], found.own, company_numbers
    )
    at = to_microseconds(contact.started_at)
    stored = {row.token for row in found.tokens}
    told = finding_tokens(contact, index, company_numbers=company_numbers)
    # The company's own numbers may have been configured otherwise when the contact was archived.
    phones = {
        index.token("phone", one.phone): one.role is PartyRole.CUSTOMER
        for one in contact.parties
        if one.phone
    }
    perhaps_own = {token for token, is_customers in phones.items() if not is_customers}
    missing, extra = expected - stored, stored - expected - phones.keys()
    if any(row.started_at != at for row in found.tokens):
        return failed(Code.CONTACT_TOKENS, contact.id, "It is listed under another time.")
    if (missing & told) - perhaps_own:
        return failed(Code.CONTACT_TOKENS, contact.id, "It is not found by all that it tells.")
    made_at = max((row.made_at for row in found.links), default=0)
    if (missing - told or extra) and found.customers_changed_at <= made_at:
        wrong = "It is found by what neither it nor its customer tells, or not by its customer."
        return failed(Code.CONTACT_TOKENS, contact.id, wrong)
    if missing - told or extra:
        later = "Its customer changed later, and it is not found by what the customer is known by now."
        return unknown(Code.CONTACT_TOKENS, contact.id, later)
    if missing:
        own = "It is not found by a telephone number that it tells, unless that was the company's own."
        return unknown(Code.CONTACT_TOKENS, contact.id, own)
    return None
