"""Holds as they are asked for, and as they are stored."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from service.domain.actor import Actor
from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_plain
from service.domain.ids import new_id, parse_id
from service.domain.retention import Hold, HoldState, require_period
from service.domain.times import from_microseconds, to_microseconds
from service.log.entry import Value
from storage.rows import HoldRow

LONGEST: Final = timedelta(days=180)
"""Within this somebody looks again whether a hold is still needed."""


class SealedHold(msgspec.Struct, frozen=True):
    """Why a hold was placed, in somebody's words, and the reference of the case."""

    reason: str
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOrder:
    """What is to be held: a contact, or a customer and a period. ``review_on`` is at the most 180 days away."""

    contact_id: str | None = None
    customer_id: str | None = None
    period_from: datetime | None = None
    period_to: datetime | None = None
    reason: str = ""
    reference: str | None = None
    review_on: date | None = None


def decide_hold(order: HoldOrder, actor: Actor, *, now: datetime) -> Hold:
    """Return the hold that ``order`` asks for.

    Raises:
        InvalidInputError: The order is not whole, or contradicts itself.
        NotFoundError: It names what cannot be the id of a contact or customer.
    """
    if (order.contact_id is None) == (order.customer_id is None):
        raise InvalidInputError(
            "a hold is of a contact, or of a customer and a period: name one"
        )
    if order.contact_id is not None and (order.period_from or order.period_to):
        raise InvalidInputError("a period belongs to a customer's hold")
    require_period(order.period_from, order.period_to)
    if not order.reason.strip():
        raise InvalidInputError("reason: say why")
    review_on = order.review_on or (now + LONGEST).date()
    if not now.date() < review_on <= (now + LONGEST).date():
        raise InvalidInputError(f"review_on: a day within the next {LONGEST.days} days")
    return Hold(
        id=new_id("ho"),
        contact_id=None if order.contact_id is None else parse_id("ct", order.contact_id),
        customer_id=None if order.customer_id is None else parse_id("cu", order.customer_id),
        period_from=order.period_from,
        period_to=order.period_to,
        state=HoldState.PLACED,
        owner_id=actor.id,
        placed_at=now,
        review_on=review_on,
        reason=require_plain(order.reason, what="reason"),
        reference=require_plain(order.reference, what="reference") if order.reference else None,
    )


def hold_row(hold: Hold, sealed: bytes) -> HoldRow:
    """Return the row of a new hold."""
    return HoldRow(
        id=hold.id,
        version=1,
        contact_id=hold.contact_id,
        customer_id=hold.customer_id,
        period_from=None if hold.period_from is None else to_microseconds(hold.period_from),
        period_to=None if hold.period_to is None else to_microseconds(hold.period_to),
        state=hold.state.value,
        owner_id=hold.owner_id,
        placed_at=to_microseconds(hold.placed_at),
        review_on=hold.review_on.isoformat(),
        requested_by=None,
        released_by=None,
        released_at=None,
        sealed=sealed,
    )


def hold_of(row: HoldRow, sealed: SealedHold | None) -> Hold:
    """Return the hold of ``row``; without ``sealed``, without its reason and reference."""

    def at(microseconds: int | None) -> datetime | None:
        return None if microseconds is None else from_microseconds(microseconds)

    return Hold(
        id=row.id,
        contact_id=row.contact_id,
        customer_id=row.customer_id,
        period_from=at(row.period_from),
        period_to=at(row.period_to),
        state=HoldState(row.state),
        owner_id=row.owner_id,
        placed_at=from_microseconds(row.placed_at),
        review_on=date.fromisoformat(row.review_on),
        reason=sealed.reason if sealed else "",
        reference=sealed.reference if sealed else None,
        requested_by=row.requested_by,
        released_by=row.released_by,
        released_at=at(row.released_at),
    )


def period_data(hold: Hold) -> dict[str, Value]:
    """Return what the log says of the hold's period."""
    period = {"period_from": hold.period_from, "period_to": hold.period_to}
    return {name: to_microseconds(at) for name, at in period.items() if at is not None}
