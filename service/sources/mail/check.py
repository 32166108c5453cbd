"""Checking who sent a mail: its signatures, and whether its server might. Pure: the caller brings the answers of DNS.

Whatever a mail says is a verdict on it, never an error.
"""

from collections.abc import Callable
from datetime import datetime
from email.parser import BytesHeaderParser
from typing import Final

from service.domain.times import format_time
from service.sources.mail.dkim import (
    Tags,
    key_name,
    parse_tags,
    verify_chain,
    verify_signature,
)
from service.sources.mail.headers import BOUNDED, addresses_of, text_of
from service.sources.mail.read import message_of
from service.sources.mail.signed import SignedMail, split_mail
from service.sources.mail.spf import Policies, parse_peer
from service.sources.mail.verdicts import (
    MAX_SIGNATURES,
    MAX_TEXT_CHARACTERS,
    Chain,
    Signature,
    Spf,
    SpfResult,
    Verdicts,
    is_public,
)

MAX_LOOKUPS: Final = 40
"""So often DNS is asked about the signatures of one mail."""


class NoAnswerError(Exception):
    """DNS did not answer in time, or answered that it cannot."""


Lookup = Callable[[str, str], list[str]]
"""Returns the records of a name and type as text, those of MX as ``10 host``; none where there are none.

Raises `NoAnswerError`.
"""


class _Keys:
    """What DNS was asked for keys, and what it said: each once; one question too many is not answered."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._answers: dict[str, str | None] = {}

    def get(self, name: str) -> str | None:
        """Return the record at ``name``, empty where there is none; None where DNS does not answer."""
        if name not in self._answers:
            self._answers[name] = self._ask(name) if len(self._answers) < MAX_LOOKUPS else None
        return self._answers[name]

    def known(self, name: str) -> str:
        """Return the record at ``name`` if it was asked for and is there."""
        return self._answers.get(name) or ""

    def _ask(self, name: str) -> str | None:
        try:
            # Of several records none is the key for certain (RFC 6376, section 3.6.2.2); the first is taken.
            return next(iter(self._lookup(name, "TXT")), "")[:MAX_TEXT_CHARACTERS]
        except NoAnswerError:
            return None


def check_mail(
    raw: bytes, *, peer: str, helo: str, mail_from: str, lookup: Lookup, now: datetime
) -> Verdicts:
    """Return the verdicts on ``raw``, which ``peer`` delivered as from ``mail_from``.

    Of a journal report the message inside it is checked, and not who delivered the report. An empty ``peer``: it is
    not told, or a server of one's own.
    """
    message = message_of(raw)
    keys = _Keys(lookup)
    mail = split_mail(message)
    parsed = BytesHeaderParser(policy=BOUNDED).parsebytes(message)
    senders = addresses_of(parsed, "from")
    author = senders[0].address.rpartition("@")[2] if senders else ""
    is_direct = message is raw and is_public(peer)
    return Verdicts(
        checked_at=format_time(now),
        signatures=tuple(
            _signature(mail, value, keys, author=author, now=now)
            for value in mail.values(b"dkim-signature")[:MAX_SIGNATURES]
        ),
        chain=_chain(mail, keys, now=now),
        spf=check_spf(peer, helo=helo, mail_from=mail_from, lookup=lookup)
        if is_direct
        else Spf(result=SpfResult.NOT_APPLICABLE, peer=peer),
        claimed=text_of(parsed, "authentication-results", most=MAX_TEXT_CHARACTERS),
    )


def check_spf(peer: str, *, helo: str, mail_from: str, lookup: Lookup) -> Spf:
    """Return whether the domain of ``mail_from``, or ``helo`` where that is empty, lets ``peer`` send (RFC 7208)."""
    address = parse_peer(peer)
    sender = mail_from.strip("<>") or f"postmaster@{helo}"
    domain = sender.rpartition("@")[2].lower()[:253]
    told: list[str] = []

    def noting(name: str, kind: str) -> list[str]:
        records = lookup(name, kind)
        told.extend(one for one in records if (name, kind) == (domain, "TXT"))
        return records

    if address is None:
        return Spf(result=SpfResult.NOT_APPLICABLE, domain=domain, peer=peer)
    try:
        result = Policies(noting, address, helo, sender).ask(domain)
    except NoAnswerError:
        result = SpfResult.TEMPERROR
    policy = next((one for one in told if one.lower().startswith("v=spf1")), "")
    return Spf(result=result, domain=domain, peer=peer, policy=policy[:MAX_TEXT_CHARACTERS])


def _signature(
    mail: SignedMail, value: bytes, keys: _Keys, *, author: str, now: datetime
) -> Signature:
    verified = verify_signature(mail, value, keys.get, now=now)
    tags = parse_tags(b" ".join(value.split())) or {}
    name, domain = key_name(tags), _told(tags, "d").lower()
    signed_at = tags.get("t", "")
    return Signature(
        outcome=verified.outcome,
        reason=verified.reason,
        domain=domain,
        selector=_told(tags, "s"),
        algorithm=_told(tags, "a").lower(),
        signed_headers=_told(tags, "h"),
        signed_at=int(signed_at)
        if signed_at.isdecimal() and len(signed_at) < _DIGITS
        else None,
        key_name=name,
        key_record=keys.known(name),
        is_of_author=_is_of(author, domain),
        is_partial="l" in tags,
    )


_DIGITS: Final = 13


def _chain(mail: SignedMail, keys: _Keys, *, now: datetime) -> Chain | None:
    """Return the verdict on the servers that handed the mail on; None where none sealed it."""
    found = verify_chain(mail, keys.get, now=now)
    if found is None:
        return None
    verified, seals = found
    names = [key_name(tags) for tags in seals]
    records = {name: keys.known(name) for name in names}
    return Chain(
        outcome=verified.outcome,
        reason=verified.reason,
        length=len(seals),
        domain=_told(seals[0], "d").lower() if seals else "",
        key_records=tuple((name, record) for name, record in records.items() if record),
    )


def _told(tags: Tags, name: str) -> str:
    return " ".join(tags.get(name, "").split())[:MAX_TEXT_CHARACTERS]


def _is_of(author: str, domain: str) -> bool:
    """Tell whether ``domain`` may speak for a sender at ``author``: it is the same, above it, or below it."""
    plain = author.lower().rstrip(".")
    if "." not in domain or "." not in plain:
        return False
    return plain == domain or plain.endswith(f".{domain}") or domain.endswith(f".{plain}")
