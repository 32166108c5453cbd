"""Recognising the tokens of machines without a private key, by the marks of their rows."""

import time
from collections.abc import Callable

from service.access.recognised import Recognised
from service.access.secrets import hash_secret, is_secret
from service.access.token_marks import TokenMarker
from service.access.tokens import SCHEME
from service.domain.actor import Actor, ActorKind, Role
from storage.ports import Store
from storage.rows import TokenRow


class IntakeTokens:
    """Recognises tokens as ``Tokens`` does, and can neither make nor name one. ``clock`` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        store: Store,
        marker: TokenMarker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._marker = marker
        self._recognised = Recognised(clock)

    async def authenticate(self, secret: str) -> Actor | None:
        """Return whose token ``secret`` is, if it is one that was not revoked more than two seconds ago.

        Raises:
            TamperedError: Its row was not written by the archive.
        """
        if not secret.startswith(SCHEME) or not is_secret(secret.removeprefix(SCHEME)):
            return None
        hashed = hash_secret(secret)
        known = self._recognised.find(hashed)
        if known is not None:
            return known
        asked = self._recognised.asking()
        rows = await self._store.find(TokenRow, {"secret_hash": hashed, "revoked_at": None})
        if not rows:
            self._recognised.forget(hashed)
            return None
        self._marker.require_authentic(rows[0])
        actor = machine_of(rows[0])
        self._recognised.remember(hashed, actor, asked=asked)
        return actor


def machine_of(row: TokenRow) -> Actor:
    """Return the machine whose token ``row`` is."""
    return Actor(
        id=row.id,
        kind=ActorKind.MACHINE,
        roles=frozenset({Role(row.role)}),
        source=row.source,
    )
