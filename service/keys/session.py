"""Intake sessions: a short-lived key of one process, so that intake cannot open its own past.

A process makes a file key, seals it once to the epoch's recipient as an age header, and derives
from it the key that wraps the keys of deliveries. After ten minutes it forgets both; from then
on only the epoch's identity opens the header, and through it the deliveries.
"""

import os
from collections.abc import Callable
from datetime import datetime, timedelta

from service.crypto.secret import DataKey, FileKey, WrappingKey, derive
from service.crypto.wrap import unwrap_key, wrap_key
from service.domain.errors import UnavailableError
from service.keys.intake import IntakeKeys

SESSION_LIFETIME = timedelta(minutes=10)

_LABEL = b"taltio.intake_session.v1"


def derive_session_key(file_key: FileKey) -> WrappingKey:
    """Return the wrapping key of the session that ``file_key`` begins."""
    return WrappingKey(derive(file_key, info=_LABEL))


class IntakeSession:
    """The session key of one process.

    ``sealed`` and ``epoch`` must be durable before anything wrapped here is acknowledged:
    without them nobody can unwrap it.
    """

    __slots__ = ("_key", "_lifetime", "begun_at", "epoch", "sealed")

    def __init__(
        self,
        keys: IntakeKeys,
        *,
        now: datetime,
        lifetime: timedelta = SESSION_LIFETIME,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Begin a session that lasts for ``lifetime``, ten minutes at the most."""
        self._lifetime = min(lifetime, SESSION_LIFETIME)
        file_key = FileKey.generate(random)
        self.begun_at = now
        self.epoch, self.sealed = keys.seal_header(file_key)
        self._key: WrappingKey | None = derive_session_key(file_key)

    def is_usable(self, now: datetime) -> bool:
        """Whether keys can still be wrapped and unwrapped. Once not, never again."""
        # A clock that was set back would otherwise lengthen the session.
        if not self.begun_at <= now < self.begun_at + self._lifetime:
            self.forget()
        return self._key is not None

    def forget(self) -> None:
        """Drop the key. Calling it again changes nothing."""
        self._key = None

    def wrap(self, key: DataKey, *, now: datetime) -> bytes:
        """Return the key of a delivery, wrapped.

        Raises:
            UnavailableError: The session is over. Begin another one.
        """
        return wrap_key(self._require_key(now), key)

    def unwrap(self, wrapped: bytes, *, now: datetime) -> DataKey:
        """Return the key of a delivery of this session.

        Raises:
            TamperedError: ``wrapped`` does not authenticate.
            UnavailableError: The session is over: the key ring opens it.
        """
        return unwrap_key(self._require_key(now), wrapped)

    def _require_key(self, now: datetime) -> WrappingKey:
        self.is_usable(now)
        if self._key is None:
            raise UnavailableError("The intake session is over; begin another one.")
        return self._key


class ReopenedSession:
    """A session opened again from its sealed form, to unwrap what it wrapped."""

    __slots__ = ("_key",)

    def __init__(self, file_key: FileKey) -> None:
        self._key = derive_session_key(file_key)

    def unwrap(self, wrapped: bytes) -> DataKey:
        """Return the key of a delivery of that session.

        Raises:
            TamperedError: ``wrapped`` does not authenticate.
        """
        return unwrap_key(self._key, wrapped)
