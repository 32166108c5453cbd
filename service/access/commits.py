"""Changing rows that others may be changing at the same time."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service.domain.errors import UnavailableError
from storage.errors import StaleError
from storage.ports import Change, Store

T = TypeVar("T")
_ATTEMPTS: Final = 20


async def commit_decided(store: Store, decide: Callable[[], Awaitable[tuple[Change, T]]]) -> T:
    """Commit what ``decide`` decides after reading, and return its result; decide again whenever a row had changed.

    On return the change survives a power cut. Cancelled, it happened whole or not at all.

    Raises:
        UnavailableError: The rows kept changing. Nothing was stored.
    """
    for _ in range(_ATTEMPTS):
        change, result = await decide()
        try:
            if change:
                await store.commit(change)
        except StaleError:
            continue
        return result
    raise UnavailableError("rows of access kept changing while they were decided upon")
