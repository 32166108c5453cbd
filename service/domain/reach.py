"""Where the archive may connect to by itself: a pure rule over addresses, judged as they are and as what they carry.

Special-purpose addresses are those of the registries of IANA (RFC 6890), written down here: what the standard library
counts among them changes from one of its releases to the next.
"""

import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NEVER: Final[tuple[Network, ...]] = (
    # Unspecified, and "this network": many systems take them for themselves (RFC 1122, 3.2.1.3).
    IPv4Network("0.0.0.0/8"),
    IPv6Network("::/128"),
    # Link-local (RFC 3927, RFC 4291), where clouds keep credentials of their machines.
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    # Multicast and broadcast.
    IPv4Network("224.0.0.0/4"),
    IPv4Network("255.255.255.255/32"),
    IPv6Network("ff00::/8"),
    # The same credentials elsewhere: Alibaba, Azure, Oracle; Amazon and Google on IPv6.
    IPv4Network("100.100.100.200/32"),
    IPv4Network("168.63.129.16/32"),
    IPv4Network("192.0.0.192/32"),
    IPv6Network("fd00:ec2::254/128"),
    IPv6Network("fd20:ce::254/128"),
)
"""What is connected to under no setting."""

_NOT_PUBLIC: Final[tuple[Network, ...]] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("240.0.0.0/4"),
    # Of IPv6 only 2000::/3 is given out, and of that not:
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
)
_GIVEN_OUT: Final = IPv6Network("2000::/3")

# These are IPv4 in other words, and nothing else is connected to: RFC 4291, 2.5.5.2; RFC 6052, 2.1.
_IPV4_ITSELF: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# And these carry an IPv4 address at their end: RFC 4291, 2.5.5.1; RFC 2765; RFC 8215.
_IPV4_AT_END: Final = (
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("64:ff9b:1::/48"),
)
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")
# The interface identifier of ISATAP (RFC 5214, 6.1), but for the bit that says whether it is unique in the world.
_ISATAP: Final = 0x00005EFE
_ISATAP_MASK: Final = 0xFDFFFFFF

# This machine (RFC 6761, 6.3), and where clouds keep credentials of their machines.
_INTERNAL_NAMES: Final = re.compile(
    r"(?:.*\.)?localhost|metadata(?:\.google\.internal)?|instance-data(?:\.ec2\.internal)?"
)


def is_internal_name(host: str) -> bool:
    """Tell whether ``host``, in small letters, is a name that means an internal machine wherever it is resolved."""
    return _INTERNAL_NAMES.fullmatch(host) is not None


def is_reachable(address: Ip, *, allowed: Collection[Network] = ()) -> bool:
    """Tell whether ``address`` may be connected to: public, or of an allowed network; and so all that it carries.

    What is in ``NEVER`` is not, whatever is allowed.
    """
    return all(_is_reachable(one, allowed) for one in judged(address))


def judged(address: Ip) -> list[Ip]:
    """Return every address that connecting to ``address`` may lead to: itself, and those that are wrapped up in it."""
    if not isinstance(address, IPv6Address):
        return [address]
    wrapped: list[Ip] = list(_wrapped(int(address), address))
    if _is_in(address, _IPV4_ITSELF):
        return wrapped
    # A zone names an interface; the address itself is the one without it.
    return [IPv6Address(int(address)), *wrapped]


def _wrapped(bits: int, address: IPv6Address) -> Iterator[IPv4Address]:
    last = IPv4Address(bits & 0xFFFFFFFF)
    # 0.0.0.0/8 is at nobody's end: ::1 is this machine, and no IPv4 address in other words.
    is_at_end = int(last) >> 24 and _is_in(address, _IPV4_AT_END)
    if is_at_end or _is_in(address, _IPV4_ITSELF):
        yield last
    if address in _SIX_TO_FOUR:
        yield IPv4Address(bits >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        # The server, and the client with every bit turned (RFC 4380, 4).
        yield IPv4Address(bits >> 64 & 0xFFFFFFFF)
        yield IPv4Address(~bits & 0xFFFFFFFF)
    if bits >> 32 & _ISATAP_MASK == _ISATAP:
        yield last


def _is_reachable(address: Ip, allowed: Collection[Network]) -> bool:
    if _is_in(address, NEVER):
        return False
    return _is_public(address) or _is_in(address, allowed)


def _is_public(address: Ip) -> bool:
    if isinstance(address, IPv6Address) and address not in _GIVEN_OUT:
        return False
    return not _is_in(address, _NOT_PUBLIC)


def _is_in(address: Ip, networks: Collection[Network]) -> bool:
    # Of two versions, one is in none of the other's networks.
    return any(address in network for network in networks)


def parse_ip(text: str) -> Ip | None:
    """Return ``text`` as an address in its usual notation; None when it is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None
