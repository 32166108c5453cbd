"""Recognising the tokens of machines without a private key, by the marks of their rows."""

import time
from collections.abc import Callable

from service.access.recognised import Recognised
from service.access.token_marks import TokenMarker
from service.domain.actor import Actor
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
        return await self._recognised.recognise(secret, self._store, self._is_authentic)

    async def authenticate_by_mark(self, secret: str) -> Actor | None:
        """Do the same: there is nothing else here to go by."""
        return await self.authenticate(secret)

    async def _is_authentic(self, row: TokenRow) -> bool:
        self._marker.require_authentic(row)
        return True
