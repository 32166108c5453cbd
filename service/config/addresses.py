"""Settings that name a place: addresses to listen on, networks, URLs and where data is stored."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from service.config.problems import ValueRefusedError
from service.config.values import Context, Kind, require_text, require_texts
from service.log.errors import FormatError
from service.log.note import KeyKind, VerifierKey

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the service listens. Port 0 lets the system choose a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Only this machine can connect. A name other than localhost may be anything."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StorageUrl:
    """A backend and its place, e.g. ``sqlite:///srv/taltio/taltio.db``."""

    scheme: Literal["sqlite", "file"]
    path: Path

    def __str__(self) -> str:
        return self.path.as_uri().replace("file:", f"{self.scheme}:", 1)


def is_loopback(host: str) -> bool:
    """Say whether ``host`` is this machine alone (RFC 1122, RFC 4291, RFC 6761)."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _read_address(value: object, _: Context) -> Address:
    plain = require_text(value)
    expected = f"expected host:port such as 127.0.0.1:8080 or [::1]:8080, got {plain!r}"
    host, colon, port = plain.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_parse_ip(host), ipaddress.IPv6Address):
            raise ValueRefusedError(expected)
    elif not _HOST_NAME.fullmatch(host) or (
        re.fullmatch(r"[0-9.]+", host) and not _parse_ip(host)
    ):
        raise ValueRefusedError(expected)
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:  # noqa: PLR2004  # the highest port
        raise ValueRefusedError(expected)
    return Address(host, int(port))


def _parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _read_optional_address(value: object, context: Context) -> Address | None:
    return None if value == "" else _read_address(value, context)


def _read_networks(value: object, _: Context) -> tuple[Network, ...]:
    networks: list[Network] = []
    for item in require_texts(value):
        try:
            network = ipaddress.ip_network(item)
        except ValueError:
            raise ValueRefusedError(
                f"expected addresses or networks such as 10.0.0.5 or 10.0.0.0/24, got {item!r}"
            ) from None
        if network.prefixlen == 0:
            raise ValueRefusedError(f"{item} trusts every address; name the proxies")
        networks.append(network)
    return tuple(networks)


def _read_public_url(value: object, _: Context) -> str | None:
    plain = require_text(value)
    if not plain:
        return None
    url = _split(plain)
    if url.scheme not in {"https", "http"} or not url.hostname:
        raise ValueRefusedError(f"expected https://host, got {_shown(url, plain)}")
    if url.username or url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueRefusedError("expected only https://host or https://host:port")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise ValueRefusedError("expected https://; browsers keep no sign-in over plain HTTP")
    return f"{url.scheme}://{url.netloc}"


def _read_service_url(value: object, _: Context) -> str | None:
    plain = require_text(value)
    if not plain:
        return None
    url = _split(plain)
    if url.scheme not in {"https", "http"} or not url.hostname:
        raise ValueRefusedError(f"expected https://host/path, got {_shown(url, plain)}")
    if url.username or url.password or url.fragment:
        raise ValueRefusedError("expected only https://host/path")
    return plain.rstrip("/")


def _read_witness_key(value: object, _: Context) -> VerifierKey:
    plain = require_text(value)
    try:
        key = VerifierKey.parse(plain)
    except FormatError as error:
        raise ValueRefusedError(error.detail) from error
    if key.kind is not KeyKind.COSIGNATURE:
        raise ValueRefusedError("this is the key of a log, not of a witness")
    return key


def _read_file_blobs(value: object, context: Context) -> StorageUrl:
    if value == "":
        return StorageUrl("file", context.archive_directory / "blobs")
    return StorageUrl("file", read_location(value, context, "file"))


def read_location(value: object, context: Context, scheme: str) -> Path:
    """Return the path in ``scheme:///path``; it may be relative to the file with the settings."""
    plain = require_text(value)
    url = _split(plain)
    if url.scheme != scheme or url.netloc or url.query or url.fragment or not url.path:
        raise ValueRefusedError(f"expected {scheme}:///path, got {_shown(url, plain)}")
    path = unquote(url.path)
    if not path.isprintable():
        raise ValueRefusedError("has characters that cannot be seen")
    # Some programs write an absolute path with four slashes; POSIX gives two a meaning of their own.
    return context.base / (f"/{path.lstrip('/')}" if path.startswith("/") else path)


def _split(plain: str) -> SplitResult:
    try:
        url = urlsplit(plain)
        _ = url.port
    except ValueError:
        # The reader's own text may repeat a password.
        raise ValueRefusedError("not a URL") from None
    return url


def _shown(url: SplitResult, plain: str) -> str:
    """Return the URL for a message, unless it may hold a password."""
    return f"a {url.scheme}:// URL" if "@" in plain else repr(plain)


ADDRESS = Kind("host:port", _read_address)
OPTIONAL_ADDRESS = Kind("host:port, or nothing", _read_optional_address)
NETWORKS = Kind("a list of addresses or networks", _read_networks)
PUBLIC_URL = Kind("https://host, or nothing", _read_public_url)
SERVICE_URL = Kind("https://host/path, or nothing", _read_service_url)
WITNESS_KEY = Kind("the verifier key of a witness (name+id+key)", _read_witness_key)
FILE_BLOBS = Kind("file:///path, or nothing", _read_file_blobs)
