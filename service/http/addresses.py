"""Where a request comes from, and which archive it means: nothing a client writes is believed about that.

``X-Forwarded-For``, ``-Proto`` and ``-Host`` count only when a trusted proxy sent them; ``Forwarded``
(RFC 7239) does not.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from service.http.errors import UnknownHostError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What this archive is called, and whom it believes about clients.

    ``public_url`` has no path. ``is_tls`` says that the service itself speaks HTTPS.
    """

    public_url: str | None = None
    is_tls: bool = False
    trusted_proxies: Sequence[Network] = ()

    def client_address(self, request: web.BaseRequest) -> str:
        """Return the address of the client: the nearest hop that is no trusted proxy."""
        peer = parse_ip(request.remote or "")
        if peer is None:
            return "unknown"
        if not self._is_trusted(peer):
            return str(peer)
        hops = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        for hop in reversed(hops):
            # What stands left of the first strange hop may be anybody's invention.
            address = parse_ip(hop.strip())
            if address is None:
                break
            peer = address
            if not self._is_trusted(peer):
                break
        return str(peer)

    def stranger(self, request: web.BaseRequest) -> str | None:
        """Return the address of the client as ``client_address`` does; None when it is a trusted proxy's or none."""
        if not self.trusted_proxies:
            return request.remote
        address = parse_ip(self.client_address(request))
        return None if address is None or self._is_trusted(address) else str(address)

    def origin(self, request: web.BaseRequest) -> str:
        """Return the origin that the request means, such as ``https://archive.example.org``.

        Raises:
            UnknownHostError: Its host is no name of this archive. A page of another site may have been given our
                address (DNS rebinding); a name that is only an IP address or this machine cannot have been.
        """
        host = self._host(request)
        scheme = self._scheme(request)
        try:
            url = urlsplit(f"{scheme}://{host}")
            name, port = url.hostname or "", url.port
        except ValueError:
            raise UnknownHostError("a malformed Host") from None
        if url.netloc != host or "@" in host or not name:
            raise UnknownHostError("a malformed Host")
        own = None if self.public_url is None else urlsplit(self.public_url)
        is_own = own is not None and own.hostname == name
        if not (is_own or name == "localhost" or parse_ip(name) is not None):
            raise UnknownHostError("a Host that is not public_url")
        if is_own and self.public_url is not None:
            return _origin_of(self.public_url)
        return _format_origin(scheme, name, port)

    def is_secure(self, request: web.BaseRequest) -> bool:
        """Tell whether the browser speaks HTTPS with this archive, so that cookies can be kept to that."""
        return self._scheme(request) == "https"

    def _scheme(self, request: web.BaseRequest) -> str:
        if self.is_tls or (self.public_url or "").startswith("https:"):
            return "https"
        return "https" if self._forwarded(request, "X-Forwarded-Proto") == "https" else "http"

    def _host(self, request: web.BaseRequest) -> str:
        forwarded = self._forwarded(request, "X-Forwarded-Host")
        hosts = [forwarded] if forwarded else request.headers.getall("Host", [])
        # Two Host headers are two readers' two answers (RFC 9112, section 3.2).
        if len(hosts) != 1:
            raise UnknownHostError("no Host, or several")
        return hosts[0].lower()

    def _forwarded(self, request: web.BaseRequest, name: str) -> str | None:
        # Hardly any request has one, and reading an address takes as long as the rest of letting a request in.
        if name not in request.headers:
            return None
        peer = parse_ip(request.remote or "")
        if peer is None or not self._is_trusted(peer):
            return None
        # The nearest proxy wrote the last value.
        return request.headers.getall(name)[-1].rpartition(",")[2].strip().lower()

    def _is_trusted(self, address: _Ip) -> bool:
        return any(address in network for network in self.trusted_proxies)


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> _Ip | None:
    """Return the address that ``text`` writes, IPv4 also where it is mapped into IPv6."""
    try:
        ip = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return _format_origin(parts.scheme, parts.hostname or "", parts.port)


def _format_origin(scheme: str, name: str, port: int | None) -> str:
    """Return the origin as browsers write it (RFC 6454, section 6.1)."""
    host = f"[{name}]" if ":" in name else name
    is_default = port is None or port == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{port}"
