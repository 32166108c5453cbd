"""Linking: whose contact it is, and the tokens by which it is found.

A link says why and how sure. What a person decided stands; everything else is decided again when the contact or the
customers change. Metering points count only within the days on which they were the customer's.

Contacts and customers may change at the same time, each without knowing of the other. So whoever has committed looks
again, and goes on until there is nothing left to write: the last one sees everything.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Final, TypeVar

from service.archive.alarm import raise_alarm
from service.archive.guard import guard_links
from service.archive.records import contact_of, link_of, link_row
from service.archive.vault import Vault
from service.crypto.blind_index import BlindIndex
from service.domain.contact import Contact, PartyRole
from service.domain.customer import Link, LinkState, Match, decide_links
from service.domain.errors import TamperedError, UnavailableError
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Append, Remove, Replace, Require, Store, Write
from storage.rows import ContactRow, ContactTokenRow, CustomerTokenRow, LinkRow

IDENTIFYING: Final = ("customer_number", "metering_point")
_ATTEMPTS: Final = 32

R = TypeVar("R")
K = TypeVar("K", bound=Hashable)

_token, _contact_id, _customer_id = map(attrgetter, ("token", "contact_id", "customer_id"))


@dataclass(frozen=True, slots=True)
class Relinked:
    """The writes that bring links and tokens of contacts up to date, by contact id; what they were decided on.

    ``wanted`` are the tokens by which customers were looked for, ``known`` what was found.
    """

    writes: Mapping[str, Sequence[Write]]
    wanted: frozenset[bytes] = frozenset()
    known: frozenset[CustomerTokenRow] = frozenset()


@dataclass(frozen=True, slots=True)
class _Before:
    """What is stored of the links and tokens of contacts, read before the contacts themselves.

    In this order a token that a contact gains meanwhile is never taken for one that it has lost.
    """

    links: Sequence[LinkRow] = ()
    tokens: Sequence[ContactTokenRow] = ()


@dataclass(frozen=True, slots=True)
class Linking:
    """Links contacts to customers. ``company_numbers`` are the company's own, by source."""

    store: Store
    vault: Vault
    company_numbers: Mapping[str, Collection[str]]

    async def decide(
        self, contacts: Sequence[Contact], *, new: Collection[str], actor: str, now: datetime
    ) -> Relinked:
        """Decide about contacts that are about to be stored; ``new`` names those that are not stored yet.

        The writes belong to the commit that replaces the contact's own row: that alone fails an erasure meanwhile.
        """
        if not contacts:
            return Relinked({})
        before = await self._before([c.id for c in contacts if c.id not in new])
        return await self._decide(contacts, before, actor=actor, now=now)

    async def follow_up(
        self, decided: Relinked, contact_ids: Sequence[str], *, now: datetime
    ) -> None:
        """Link again the contacts, stored now, if the customers changed since it was ``decided``."""
        if not contact_ids or await self._customers_with(decided.wanted) == decided.known:
            return
        await self.relink(contact_ids, actor="system", now=now)

    async def relink(
        self,
        contact_ids: Collection[str],
        *,
        actor: str,
        now: datetime,
        by_hand: Link | None = None,
    ) -> int:
        """Decide again about stored contacts; return how many changed. ``by_hand`` is what ``actor`` decides now.

        Contacts that were erased are left alone, and so are altered ones, of which an alarm is raised.

        Raises:
            UnavailableError: They kept changing.
        """
        pending = list(contact_ids)
        changed: set[str] = set()
        for _ in range(_ATTEMPTS):
            before = await self._before(pending)
            contacts = await self._contacts(pending, actor=actor, now=now)
            decided = await self._decide(
                contacts, before, actor=actor, now=now, by_hand=by_hand
            )
            # Nothing is tied to a contact that is erased meanwhile, and none to a held customer unseen by an erasure.
            changes = await guard_links(
                self.store,
                {
                    one.id: [
                        Require(ContactRow, (one.id,), one.version),
                        *decided.writes[one.id],
                    ]
                    for one in contacts
                    if decided.writes[one.id]
                },
            )
            if not changes:
                return len(changed)
            errors = await self.store.commit_each(list(changes.values()))
            for contact_id, error in zip(changes, errors, strict=True):
                if error is None:
                    changed.add(contact_id)
                elif not isinstance(error, StaleError | ConflictError):
                    raise error
            pending = list(changes)
        raise UnavailableError("links kept changing while they were decided")

    async def _before(self, contact_ids: Sequence[str]) -> _Before:
        if not contact_ids:
            return _Before()
        where = {"contact_id": list(contact_ids)}
        links = await self.store.find(LinkRow, where)
        return _Before(links, await self.store.find(ContactTokenRow, where))

    async def _contacts(
        self, contact_ids: Sequence[str], *, actor: str, now: datetime
    ) -> Sequence[Contact]:
        where = {"id": list(contact_ids), "state": "kept"}
        rows = await self.store.find(ContactRow, where)
        sealers = await self.vault.find_sealers([row.id for row in rows])
        contacts = []
        for row in rows:
            try:
                if row.id in sealers:
                    contacts.append(contact_of(row, sealers[row.id]))
            except TamperedError:
                await raise_alarm(
                    self.store,
                    "contact_row",
                    about=row.id,
                    contact_id=None,
                    actor_id=actor,
                    now=now,
                )
        return contacts

    async def _decide(
        self,
        contacts: Sequence[Contact],
        before: _Before,
        *,
        actor: str,
        now: datetime,
        by_hand: Link | None = None,
    ) -> Relinked:
        index = self.vault.index
        wanted = {
            contact.id: linking_tokens(
                contact, index, company_numbers=self._numbers_of(contact)
            )
            for contact in contacts
        }
        asked = frozenset(token for tokens in wanted.values() for token in tokens)
        known = await self._customers_with(asked)
        # A batch has many of everything; looked for one by one, it would cost the square of that.
        known_by, old_links, old_tokens = (
            _grouped(known, _token),
            _grouped(before.links, _contact_id),
            _grouped(before.tokens, _contact_id),
        )
        links: dict[str, tuple[Link, ...]] = {}
        for contact in contacts:
            own = wanted[contact.id]
            links[contact.id] = decide_links(
                find_matches(contact, own, [row for one in own for row in known_by[one]]),
                by_hand=_by_hand(old_links[contact.id], by_hand),
                now=now,
                states_number=contact.customer_number is not None,
            )
        own_by = _grouped(await self._own_tokens(links.values()), _customer_id)
        writes = {}
        for contact in contacts:
            decided = links[contact.id]
            known_as = [row for link in decided for row in own_by[link.customer_id]]
            tokens = contact_tokens(
                contact, index, decided, known_as, self._numbers_of(contact)
            )
            writes[contact.id] = [
                *_link_writes(contact.id, decided, old_links[contact.id], actor=actor, now=now),
                *_token_writes(contact, tokens, old_tokens[contact.id]),
            ]
        return Relinked(writes, asked, known)

    def _numbers_of(self, contact: Contact) -> Collection[str]:
        return self.company_numbers.get(contact.source, ())

    async def _customers_with(self, tokens: Collection[bytes]) -> frozenset[CustomerTokenRow]:
        if not tokens:
            return frozenset()
        return frozenset(await self.store.find(CustomerTokenRow, {"token": sorted(tokens)}))

    async def _own_tokens(
        self, links: Collection[tuple[Link, ...]]
    ) -> Sequence[CustomerTokenRow]:
        """Return the numbers and metering points of every customer in ``links``."""
        ids = {link.customer_id for group in links for link in group}
        if not ids:
            return ()
        return await self.store.find(
            CustomerTokenRow, {"customer_id": sorted(ids), "field": list(IDENTIFYING)}
        )


