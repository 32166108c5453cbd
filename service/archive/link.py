"""Linking: whose contact it is, and the tokens by which it is found.

A link says why and how sure. What a person decided stands; everything else is decided again when the contact or the
customers change. Metering points count only within the days on which they were the customer's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from service.archive.records import link_of, link_row
from service.crypto.blind_index import BlindIndex
from service.domain.contact import Contact, PartyRole
from service.domain.customer import Link, LinkState, Match, decide_links
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Add, Append, Remove, Replace, Store, Write
from storage.rows import ContactTokenRow, CustomerTokenRow, LinkRow

_IDENTIFYING = ("customer_number", "metering_point")


def linking_tokens(contact: Contact, index: BlindIndex) -> Mapping[bytes, str]:
    """Return the tokens by which a customer is recognised in ``contact``, each with its field."""
    tokens: dict[bytes, str] = {}
    if contact.customer_number:
        tokens[index.token("customer_number", contact.customer_number)] = "customer_number"
    if contact.metering_point:
        tokens[index.token("metering_point", contact.metering_point)] = "metering_point"
    for party in contact.parties:
        if party.role is PartyRole.CUSTOMER and party.phone:
            tokens[index.token("phone", party.phone)] = "phone"
        if party.role is PartyRole.CUSTOMER and party.email:
            tokens[index.token("email", party.email)] = "email"
    return tokens


def finding_tokens(
    contact: Contact, index: BlindIndex, *, company_numbers: Collection[str]
) -> set[bytes]:
    """Return the tokens of what ``contact`` itself tells. The company's own numbers have none."""
    tokens: set[bytes] = set()
    for party in contact.parties:
        if party.phone and party.phone not in company_numbers:
            tokens.add(index.token("phone", party.phone))
        if party.email:
            tokens.add(index.token("email", party.email))
        if party.agent_id:
            tokens.add(index.token("agent", party.agent_id.casefold()))
    if contact.queue:
        tokens.add(index.token("queue", contact.queue.casefold()))
    if contact.customer_number:
        tokens.add(index.token("customer_number", contact.customer_number))
    if contact.metering_point:
        tokens.add(index.token("metering_point", contact.metering_point))
    return tokens


def find_matches(
    contact: Contact, wanted: Mapping[bytes, str], known: Sequence[CustomerTokenRow]
) -> list[Match]:
    """Return which customers ``wanted`` tokens of ``contact`` stand for, within their validity."""
    at = to_microseconds(contact.started_at)
    return [
        Match(row.customer_id, row.field)
        for row in known
        if wanted.get(row.token) == row.field and row.valid_from <= at < row.valid_to
    ]


async def relink(
    store: Store,
    index: BlindIndex,
    contacts: Sequence[Contact],
    *,
    company_numbers: Mapping[str, Collection[str]],
    new: Collection[str],
    actor: str,
    now: datetime,
    by_hand: Mapping[str, Link] | None = None,
) -> Mapping[str, list[Write]]:
    """Return, by contact id, the writes that bring links and tokens up to date.

    ``company_numbers`` are those of each source; ``new`` names contacts that are not stored yet; ``by_hand`` is what
    ``actor`` decides about a contact now. Changes nothing itself.
    """
    wanted = {contact.id: linking_tokens(contact, index) for contact in contacts}
    known = await _customers_with(
        store, {token for tokens in wanted.values() for token in tokens}
    )
    stored = [contact.id for contact in contacts if contact.id not in new]
    old_links = await store.find(LinkRow, {"contact_id": stored}) if stored else ()
    old_tokens = await store.find(ContactTokenRow, {"contact_id": stored}) if stored else ()
    links: dict[str, tuple[Link, ...]] = {}
    for contact in contacts:
        hand = [
            link_of(row)
            for row in old_links
            if row.contact_id == contact.id and row.made_by != "system"
        ]
        decided = (by_hand or {}).get(contact.id)
        if decided is not None:
            hand = [link for link in hand if link.customer_id != decided.customer_id] + [
                decided
            ]
        matches = find_matches(contact, wanted[contact.id], known)
        links[contact.id] = decide_links(matches, by_hand=hand, now=now)
    own = await _own_tokens(store, links.values())
    writes: dict[str, list[Write]] = {}
    for contact in contacts:
        tokens = _tokens(
            contact, index, links[contact.id], own, company_numbers.get(contact.source, ())
        )
        writes[contact.id] = [
            *_link_writes(contact.id, links[contact.id], old_links, actor=actor, now=now),
            *_token_writes(contact, tokens, old_tokens),
        ]
    return writes


