"""Who manages users and tokens."""

from service.domain.actor import Actor, ActorKind
from service.domain.errors import NotPermittedError
from service.domain.permission import Permission, require_permission


def require_person(actor: Actor) -> None:
    """Return when ``actor`` is a person: machines never decide, score, approve or release.

    Raises:
        NotPermittedError: It is a machine, or the archive itself.
    """
    if actor.kind is not ActorKind.PERSON:
        raise NotPermittedError(f"{actor.id} is not a person: this is decided by people")


def require_manager(actor: Actor) -> None:
    """Return when ``actor`` manages users and tokens: an administrator in person, or an operator at the machine.

    Raises:
        NotPermittedError: Somebody else. A token is refused whatever its role: it would make itself other roles.
    """
    # Who has the machine and its keys can do more than this already.
    if actor.kind is ActorKind.OPERATOR:
        return
    require_permission(actor, Permission.MANAGE_USERS)
    require_person(actor)
