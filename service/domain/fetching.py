"""Words of fetching: the jobs that do it, and why a recording that was announced by URL could not be had."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from service.domain.errors import ArchiveError

FETCH: Final = "fetch"
"""The kind of the jobs that fetch recordings of sources that are not configured."""


def fetch_kind(source: str) -> str:
    """Return the kind of the jobs that fetch the recordings of a source: one that is slow holds up no other."""
    return f"{FETCH}:{source}"


class FetchFault(StrEnum):
    """What came of it: each needs another remedy. Stable codes, shown as the cause of a lost recording."""

    NOT_ALLOWED = "fetch_not_allowed"
    ADDRESS_REFUSED = "fetch_address_refused"
    UNREACHABLE = "fetch_unreachable"
    UNTRUSTED = "fetch_untrusted"
    DENIED = "fetch_denied"
    GONE = "fetch_gone"
    TOO_LARGE = "fetch_too_large"
    WRONG_ANSWER = "fetch_wrong_answer"
    OTHER_BYTES = "fetch_other_bytes"
    NO_KEY = "fetch_no_key"
    FAILED = "fetch_failed"


# What does not end by waiting is put before a person soon: a server may need minutes until a recording can be had.
_TRIES: Final[Mapping[FetchFault, int]] = MappingProxyType(
    {
        FetchFault.NOT_ALLOWED: 1,
        FetchFault.TOO_LARGE: 1,
        FetchFault.NO_KEY: 1,
        FetchFault.DENIED: 4,
        FetchFault.GONE: 4,
        FetchFault.OTHER_BYTES: 4,
    }
)


class FetchError(ArchiveError):
    """A recording could not be fetched. Its text names neither the URL nor anything that was answered.

    ``tries`` is how often it is worth trying when it always ends so; None: as often as there is time for. ``pause`` is
    how long its server wishes not to be asked again.
    """

    code = "fetch_failed"
    public = "The recording could not be fetched."

    def __init__(
        self,
        fault: FetchFault,
        text: str = "",
        *,
        tries: int | None = None,
        pause: timedelta = timedelta(),
    ) -> None:
        super().__init__(f"{fault.value}: {text}" if text else fault.value)
        self.fault = fault
        self.tries = tries or _TRIES.get(fault)
        self.pause = pause
