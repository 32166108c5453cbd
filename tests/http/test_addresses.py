"""Where a request comes from and which archive it means."""

import ipaddress

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from service.http.addresses import Site
from service.http.errors import UnknownHostError

PROXIES = (ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fd00::/64"))


def _request(remote, *headers):
    return make_mocked_request("GET", "/", headers=CIMultiDict(headers)).clone(remote=remote)


def _forwarded(*values):
    return [("X-Forwarded-For", value) for value in values]


@pytest.mark.parametrize(
    ("remote", "hops", "client"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.5", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.5", ["127.0.0.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.5", ["198.51.100.1, 10.0.0.6"], "198.51.100.1"),
        ("10.0.0.5", ["10.0.0.7, 10.0.0.6"], "10.0.0.7"),
        ("10.0.0.5", ["198.51.100.1, unknown, 10.0.0.6"], "10.0.0.6"),
        ("10.0.0.5", ["<script>"], "10.0.0.5"),
        ("10.0.0.5", [""], "10.0.0.5"),
        ("::ffff:10.0.0.5", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::9"], "2001:db8::9"),
        ("", ["198.51.100.1"], "unknown"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_trusted_proxy(remote, hops, client):
    site = Site(trusted_proxies=PROXIES)
    assert site.client_address(_request(remote, *_forwarded(*hops))) == client


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("LOCALHOST", "http://localhost"),
        ("192.0.2.7:80", "http://192.0.2.7"),
    ],
)
def test_this_machine_and_bare_addresses_need_no_public_url(host, origin):
    assert Site().origin(_request("127.0.0.1", ("Host", host))) == origin


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param(["evil.example.com"], id="a name given to our address"),
        pytest.param(["evil.example.com:8080"], id="the same with our port"),
        pytest.param(["localhost.evil.example.com"], id="a name that begins well"),
        pytest.param(["127.0.0.1.evil.example.com"], id="a name that begins with an address"),
        pytest.param(["localhost@evil.example.com"], id="user information"),
        pytest.param(["localhost/../x"], id="a path"),
        pytest.param(["localhost#x"], id="a fragment"),
        pytest.param(["localhost:port"], id="a port that is none"),
        pytest.param(["localhost:99999"], id="a port too high"),
        pytest.param(["[::1"], id="half an address"),
        pytest.param(["0x7f000001"], id="another spelling of an address"),
        pytest.param([""], id="empty"),
        pytest.param([], id="none"),
        pytest.param(["localhost", "evil.example.com"], id="two"),
    ],
)
def test_other_hosts_are_refused(hosts):
    request = _request("127.0.0.1", *(("Host", host) for host in hosts))
    with pytest.raises(UnknownHostError):
        Site(public_url="https://archive.example.org").origin(request)


def test_public_url_names_the_archive_and_its_origin():
    site = Site(public_url="https://archive.example.org")
    for host in ("archive.example.org", "ARCHIVE.example.org:443"):
        request = _request("127.0.0.1", ("Host", host))
        assert site.origin(request) == "https://archive.example.org"
        assert site.is_secure(request)


@pytest.mark.parametrize(
    ("remote", "origin"),
    [("10.0.0.5", "https://192.0.2.9"), ("192.0.2.7", "http://10.0.0.1")],
)
def test_forwarded_host_and_scheme_count_from_a_trusted_proxy_only(remote, origin):
    site = Site(trusted_proxies=PROXIES)
    request = _request(
        remote,
        ("Host", "10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "192.0.2.9"),
    )
    assert site.origin(request) == origin
    assert site.is_secure(request) is origin.startswith("https")


async def test_a_rebound_name_reaches_no_session(desk, door):
    await door.person()
    session = await door.sign_in()
    headers = {"Host": "evil.example.com", "Cookie": f"taltio={session.secret}"}
    async with desk.get("/look", headers=headers) as answer:
        assert answer.status == 421
        assert (await answer.json())["code"] == "unknown_host"
