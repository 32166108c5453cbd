"""Why a recording may be opened: a closed list, and what each purpose needs. Marketing is not on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from service.domain.actor import Actor, Role
from service.domain.errors import GrantRequiredError, InvalidInputError, NotPermittedError


class Purpose(StrEnum):
    """The purposes for which content may be opened."""

    VERIFY_CONTACT = "verify_contact"
    HANDLE_COMPLAINT = "handle_complaint"
    QUALITY_DEVELOPMENT = "quality_development"
    DATA_SUBJECT_REQUEST = "data_subject_request"
    AUTHORITY_REQUEST = "authority_request"
    OWN_FEEDBACK = "own_feedback"


ALLOWED: Final[Mapping[Role, frozenset[Purpose]]] = {
    Role.COMPLAINT_HANDLER: frozenset({Purpose.VERIFY_CONTACT, Purpose.HANDLE_COMPLAINT}),
    Role.DPO: frozenset(
        {Purpose.VERIFY_CONTACT, Purpose.DATA_SUBJECT_REQUEST, Purpose.AUTHORITY_REQUEST}
    ),
}
"""The purposes of each role that may open content now."""

REFERENCE: Final[Mapping[Purpose, str]] = {
    Purpose.HANDLE_COMPLAINT: "complaint",
    Purpose.DATA_SUBJECT_REQUEST: "request",
    Purpose.AUTHORITY_REQUEST: "request",
}
"""What a purpose must name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A purpose-bound permission to open contacts until it expires. ``reference`` names complaint or request."""

    id: str
    version: int
    actor_id: str
    purpose: Purpose
    reference: str | None
    contact_ids: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None


def require_purpose(actor: Actor, purpose: Purpose, *, reference: str | None) -> None:
    """Return when ``actor`` may open for ``purpose``, naming ``reference``.

    Raises:
        NotPermittedError: None of the actor's roles has this purpose.
        InvalidInputError: The purpose needs a complaint or request that was not named.
    """
    if not any(purpose in ALLOWED.get(role, frozenset()) for role in actor.roles):
        raise NotPermittedError(f"{actor.id} may not open for {purpose}")
    needed = REFERENCE.get(purpose)
    if needed and not reference:
        raise InvalidInputError(f"the purpose {purpose} needs a {needed}: name its reference")


def decide_reference(
    purpose: Purpose, *, complaint: str | None, request: str | None
) -> str | None:
    """Return which of the references the purpose names; None where none was given, or it names nothing.

    Raises:
        InvalidInputError: A reference was given that the purpose does not name.
    """
    needed = REFERENCE.get(purpose)
    given = {"complaint": complaint, "request": request}
    if any(value is not None and name != needed for name, value in given.items()):
        raise InvalidInputError(f"the purpose {purpose} names {needed or 'nothing'}")
    return given[needed] if needed else None


def require_grant(grant: Grant | None, actor: Actor, contact_id: str, *, now: datetime) -> None:
    """Return when ``grant`` lets ``actor`` open ``contact_id`` now.

    Raises:
        GrantRequiredError: There is no grant, it is another's, it covers other contacts, has expired or was withdrawn.
    """
    if (
        grant is None
        or grant.actor_id != actor.id
        or contact_id not in grant.contact_ids
        or grant.withdrawn_at is not None
        or not grant.created_at <= now < grant.expires_at
    ):
        raise GrantRequiredError(f"no valid grant of {actor.id} for {contact_id}")
