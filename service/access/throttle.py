"""A brake for what one address or one actor may ask in a time: a token bucket each, in bounded memory."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from service.access.errors import TooManyRequestsError

_IPV6_NETWORK: Final = 64
_ROUNDING: Final = 1e-6


class Throttle:
    """Lets each key take ``capacity`` at once and gives one back every ``seconds_each``.

    When ``max_keys`` are remembered, the one unused for longest is forgotten. Each process counts for itself. ``clock``
    is monotonic, in seconds: setting the machine's clock opens nothing.
    """

    def __init__(
        self,
        capacity: int,
        *,
        seconds_each: float,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._seconds_each = seconds_each
        self._max_keys = max_keys
        self._clock = clock
        # When the bucket is full again: one number says it all, and what lies in the past is a full bucket.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str) -> None:
        """Take one from the bucket of ``key``.

        Raises:
            TooManyRequestsError: It is empty. Nothing was taken.
        """
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + self._seconds_each
        wait = full_at - now - self._capacity * self._seconds_each
        if wait > _ROUNDING:
            raise TooManyRequestsError("a throttle", retry_after=math.ceil(wait))
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)

    def give_back(self, key: str) -> None:
        """Undo one ``take`` of ``key``."""
        if key in self._full_at:
            self._full_at[key] -= self._seconds_each


def address_key(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or an IPv6 /64, as one customer of a provider has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip), _IPV6_NETWORK), strict=False))
