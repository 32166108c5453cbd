"""A customer, the places they lived at, and whose contact a contact is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """A metering point and the days on which it was the customer's, half-open; None is open-ended."""

    metering_point: str
    occupied_from: date | None = None
    occupied_to: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer as the customer register tells of them. Identifiers are canonical."""

    id: str
    version: int
    number: str
    name: str | None = None
    identity_code: str | None = None
    business_id: str | None = None
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    language: str | None = None
    is_protected: bool = False
    occupancies: tuple[Occupancy, ...] = ()
    marketing_permissions: str | None = None

    def __repr__(self) -> str:
        return f"Customer(id={self.id!r})"


class LinkState(StrEnum):
    """Whether a contact is a customer's: ``unlinked`` means that a person said no."""

    LINKED = "linked"
    CANDIDATE = "candidate"
    UNLINKED = "unlinked"


class Certainty(StrEnum):
    """How sure a link is."""

    SURE = "sure"
    LIKELY = "likely"
    POSSIBLE = "possible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A contact's tie to a customer, why, and how sure."""

    customer_id: str
    state: LinkState
    reasons: tuple[str, ...]
    certainty: Certainty
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Match:
    """One identifier of a contact that is a customer's. ``reason``: customer_number, metering_point, email, phone."""

    customer_id: str
    reason: str


def decide_links(
    matches: Sequence[Match],
    *,
    by_hand: Sequence[Link],
    now: datetime,
    states_number: bool = False,
) -> tuple[Link, ...]:
    """Decide whose contact it is. What a person decided stands.

    A customer number that the source states decides alone, and is sure. Otherwise the customer with the most kinds of
    identifiers is linked (two kinds: sure; one: likely); where two or more have as many, all of them stay candidates
    (possible), because a household shares a telephone and a number is a hint, never an identity. ``states_number``:
    the source states a customer number; when that is nobody's here, everybody else is a candidate at most.
    """
    decided = {link.customer_id: link for link in by_hand}
    reasons: dict[str, set[str]] = {}
    for match in matches:
        if match.customer_id not in decided:
            reasons.setdefault(match.customer_id, set()).add(match.reason)
    links = [
        Link(
            customer_id=customer_id,
            state=state,
            reasons=tuple(sorted(reasons[customer_id])),
            certainty=certainty,
            made_by="system",
            made_at=now,
        )
        for customer_id, state, certainty in _ranked(
            reasons,
            taken=any(link.state is LinkState.LINKED for link in by_hand),
            states_number=states_number,
        )
    ]
    return (*by_hand, *links)


def _ranked(
    reasons: dict[str, set[str]], *, taken: bool, states_number: bool
) -> list[tuple[str, LinkState, Certainty]]:
    stated = [c for c, kinds in reasons.items() if "customer_number" in kinds]
    taken = taken or (states_number and not stated)
    most = max((len(kinds) for kinds in reasons.values()), default=0)
    best = stated or [c for c, kinds in reasons.items() if len(kinds) == most]
    ranked = []
    for customer_id in sorted(reasons):
        if taken or customer_id not in best or len(best) > 1:
            ranked.append((customer_id, LinkState.CANDIDATE, Certainty.POSSIBLE))
        elif stated or most > 1:
            ranked.append((customer_id, LinkState.LINKED, Certainty.SURE))
        else:
            ranked.append((customer_id, LinkState.LINKED, Certainty.LIKELY))
    return ranked
