"""Mails that Amazon SES publishes to a topic of SNS: the raw message, or a word on why it is not there.

The rules are those of the Amazon SES Developer Guide, "Contents of notifications for Amazon SES email receiving".
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from service.domain.errors import InvalidInputError
from service.sources.events import SourceRule, Understood
from service.sources.posted_mail import (
    Fields,
    PostedMail,
    envelope_address,
    envelope_addresses,
    with_line_ends,
)
from service.sources.requests import decode_request
from service.sources.sns import CONFIRMATION, END, SnsMessage, parse_sns
from service.sources.strict_json import decode_json

_STORED: Final = (
    "the mail lies in a bucket of S3 alone, which the archive does not read: SES notifies of mails up to 150 KB. Fetch "
    "it from the bucket for the archive, and let SES deliver to a mail server that delivers by LMTP, as "
    "docs/sources/mail-webhooks.md says"
)
_ENDED: Final = (
    "the subscription to the topic was ended: no more mails come from it. Subscribe the address again if that was not "
    "meant"
)
_NO_CONTENT: Final = (
    "SES sends no raw message: give its receipt rule the action SNS, with the encoding Base64"
)
_NO_MAIL: Final = "the topic told of something else than a mail that was received: give SES a topic of its own"


def unpack_ses(fields: Fields) -> PostedMail:
    """Return the mail of a notification of a receipt rule with the action *SNS*.

    With the encoding Base64 it is what SES received, byte for byte. As UTF-8 bytes beyond it were replaced by SES.

    Raises:
        InvalidInputError: There is none; the detail says what to do.
    """
    return _mail(parse_sns(fields.get("", b"")))


def understand_ses(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Say what to do about a request in which there was no mail. The confirmation of a subscription tells nothing.

    Raises:
        InvalidInputError: There is something to be done.
    """
    del rule, now
    message = parse_sns(decode_request(body).body)
    if message.type == CONFIRMATION:
        return Understood(contacts=())
    _mail(message)
    raise InvalidInputError("the mail in it was not taken: have it sent again")


def _mail(message: SnsMessage) -> PostedMail:
    if message.type == END:
        raise InvalidInputError(_ENDED)
    told = _notified(message)
    mail, receipt = _object(told, "mail"), _object(told, "receipt")
    action = _object(receipt, "action")
    recipients = receipt.get("recipients")
    return PostedMail(
        _raw(told.get("content"), action),
        envelope_address(mail.get("source")),
        envelope_addresses(recipients if isinstance(recipients, list) else []),
    )


def _notified(message: SnsMessage) -> Mapping[str, object]:
    """Return what a notification tells of a mail that SES received."""
    try:
        told = decode_json(message.text.encode())
    except InvalidInputError:
        told = None
    if not isinstance(told, dict) or told.get("notificationType") != "Received":
        raise InvalidInputError(_NO_MAIL)
    return told


def _raw(content: object, action: Mapping[str, object]) -> bytes:
    if not isinstance(content, str) or not content:
        raise InvalidInputError(_STORED if action.get("type") == "S3" else _NO_CONTENT)
    encoding = action.get("encoding")
    # Where it is not told: no mail is without a colon, and no base64 has one.
    is_base64 = ":" not in content if encoding is None else str(encoding).upper() == "BASE64"
    if not is_base64:
        return with_line_ends(content.encode())
    try:
        raw = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("the content is no base64, though SES says so") from None
    if not raw:
        raise InvalidInputError(_NO_CONTENT)
    return raw


def _object(told: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = told.get(name)
    return value if isinstance(value, dict) else {}
