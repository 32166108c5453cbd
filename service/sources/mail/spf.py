"""SPF (RFC 7208): whether a domain lets a server send its mail. Pure; the caller asks DNS."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from service.sources.mail.verdicts import SpfResult

MAX_LOOKUPS: Final = 10
MAX_VOID: Final = 2
MAX_HOSTS: Final = 10
"""So much may be asked on a policy's behalf (RFC 7208, section 4.6.4)."""

_RESULTS: Final = {
    "+": SpfResult.PASS,
    "-": SpfResult.FAIL,
    "~": SpfResult.SOFTFAIL,
    "?": SpfResult.NEUTRAL,
}
_TERM: Final = re.compile(
    r"([+\-~?]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::([^/\s][^\s]*?))?((?:/\d{1,2})?(?://\d{1,3})?)",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"([+\-~?]?)(ip4|ip6):(\S+)", re.IGNORECASE)
_MODIFIER: Final = re.compile(r"([a-z][a-z0-9_.-]*)=(\S*)", re.IGNORECASE)
_MACRO: Final = re.compile(r"%(?:\{([slodiphSLODIPH])(\d{0,3})(r?)([.\-+,/_=]*)\}|([%_-]))")
_NEED_DOMAIN: Final = frozenset({"include", "exists"})
_MAX_NAME: Final = 253
_MAX_LABEL: Final = 63
_PLAIN: Final = {"%": "%", "_": " ", "-": "%20"}

Lookup = Callable[[str, str], list[str]]
"""Returns the records of a name and type. Whatever it raises passes through."""

Peer = IPv4Address | IPv6Address


class _PolicyError(Exception):
    """The policy is not a valid one, or asks for too much."""


@dataclass(frozen=True, slots=True)
class _Term:
    result: SpfResult
    name: str
    domain: str
    prefixes: tuple[int | None, int | None] = (None, None)
    network: IPv4Network | IPv6Network | None = None


@dataclass(slots=True)
class Policies:
    """Asks the policies of domains about ``peer``, which named itself ``helo`` and sent for ``sender``."""

    lookup: Lookup
    peer: Peer
    helo: str
    sender: str
    _lookups: int = 0
    _void: int = 0

    def ask(self, domain: str) -> SpfResult:
        """Return what the policy of ``domain`` says, and those that it refers to."""
        try:
            return self._ask(domain)
        except _PolicyError:
            return SpfResult.PERMERROR

    def _ask(self, domain: str) -> SpfResult:
        if not _is_name(domain):
            return SpfResult.NONE
        policy = find_policy(self.lookup(domain, "TXT"))
        if policy is None:
            return SpfResult.NONE
        terms, redirect = _parse(policy)
        for term in terms:
            if self._matches(term, domain):
                return term.result
        if redirect is None:
            return SpfResult.NEUTRAL
        self._count()
        result = self._ask(self._expand(redirect, domain))
        if result is SpfResult.NONE:
            raise _PolicyError
        return result

    def _matches(self, term: _Term, domain: str) -> bool:
        if term.name == "all":
            return True
        if term.network is not None:
            return self.peer.version == term.network.version and self.peer in term.network
        self._count()
        target = self._expand(term.domain, domain) if term.domain else domain
        match term.name:
            case "include":
                found = self._includes(target)
            case "a":
                found = self._is_among([target], term.prefixes)
            case "mx":
                found = self._is_among(self._mail_hosts(target), term.prefixes)
            case "ptr":
                found = any(_is_within(name, target) for name in self._own_names())
            case _:
                found = bool(self._records(target, "A"))
        return found

    def _includes(self, domain: str) -> bool:
        result = self._ask(domain)
        if result is SpfResult.NONE:
            raise _PolicyError
        return result is SpfResult.PASS

    def _mail_hosts(self, domain: str) -> list[str]:
        hosts = [one.rpartition(" ")[2] for one in self._records(domain, "MX")]
        if len(hosts) > MAX_HOSTS:
            raise _PolicyError
        return hosts

    def _is_among(self, hosts: list[str], prefixes: tuple[int | None, int | None]) -> bool:
        kind, bits = ("A", prefixes[0]) if self.peer.version == 4 else ("AAAA", prefixes[1])  # noqa: PLR2004  # of IP
        for host in hosts:
            for address in self._records(host, kind):
                length = self.peer.max_prefixlen if bits is None else bits
                if self.peer in ip_network(f"{address}/{length}", strict=False):
                    return True
        return False

    def _own_names(self) -> Iterator[str]:
        """Yield the names that the peer's address has and that have the peer's address."""
        for name in self._records(self.peer.reverse_pointer, "PTR")[:MAX_HOSTS]:
            if self._is_among([name], (None, None)):
                yield name.lower()

    def _records(self, name: str, kind: str) -> list[str]:
        found = self.lookup(name, kind) if _is_name(name) else []
        if not found:
            self._void += 1
            if self._void > MAX_VOID:
                raise _PolicyError
        return found

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _PolicyError

    def _expand(self, text: str, domain: str) -> str:
        """Return ``text`` with its macros filled in (RFC 7208, section 7); a name that is too long loses its left."""
        local, _, of_sender = self.sender.rpartition("@")
        values = {
            "s": self.sender,
            "l": local,
            "o": of_sender,
            "d": domain,
            "i": _dotted(self.peer),
            "p": "unknown",
            "h": self.helo,
        }
        if "%" in _MACRO.sub("", text):
            raise _PolicyError
        expanded = _MACRO.sub(lambda match: _filled(match, values), text).rstrip(".")
        while len(expanded) > _MAX_NAME and "." in expanded:
            expanded = expanded.partition(".")[2]
        return expanded.lower()


