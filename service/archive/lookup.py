"""Finding contacts: several criteria are their intersection, newest first, and each result says why it matched.

A lookup needs a role, not a grant. It is in the log before its results are given: the names of its criteria, never
their values.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.archive.records import contact_of, link_of
from service.archive.vault import Vault
from service.domain.actor import Actor
from service.domain.contact import Channel, Contact, Direction, RecordingState
from service.domain.customer import Link, LinkState
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.ids import parse_id
from service.domain.permission import Permission, require_permission
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Append, Condition, Lookup, Span, Store
from storage.rows import ContactRow, LinkRow

MAX_LIMIT = 200
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
    """Contacts, newest first, and the cursor of the next page when there may be one."""

    contacts: tuple[Found, ...]
    next: str | None


_TOKEN_FIELDS = ("customer_number", "phone", "email", "metering_point", "agent", "queue")
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
        entry = LogEntry(
            type=EntryType.LOOKUP_MADE,
            at=now,
            actor=actor.id,
            data={"criteria": criteria.names(), "found": len(page)},
        )
        await self.store.commit([Append(encode_entry(entry))])
        found = await self._found(page, criteria)
        following = _format_cursor(found[-1].contact) if rest and found else None
        return Page(found, following)

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

    async def _found(self, ids: Sequence[str], criteria: Criteria) -> tuple[Found, ...]:
        if not ids:
            return ()
        rows = {row.id: row for row in await self.store.find(ContactRow, {"id": list(ids)})}
        links: dict[str, list[Link]] = {}
        for link in await self.store.find(LinkRow, {"contact_id": list(ids)}):
            links.setdefault(link.contact_id, []).append(link_of(link))
        sealers = await self.vault.find_sealers(ids)
        found = []
        for contact_id in ids:
            # Erased between the two readings: it is not there any more.
            if contact_id in rows and contact_id in sealers:
                contact = contact_of(rows[contact_id], sealers[contact_id])
                of_contact = tuple(links.get(contact_id, ()))
                found.append(
                    Found(contact, of_contact, _reasons(contact, of_contact, criteria))
                )
        return tuple(found)


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


def _format_cursor(contact: Contact) -> str:
    text = f"{to_microseconds(contact.started_at)}:{contact.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[int, str]:
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
        start, _, contact_id = decoded.partition(":")
        before = int(start), parse_id("ct", contact_id)
    except (ValueError, binascii.Error, NotFoundError) as error:
        raise InvalidInputError(_NO_CURSOR) from error
    if abs(before[0]) > _MAX_MICROSECONDS:
        raise InvalidInputError(_NO_CURSOR)
    return before
