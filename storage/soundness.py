"""Whether the disk has kept its word so far.

When a sync fails, the kernel may mark the pages clean that it could not write; the next sync then succeeds although
they are lost. So the first failed sync ends all writing in the whole process, whichever store it was for.
"""

import logging
from typing import Final

from storage.errors import BrokenError

_log: Final = logging.getLogger("taltio")


class Soundness:
    """One for all stores of a process: what failed first, or that nothing did."""

    def __init__(self) -> None:
        self._failure: BrokenError | None = None

    @property
    def is_lost(self) -> bool:
        """Whether a sync has failed in this process."""
        return self._failure is not None

    def require(self) -> None:
        """Let writing begin.

        Raises:
            BrokenError: A sync has failed; the text says of what.
        """
        if self._failure is not None:
            raise BrokenError(*self._failure.args)

    def lose(self, failure: BrokenError) -> BrokenError:
        """Take nothing more from now on; return what to raise."""
        if self._failure is None:
            self._failure = failure
            _log.error("storage.broken", extra={"text": str(failure)})
        return BrokenError(*self._failure.args)
