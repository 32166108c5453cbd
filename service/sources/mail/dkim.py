"""DKIM signatures (RFC 6376, 8301, 8463) and ARC chains (RFC 8617): what they say, and whether it holds. Pure."""

import binascii
import hashlib
import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from service.sources.mail.signed import (
    Header,
    SignedMail,
    canonical_body,
    canonical_header,
    selected,
    without_signature,
)
from service.sources.mail.verdicts import Outcome, Reason

MAX_INSTANCES: Final = 50
"""A chain of more servers is none (RFC 8617, section 4.2.1)."""

_MIN_KEY_BITS: Final = 1024
_SKEW_SECONDS: Final = 86_400
_FOLDS: Final = re.compile(rb"[ \t\r\n]+")
_NUMBER: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+", re.ASCII)
_SELECTOR: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_CANONICAL: Final = frozenset({"simple", "relaxed"})
_ALGORITHMS: Final = frozenset({"rsa-sha256", "ed25519-sha256"})

Tags = Mapping[str, str]
GetKey = Callable[[str], str | None]
"""Returns the record at a name, empty where there is none; None where DNS does not answer."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What checking one signature came to."""

    outcome: Outcome
    reason: Reason | None = None


class _Refusal(Exception):  # noqa: N818  # it is a verdict, and leaves this module as one
    """Why a signature does not hold."""

    def __init__(self, reason: Reason, outcome: Outcome = Outcome.INVALID) -> None:
        super().__init__(reason)
        self.verified = Verified(outcome, reason)


def _require(holds: bool, reason: Reason) -> None:  # noqa: FBT001  # what must hold, which reads well at the call
    if not holds:
        raise _Refusal(reason)


def parse_tags(value: bytes) -> dict[str, str] | None:
    """Return the tags of a signature or a key record (RFC 6376, section 3.2); None where they are none."""
    tags: dict[str, str] = {}
    parts = value.decode("utf-8", "replace").split(";")
    for number, part in enumerate(parts):
        name, equals, told = part.strip().partition("=")
        if not equals:
            # Only after the last tag may nothing stand.
            if name or number != len(parts) - 1:
                return None
            continue
        if name.strip() in tags or not name.strip():
            return None
        tags[name.strip()] = told.strip()
    return tags


def key_name(tags: Tags) -> str:
    """Return where the key of a signature is published; nothing where that cannot be."""
    domain, selector = tags.get("d", "").lower(), tags.get("s", "").lower()
    if not (_NAME.fullmatch(domain) and _SELECTOR.fullmatch(selector)):
        return ""
    return f"{selector}._domainkey.{domain}"


def verify_signature(
    mail: SignedMail, value: bytes, get_key: GetKey, *, now: datetime
) -> Verified:
    """Return whether the ``DKIM-Signature`` header with ``value`` holds for ``mail``."""
    try:
        tags = _signature_tags(value, now=now)
        _require(tags.get("v") == "1" and _is_identity_of(tags), Reason.NOT_A_SIGNATURE)
        _verify_message(mail, b"DKIM-Signature", value, tags, get_key)
    except _Refusal as refusal:
        return refusal.verified
    return Verified(Outcome.VALID)


@dataclass(frozen=True, slots=True)
class _Set:
    """What one server of a chain wrote: its results, its signature of the message, its seal."""

    results: bytes
    signature: bytes
    seal: bytes

    @property
    def headers(self) -> tuple[Header, ...]:
        """Its three headers, in the order in which they are sealed."""
        return (
            (b"ARC-Authentication-Results", self.results),
            (b"ARC-Message-Signature", self.signature),
            (b"ARC-Seal", self.seal),
        )


