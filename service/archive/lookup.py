"""Finding contacts: several criteria are their intersection, newest first, and each result says why it matched.

A lookup needs a role, not a grant. It is in the log before its results are given: the names of its criteria, never
their values.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from service.archive.alarm import raise_alarm
from service.archive.records import contact_of, customer_of, link_of
from service.archive.vault import Vault
from service.domain.actor import Actor
from service.domain.contact import Channel, Contact, Direction, RecordingState
from service.domain.customer import Customer, Link, LinkState
from service.domain.errors import InvalidInputError, NotFoundError, TamperedError
from service.domain.ids import parse_id
from service.domain.permission import Permission, is_permitted, require_permission
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Append, Condition, Lookup, Span, Store
from storage.rows import ContactRow, CustomerRow, CustomerTokenRow, LinkRow

MAX_LIMIT = 200
MAX_CUSTOMERS = 20
"""More than this are not named: a number that so many share tells of none of them."""
_MAX_SHARING = 500
# From the year 1 to 9999.
_MICROSECONDS = re.compile(r"-?[0-9]{1,18}", re.ASCII)
# What a database counts to; a cursor that somebody made up may say more.
_MAX_MICROSECONDS = 2**63 - 1
_NO_CURSOR = "the cursor is not one that was given by a lookup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What is looked for; None does not narrow. Identifiers are canonical, the period is half-open on the start."""

    customer_number: str | None = None
    phone: str | None = None
    email: str | None = None
    metering_point: str | None = None
    agent: str | None = None
    queue: str | None = None
    channel: Channel | None = None
    direction: Direction | None = None
    recording: RecordingState | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None

    def names(self) -> tuple[str, ...]:
        """Return the names of the criteria that narrow."""
        return tuple(name for name in Criteria.__slots__ if getattr(self, name) is not None)

    def __repr__(self) -> str:
        return f"Criteria{self.names()}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a contact matched: the criterion, and where it was met (``party:customer``, ``stated``, ``link:phone`` …)."""

    criterion: str
    met_by: str


