"""What one process of intake has in memory and nowhere else: its session, and what it kept lately."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

from service.domain.ids import new_id
from service.keys.intake import IntakeKeys
from service.keys.session import SESSION_LIFETIME, IntakeSession


class Sessions:
    """The intake session of this process: begun when needed, used for at most its life, then forgotten."""

    def __init__(
        self, keys: Callable[[], IntakeKeys], lifetime: timedelta = SESSION_LIFETIME
    ) -> None:
        self._keys = keys
        self._lifetime = lifetime
        self._id = ""
        self._session: IntakeSession | None = None
        self._is_stored = False

    def current(self, now: datetime) -> tuple[str, IntakeSession, bool]:
        """Return the session's id, the session, and whether its sealed form is stored.

        Until it is, every key is put together with it.
        """
        if self._session is None or not self._session.is_usable(now):
            self._id, self._is_stored = new_id("is"), False
            self._session = IntakeSession(self._keys(), now=now, lifetime=self._lifetime)
        return self._id, self._session, self._is_stored

    @property
    def begun_at(self) -> datetime | None:
        """When the session that is in use began; None when there is none."""
        return None if self._session is None else self._session.begun_at

    def forget_over(self, now: datetime) -> None:
        """Forget the session when its life is over, also while nothing comes, or when its epoch is not current now."""
        session = self._session
        if session is None:
            return
        if not session.is_usable(now) or session.epoch != self._keys().epoch:
            session.forget()
            self._session = None

    def mark_stored(self, session_id: str) -> None:
        """Note that the sealed form of the session is durable."""
        if session_id == self._id:
            self._is_stored = True


class Recent:
    """The identifications that this process kept lately. Senders repeat what is new, and in storms.

    Of these the store is asked before anything is written, which costs an eighth of a commit that is refused.
    """

    def __init__(self, most: int = 65_536) -> None:
        self._most = most
        self._tokens: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, token: bytes) -> bool:
        return token in self._tokens

    def add(self, token: bytes) -> None:
        """Remember ``token``, and forget the oldest beyond the most."""
        self._tokens[token] = None
        if len(self._tokens) > self._most:
            self._tokens.popitem(last=False)
