"""Which addresses the archive may connect to by itself, and that no notation of one gets around the rule."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.reach import NEVER, is_internal_name, is_reachable, judged, parse_ip

ALL = (ip_network("0.0.0.0/0"), ip_network("::/0"))
IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def wrappings(inner):
    """Return every IPv6 address in which an IPv4 address is known to be wrapped."""
    bits = int(inner)
    return {
        "mapped": IPv6Address(0xFFFF << 32 | bits),
        "translated (SIIT)": IPv6Address(0xFFFF << 48 | bits),
        "NAT64": IPv6Address(int(IPv6Address("64:ff9b::")) | bits),
        "NAT64, local": IPv6Address(int(IPv6Address("64:ff9b:1::")) | bits),
        "6to4": IPv6Address(0x2002 << 112 | bits << 80 | 1),
        "Teredo client": IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | bits ^ 0xFFFFFFFF),
        "Teredo server": IPv6Address(0x20010000 << 96 | bits << 64 | 0xF7F7F7F7),
        "ISATAP": IPv6Address(int(IPv6Address("2a00:1::5efe:0:0")) | bits),
        "ISATAP, unique": IPv6Address(int(IPv6Address("2a00:1::200:5efe:0:0")) | bits),
    }


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2a00:1450:4001:827::200e",
        "2600::",
        "2001:200::1",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ],
)
def test_public_addresses_are_reachable(text):
    assert is_reachable(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",  # noqa: S104  # nothing is bound to it
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "100.100.100.200",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "2002:808:808::",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_others_are_not(text):
    assert not is_reachable(ip_address(text))


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("64:ff9b::a01:203", "10.0.0.0/8"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("::1", "::1/128"),
        ("fd12:3456::1", "fd12:3456::/32"),
        ("100.64.0.1", "100.64.0.0/10"),
    ],
)
def test_a_network_that_is_allowed_is_reachable_in_every_notation_and_no_other(text, network):
    assert is_reachable(ip_address(text), allowed=[ip_network(network)])
    assert not is_reachable(ip_address(text), allowed=[ip_network("192.168.0.0/16")])


@given(inner=IPV4)
def test_what_is_wrapped_is_no_more_reachable_than_what_is_in_it(inner):
    for name, wrapped in wrappings(inner).items():
        assert inner in judged(wrapped) or int(inner) >> 24 == 0, name
        assert not is_reachable(wrapped) or is_reachable(inner), name


@given(address=st.one_of(IPV4, IPV6))
def test_what_is_never_reached_is_never_reached_whatever_is_allowed(address):
    if any(one in network for one in judged(address) for network in NEVER):
        assert not is_reachable(address, allowed=ALL)


@pytest.mark.parametrize("network", NEVER, ids=str)
def test_every_network_that_is_never_reached_is_refused_at_both_ends(network):
    for address in (network[0], network[-1]):
        assert not is_reachable(address, allowed=ALL)
        if isinstance(address, IPv4Address) and int(address) >> 24:
            for name, wrapped in wrappings(address).items():
                assert not is_reachable(wrapped, allowed=ALL), name


@given(address=st.one_of(IPV4, IPV6))
def test_what_the_standard_library_calls_private_is_not_reachable(address):
    if address.is_private or address.is_reserved or address.is_link_local:
        known = IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0/96")
        if not any(address in network for network in known):
            assert not is_reachable(address)


def test_nothing_is_ipv4_in_other_words_and_reached_as_itself():
    """A system connects to ::ffff:0.0.0.0 as to 0.0.0.0, which is this machine."""
    for text in ("::ffff:0.0.0.0", "::ffff:0.1.2.3", "64:ff9b::"):
        assert not is_reachable(ip_address(text), allowed=ALL)


@pytest.mark.parametrize(
    ("host", "is_internal"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("metadata.google.internal", True),
        ("metadata", True),
        ("instance-data", True),
        ("pbx.example", False),
        ("notlocalhost", False),
        ("localhost.example", False),
        ("metadata.example", False),
        ("pbx.internal", False),
    ],
)
def test_a_few_names_mean_an_internal_machine_everywhere(host, is_internal):
    assert is_internal_name(host) is is_internal


@given(address=IPV6)
def test_a_zone_changes_nothing(address):
    assert is_reachable(IPv6Address(f"{address}%eth0")) == is_reachable(address)


@pytest.mark.parametrize("text", ["127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "", "a"])
def test_only_the_usual_notation_is_an_address(text):
    assert parse_ip(text) is None


def test_networks_are_of_both_versions():
    assert {type(network) for network in NEVER} == {IPv4Network, IPv6Network}