@dataclass(frozen=True, slots=True)
class Found:
    """A contact that matched, whose it is, and why it matched."""

    contact: Contact
    links: tuple[Link, ...]
    matched_by: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Contacts, newest first, and the cursor of the next page when there may be one.

    ``unreadable`` are the ids of contacts that matched and cannot be opened: altered, or without their key.
    ``customers`` are registered with every identifier that was looked for, within the period, by their numbers; their
    histories may have what the identifiers alone do not find. They are ``MAX_CUSTOMERS`` at the most;
    where there are more ``has_more_customers``, and none is named.
    """

    contacts: tuple[Found, ...]
    next: str | None
    unreadable: tuple[str, ...] = ()
    customers: tuple[Customer, ...] = ()
    has_more_customers: bool = False


_TOKEN_FIELDS = ("customer_number", "phone", "email", "metering_point", "agent", "queue")
_CUSTOMER_FIELDS = ("customer_number", "phone", "email", "metering_point")
_FOLDED = {"agent", "queue"}


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks contacts up."""

    store: Store
    vault: Vault

    async def find(
        self, criteria: Criteria, *, actor: Actor, cursor: str | None, limit: int, now: datetime
    ) -> Page:
        """Return one page of the contacts that meet every criterion.

        Raises:
            NotPermittedError: The actor may not look contacts up.
            InvalidInputError: The cursor or the limit is not valid.
        """
        require_permission(actor, Permission.LOOK_UP)
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInputError(f"limit is a number from 1 to {MAX_LIMIT}")
        ids = await self.store.lookup(self._query(criteria, cursor, limit + 1))
        page, rest = ids[:limit], ids[limit:]
        registered = await self._registered(criteria, actor=actor, now=now)
        entry = LogEntry(
            type=EntryType.LOOKUP_MADE,
            at=now,
            actor=actor.id,
            data={
                "criteria": criteria.names(),
                "found": len(page),
                "customers": len(registered[0]),
            },
        )
        await self.store.commit([Append(encode_entry(entry))])
        if not page:
            return Page((), None, (), *registered)
        rows = {row.id: row for row in await self.store.find(ContactRow, {"id": list(page)})}
        found, unreadable = await self._found(
            [rows[one] for one in page if one in rows], criteria, actor=actor, now=now
        )
        # From the last that was looked at, so that one which cannot be shown ends no page early.
        last = next((rows[one] for one in reversed(page) if one in rows), None)
        following = _format_cursor(last) if rest and last else None
        return Page(found, following, unreadable, *registered)

    async def _registered(
        self, criteria: Criteria, *, actor: Actor, now: datetime
    ) -> tuple[tuple[Customer, ...], bool]:
        """Return the customers with all identifiers of ``criteria``, and whether there are too many to name.

        An altered customer is left out, and an alarm is raised. Who may not read contacts is told of none.
        """
        wanted = {
            self.vault.index.token(name, value)
            for name in _CUSTOMER_FIELDS
            if (value := getattr(criteria, name)) is not None
        }
        if not wanted or not is_permitted(actor, Permission.READ_CONTACT):
            return (), False
        ids = await self._sharing(wanted, *_period(criteria))
        if ids is None or len(ids) > MAX_CUSTOMERS:
            return (), True
        customers = await self._customers(ids, actor=actor, now=now)
        return tuple(sorted(customers, key=attrgetter("number"))), False

    async def _sharing(
        self, tokens: Collection[bytes], start: int, stop: int
    ) -> list[str] | None:
        """Return the customers who have all of ``tokens`` within the period; None where too many have any of them."""
        shared = {
            token: await self.store.count(CustomerTokenRow, {"token": token})
            for token in tokens
        }
        if min(shared.values()) > _MAX_SHARING:
            return None
        found: list[str] = []
        where: dict[str, Condition] = {}
        # From the rarest on: what many share is asked only of the few that are left.
        for token in sorted(tokens, key=shared.__getitem__):
            rows = await self.store.find(CustomerTokenRow, {**where, "token": token})
            within = (row for row in rows if row.valid_from < stop and start < row.valid_to)
            found = sorted({row.customer_id for row in within})
            where = {"customer_id": found}
        return found

    async def _customers(
        self, ids: Sequence[str], *, actor: Actor, now: datetime
    ) -> list[Customer]:
        if not ids:
            return []
        rows = await self.store.find(CustomerRow, {"id": ids, "state": "kept"})
        sealers = await self.vault.find_sealers([row.id for row in rows])
        customers = []
        for row in rows:
            try:
                if row.id in sealers:
                    customers.append(customer_of(row, sealers[row.id]))
            except TamperedError:
                await raise_alarm(
                    self.store,
                    "customer_row",
                    about=row.id,
                    contact_id=None,
                    actor_id=actor.id,
                    now=now,
                )
        return customers

    def _query(self, criteria: Criteria, cursor: str | None, limit: int) -> Lookup:
        tokens = []
        for name in _TOKEN_FIELDS:
            value = getattr(criteria, name)
            if value is not None:
                canonical = value.casefold() if name in _FOLDED else value
                tokens.append((self.vault.index.token(name, canonical),))
        where: dict[str, Condition] = {"state": "kept"}
        if criteria.channel is not None:
            where["channel"] = criteria.channel.value
        if criteria.direction is not None:
            where["direction"] = criteria.direction.value
        if criteria.recording is not None:
            where["recording_state"] = criteria.recording.value
        start, stop = criteria.started_from, criteria.started_to
        return Lookup(
            tokens=tokens,
            where=where,
            started=Span(
                None if start is None else to_microseconds(start),
                None if stop is None else to_microseconds(stop),
            ),
            before=None if cursor is None else _parse_cursor(cursor),
            limit=limit,
        )

    async def _found(
        self, rows: Sequence[ContactRow], criteria: Criteria, *, actor: Actor, now: datetime
    ) -> tuple[tuple[Found, ...], tuple[str, ...]]:
        """Return what the rows say, and the ids of those that cannot be opened; of altered ones an alarm is raised."""
        ids = [row.id for row in rows]
        links: dict[str, list[Link]] = {}
        for link in await self.store.find(LinkRow, {"contact_id": ids}):
            links.setdefault(link.contact_id, []).append(link_of(link))
        sealers = await self.vault.find_sealers(ids)
        found, unreadable = [], []
        for row in rows:
            if row.id not in sealers:
                # Erased between the two readings it is not there any more; kept, it should have its key.
                if row.state == "kept":
                    unreadable.append(row.id)
                continue
            try:
                contact = contact_of(row, sealers[row.id])
            except TamperedError:
                unreadable.append(row.id)
                await raise_alarm(
                    self.store,
                    "contact_row",
                    about=row.id,
                    contact_id=None,
                    actor_id=actor.id,
                    now=now,
                )
                continue
            of_contact = tuple(links.get(row.id, ()))
            found.append(Found(contact, of_contact, _reasons(contact, of_contact, criteria)))
        return tuple(found), tuple(unreadable)


def _period(criteria: Criteria) -> tuple[int, int]:
    """Return the period that is looked through, half-open, in microseconds."""
    start, stop = criteria.started_from, criteria.started_to
    return (
        -_MAX_MICROSECONDS if start is None else to_microseconds(start),
        _MAX_MICROSECONDS if stop is None else to_microseconds(stop),
    )


def _reasons(contact: Contact, links: Sequence[Link], criteria: Criteria) -> tuple[Reason, ...]:
    met: dict[str, list[str]] = {name: [] for name in criteria.names()}
    for party in contact.parties:
        told: Mapping[str, str | None] = {
            "phone": party.phone,
            "email": party.email,
            "agent": party.agent_id and party.agent_id.casefold(),
        }
        for name, value in told.items():
            wanted = getattr(criteria, name)
            if name in met and value is not None and value == _folded(name, wanted):
                met[name].append(f"party:{party.role}")
    for name in ("customer_number", "metering_point"):
        if name not in met:
            continue
        if getattr(contact, name) == getattr(criteria, name):
            met[name].append("stated")
        else:
            met[name] += [
                f"link:{reason}"
                for link in links
                if link.state is LinkState.LINKED
                for reason in link.reasons or ("by_hand",)
            ]
    return tuple(
        Reason(name, how) for name in met for how in dict.fromkeys(met[name] or ("contact",))
    )


def _folded(name: str, value: str) -> str:
    return value.casefold() if name in _FOLDED else value


def _format_cursor(row: ContactRow) -> str:
    text = f"{row.started_at}:{row.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[int, str]:
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
        start, _, contact_id = decoded.partition(":")
        if _MICROSECONDS.fullmatch(start):
            return int(start), parse_id("ct", contact_id)
    except (ValueError, binascii.Error, NotFoundError):
        pass
    raise InvalidInputError("the cursor is not one that was given by a lookup")
