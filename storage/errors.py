"""What backends raise, and nothing else."""


class StorageError(Exception):
    """Base of every error of a backend. Its text names ids, never contents."""


class ConflictError(StorageError):
    """Something else already stands where this was to be added. It was kept."""


class StaleError(StorageError):
    """A row was replaced or removed since it was read. Read again and decide again."""


class MissingError(StorageError):
    """There is no such row or blob."""


class UnavailableError(StorageError):
    """The backend cannot do it now. Nothing of the change was stored."""


class FullError(UnavailableError):
    """There is no room left. Nothing of the change was stored."""


class BrokenError(StorageError):
    """The backend lost the ability to promise durability (a failed sync) and takes nothing more.

    What was asked for may or may not be stored. It is never retried in this process, because the
    kernel may have dropped the pages and a second sync would falsely succeed.
    """


class DoubtfulError(BrokenError):
    """Nobody knows whether it was stored: the server was lost at the commit and cannot be asked.

    Whole it is in any case, or absent. Unlike after other ``BrokenError``s, the backend goes on as soon as it reaches
    a server, and whoever asked may ask again.
    """
