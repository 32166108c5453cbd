"""Machines that were recognised a moment ago, so that a storm of deliveries asks the store once and not each time."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from service.domain.actor import Actor

REMEMBERED_SECONDS: Final = 2.0
"""A token that another process revokes still counts for so long here, and no longer."""

_MOST: Final = 1000


class Recognised:
    """Whose token it was, for two seconds from when the store was asked. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._known: OrderedDict[bytes, tuple[float, Actor]] = OrderedDict()
        self._revocations = 0

    def find(self, hashed: bytes) -> Actor | None:
        """Return whose token has this hash; None when the store is to be asked."""
        known = self._known.get(hashed)
        return known[1] if known is not None and self.clock() < known[0] else None

    def asking(self) -> tuple[float, int]:
        """Return what ``remember`` needs to know of the moment before the store is asked."""
        return self.clock(), self._revocations

    def remember(self, hashed: bytes, actor: Actor, *, asked: tuple[float, int]) -> None:
        """Remember ``actor``; not beyond a revocation that came after the store was asked."""
        asked_at, revocations = asked
        if revocations != self._revocations:
            return
        self._known[hashed] = (asked_at + REMEMBERED_SECONDS, actor)
        self._known.move_to_end(hashed)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def forget(self, hashed: bytes) -> None:
        """Forget one token."""
        self._known.pop(hashed, None)

    def forget_all(self) -> None:
        """Forget every token, because one was revoked here."""
        self._revocations += 1
        self._known.clear()
