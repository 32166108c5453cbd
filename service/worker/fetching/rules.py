"""What may be fetched for a source, from where, and as whom."""

import base64
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from service.domain.errors import InvalidInputError
from service.domain.fetching import FetchError, FetchFault
from service.domain.reach import Network, is_internal_name, is_reachable
from service.domain.urls import NumberHostError, Origin, WebUrl

_MAX_CREDENTIALS: Final = 4096
_CREDENTIALS: Final = re.compile(r"(?i:(basic) +([^:]*:.*)|(bearer) +([A-Za-z0-9._~+/-]+=*))")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """The rules of one source. By default nothing may be fetched.

    Attributes:
        origins: From where, each with the value of the Authorization header for it alone; None: nothing is sent.
        networks: Networks beyond the public ones.
        tls: What certificates have to lead to; None: as the system trusts.
        content_keys: The private keys for which the source encrypts, by their ids.
        max_bytes: A larger recording is refused.
        bytes_per_second, window: In each ``window`` so many have to come on the average.
        longest: After so long an answer is given up.
    """

    origins: Mapping[Origin, str | None] = field(default_factory=dict, repr=False)
    networks: Sequence[Network] = ()
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    content_keys: Mapping[str, RSAPrivateKey] = field(default_factory=dict, repr=False)
    max_bytes: int = 1024**3
    bytes_per_second: int = 8192
    window: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(hours=1)


def parse_credentials(text: str) -> str:
    """Return the value of an Authorization header (RFC 7617, RFC 6750) for ``Basic user:password`` or ``Bearer token``.

    Raises:
        InvalidInputError: ``text`` is neither. The detail repeats nothing of it.
    """
    match = _CREDENTIALS.fullmatch(text.removesuffix("\n").removesuffix("\r"))
    if match is None or not text.strip().isprintable() or len(text) > _MAX_CREDENTIALS:
        raise InvalidInputError('expected one line, "Basic user:password" or "Bearer token"')
    if match[1]:
        return "Basic " + base64.b64encode(match[2].encode()).decode("ascii")
    return f"Bearer {match[4]}"


def judge_url(text: str, rules: FetchRules) -> WebUrl:
    """Return the URL if it may be asked for what it says alone; its addresses are judged when they are known.

    Raises:
        FetchError: It is no URL that can be asked, names an address that is not to be reached, or is not of an
            allowed origin.
    """
    try:
        url = WebUrl.parse(text)
    except InvalidInputError as error:
        raise _unreadable(error, error.detail) from None
    return require_allowed(url, rules)


def judge_redirect(url: WebUrl, location: str, rules: FetchRules) -> WebUrl:
    """Return where ``location`` leads from ``url``, likewise.

    Raises:
        FetchError: It may not be followed. It leads to another scheme, or as ``judge_url``.
    """
    try:
        target = url.follow(location)
    except InvalidInputError as error:
        raise _unreadable(error, f"a redirect: {error.detail}") from None
    # First, because what leads to an internal machine is told apart, whatever else is wrong with it.
    require_allowed(target, rules)
    if target.origin.scheme != url.origin.scheme:
        raise FetchError(FetchFault.NOT_ALLOWED, "a redirect to another scheme")
    return target


def require_allowed(url: WebUrl, rules: FetchRules) -> WebUrl:
    """Return ``url``, which is of an allowed origin.

    Raises:
        FetchError: It is not. What leads to an internal machine is told apart, for it may be an attack.
    """
    origin, is_allowed = url.origin, url.origin in rules.origins
    ip = origin.ip
    if ip is not None and not is_reachable(ip, allowed=rules.networks):
        tries = None if is_allowed else 1
        raise FetchError(FetchFault.ADDRESS_REFUSED, "the address in it", tries=tries)
    if is_allowed:
        return url
    if is_internal_name(origin.host):
        raise FetchError(FetchFault.ADDRESS_REFUSED, "the name in it", tries=1)
    raise FetchError(FetchFault.NOT_ALLOWED, "its origin is none of fetch_origins")


def _unreadable(error: InvalidInputError, text: str) -> FetchError:
    """Return why a URL that cannot be read is not asked for; an address in disguise may be an attack as well."""
    if isinstance(error, NumberHostError):
        return FetchError(FetchFault.ADDRESS_REFUSED, text, tries=1)
    return FetchError(FetchFault.NOT_ALLOWED, text)