def verify_chain(
    mail: SignedMail, get_key: GetKey, *, now: datetime
) -> tuple[Verified, Sequence[Tags]] | None:
    """Return whether the chain of servers that sealed ``mail`` holds, and their seals, newest first; None: none did."""
    seals = mail.values(b"arc-seal")
    if not seals:
        return None
    told: list[Tags] = []
    try:
        sets = _sets(mail)
        told = [parse_tags(_FOLDS.sub(b" ", one.seal)) or {} for one in reversed(sets)]
        states = [tags.get("cv") for tags in told]
        _require(states == ["pass"] * (len(told) - 1) + ["none"], Reason.SIGNATURE_WRONG)
        newest = sets[-1].signature
        tags = _signature_tags(newest, now=now)
        _require("arc-seal" not in _names(tags), Reason.NOT_A_SIGNATURE)
        _verify_message(mail, b"ARC-Message-Signature", newest, tags, get_key)
        for number in range(len(sets), 0, -1):
            _verify_seal(sets[:number], get_key)
    except _Refusal as refusal:
        return refusal.verified, told
    return Verified(Outcome.VALID), told


def _signature_tags(value: bytes, *, now: datetime) -> dict[str, str]:
    """Return the tags of a signature of a message, which has all that it must have, and whose time it is."""
    tags = parse_tags(_FOLDS.sub(b" ", value))
    if tags is None or any(not tags.get(name) for name in ("a", "b", "bh", "d", "h", "s")):
        raise _Refusal(Reason.NOT_A_SIGNATURE)
    seconds = now.timestamp()
    for name in ("t", "x", "l"):
        if name in tags and not _NUMBER.fullmatch(tags[name]):
            raise _Refusal(Reason.NOT_A_SIGNATURE)
    is_over = int(tags.get("x", seconds + 1)) < seconds
    if is_over or int(tags.get("t", 0)) > seconds + _SKEW_SECONDS:
        raise _Refusal(Reason.NOT_A_SIGNATURE)
    if not key_name(tags) or "from" not in _names(tags):
        raise _Refusal(Reason.NOT_A_SIGNATURE)
    return tags


def _is_identity_of(tags: Tags) -> bool:
    """Tell whether the identity that is claimed, if one is, is within the signing domain (RFC 6376, section 3.5)."""
    identity = tags.get("i", "").rpartition("@")[2].lower()
    domain = tags["d"].lower()
    return not tags.get("i") or identity == domain or identity.endswith(f".{domain}")


def _verify_message(
    mail: SignedMail, header: bytes, value: bytes, tags: Tags, get_key: GetKey
) -> None:
    of_headers, of_body = _canonicalisation(tags)
    body = canonical_body(mail.body, is_relaxed=of_body == "relaxed")
    if "l" in tags:
        if int(tags["l"]) > len(body):
            raise _Refusal(Reason.BODY_CHANGED)
        body = body[: int(tags["l"])]
    _require_known(tags)
    if not hmac.compare_digest(hashlib.sha256(body).digest(), _decoded(tags["bh"])):
        raise _Refusal(Reason.BODY_CHANGED)
    is_relaxed = of_headers == "relaxed"
    # One From more than was signed would be the one that is shown.
    chosen = selected(mail, [name.encode() for name in (*_names(tags), "from")])
    lines = [canonical_header(one, is_relaxed=is_relaxed) + b"\r\n" for one in chosen]
    own = (_as_written(mail, header, value), without_signature(value))
    _verify(tags, b"".join(lines) + canonical_header(own, is_relaxed=is_relaxed), get_key)


def _as_written(mail: SignedMail, header: bytes, value: bytes) -> bytes:
    """Return the name of the signature's header as it is written in the mail, which a simple canonical form keeps."""
    return next((name for name, known in mail.headers if known is value), header)


def _verify_seal(sets: Sequence[_Set], get_key: GetKey) -> None:
    """Check the newest seal of ``sets``, which is of everything that they all say (RFC 8617, section 5.1.1)."""
    newest = sets[-1]
    tags = parse_tags(_FOLDS.sub(b" ", newest.seal))
    if tags is None or "h" in tags or not tags.get("b") or not key_name(tags):
        raise _Refusal(Reason.NOT_A_SIGNATURE)
    _require_known(tags)
    own = _Set(newest.results, newest.signature, without_signature(newest.seal))
    lines = [
        canonical_header(header, is_relaxed=True)
        for one in (*sets[:-1], own)
        for header in one.headers
    ]
    _verify(tags, b"\r\n".join(lines), get_key)