def find_policy(records: list[str]) -> str | None:
    """Return the policy among the text records of a domain; None where there is none.

    Raises:
        _PolicyError: There are several.
    """
    found = [one for one in records if re.match(r"v=spf1(?: |\Z)", one, re.IGNORECASE)]
    if len(found) > 1:
        raise _PolicyError
    return found[0] if found else None


def _parse(policy: str) -> tuple[list[_Term], str | None]:
    """Return the mechanisms of a policy, and where it refers to."""
    terms: list[_Term] = []
    modifiers: dict[str, str] = {}
    for word in policy.split()[1:]:
        modifier = _MODIFIER.fullmatch(word)
        if modifier is None:
            terms.append(_term(word))
            continue
        name = modifier[1].lower()
        if name in modifiers and name in {"redirect", "exp"}:
            raise _PolicyError
        modifiers[name] = modifier[2]
    if modifiers.get("redirect") == "":
        raise _PolicyError
    return terms, modifiers.get("redirect")


def _term(word: str) -> _Term:
    address = _ADDRESS.fullmatch(word)
    if address is not None:
        try:
            network = ip_network(address[3], strict=False)
        except ValueError:
            raise _PolicyError from None
        if network.version != int(address[2][-1]):
            raise _PolicyError
        return _Term(_RESULTS[address[1] or "+"], address[2].lower(), "", network=network)
    match = _TERM.fullmatch(word)
    if match is None:
        raise _PolicyError
    name, domain, cidr = match[2].lower(), match[3] or "", match[4] or ""
    is_plain = name in {"a", "mx"}
    if (
        name in {"ip4", "ip6"}
        or (name in _NEED_DOMAIN and not domain)
        or (cidr and not is_plain)
    ):
        raise _PolicyError
    if name == "all" and domain:
        raise _PolicyError
    return _Term(_RESULTS[match[1] or "+"], name, domain, _prefixes(cidr))


def _prefixes(cidr: str) -> tuple[int | None, int | None]:
    of_four, _, of_six = (
        cidr.removeprefix("/").partition("//")
        if not cidr.startswith("//")
        else ("", "", cidr[2:])
    )
    four, six = (int(one) if one else None for one in (of_four, of_six))
    if (four or 0) > IPv4Address(0).max_prefixlen or (six or 0) > IPv6Address(0).max_prefixlen:
        raise _PolicyError
    return four, six


def _filled(match: re.Match[str], values: dict[str, str]) -> str:
    if match[5]:
        return _PLAIN[match[5]]
    parts = re.split(f"[{re.escape(match[4] or '.')}]", values[match[1].lower()])
    if match[3]:
        parts.reverse()
    kept = int(match[2]) if match[2] else len(parts)
    if kept == 0:
        raise _PolicyError
    return ".".join(parts[-kept:])


def _dotted(peer: Peer) -> str:
    return str(peer) if peer.version == 4 else ".".join(peer.exploded.replace(":", ""))  # noqa: PLR2004  # of IP


def _is_name(text: str) -> bool:
    labels = text.rstrip(".").split(".")
    is_short = len(text) <= _MAX_NAME and all(0 < len(label) <= _MAX_LABEL for label in labels)
    return is_short and len(labels) > 1


def _is_within(name: str, domain: str) -> bool:
    plain = name.rstrip(".").lower()
    return plain == domain.lower() or plain.endswith(f".{domain.lower()}")


def parse_peer(text: str) -> Peer | None:
    """Return the address that ``text`` is; an IPv4 address that is written as one of IPv6 is the former."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
