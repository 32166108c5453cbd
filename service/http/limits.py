"""How much one sender may ask in a time, and how much is worked in at once: more is put off, never half done."""

from functools import lru_cache
from types import TracebackType
from typing import Final

from aiohttp import web

from service.access.throttle import Throttle, address_key
from service.http.addresses import Site
from service.http.errors import OverloadedError

BURST_SECONDS: Final = 10
"""Who asked for nothing lately may ask for so many seconds' worth at once."""
_key: Final = lru_cache(maxsize=4096)(address_key)


class Pace:
    """Requests per second, of one address and of one actor; 0 is without limit. Each process counts for itself."""

    def __init__(
        self, site: Site | None = None, *, per_address: int = 0, per_actor: int = 0
    ) -> None:
        self._site = site or Site()
        self._addresses, self._actors = _throttle(per_address), _throttle(per_actor)

    def take_for_address(self, request: web.BaseRequest) -> None:
        """Count a request for where it comes from: an IPv4 address, or an IPv6 network of 64 bits.

        What a trusted proxy asks for itself, without saying for whom, is not counted.

        Raises:
            TooManyRequestsError: It asked too much.
        """
        if self._addresses is None:
            return
        address = self._site.stranger(request)
        if address is not None:
            self._addresses.take(_key(address))

    def take_for_actor(self, actor_id: str) -> None:
        """Count a request for who asks: a token, a person, or a source that signs.

        Raises:
            TooManyRequestsError: They asked too much.
        """
        if self._actors is not None:
            self._actors.take(actor_id)


class Room:
    """Places for what is worked in at once. Who comes when all are taken is sent away, and may come again.

    Attributes:
        taken: How many places are taken now.
        refused: How many were sent away since the start.
    """

    __slots__ = ("_places", "refused", "taken")

    def __init__(self, places: int) -> None:
        self._places = places
        self.taken = self.refused = 0

    def __enter__(self) -> None:
        """Take a place.

        Raises:
            OverloadedError: There is none.
        """
        if self.taken >= self._places:
            self.refused += 1
            raise OverloadedError(f"{self.taken} are worked in already")
        self.taken += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the place back."""
        self.taken -= 1


PACE: Final = web.AppKey("pace", Pace)
DELIVERIES: Final = web.AppKey("deliveries_room", Room)
"""Deliveries that are being made durable."""
UPLOADS: Final = web.AppKey("uploads_room", Room)
"""Recordings that are on their way in."""


def _throttle(per_second: int) -> Throttle | None:
    if not per_second:
        return None
    return Throttle(per_second * BURST_SECONDS, seconds_each=1 / per_second)
