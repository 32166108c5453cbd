"""URLs from outside, read so strictly that no two programs can read them differently, and their origins."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Self
from urllib.parse import quote, urljoin

from service.domain.errors import InvalidInputError
from service.domain.reach import Ip, parse_ip

MAX_URL_CHARACTERS: Final = 8192
_PORTS: Final = {"https": 443, "http": 80}
_MAX_PORT: Final = 65535
_URL: Final = re.compile(
    r"(?P<origin>(?P<scheme>[A-Za-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]+))?)"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?",
    re.ASCII,
)
# Labels of letters, digits, hyphens and underscores; names beyond ASCII come as A-labels (RFC 5891).
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?",
    re.ASCII,
)
# What ends in such a label is read as an IPv4 address by many programs, in more notations than one.
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
# RFC 3986, 2.2 and 2.3, and the mark of what is escaped already. Everything else is escaped as UTF-8.
_KEPT: Final = "%/:?@!$&'()*+,;=-._~[]"


class NumberHostError(InvalidInputError):
    """The host is a number that some programs read as an address, and others as another or none."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host in its one canonical form, and a port (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the origin that ``text`` names: ``https://host`` or ``https://host:port``, nothing after it.

        Raises:
            InvalidInputError: It is something else.
        """
        match = _URL.fullmatch(text)
        if match is None or match["origin"] != text.rstrip("/"):
            raise InvalidInputError("expected https://host or https://host:port")
        return cls._read(match)

    @classmethod
    def _read(cls, match: re.Match[str]) -> Self:
        scheme = match["scheme"].lower()
        if scheme not in _PORTS:
            raise InvalidInputError("neither https:// nor http://")
        port = match["port"] or str(_PORTS[scheme])
        if not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
            raise InvalidInputError("its port is no port")
        return cls(scheme, _host(match["host"]), int(port))

    @property
    def ip(self) -> Ip | None:
        """The address that the host is; None for a name."""
        return parse_ip(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


@dataclass(frozen=True, slots=True)
class WebUrl:
    """A URL of the schemes https and http. Path and query may hold secrets, so they print nowhere.

    ``target`` is what is asked for: path and query, in ASCII, as they were sent but for what had to be escaped.
    """

    origin: Origin = field(repr=False)
    target: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL that ``text`` is. A fragment is left out: it is never sent.

        Raises:
            InvalidInputError: It is none of https or http, names a user, has another host than a plain name or
                address, an impossible port, or characters that some program would read otherwise. The detail
                repeats nothing of it.
        """
        if len(text) > MAX_URL_CHARACTERS:
            raise InvalidInputError(f"longer than {MAX_URL_CHARACTERS} characters")
        # Spaces within are escaped, which many senders forget to do.
        _require_readable(text)
        match = _URL.fullmatch(text)
        if match is None:
            raise InvalidInputError("not https://host/path, or it names a user")
        # An empty query is as none (aiohttp sends none).
        query = "" if match["query"] in {None, "?"} else match["query"]
        target = (match["path"] or "/") + query
        return cls(Origin._read(match), quote(target, safe=_KEPT))  # noqa: SLF001  # of the same module

    def follow(self, location: str) -> Self:
        """Return the URL to which ``location`` leads from here (RFC 9110, 10.2.2).

        Raises:
            InvalidInputError: It is no URL that ``parse`` takes.
        """
        # Before the two are joined, for that drops line breaks and tabs without a word.
        _require_readable(location)
        try:
            return type(self).parse(urljoin(self.address, location))
        except ValueError:
            raise InvalidInputError("leads to no URL") from None

    def __str__(self) -> str:
        """Return the origin alone; see ``address`` for all of it."""
        return str(self.origin)

    @property
    def address(self) -> str:
        """The whole URL, which may be a secret."""
        return f"{self.origin}{self.target}"


def _require_readable(text: str) -> None:
    """Return unless ``text`` has characters that some programs drop and others do not.

    Raises:
        InvalidInputError: It has.
    """
    if not text.isprintable() or "\\" in text:
        raise InvalidInputError("has characters that no URL has")


def _host(text: str) -> str:
    """Return a host in its canonical form.

    Raises:
        NumberHostError: It is an address in another notation than the usual one.
        InvalidInputError: It is neither a name nor an address.
    """
    host = text.lower()
    if host.startswith("["):
        address = parse_ip(host[1:-1])
        if not isinstance(address, IPv6Address):
            raise InvalidInputError("its host is no address")
        return str(address)
    if _NUMBER.fullmatch(host.rstrip(".")):
        if not isinstance(parse_ip(host), IPv4Address):
            raise NumberHostError("its host is a number")
        return host
    if not _NAME.fullmatch(host):
        raise InvalidInputError("its host is no name")
    return host