def _sets(mail: SignedMail) -> list[_Set]:
    """Return what each server of the chain wrote, the first one first."""
    found: dict[bytes, dict[int, bytes]] = {}
    for name in (b"arc-authentication-results", b"arc-message-signature", b"arc-seal"):
        by_instance = found.setdefault(name, {})
        for value in islice(mail.values(name), MAX_INSTANCES + 1):
            match = re.search(
                rb"(?:\A|;)[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([0-9]{1,2})[ \t\r\n]*(?:;|\Z)",
                value,
            )
            number = int(match[1]) if match else 0
            if not 1 <= number <= MAX_INSTANCES or number in by_instance:
                raise _Refusal(Reason.NOT_A_SIGNATURE)
            by_instance[number] = value
    wanted = set(range(1, len(found[b"arc-seal"]) + 1))
    if any(set(by_instance) != wanted for by_instance in found.values()):
        raise _Refusal(Reason.NOT_A_SIGNATURE)
    results, signatures, seals = found.values()
    return [_Set(results[n], signatures[n], seals[n]) for n in sorted(wanted)]


def _canonicalisation(tags: Tags) -> tuple[str, str]:
    of_headers, _, of_body = tags.get("c", "simple/simple").replace(" ", "").partition("/")
    of_body = of_body or "simple"
    if not {of_headers, of_body} <= _CANONICAL:
        raise _Refusal(Reason.NOT_A_SIGNATURE)
    return of_headers, of_body


def _names(tags: Tags) -> list[str]:
    return [name.strip().lower() for name in tags.get("h", "").split(":")]


def _require_known(tags: Tags) -> None:
    algorithm = tags.get("a", "").lower()
    if algorithm == "rsa-sha1":
        raise _Refusal(Reason.WEAK)
    if algorithm not in _ALGORITHMS:
        raise _Refusal(Reason.NOT_KNOWN_HERE, Outcome.UNCHECKED)


def _verify(tags: Tags, data: bytes, get_key: GetKey) -> None:
    """Check the signature in ``tags`` over ``data`` with the key that its domain publishes."""
    record = get_key(key_name(tags))
    if record is None:
        raise _Refusal(Reason.NO_ANSWER, Outcome.UNCHECKED)
    key = _key(record, tags["a"].lower())
    signature = _decoded(tags["b"])
    try:
        if isinstance(key, Ed25519PublicKey):
            # Of the hash, not of the text (RFC 8463, section 3).
            key.verify(signature, hashlib.sha256(data).digest())
        else:
            key.verify(signature, data, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise _Refusal(Reason.SIGNATURE_WRONG) from None


def _key(record: str, algorithm: str) -> RSAPublicKey | Ed25519PublicKey:
    """Return the key in ``record`` (RFC 6376, section 3.6.1)."""
    tags = parse_tags(record.encode())
    if not record or tags is None or not tags.get("p"):
        # A key without a value was revoked.
        raise _Refusal(Reason.NO_KEY if not record or tags is not None else Reason.KEY_UNUSABLE)
    kind = tags.get("k", "rsa").lower()
    services = {one.strip() for one in tags.get("s", "*").split(":")}
    hashes = {one.strip().lower() for one in tags.get("h", "sha256").split(":")}
    is_fit = services & {"*", "email"} and "sha256" in hashes
    if tags.get("v", "DKIM1") != "DKIM1" or not is_fit or not algorithm.startswith(f"{kind}-"):
        raise _Refusal(Reason.KEY_UNUSABLE)
    data = _decoded(tags["p"])
    try:
        key = (
            Ed25519PublicKey.from_public_bytes(data)
            if kind == "ed25519"
            else load_der_public_key(data)
        )
    except (ValueError, UnsupportedAlgorithm):
        raise _Refusal(Reason.KEY_UNUSABLE) from None
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_KEY_BITS:
        raise _Refusal(Reason.WEAK)
    if not isinstance(key, RSAPublicKey | Ed25519PublicKey):
        raise _Refusal(Reason.KEY_UNUSABLE)
    return key


def _decoded(text: str) -> bytes:
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _Refusal(Reason.NOT_A_SIGNATURE) from None
