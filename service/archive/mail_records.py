"""What is sealed in the row of a message that is a mail."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from service.sources.mail.facts import Address, Flag


class MailPart(StrEnum):
    """What an object of a mail holds."""

    RAW = "mail"
    """The mail as it came, byte for byte."""
    HTML = "html"
    """Its formatted text, made safe."""
    ATTACHMENT = "attachment"


class SealedPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object of a mail. ``sha256`` is that of its bytes; ``commitment`` is HMAC-SHA-256 of it under ``salt``."""

    object_id: str
    kind: MailPart
    sha256: str
    salt: bytes
    commitment: str
    size_bytes: int = 0
    name: str = ""
    content_type: str = ""
    is_risky: bool = False


class SealedEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a mail came: what its sender's server said, and who that was."""

    mail_from: str = ""
    recipients: tuple[str, ...] = ()
    peer: str = ""
    helo: str = ""
    protocol: str = ""
    is_tls: bool = False
    mailbox: str = ""


class SealedMail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a mail has beside its text. ``date`` is what the sender wrote; ``problem`` is why not all of it was read.

    ``journaled`` are the recipients that a journal report names.
    """

    received_at: datetime
    envelope: SealedEnvelope = SealedEnvelope()
    message_id: str = ""
    subject: str = ""
    date: str = ""
    senders: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    journaled: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    problem: str = ""
    parts: tuple[SealedPart, ...] = ()

    @property
    def attachments(self) -> tuple[SealedPart, ...]:
        """The attachments, in their order."""
        return tuple(part for part in self.parts if part.kind is MailPart.ATTACHMENT)

    @property
    def by_object(self) -> Mapping[str, SealedPart]:
        """The parts by the ids of their objects."""
        return {part.object_id: part for part in self.parts}

    def find(self, kind: MailPart, number: int = 1) -> SealedPart | None:
        """Return the part of ``kind`` with this number, counted from 1; None where there is none."""
        of_kind = [part for part in self.parts if part.kind is kind]
        return of_kind[number - 1] if 0 < number <= len(of_kind) else None


NO_MAIL: Final = SealedMail(received_at=datetime.min.replace(tzinfo=UTC))
"""What a message that is no mail has of one: nothing."""
