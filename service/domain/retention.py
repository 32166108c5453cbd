"""How long contacts are kept: what keeps one from being erased, and who may decide. Rules, read aloud.

A hold wins over every erasure. It is one of a contact, or of a customer and a period: then it covers every contact that
is, or may be, this customer's and began within the period, whenever it arrives.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from service.domain.actor import Actor, ActorKind
from service.domain.errors import InvalidInputError, NotPermittedError


class HoldState(StrEnum):
    """What became of a hold. Until it is ``released`` it holds."""

    PLACED = "placed"
    RELEASE_REQUESTED = "release_requested"
    RELEASED = "released"


class Ground(StrEnum):
    """Why a contact is erased: a closed list, which the tombstone tells."""

    DATA_SUBJECT_REQUEST = "data_subject_request"
    AUTHORITY_ORDER = "authority_order"
    UNLAWFUL_RECORDING = "unlawful_recording"
    WRONG_OR_PRIVATE = "wrong_or_private"
    RETENTION_OVER = "retention_over"


class ErasureState(StrEnum):
    """How far an erasure is: from ``erasing`` on nothing stops it."""

    REQUESTED = "requested"
    WITHDRAWN = "withdrawn"
    ERASING = "erasing"
    ERASED = "erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold, of a contact or of a customer and a period (half-open; None leaves a side open).

    ``owner_id`` is who placed it and answers for it. ``review_on`` is when somebody looks whether it is still needed.
    """

    id: str
    contact_id: str | None
    customer_id: str | None
    period_from: datetime | None
    period_to: datetime | None
    state: HoldState
    owner_id: str
    placed_at: datetime
    review_on: date
    reason: str
    reference: str | None
    requested_by: str | None = None
    released_by: str | None = None
    released_at: datetime | None = None


class Disposition(StrEnum):
    """What may become of a contact."""

    HOLD = "hold"
    DISPOSE = "dispose"


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of a contact; ``holds`` are those that keep it."""

    disposition: Disposition
    holds: tuple[Hold, ...] = ()


def is_held_by(
    hold: Hold, contact_id: str, *, customer_ids: Collection[str], started_at: datetime
) -> bool:
    """Tell whether ``hold`` keeps the contact, which is or may be of the customers ``customer_ids``."""
    if hold.state is HoldState.RELEASED:
        return False
    if hold.contact_id is not None:
        return hold.contact_id == contact_id
    begins = hold.period_from is None or started_at >= hold.period_from
    ends = hold.period_to is None or started_at < hold.period_to
    return hold.customer_id in customer_ids and begins and ends


def decide_disposition(
    contact_id: str,
    *,
    customer_ids: Collection[str],
    started_at: datetime,
    holds: Sequence[Hold],
) -> Decision:
    """Decide the fate of one contact. A legal hold wins over every rule and every request."""
    holding = tuple(
        hold
        for hold in holds
        if is_held_by(hold, contact_id, customer_ids=customer_ids, started_at=started_at)
    )
    return Decision(Disposition.HOLD if holding else Disposition.DISPOSE, holding)


def require_period(period_from: datetime | None, period_to: datetime | None) -> None:
    """Return when the period has a time in it.

    Raises:
        InvalidInputError: It ends before it begins.
    """
    if period_from is not None and period_to is not None and period_to <= period_from:
        raise InvalidInputError("the period ends before it begins")


def require_person(actor: Actor) -> None:
    """Return when ``actor`` is a person: machines and the archive itself decide nothing.

    Raises:
        NotPermittedError: It is not.
    """
    if actor.kind is not ActorKind.PERSON:
        raise NotPermittedError(f"{actor.id} is no person, and this is for people to decide")


def require_second_person(actor: Actor, *others: str | None) -> None:
    """Return when ``actor`` is a person and none of the ``others``, who had a part in it before.

    Raises:
        NotPermittedError: Two people are needed, and this is one of those who began it.
    """
    require_person(actor)
    if actor.id in others:
        raise NotPermittedError(f"{actor.id} cannot be the second person of their own request")
