"""What a mail tells of a contact: who wrote to whom, when, about what, and in which conversation."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.domain.contact import (
    MAX_PARTIES,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import EmailAddress
from service.domain.times import parse_rfc3339
from service.sources.generic import is_plausible
from service.sources.mail.facts import Address, Flag, ReadMail
from service.sources.mail.thread import Conversation, conversation_of
from service.sources.mail_envelope import ReceivedMail

_ADDRESS: Final = re.compile(r"[^\s<>\"'(),;:@]{1,64}@[^\s<>\"'(),;:@]{1,253}")
_NULL_SENDERS: Final = frozenset({"", "<>"})


@dataclass(frozen=True, slots=True)
class UnderstoodMail:
    """A mail as it is to be worked into its contact, which ``conversation`` finds.

    ``identity`` is the same for the same message in whichever way it came. ``facts`` have no contact of theirs yet.
    """

    facts: ContactFacts
    conversation: Conversation
    identity: str
    sender: str
    sent_at: datetime
    flags: tuple[Flag, ...]


def understand_mail(
    read: ReadMail,
    envelope: ReceivedMail,
    *,
    company: Collection[str],
    received_at: datetime,
) -> UnderstoodMail:
    """Return what a mail tells that was ``read`` and came in ``envelope``.

    ``company`` are the company's own addresses, and its domains as ``@example.com``. A mail of which nothing could be
    read is known by its envelope alone. The time is the one that the sender gives, unless that cannot be; then when it
    came.
    """
    headers = read.headers
    sent_at = parse_rfc3339(headers.sent_at) if headers.sent_at else None
    flags = set(read.flags)
    if sent_at is None or not is_plausible(sent_at, now=received_at):
        sent_at = _came_at(envelope, received_at)
        flags.add(Flag.NO_DATE)
    senders = headers.senders or _envelope_sender(envelope)
    # A mailbox keeps no envelope, which could say so.
    has_envelope = envelope.mailbox is None
    if has_envelope and _is_null(envelope.mail_from) and not headers.senders:
        flags.add(Flag.BOUNCE)
    if any(map(_may_deceive, senders)):
        flags.add(Flag.LOOKALIKE)
    parties = _parties(read, envelope, senders, company)
    people = sorted({p.email for p in parties if p.email and p.role is PartyRole.CUSTOMER})
    is_ours = any(is_of_company(one.address, company) for one in senders[:1])
    conversation = conversation_of(read, sha256=envelope.sha256, people=people, sent_at=sent_at)
    facts = ContactFacts(
        source_id=conversation.first_name,
        channel=Channel.EMAIL,
        direction=Direction.OUTBOUND if is_ours else Direction.INBOUND,
        started_at=sent_at,
        ended_at=sent_at,
        subject=headers.subject or None,
        parties=parties,
        is_part=True,
        aliases=conversation.names,
    )
    return UnderstoodMail(
        facts=facts,
        conversation=conversation,
        identity=_identity(read, envelope, senders),
        sender=_shown(senders),
        sent_at=sent_at,
        flags=tuple(flag for flag in Flag if flag in flags),
    )


def _came_at(envelope: ReceivedMail, received_at: datetime) -> datetime:
    """Return when a mail came: to its mailbox, where it was read from one and that can be, else here."""
    came_at = envelope.arrived_at
    if came_at is not None and is_plausible(came_at, now=received_at):
        return came_at
    return received_at


def is_of_company(address: str, company: Collection[str]) -> bool:
    """Tell whether ``address`` is the company's: by itself, or by its domain."""
    plain = _canonical(address)
    return plain is not None and (plain in company or f"@{plain.rpartition('@')[2]}" in company)


def _identity(read: ReadMail, envelope: ReceivedMail, senders: tuple[Address, ...]) -> str:
    """Return what makes the message this one: its id, its date, its sender and what it says.

    An id alone is not unique; and what mail servers add on the way makes no other message of it.
    """
    headers = read.headers
    if not headers.message_id or read.problem:
        return f"sha256:{envelope.sha256}"
    said = hashlib.sha256("".join(part.sha256 for part in read.body.parts).encode()).hexdigest()
    sender = senders[0].address if senders else ""
    return f"{headers.message_id}\n{headers.date}\n{sender}\n{said}"


def _parties(
    read: ReadMail,
    envelope: ReceivedMail,
    senders: tuple[Address, ...],
    company: Collection[str],
) -> tuple[Party, ...]:
    """Return who took part, each once, senders first; where a name is given, with the first one."""
    headers = read.headers
    told = [
        *senders,
        *headers.to,
        *headers.cc,
        *(read.report.recipients if read.report else ()),
    ]
    if read.problem or not told:
        told += [Address(name="", address=one) for one in envelope.recipients]
    found: dict[str, Party] = {}
    for one in told:
        party = _party(one, company)
        key = party.email or f"{party.name}"
        if key not in found and len(found) < MAX_PARTIES:
            found[key] = party
    return tuple(found.values())


def _party(told: Address, company: Collection[str]) -> Party:
    email = _canonical(told.address)
    role = PartyRole.AGENT if is_of_company(told.address, company) else PartyRole.CUSTOMER
    # What is no address that one could write to is kept as a name.
    name = told.name or (told.address if email is None else "")
    return Party(role=role, email=email, name=_text(name) or None)


def _envelope_sender(envelope: ReceivedMail) -> tuple[Address, ...]:
    if _is_null(envelope.mail_from):
        return ()
    return (Address(name="", address=envelope.mail_from[:1000]),)


def _may_deceive(sender: Address) -> bool:
    """Tell whether a sender's name holds another address, or one label of the domain mixes Latin and other letters."""
    named = _ADDRESS.search(sender.name)
    if named and _canonical(named[0]) != _canonical(sender.address):
        return True
    domain = sender.address.rpartition("@")[2]
    if "xn--" in domain.lower():
        # What is no such name shows as it is, and deceives nobody.
        with suppress(UnicodeError):
            domain = domain.encode("ascii").decode("idna")
    return any(len(_scripts(label)) > 1 for label in domain.split("."))


def _scripts(label: str) -> set[str]:
    letters = [c for c in label if c.isalpha()]
    return {unicodedata.name(c, "?").partition(" ")[0] for c in letters}


def _is_null(mail_from: str) -> bool:
    return mail_from in _NULL_SENDERS


def _shown(senders: Iterable[Address]) -> str:
    """Return how the sender is named in the list of messages: by address, which is less easily invented than a name."""
    return next((_canonical(one.address) or one.address for one in senders), "")


def _canonical(address: str) -> str | None:
    try:
        return EmailAddress.parse(address).address
    except InvalidInputError:
        return None


def _text(name: str) -> str:
    return unicodedata.normalize("NFC", name)