def linking_tokens(
    contact: Contact, index: BlindIndex, *, company_numbers: Collection[str] = ()
) -> Mapping[bytes, str]:
    """Return the tokens by which a customer is recognised in ``contact``, each with its field."""
    tokens: dict[bytes, str] = {}
    if contact.customer_number:
        tokens[index.token("customer_number", contact.customer_number)] = "customer_number"
    if contact.metering_point:
        tokens[index.token("metering_point", contact.metering_point)] = "metering_point"
    for party in contact.parties:
        if party.role is not PartyRole.CUSTOMER:
            continue
        if party.phone and party.phone not in company_numbers:
            tokens[index.token("phone", party.phone)] = "phone"
        if party.email:
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
    tokens |= {alias_token(index, contact.source, alias) for alias in contact.aliases}
    if contact.queue:
        tokens.add(index.token("queue", contact.queue.casefold()))
    if contact.customer_number:
        tokens.add(index.token("customer_number", contact.customer_number))
    if contact.metering_point:
        tokens.add(index.token("metering_point", contact.metering_point))
    return tokens


def alias_token(index: BlindIndex, source: str, alias: str) -> bytes:
    """Return the token of another name by which ``source`` calls a contact."""
    return index.token("alias", f"{source}\n{alias}")


def find_matches(
    contact: Contact, wanted: Mapping[bytes, str], known: Collection[CustomerTokenRow]
) -> list[Match]:
    """Return which customers ``wanted`` tokens of ``contact`` stand for, within their validity."""
    at = to_microseconds(contact.started_at)
    return [
        Match(row.customer_id, row.field)
        for row in known
        if wanted.get(row.token) == row.field and row.valid_from <= at < row.valid_to
    ]


def _grouped(rows: Iterable[R], key: Callable[[R], K]) -> defaultdict[K, list[R]]:
    """Return the rows by what ``key`` says of them; where there are none, an empty list."""
    groups: defaultdict[K, list[R]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def _by_hand(links: Sequence[LinkRow], decided: Link | None) -> list[Link]:
    """Return what persons decided about a contact; what is ``decided`` now comes last and wins."""
    hand = [link_of(row) for row in links if row.made_by != "system"]
    if decided is None:
        return hand
    return [link for link in hand if link.customer_id != decided.customer_id] + [decided]


def contact_tokens(
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
    before = {row.customer_id: row for row in old}
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
        # Replaced first, so that nothing is removed which a person decided since it was read.
        writes += [
            Replace(replace(row, version=row.version + 1)),
            Remove(LinkRow, (row.contact_id, row.customer_id)),
        ]
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
    before = {(row.token, row.started_at) for row in old}
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
