"""Opening what was received, where the epoch's key is."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from service.archive.receive import SealedDelivery
from service.archive.vault import epoch_of
from service.crypto.fields import FieldSealer, Sealed
from service.domain.errors import ErasedError
from service.keys.ring import KeyRing
from service.keys.session import ReopenedSession
from storage.ports import KeyStore
from storage.rows import DeliveryRow, KeyRow

_SESSIONS_HELD = 64


@dataclass(frozen=True, slots=True)
class DeliveryOpener:
    """Opens deliveries through the intake sessions that sealed them, a few of which it holds."""

    ring: KeyRing
    keys: KeyStore
    _sessions: OrderedDict[str, ReopenedSession] = field(
        default_factory=OrderedDict, repr=False
    )

    async def open(self, rows: Sequence[DeliveryRow]) -> Mapping[str, SealedDelivery]:
        """Return the deliveries in the clear, by id; those whose key, or its epoch, was destroyed are missing.

        Raises:
            TamperedError: One does not authenticate.
            UnavailableError: The keys are not at hand.
        """
        keys = await self.keys.get_keys([row.id for row in rows])
        sessions = await self._get_sessions({key.wrapped_by for key in keys.values()})
        opened = {}
        for row in rows:
            key = keys.get(row.id)
            session = sessions.get(key.wrapped_by) if key else None
            if key is None or session is None:
                continue
            sealer = FieldSealer(session.unwrap(key.wrapped))
            plain = sealer.open(
                Sealed(row.sealed), table="deliveries", row=row.id, column="sealed", version=1
            )
            opened[row.id] = msgspec.msgpack.decode(plain, type=SealedDelivery)
        return opened

    async def _get_sessions(self, ids: set[str]) -> Mapping[str, ReopenedSession]:
        """Return the sessions, but for those whose epoch was destroyed; hold the latest for the next time."""
        sessions = {one: self._sessions[one] for one in ids & self._sessions.keys()}
        missing = ids - sessions.keys()
        found: Mapping[str, KeyRow] = await self.keys.get_keys(missing) if missing else {}
        for row in found.values():
            with suppress(ErasedError):
                sessions[row.id] = self.ring.open_session(epoch_of(row), row.wrapped)
        self._sessions.update(sessions)
        while len(self._sessions) > _SESSIONS_HELD:
            self._sessions.popitem(last=False)
        return sessions
