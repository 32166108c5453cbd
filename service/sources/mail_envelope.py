"""A mail as it was taken in: who sent it to whom by which way, and which bytes it is."""

from datetime import datetime

import msgspec

from service.domain.errors import InvalidInputError


class ReceivedMail(msgspec.Struct, frozen=True):
    """The body of a delivery of kind ``mail``, whose object is the raw message.

    ``mail_from`` is empty for a bounce, and where the mail was read from a mailbox, which keeps no envelope; then
    ``recipients`` are too. ``mailbox`` is its name, UIDVALIDITY and UID (RFC 9051, section 2.3.1), and ``arrived_at``
    when the mail came there, as its server says. ``sha256`` is that of the raw message; ``commitment`` is HMAC-SHA-256
    of it under ``salt``.
    """

    mail_from: str
    recipients: tuple[str, ...]
    peer: str
    helo: str
    protocol: str
    is_tls: bool
    sha256: str
    size_bytes: int
    salt: bytes
    commitment: str
    mailbox: tuple[str, int, int] | None = None
    arrived_at: datetime | None = None

    def encode(self) -> bytes:
        """Return the body of the delivery."""
        return msgspec.msgpack.encode(self)


def decode_mail(body: bytes) -> ReceivedMail:
    """Return what a delivery says of its mail.

    Raises:
        InvalidInputError: It says nothing of a mail.
    """
    try:
        return msgspec.msgpack.decode(body, type=ReceivedMail)
    except msgspec.MsgspecError:
        raise InvalidInputError("the delivery is not a mail") from None
