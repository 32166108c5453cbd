"""What Amazon's notification service (SNS) posts, and the text of it that is signed; nothing is checked here.

The rules are those of the Amazon SNS Developer Guide, "HTTP/HTTPS endpoints" and "Verifying the signatures of Amazon
SNS messages".
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

from service.domain.errors import InvalidInputError
from service.domain.times import parse_rfc3339
from service.sources.strict_json import decode_json

NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
END: Final = "UnsubscribeConfirmation"
TOPIC: Final = re.compile(
    r"arn:aws[a-z-]{0,20}:sns:(?P<region>[a-z0-9-]{3,32}):[0-9]{12}:[A-Za-z0-9_-]{1,256}",
    re.ASCII,
)
"""The name of a topic: partition, region, account and name (ARN)."""

_NOTIFIED: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMED: Final = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
_SIGNED: Final = {NOTIFICATION: _NOTIFIED, CONFIRMATION: _CONFIRMED, END: _CONFIRMED}
"""What of each type is signed, in this order."""
_CERTIFICATE: Final = re.compile(r"/[A-Za-z0-9_-]{1,128}\.pem", re.ASCII)


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message as it was posted. Nobody has vouched for it yet.

    ``text`` is what was published to the topic. ``signed`` is what ``signature`` is of, by ``version`` and the key of
    the certificate at ``certificate_url``. ``subscribe_url`` confirms a subscription to who asks for it: a secret.
    """

    type: str
    id: str
    topic: str
    sent_at: datetime
    version: str
    certificate_url: str
    text: str = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    subscribe_url: str = field(default="", repr=False)


def parse_sns(body: bytes) -> SnsMessage:
    """Return the message that a body is.

    Raises:
        InvalidInputError: It is none. The detail repeats nothing of it.
    """
    told = decode_json(body)
    if not isinstance(told, dict):
        raise InvalidInputError("no message of SNS")
    kind = told.get("Type")
    names = _SIGNED.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise InvalidInputError("its Type is none of SNS")
    # A subject is signed where there is one.
    values = {
        name: _text(told, name)
        for name in names
        if not (name == "Subject" and told.get(name) is None)
    }
    return SnsMessage(
        type=values["Type"],
        id=values["MessageId"],
        topic=values["TopicArn"],
        sent_at=_time(values["Timestamp"]),
        version=_text(told, "SignatureVersion"),
        certificate_url=_text(told, "SigningCertURL"),
        text=values["Message"],
        signed="".join(f"{name}\n{value}\n" for name, value in values.items()).encode(),
        signature=_base64(_text(told, "Signature")),
        subscribe_url=values.get("SubscribeURL", ""),
    )


def is_certificate(target: str) -> bool:
    """Tell whether ``target``, path and query of a URL, is where SNS keeps a certificate.

    Other paths of the same host answer what others wrote, such as the names of their topics.
    """
    return _CERTIFICATE.fullmatch(target) is not None


def is_confirmation(target: str, *, topic: str) -> bool:
    """Tell whether ``target``, path and query of a URL, confirms a subscription to ``topic`` and does nothing else."""
    path, _, query = target.partition("?")
    told = parse_qsl(query, keep_blank_values=True)
    names = sorted(name for name, _ in told)
    wanted = {"Action": "ConfirmSubscription", "TopicArn": topic}
    return (
        path == "/"
        and names == ["Action", "Token", "TopicArn"]
        and wanted.items() <= dict(told).items()
    )


def _text(told: dict[str, object], name: str) -> str:
    """Return a member. All but what was published is one line: otherwise one could pass for two of what is signed."""
    value = told.get(name)
    if not isinstance(value, str):
        raise InvalidInputError(f"a message of SNS without {name}")
    if name != "Message" and not value.isprintable():
        raise InvalidInputError(f"{name} is not one line of text")
    return value


def _time(text: str) -> datetime:
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError("its Timestamp is no time") from None


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("its Signature is no base64") from None
