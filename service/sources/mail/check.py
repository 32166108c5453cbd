"""Checking the signatures of a mail, and whether its server might send it. Pure: the caller brings the answers of DNS.

`dkimpy` and `pyspf` do the checking. Whatever they make of a mail is a verdict on it, never an error.
"""

import logging
import re
from collections.abc import Callable
from datetime import datetime
from email.parser import BytesHeaderParser
from typing import Final

import dkim
import spf

from service.domain.times import format_time
from service.sources.mail.headers import BOUNDED, addresses_of, text_of
from service.sources.mail.read import message_of
from service.sources.mail.verdicts import (
    MAX_SIGNATURES,
    MAX_TEXT_CHARACTERS,
    Chain,
    Outcome,
    Reason,
    Signature,
    Spf,
    SpfResult,
    Verdicts,
    is_public,
)

MAX_LOOKUPS: Final = 40
"""So often DNS is asked about one mail; a policy that wants more is none (RFC 7208, section 4.6.4)."""

_MAX_LABEL: Final = 63
_NUMBER: Final = re.compile(rb"[0-9]{1,12}")
_SILENT: Final = logging.getLogger("taltio.dkim")


class NoAnswerError(Exception):
    """DNS did not answer in time, or answered that it cannot."""


Lookup = Callable[[str, str], list[str]]
"""Returns the records of a name and type as text, those of MX as ``10 host``; none where there are none.

Raises `NoAnswerError`.
"""


