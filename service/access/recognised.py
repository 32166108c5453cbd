"""Recognising machines by their tokens, so that a storm of deliveries asks the store once and not each time."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from service.access.secrets import hash_secret, is_secret
from service.domain.actor import Actor, ActorKind, Role
from storage.ports import Store
from storage.rows import TokenRow

SCHEME: Final = "tlt_"
"""What every token begins with, so that scanners find one that leaked."""

REMEMBERED_SECONDS: Final = 2.0
"""A token that another process revokes still counts for so long here, and no longer."""

_MOST: Final = 1000


class Recognised:
    """Whose token it was, for two seconds from when the store was asked. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._known: OrderedDict[bytes, tuple[float, Actor]] = OrderedDict()
        self._revocations = 0

    async def recognise(
        self, secret: str, store: Store, is_authentic: Callable[[TokenRow], Awaitable[bool]]
    ) -> Actor | None:
        """Return whose token ``secret`` is, if it is one that was not revoked, and ``is_authentic`` says so of its row.

        Raises:
            TamperedError: ``is_authentic`` raised it: the archive did not write the row.
        """
        if not secret.startswith(SCHEME) or not is_secret(secret.removeprefix(SCHEME)):
            return None
        hashed = hash_secret(secret)
        known = self.find(hashed)
        if known is not None:
            return known
        asked = self.asking()
        rows = await store.find(TokenRow, {"secret_hash": hashed, "revoked_at": None})
        if not rows:
            self.forget(hashed)
            return None
        if not await is_authentic(rows[0]):
            return None
        actor = Actor(
            id=rows[0].id,
            kind=ActorKind.MACHINE,
            roles=frozenset({Role(rows[0].role)}),
            source=rows[0].source,
        )
        self.remember(hashed, actor, asked=asked)
        return actor

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
