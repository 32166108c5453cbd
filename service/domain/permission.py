"""Who may do what: one table, read by code, test and documentation alike."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from service.domain.actor import Actor, ActorKind, Role
from service.domain.errors import NotFoundError, NotPermittedError


class Permission(StrEnum):
    """What can be permitted."""

    DELIVER = "deliver"
    ADD_CONTACT = "add_contact"
    LOOK_UP = "look_up"
    READ_CONTACT = "read_contact"
    LINK = "link"
    GRANT = "grant"
    OPEN = "open"
    UNMASK = "unmask"
    VERIFY = "verify"
    READ_ATTENTION = "read_attention"
    SETTLE_ATTENTION = "settle_attention"
    HOLD = "hold"
    RELEASE_HOLD = "release_hold"
    ERASE = "erase"
    MANAGE_USERS = "manage_users"
    MANAGE_SOURCES = "manage_sources"
    READ_LOG_ENTRIES = "read_log_entries"
    READ_METRICS = "read_metrics"
    RECONCILE = "reconcile"
    READ_COMPLETENESS = "read_completeness"


_P = Permission
PERMITTED: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.INTEGRATION: frozenset({_P.DELIVER, _P.ADD_CONTACT, _P.RECONCILE}),
    Role.AGENT: frozenset({_P.LOOK_UP, _P.READ_CONTACT}),
    Role.COMPLAINT_HANDLER: frozenset(
        {
            _P.LOOK_UP,
            _P.READ_CONTACT,
            _P.LINK,
            _P.GRANT,
            _P.OPEN,
            _P.UNMASK,
            _P.VERIFY,
            _P.READ_ATTENTION,
            _P.SETTLE_ATTENTION,
            _P.HOLD,
        }
    ),
    # Reviewers find and open by samples only, and there are no samples yet.
    Role.QUALITY_REVIEWER: frozenset(),
    Role.QUALITY_LEAD: frozenset(),
    Role.DPO: frozenset(
        {
            _P.LOOK_UP,
            _P.READ_CONTACT,
            _P.LINK,
            _P.GRANT,
            _P.OPEN,
            _P.UNMASK,
            _P.VERIFY,
            _P.READ_ATTENTION,
            _P.SETTLE_ATTENTION,
            _P.HOLD,
            _P.RELEASE_HOLD,
            _P.ERASE,
            _P.READ_COMPLETENESS,
        }
    ),
    # Administrators never open content; what they may settle shows ids and reasons only.
    Role.ADMIN: frozenset(
        {
            _P.MANAGE_USERS,
            _P.MANAGE_SOURCES,
            _P.READ_ATTENTION,
            _P.SETTLE_ATTENTION,
            _P.READ_METRICS,
            _P.RECONCILE,
            _P.READ_COMPLETENESS,
        }
    ),
    Role.AUDITOR: frozenset({_P.VERIFY, _P.READ_LOG_ENTRIES, _P.READ_COMPLETENESS}),
}
"""What each role permits; an actor may do what one of their roles permits."""

FORBIDDEN: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.ADMIN: frozenset({_P.GRANT, _P.OPEN, _P.UNMASK}),
}
"""What a role takes away, whatever the actor's other roles permit: who manages the accounts opens no content."""


def is_permitted(actor: Actor, permission: Permission) -> bool:
    """Tell whether one of the actor's roles permits it and none forbids it.

    The archive's own work is permitted everything.
    """
    if actor.kind is ActorKind.SYSTEM:
        return True
    if any(permission in FORBIDDEN.get(role, frozenset()) for role in actor.roles):
        return False
    return any(permission in PERMITTED[role] for role in actor.roles)


def require_permission(actor: Actor, permission: Permission) -> None:
    """Return when ``actor`` may do it.

    Raises:
        NotPermittedError: They may not.
    """
    if not is_permitted(actor, permission):
        raise NotPermittedError(f"{actor.id} may not {permission}")


def require_source(actor: Actor, source: str) -> None:
    """Return when ``actor`` may speak for ``source``.

    Raises:
        NotFoundError: The actor is bound to another source, and need not know of this one.
    """
    if actor.source is not None and actor.source != source:
        raise NotFoundError("no such source")
