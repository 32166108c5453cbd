"""Who is asking: a person, a machine with a token, or the archive itself."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an actor is here for."""

    INTEGRATION = "integration"
    AGENT = "agent"
    COMPLAINT_HANDLER = "complaint_handler"
    QUALITY_REVIEWER = "quality_reviewer"
    QUALITY_LEAD = "quality_lead"
    DPO = "dpo"
    ADMIN = "admin"
    AUDITOR = "auditor"


class ActorKind(StrEnum):
    """``system`` is the archive's own work; ``operator`` is somebody at the machine's command line."""

    PERSON = "person"
    MACHINE = "machine"
    SYSTEM = "system"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Whoever is asking. ``source`` binds a machine to one source; None leaves it free."""

    id: str
    kind: ActorKind
    roles: frozenset[Role]
    source: str | None = None


SYSTEM = Actor(id="system", kind=ActorKind.SYSTEM, roles=frozenset())
OPERATOR = Actor(id="operator", kind=ActorKind.OPERATOR, roles=frozenset())
