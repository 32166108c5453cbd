"""Signatures of mail services, beside the secret in the address that they post to.

Mailgun's is of a time and a token, and says nothing of the content. SendGrid's is of a time and the whole body.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from service.archive.receive import ID_REUSED
from service.domain.errors import InvalidInputError, NotSignedInError
from service.intake.standard_webhooks import UNTIMELY
from service.sources.posted_mail import Fields

_KEY: Final = re.compile(r"[!-~]{16,128}", re.ASCII)
_STAMP: Final = re.compile(r"[0-9]{10}", re.ASCII)
_TOKENS: Final = 10_000
_SENDGRID: Final = "X-Twilio-Email-Event-Webhook-"


@dataclass(frozen=True, slots=True)
class Posted:
    """What was posted: the headers, the body as it came, and what was found in it."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    fields: Fields = field(repr=False)


class PostKey(Protocol):
    """What the posts of a mail service are checked with."""

    def verify(self, posted: Posted, *, tolerance: timedelta, now: datetime) -> Sequence[str]:
        """Return what a person should look at although the signature is valid.

        Raises:
            NotSignedInError: It is not.
        """
        ...


@dataclass(frozen=True, slots=True)
class MailgunKey:
    """The webhook signing key of an account of Mailgun."""

    key: bytes = field(repr=False)
    tokens: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict, repr=False)
    """The newest tokens, and the SHA-256 of what each came with."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``text`` is.

        Raises:
            InvalidInputError: It is none. The text is not repeated.
        """
        if not _KEY.fullmatch(text.strip()):
            raise InvalidInputError("the signing key is not 16 to 128 visible characters")
        return cls(text.strip().encode())

    def verify(self, posted: Posted, *, tolerance: timedelta, now: datetime) -> Sequence[str]:
        """Check HMAC-SHA-256 of time and token, in hexadecimal (Mailgun documentation, "Securing webhooks").

        Whoever has seen one such signature could send other content with it: a token that comes with another mail than
        before is told of, and so is a time outside of the tolerance, for tokens of then may be forgotten by now.

        Raises:
            NotSignedInError: There is no valid signature.
        """
        stamp, token, signature = (
            posted.fields.get(name, b"") for name in ("timestamp", "token", "signature")
        )
        expected = hmac.new(self.key, stamp + token, hashlib.sha256).hexdigest().encode()
        is_valid = hmac.compare_digest(expected, signature)
        # Of a fixed length: otherwise digits could move from the time to the token.
        if not is_valid or not token or not _STAMP.fullmatch(stamp.decode(errors="replace")):
            raise NotSignedInError("no signature matches")
        digest = hashlib.sha256(posted.fields.get("body-mime", b"")).digest()
        is_reused = self.tokens.setdefault(token, digest) != digest
        if len(self.tokens) > _TOKENS:
            self.tokens.popitem(last=False)
        return [*([ID_REUSED] if is_reused else []), *_remarks(stamp.decode(), tolerance, now)]


@dataclass(frozen=True, slots=True)
class SendGridKey:
    """The public key of a security policy of SendGrid's Inbound Parse."""

    key: ec.EllipticCurvePublicKey = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``text`` is: base64 of a SubjectPublicKeyInfo on the curve P-256.

        Raises:
            InvalidInputError: It is none. The text is not repeated.
        """
        try:
            key = load_der_public_key(base64.b64decode(text.strip(), validate=True))
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise InvalidInputError(
                "the signing key is not the base64 of a public key on P-256"
            )
        return cls(key)

    def verify(self, posted: Posted, *, tolerance: timedelta, now: datetime) -> Sequence[str]:
        """Check ECDSA with SHA-256 of time and body (SendGrid documentation, "Securing your Inbound Parse webhooks").

        Raises:
            NotSignedInError: There is no valid signature.
        """
        stamp = posted.headers.get(f"{_SENDGRID}Timestamp", "")
        try:
            signature = base64.b64decode(
                posted.headers.get(f"{_SENDGRID}Signature", ""), validate=True
            )
            self.key.verify(signature, stamp.encode() + posted.body, ec.ECDSA(hashes.SHA256()))
        except (binascii.Error, ValueError, InvalidSignature):
            raise NotSignedInError("no signature matches") from None
        if not _STAMP.fullmatch(stamp):
            raise NotSignedInError("no signature matches")
        return _remarks(stamp, tolerance, now)


KEYS: Final[Mapping[str, Callable[[str], PostKey]]] = {
    "mailgun": MailgunKey.parse,
    "sendgrid": SendGridKey.parse,
}
"""How the key of each kind is read that signs what it posts."""


def _remarks(stamp: str, tolerance: timedelta, now: datetime) -> list[str]:
    signed_at = datetime.fromtimestamp(int(stamp), UTC)
    return [] if abs(now - signed_at) <= tolerance else [UNTIMELY]
