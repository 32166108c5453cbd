"""Journal reports of Exchange and Microsoft 365: the message that was journaled, and the envelope it had.

The report is a message whose first part lists sender and recipients, one a line, and whose second is the original,
unaltered, as ``message/rfc822``. Both layers are kept: the report is the mail as it came.
"""

import re
from email.message import Message
from itertools import pairwise
from typing import Final

from service.sources.mail.facts import MAX_ADDRESSES, Address, Report
from service.sources.mail.headers import FAULTS, Mime, decode_bytes, parse_addresses

MARK: Final = "x-ms-journal-report"
_MAX_REPORT_CHARACTERS: Final = 1 << 20
_RECIPIENTS: Final = frozenset({"to", "cc", "bcc", "recipient"})
_BLANK: Final = re.compile(rb"\r?\n\r?\n")


def find_report(message: Mime) -> Report | None:
    """Return the envelope that a journal report tells; None where ``message`` is not one, or has no message inside."""
    if MARK not in message:
        return None
    payload = message.get_payload()
    parts = (
        [one for one in payload if isinstance(one, Message)]
        if isinstance(payload, list)
        else []
    )
    if not any(one.get_content_type() == "message/rfc822" for one in parts):
        return None
    return parse_report(_text(parts[0]))


def parse_report(text: str) -> Report:
    """Return what the lines of a report say; what is none of its fields is left out."""
    sender = message_id = ""
    recipients: dict[Address, None] = {}
    for line in text[:_MAX_REPORT_CHARACTERS].splitlines():
        field, _, value = line.partition(":")
        name = field.strip().lower()
        if name == "sender" and not sender:
            sender = _address(value)
        elif name == "message-id" and not message_id:
            message_id = value.strip().strip("<>")[:250]
        elif name in _RECIPIENTS and len(recipients) < MAX_ADDRESSES:
            address = _address(value.partition(",")[0])
            if address:
                recipients[Address(name="", address=address)] = None
    return Report(sender=sender, message_id=message_id, recipients=tuple(recipients))


def inner_message(raw: bytes, boundary: str) -> bytes | None:
    """Return the bytes of the first ``message/rfc822`` part of ``raw`` as they came; None where there is none.

    A parser could only write it anew, and a signature is of the very bytes.
    """
    mark = re.escape(boundary.encode("ascii", "surrogateescape"))
    lines = re.compile(rb"(?:\A|\r?\n)--" + mark + rb"(?:--)?[ \t]*(?=\r?\n|\Z)")
    places = [(found.start(), found.end()) for found in lines.finditer(raw)]
    for (_, start), (end, _) in pairwise(places):
        part = raw[start:end]
        # The line of the boundary ends with the line break that the part begins with.
        head, blank, _ = (
            part.partition(b"\n\n") if b"\r\n\r\n" not in part else part.partition(b"\r\n\r\n")
        )
        if blank and re.search(rb"(?im)^content-type:\s*message/rfc822", head):
            return part[len(head) + len(blank) :]
    return None


def _text(part: Mime) -> str:
    try:
        charset = part.get_content_charset() or "utf-8"
        data = part.get_payload(decode=True)
    except FAULTS:
        return ""
    if part.get_content_maintype() != "text" or not isinstance(data, bytes):
        return ""
    return decode_bytes(data, charset)


def _address(text: str) -> str:
    return next((one.address for one in parse_addresses(text)), "")
