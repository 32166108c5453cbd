"""What is locked for whom: the numbers of the advisory locks, each once. With a hash of a name they are one lock.

All processes that share a database must agree on them, also of different releases: a number is never given to
something else. The numbers themselves are arbitrary.
"""

from enum import IntEnum


class Lock(IntEnum):
    """The first key of an advisory lock; the second is a hash, of the schema where nothing else is said."""

    LOG = 1952541807
    """Appending to the log."""
    WRAPPERS = 1952541808
    """Storing keys under a wrapper, shared; closing a wrapper, alone."""
    PUBLISHING = 1952541809
    """The turn to publish the log."""
    WORKING = 1952541810
    """The turn to do the work beside requests that one worker does at a time."""
    RECEIVING = 1952541811
    """Deciding which move has the schema."""
    SCRUBBING = 1952541812
    """Vacuuming what was removed."""
    BACKING_UP = 1952541820
    RESTORING = 1952541821
    TRYING_OUT = 1952541822

    @property
    def keys(self) -> str:
        """Both keys, as PostgreSQL's functions take them."""
        return f"{self.value}, hashtext(current_schema())"
