"""Opening what was received, where the epoch's key is."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from service.archive.receive import SealedDelivery
from service.archive.vault import epoch_of
from service.crypto.fields import FieldSealer, Sealed
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
        """Return the deliveries in the clear, by id; those whose key was destroyed are missing.

        Raises:
            TamperedError: One does not authenticate.
            UnavailableError: The keys are not at hand.
        """
        keys = await self.keys.get_keys([row.id for row in rows])
        await self._hold_sessions({key.wrapped_by for key in keys.values()})
        opened = {}
        for row in rows:
            key = keys.get(row.id)
            session = self._sessions.get(key.wrapped_by) if key else None
            if key is None or session is None:
                continue
            sealer = FieldSealer(session.unwrap(key.wrapped))
            plain = sealer.open(
                Sealed(row.sealed), table="deliveries", row=row.id, column="sealed", version=1
            )
            opened[row.id] = msgspec.msgpack.decode(plain, type=SealedDelivery)
        return opened

    async def _hold_sessions(self, ids: set[str]) -> None:
        missing = ids - self._sessions.keys()
        found: Mapping[str, KeyRow] = await self.keys.get_keys(missing) if missing else {}
        for row in found.values():
            self._sessions[row.id] = self.ring.open_session(epoch_of(row), row.wrapped)
        while len(self._sessions) > max(_SESSIONS_HELD, len(ids)):
            self._sessions.popitem(last=False)
