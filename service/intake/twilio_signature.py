"""Twilio's request signatures: who sent a request to this very URL with these very parameters.

The signed text is the URL and, for a form, each parameter's name and value, in the order of the names ("Validating
Signatures from Twilio", Twilio documentation). It has no time, so that a repetition is told from a new request by what
it says alone.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit, urlunsplit

from service.domain.errors import InvalidInputError, NotSignedInError

FORM: Final = "application/x-www-form-urlencoded"
_MAX_PARAMETERS: Final = 1_000
_SETTINGS: Final = "x-twilio-webhooks-signature-settings"
_SIGNATURE: Final = "x-twilio-signature"
_SHARED_KEY: Final = re.compile(r"([A-Za-z0-9_-]{8,64}):([!-~]{16,256})", re.ASCII)
_AUTH_TOKEN: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHA256: Final = "HMAC_SHA256"
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class TwilioSecret:
    """What signs: an account's auth token (HMAC-SHA-1), or a SharedKey with its id (HMAC-SHA-256)."""

    key: bytes = field(repr=False)
    key_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the secret that ``text`` writes: 32 hexadecimal digits, or ``ID:SECRET`` of a SharedKey.

        Raises:
            InvalidInputError: It is neither. The text is not repeated.
        """
        if _AUTH_TOKEN.fullmatch(text.strip()):
            return cls(text.strip().encode())
        shared = _SHARED_KEY.fullmatch(text.strip())
        if shared is None:
            raise InvalidInputError(
                "the secret is neither an auth token of 32 hexadecimal digits nor ID:SECRET of a SharedKey"
            )
        return cls(shared[2].encode(), shared[1])


def verify_twilio(
    headers: Mapping[str, str], *, url: str, body: bytes, secrets: Sequence[TwilioSecret]
) -> None:
    """Return when one of ``secrets`` signed a request to ``url`` (as it is known outside) with ``body``.

    A request says which SharedKey signed it; without a word it is an auth token. A source whose secrets are SharedKeys
    alone takes nothing that is signed with SHA-1. Every secret is tried, in constant time.

    Raises:
        NotSignedInError: None did.
    """
    key_id = _key_id(headers.get(_SETTINGS))
    given = _decode(headers.get(_SIGNATURE, ""))
    parameters = _parameters(headers.get("content-type", ""), url, body)
    algorithm = "sha1" if key_id is None else "sha256"
    is_valid = False
    for text in (f"{one}{parameters}".encode(errors="surrogateescape") for one in _urls(url)):
        for secret in secrets:
            expected = hmac.digest(secret.key, text, algorithm)
            # An auth token never vouches by SHA-256, nor a SharedKey by SHA-1, whatever the headers say.
            is_valid |= hmac.compare_digest(expected, given) and secret.key_id == key_id
    if not is_valid:
        raise NotSignedInError("no signature matches")


def _key_id(settings: str | None) -> str | None:
    """Return the SharedKey that the request says it is signed with; None for the auth token.

    Raises:
        NotSignedInError: It says something else.
    """
    if settings is None:
        return None
    told = dict(part.strip().partition("=")[::2] for part in settings.split(","))
    if told.get("algorithm") != _SHA256 or not told.get("key"):
        raise NotSignedInError("the signature is of an unknown kind")
    return told["key"]


def _decode(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _parameters(content_type: str, url: str, body: bytes) -> str:
    """Return what follows the URL in the signed text: nothing, where the URL has the hash of the body.

    Raises:
        NotSignedInError: The body is not what the URL has the hash of, or has too many parameters.
    """
    hashes = parse_qs(urlsplit(url).query).get("bodySHA256")
    if hashes:
        if not hmac.compare_digest(hashlib.sha256(body).hexdigest(), hashes[0].lower()):
            raise NotSignedInError("the body is not the one that was signed")
        return ""
    if content_type.partition(";")[0].strip().lower() != FORM:
        if body:
            raise NotSignedInError("the body is not signed")
        return ""
    try:
        pairs = parse_qsl(
            body.decode("iso-8859-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise NotSignedInError("too many parameters") from None
    return "".join(f"{name}{value}" for name, value in sorted(set(pairs)))


def _urls(url: str) -> Iterator[str]:
    """Yield the URL with and without the port that its scheme has anyway: senders do either."""
    yield url
    parts = urlsplit(url)
    default = _DEFAULT_PORTS.get(parts.scheme)
    host = parts.hostname or ""
    if parts.port is None and default is not None:
        yield urlunsplit(parts._replace(netloc=f"{host}:{default}"))
    elif parts.port == default:
        yield urlunsplit(parts._replace(netloc=host))
