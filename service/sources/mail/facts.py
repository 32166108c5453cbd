"""What is read of a message: plain values, small enough to be told by a child process that nobody trusts."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

MAX_ADDRESSES: Final = 1000
"""So many addresses of one header are read (To, Cc); what follows is in the message as it came."""
MAX_REFERENCES: Final = 200
MAX_PARTS: Final = 1000
"""So many parts of a message are looked at."""
MAX_ATTACHMENTS: Final = 200
"""So many of them are kept each for itself; the message as it came has all."""
MAX_TEXT_BYTES: Final = 4 << 20
"""So much of a message's text is kept as its text; the whole is in the message as it came."""
MAX_HTML_BYTES: Final = 2 << 20
MAX_NAME_CHARACTERS: Final = 255
MAX_SUBJECT_CHARACTERS: Final = 2000
_MAX_ADDRESS_CHARACTERS: Final = 1000
_MAX_ID_CHARACTERS: Final = 250

Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARACTERS)]
AddressText = Annotated[str, msgspec.Meta(max_length=_MAX_ADDRESS_CHARACTERS)]
MessageId = Annotated[str, msgspec.Meta(max_length=_MAX_ID_CHARACTERS)]
"""What stands between the angle brackets (RFC 5322, section 3.6.4)."""
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Flag(StrEnum):
    """What a person should know of a message. Stable codes."""

    AUTO_REPLY = "auto_reply"
    """A program answered (RFC 3834)."""
    AUTOMATIC = "automatic"
    """A program wrote it, and not in answer to anything (RFC 3834, section 5)."""
    BOUNCE = "bounce"
    """A mail server tells what became of another message (RFC 3464)."""
    RECEIPT = "receipt"
    """A mail program tells that a message was shown (RFC 8098)."""
    BULK = "bulk"
    """It went to many: a list or a newsletter."""
    JOURNAL = "journal"
    """It came inside a journal report, which names its recipients."""
    SIGNED = "signed"
    """A server signed it (DKIM, ARC); whether the signature is valid is another question."""
    ENCRYPTED = "encrypted"
    """Its content is encrypted for somebody; what is shown is what is around it."""
    SEVERAL_FROM = "several_from"
    """It names several senders, or names them twice; the first is shown."""
    LOOKALIKE = "lookalike"
    """Its sender's name holds another address, or its domain mixes letters of several scripts that look the same."""
    NO_DATE = "no_date"
    """It does not say when it was written, or says what cannot be; the time of its arrival is shown."""
    CUT = "cut"
    """There is more than is shown here; the message as it came has everything."""
    HTML_NOT_SHOWN = "html_not_shown"
    """Its formatted text cannot be shown safely."""
    UNREADABLE = "unreadable"
    """Not all of it could be read; the message as it came has everything."""


class Address(msgspec.Struct, frozen=True):
    """Somebody, as the message names them."""

    name: Name
    address: AddressText


Addresses = Annotated[tuple[Address, ...], msgspec.Meta(max_length=MAX_ADDRESSES)]


class Headers(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers say. ``date`` is the sender's text; ``sent_at`` is what it means, RFC 3339, or nothing."""

    message_id: MessageId = ""
    references: Annotated[tuple[MessageId, ...], msgspec.Meta(max_length=MAX_REFERENCES)] = ()
    in_reply_to: Annotated[tuple[MessageId, ...], msgspec.Meta(max_length=MAX_REFERENCES)] = ()
    subject: Annotated[str, msgspec.Meta(max_length=MAX_SUBJECT_CHARACTERS)] = ""
    date: Name = ""
    sent_at: Annotated[str, msgspec.Meta(max_length=40)] = ""
    senders: Addresses = ()
    reply_to: Addresses = ()
    to: Addresses = ()
    cc: Addresses = ()
    flags: Annotated[tuple[Flag, ...], msgspec.Meta(max_length=len(Flag))] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A journal report: the envelope of the message inside it, as the mail server saw it."""

    sender: AddressText = ""
    message_id: MessageId = ""
    recipients: Addresses = ()


class PartKind(StrEnum):
    """What a part of a message is for."""

    TEXT = "text"
    """The message's own text, in UTF-8."""
    HTML = "html"
    """Its formatted text, made safe: a fragment of HTML in UTF-8."""
    ATTACHMENT = "attachment"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part that is kept. ``name`` and ``content_type`` are the sender's claims."""

    kind: PartKind
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256
    name: Name = ""
    content_type: Name = "application/octet-stream"
    is_risky: bool = False
    """Whether opening it on a computer may run what is in it."""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What the body consists of. ``flags`` are those that only the body tells."""

    parts: Annotated[tuple[Part, ...], msgspec.Meta(max_length=MAX_ATTACHMENTS + 2)] = ()
    about: Annotated[tuple[MessageId, ...], msgspec.Meta(max_length=MAX_REFERENCES)] = ()
    """The messages that a bounce or a receipt is about."""
    flags: Annotated[tuple[Flag, ...], msgspec.Meta(max_length=len(Flag))] = ()


class ReadMail(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a message; ``problem`` is why not all of it was."""

    headers: Headers = Headers()
    body: Body = Body()
    report: Report | None = None
    problem: str = ""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All flags, each once, in the order in which they are defined."""
        told = {*self.headers.flags, *self.body.flags}
        told |= {Flag.UNREADABLE} if self.problem else set()
        told |= {Flag.JOURNAL} if self.report else set()
        return tuple(flag for flag in Flag if flag in told)