class _Asked:
    """What DNS was asked, and what it said: the records that a verdict rests on."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._answers: dict[tuple[str, str], list[str] | None] = {}

    def records(self, name: str, kind: str) -> list[str]:
        """Return the records, asking once; one question too many is not answered."""
        key = (name.rstrip(".").lower(), kind)
        if key not in self._answers:
            try:
                is_asked = len(self._answers) < MAX_LOOKUPS
                self._answers[key] = self._lookup(*key) if is_asked else None
            except NoAnswerError:
                self._answers[key] = None
        answer = self._answers[key]
        if answer is None:
            raise NoAnswerError
        return answer

    @property
    def names(self) -> frozenset[str]:
        """The names whose text records were asked for."""
        return frozenset(name for name, kind in self._answers if kind == "TXT")

    @property
    def has_gaps(self) -> bool:
        """Whether some question was not answered."""
        return None in self._answers.values()

    def key(self, name: str) -> str | None:
        """Return the key record that was had at ``name``; None where DNS did not answer."""
        answer = self._answers.get((name.rstrip(".").lower(), "TXT"), [])
        return None if answer is None else next(iter(answer), "")

    def txt(self, name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG002  # as dkimpy asks; whoever looks up bounds the time
        """Return the first text record as `dkimpy` wants it."""
        try:
            records = self.records(name.decode("ascii", "replace"), "TXT")
        except NoAnswerError:
            raise dkim.DnsTimeoutError from None
        return records[0].encode("utf-8", "replace") if records else None


def check_mail(
    raw: bytes, *, peer: str, helo: str, mail_from: str, lookup: Lookup, now: datetime
) -> Verdicts:
    """Return the verdicts on ``raw``, which ``peer`` delivered as from ``mail_from``.

    Of a journal report the message inside it is checked, and not who delivered the report. An empty ``peer``: it is
    not told, or a server of one's own.
    """
    message = message_of(raw)
    asked = _Asked(lookup)
    parsed = BytesHeaderParser(policy=BOUNDED).parsebytes(message)
    senders = addresses_of(parsed, "from")
    author = senders[0].address.rpartition("@")[2] if senders else ""
    is_direct = message is raw and is_public(peer)
    return Verdicts(
        checked_at=format_time(now),
        signatures=tuple(_signatures(message, asked, author=author)),
        # What was asked for the one is not asked again for the other.
        chain=_chain(message, _Asked(asked.records)),
        spf=check_spf(peer, helo=helo, mail_from=mail_from, lookup=lookup)
        if is_direct
        else Spf(result=SpfResult.NOT_APPLICABLE, peer=peer),
        claimed=text_of(parsed, "authentication-results", most=MAX_TEXT_CHARACTERS),
    )


def check_spf(peer: str, *, helo: str, mail_from: str, lookup: Lookup) -> Spf:
    """Return whether the domain of ``mail_from``, or ``helo`` where that is empty, lets ``peer`` send (RFC 7208)."""
    asked = _Asked(lookup)
    query = _Query(asked, peer=peer, helo=helo, mail_from=mail_from.strip("<>"))
    try:
        known = SpfResult(query.check()[0])
    except (spf.TempError, NoAnswerError):
        known = SpfResult.TEMPERROR
    except Exception:  # noqa: BLE001  # a policy that the library cannot cope with is a wrong policy
        known = SpfResult.PERMERROR
    domain = str(query.o or "")[:253]
    return Spf(result=known, domain=domain, peer=peer, policy=_policy(asked, domain))


def _policy(asked: _Asked, domain: str) -> str:
    try:
        records = asked.records(domain, "TXT") if domain else []
    except NoAnswerError:
        return ""
    found = (one for one in records if one.lower().startswith("v=spf1"))
    return next(found, "")[:MAX_TEXT_CHARACTERS]


class _Query(spf.query):  # type: ignore[misc]  # the library has no types
    """A query of `pyspf` that asks nobody but us."""

    def __init__(self, asked: _Asked, *, peer: str, helo: str, mail_from: str) -> None:
        super().__init__(i=peer, s=mail_from, h=helo, strict=True, querytime=0)
        self._asked = asked

    def dns(
        self,
        name: object,
        qtype: str,
        cnames: object = None,  # noqa: ARG002  # aliases are followed by whoever looks up
        ignore_void: bool = False,  # noqa: FBT001, FBT002  # the library's own signature
    ) -> list[object]:
        plain = str(name).rstrip(".").lower()
        if not all(0 < len(label) <= _MAX_LABEL for label in plain.split(".")):
            return []
        try:
            found = self._asked.records(plain, qtype)
        except NoAnswerError:
            raise spf.TempError("DNS did not answer") from None
        if not found and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("too many questions without an answer")
        return [_as_spf_wants(qtype, one) for one in found]


def _as_spf_wants(kind: str, record: str) -> object:
    if kind in {"TXT", "SPF"}:
        return (record.encode("utf-8", "replace"),)
    if kind == "MX":
        preference, _, host = record.partition(" ")
        return int(preference) if preference.isdigit() else 0, host
    return record


def _signatures(message: bytes, asked: _Asked, *, author: str) -> list[Signature]:
    try:
        count = sum(
            1
            for name, _ in dkim.DKIM(message, logger=_SILENT).headers
            if name.lower() == b"dkim-signature"
        )
    except dkim.DKIMException:
        return []
    return [
        _signature(message, number, asked, author=author)
        for number in range(min(count, MAX_SIGNATURES))
    ]


def _signature(message: bytes, number: int, asked: _Asked, *, author: str) -> Signature:
    # Made anew for each: what one signature leaves behind is not for the next.
    checker = dkim.DKIM(message, logger=_SILENT, minkey=1024)
    outcome, reason = _verified(checker, number, asked)
    fields = getattr(checker, "signature_fields", None) or {}

    def told(name: bytes) -> str:
        value = fields.get(name, b"").decode("utf-8", "replace")
        return " ".join(value.split())[:MAX_TEXT_CHARACTERS]

    domain, selector, algorithm = told(b"d").lower(), told(b"s"), told(b"a").lower()
    name = f"{selector}._domainkey.{domain}" if domain and selector else ""
    record = asked.key(name) if name else ""
    if outcome is Outcome.INVALID and reason is Reason.SIGNATURE_WRONG:
        outcome, reason = _why(record)
    if algorithm == "rsa-sha1" and outcome is Outcome.VALID:
        outcome, reason = Outcome.INVALID, Reason.WEAK
    signed_at = fields.get(b"t", b"").strip()
    return Signature(
        outcome=outcome,
        reason=reason,
        domain=domain,
        selector=selector,
        algorithm=algorithm,
        signed_headers=told(b"h"),
        signed_at=int(signed_at) if _NUMBER.fullmatch(signed_at) else None,
        key_name=name,
        key_record=(record or "")[:MAX_TEXT_CHARACTERS],
        is_of_author=_is_of(author, domain),
        is_partial=b"l" in fields,
    )


def _verified(checker: dkim.DKIM, number: int, asked: _Asked) -> tuple[Outcome, Reason | None]:
    try:
        if checker.verify(idx=number, dnsfunc=asked.txt):
            return Outcome.VALID, None
    except dkim.NaClNotFoundError:
        return Outcome.UNCHECKED, Reason.NOT_KNOWN_HERE
    except dkim.KeyFormatError:
        return Outcome.INVALID, Reason.KEY_UNUSABLE
    except dkim.ValidationError as error:
        is_body = "body hash mismatch" in str(error)
        return Outcome.INVALID, Reason.BODY_CHANGED if is_body else Reason.NOT_A_SIGNATURE
    except Exception:  # noqa: BLE001  # what the library cannot cope with is no signature
        return Outcome.INVALID, Reason.NOT_A_SIGNATURE
    return Outcome.INVALID, Reason.SIGNATURE_WRONG


def _why(record: str | None) -> tuple[Outcome, Reason]:
    """Return why a signature did not verify, for the library says the same of a missing key and of a wrong one."""
    if record is None:
        return Outcome.UNCHECKED, Reason.NO_ANSWER
    if not record or not re.search(r"(?:^|;)\s*p=\s*[A-Za-z0-9+/]", record):
        return Outcome.INVALID, Reason.NO_KEY
    try:
        dkim.evaluate_pk(b"", record.encode("utf-8", "replace"))
    except dkim.NaClNotFoundError:
        return Outcome.UNCHECKED, Reason.NOT_KNOWN_HERE
    except Exception:  # noqa: BLE001  # whatever is wrong with it, it is no key
        return Outcome.INVALID, Reason.KEY_UNUSABLE
    return Outcome.INVALID, Reason.SIGNATURE_WRONG


def _chain(message: bytes, asked: _Asked) -> Chain | None:
    """Return the verdict on the chain of servers that handed the mail on; None where none sealed it."""
    try:
        cv, results, _ = dkim.ARC(message, logger=_SILENT, minkey=1024).verify(
            dnsfunc=asked.txt
        )
    except Exception:  # noqa: BLE001  # what the library cannot cope with is no chain
        return Chain(outcome=Outcome.INVALID, reason=Reason.NOT_A_SIGNATURE)
    if cv == dkim.CV_None:
        return None
    names = sorted(asked.names)
    if cv == dkim.CV_Pass:
        outcome, reason = Outcome.VALID, None
    elif asked.has_gaps:
        outcome, reason = Outcome.UNCHECKED, Reason.NO_ANSWER
    else:
        outcome, reason = Outcome.INVALID, Reason.SIGNATURE_WRONG
    newest = results[0] if results else {}
    return Chain(
        outcome=outcome,
        reason=reason,
        length=len(results),
        domain=_text(newest.get("as-domain")),
        key_records=tuple(
            (name[:253], (asked.key(name) or "")[:MAX_TEXT_CHARACTERS]) for name in names
        ),
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace")[:253] if isinstance(value, bytes) else ""


def _is_of(author: str, domain: str) -> bool:
    """Tell whether ``domain`` may speak for a sender at ``author``: it is the same, above it, or below it."""
    plain = author.lower().rstrip(".")
    if "." not in domain or "." not in plain:
        return False
    return plain == domain or plain.endswith(f".{domain}") or domain.endswith(f".{plain}")
