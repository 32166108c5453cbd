"""What one process of the service does; several share an archive on PostgreSQL."""

from enum import StrEnum


class ProcessRole(StrEnum):
    """The part that a process has in the service."""

    ALL = "all"
    """Everything, in one process."""
    INTAKE = "intake"
    """Takes in what sources send, and opens nothing: it needs no private key."""
    DESK = "desk"
    """Serves people and programs: pages, the API, openings, administration."""
    WORKER = "worker"
    """Works beside requests: understands deliveries, examines recordings, publishes the log, keeps house."""

    @property
    def takes_in(self) -> bool:
        """Whether sources deliver to it."""
        return self in {ProcessRole.ALL, ProcessRole.INTAKE}

    @property
    def serves_desk(self) -> bool:
        """Whether people and programs ask it."""
        return self in {ProcessRole.ALL, ProcessRole.DESK}

    @property
    def works(self) -> bool:
        """Whether it works beside requests."""
        return self in {ProcessRole.ALL, ProcessRole.WORKER}