async def _customers_with(
    store: Store, tokens: Collection[bytes]
) -> Sequence[CustomerTokenRow]:
    return await store.find(CustomerTokenRow, {"token": list(tokens)}) if tokens else ()


async def _own_tokens(
    store: Store, links: Collection[tuple[Link, ...]]
) -> Sequence[CustomerTokenRow]:
    """Return the numbers and metering points of every customer in ``links``."""
    ids = {link.customer_id for group in links for link in group}
    if not ids:
        return ()
    return await store.find(
        CustomerTokenRow, {"customer_id": sorted(ids), "field": list(_IDENTIFYING)}
    )


def _tokens(
    contact: Contact,
    index: BlindIndex,
    links: Sequence[Link],
    own: Sequence[CustomerTokenRow],
    company_numbers: Collection[str],
) -> set[bytes]:
    """Return what the contact tells and its customer is known by, without what a person has unlinked."""
    tokens = finding_tokens(contact, index, company_numbers=company_numbers)
    at = to_microseconds(contact.started_at)
    states = {link.customer_id: link.state for link in links}
    for row in own:
        if states.get(row.customer_id) is LinkState.UNLINKED and row.field == "customer_number":
            tokens.discard(row.token)
    for row in own:
        is_linked = states.get(row.customer_id) is LinkState.LINKED
        if is_linked and row.valid_from <= at < row.valid_to:
            tokens.add(row.token)
    return tokens


def _link_writes(
    contact_id: str,
    links: Sequence[Link],
    old: Sequence[LinkRow],
    *,
    actor: str,
    now: datetime,
) -> list[Write]:
    before = {row.customer_id: row for row in old if row.contact_id == contact_id}
    writes: list[Write] = []
    for link in links:
        known = before.pop(link.customer_id, None)
        row = link_row(link, contact_id)
        if known is not None and _is_same(known, row):
            continue
        writes.append(
            Add(row) if known is None else Replace(replace(row, version=known.version + 1))
        )
        writes.append(_link_entry(contact_id, link, actor=actor, now=now))
    for row in before.values():
        writes.append(Remove(LinkRow, (row.contact_id, row.customer_id)))
        gone = replace(link_of(row), state=LinkState.UNLINKED)
        writes.append(_link_entry(contact_id, gone, actor=actor, now=now))
    return writes


def _is_same(known: LinkRow, row: LinkRow) -> bool:
    """Tell whether nothing but the time of making differs."""
    return replace(known, version=1, made_at=0) == replace(row, version=1, made_at=0)


def _link_entry(contact_id: str, link: Link, *, actor: str, now: datetime) -> Append:
    is_unlinked = link.state is LinkState.UNLINKED
    entry = LogEntry(
        type=EntryType.CONTACT_UNLINKED if is_unlinked else EntryType.CONTACT_LINKED,
        at=now,
        actor=actor,
        about=(contact_id, link.customer_id),
        data={"state": link.state, "certainty": link.certainty, "reasons": link.reasons},
    )
    return Append(encode_entry(entry), entry.about)


def _token_writes(
    contact: Contact, tokens: set[bytes], old: Sequence[ContactTokenRow]
) -> list[Write]:
    at = to_microseconds(contact.started_at)
    before = {(row.token, row.started_at) for row in old if row.contact_id == contact.id}
    after = {(token, at) for token in tokens}
    added = [
        Add(ContactTokenRow(token=token, started_at=start, contact_id=contact.id))
        for token, start in sorted(after - before)
    ]
    removed = [
        Remove(ContactTokenRow, (token, start, contact.id))
        for token, start in sorted(before - after)
    ]
    return [*added, *removed]
