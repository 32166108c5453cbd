"""Connections to judged addresses alone: names are resolved here, and what was judged is what is connected to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from service.domain.fetching import FetchError, FetchFault
from service.domain.reach import is_reachable, parse_ip
from service.worker.fetching.rules import FetchRules

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name, in the order in which they are to be tried; raises OSError where there are none."""

_MOST_ADDRESSES: Final = 4


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of ``host`` as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def connector(rules: FetchRules, resolve: Resolve) -> aiohttp.TCPConnector:
    """Return what connects as ``rules`` allow: each time anew, without a cache, one address after the other.

    Whatever it connects to was judged at that very moment, also an address that stands in the URL itself, which no
    resolver is asked for. It raises FetchError for what is not to be reached.
    """

    def make_socket(info: AddrInfoType) -> socket.socket:
        require_reachable(str(info[4][0]), rules)
        return socket.socket(info[0], info[1], info[2])

    return aiohttp.TCPConnector(
        resolver=_Judging(rules, resolve),
        socket_factory=make_socket,
        use_dns_cache=False,
        force_close=True,
        happy_eyeballs_delay=None,
        ssl=True if rules.tls is None else rules.tls,
    )


def require_reachable(address: str, rules: FetchRules) -> None:
    """Return if ``address`` may be connected to.

    Raises:
        FetchError: It may not.
    """
    ip = parse_ip(address)
    if ip is None or not is_reachable(ip, allowed=rules.networks):
        raise FetchError(FetchFault.ADDRESS_REFUSED, "an address of its host")


class _Judging(AbstractResolver):
    """Resolves names; one of which any address is not to be reached is refused, for it is nobody's mistake."""

    def __init__(self, rules: FetchRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family
        addresses = await self._resolve(host, port)
        if not addresses:
            raise OSError("the name has no address")
        for address in addresses:
            require_reachable(address, self._rules)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses[:_MOST_ADDRESSES]
        ]

    async def close(self) -> None:
        pass
