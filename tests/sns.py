"""Messages as Amazon SNS posts them, signed by a certificate of the test's own."""

import base64
import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-north-1:123456789012:mails"
PEM = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
KEY = rsa.generate_private_key(65537, 2048)
HASHES = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303  # SNS signs so
NOTIFIED = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
CONFIRMED = [
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
]


def certificate(key=KEY, *, days=30, sign=KEY):
    """Return a certificate of ``key`` that ends in ``days``, as PEM."""
    name, now = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.example")]),
        datetime.now(UTC),
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(sign, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def notified(content, *, encoding="BASE64", action="SNS", **changes):
    """Return what SES publishes of a mail (Amazon SES, "Contents of notifications")."""
    is_text = content is None or encoding != "BASE64"
    text = content if is_text else base64.b64encode(content).decode()
    told = {
        "notificationType": "Received",
        "mail": {"messageId": "d6iitobk75ur44p8kdnnp7g2n800", "source": "maija@example.fi"},
        "receipt": {
            "recipients": ["apu@example.com"],
            "action": {"type": action, "topicArn": TOPIC, "encoding": encoding},
        },
        **({} if content is None else {"content": text}),
        **changes,
    }
    return json.dumps(told)


def message(text, *, origin, kind="Notification", topic=TOPIC, at=None, **changes):
    """Return the members of a message, without its signature."""
    stamp = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    told = {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": topic,
        "Subject": "Amazon SES Email Receipt Notification",
        "Message": text,
        "Timestamp": stamp,
        "SignatureVersion": "2",
        "SigningCertURL": origin + PEM,
        "UnsubscribeURL": f"{origin}/?Action=Unsubscribe&SubscriptionArn={topic}:1",
    }
    if kind != "Notification":
        del told["Subject"], told["UnsubscribeURL"]
        told["Token"] = "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92"
        query = f"?Action=ConfirmSubscription&TopicArn={topic}&Token={told['Token']}"
        told["SubscribeURL"] = f"{origin}/{query}"
    return {**told, **changes}


def signed(told, *, key=KEY):
    """Return the body, signed by the definition (Amazon SNS, "Verifying the signatures")."""
    names = NOTIFIED if told["Type"] == "Notification" else CONFIRMED
    text = "".join(f"{name}\n{told[name]}\n" for name in names if told.get(name) is not None)
    algorithm = HASHES[told["SignatureVersion"]]
    signature = base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), algorithm))
    return json.dumps({**told, "Signature": signature.decode()}, indent=2).encode()


def headers_of(told):
    return {
        "Content-Type": "text/plain; charset=UTF-8",
        "x-amz-sns-message-type": told["Type"],
        "x-amz-sns-message-id": told["MessageId"],
        "x-amz-sns-topic-arn": told["TopicArn"],
    }
