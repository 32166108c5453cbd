"""Timestamps (RFC 3161): somebody else's signed word that these bytes existed at a time. Pure, but for the nonce."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID
from rfc3161_client import (
    TimeStampRequest,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.base import HashAlgorithm

from service.log.der import sorted_certificates
from service.log.errors import FormatError, SignatureError, UnknownSignerError

REQUEST_TYPE: Final = "application/timestamp-query"
"""Content type of a request (RFC 3161, section 3.4)."""

ANSWER_TYPE: Final = "application/timestamp-reply"
"""Content type of the answer."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Longest answer that is read; those of public authorities have some five thousand bytes."""

_GRANTED: Final = 0
# What the library and the certificates in a response raise when they cannot be read.
_UNREADABLE: Final = (
    ValueError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
# What OpenSSL says when the signature is good for its certificate, and the certificate leads to nobody trusted.
_UNTRUSTED: Final = '"certificate verify error"'
_FORGED: Final = ('"signature failure"', '"digest failure"')


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose timestamps are believed: certificates of authorities, and the one policy that they stamp under, or any."""

    authorities: tuple[x509.Certificate, ...]
    policy: str | None = None

    @classmethod
    def parse(cls, pem: bytes, *, policy: str | None = None) -> "Trust":
        """Return the trust in the certificates of a PEM file.

        Raises:
            FormatError: It holds none, or something else.
        """
        try:
            found = tuple(x509.load_pem_x509_certificates(pem))
        except ValueError as error:
            raise FormatError(
                "This is not a PEM file with the certificates of an authority."
            ) from error
        return cls(found, policy)


@dataclass(frozen=True, slots=True)
class Timestamp:
    """That ``authority``, the subject of its certificate, saw the bytes at ``at`` under ``policy``."""

    authority: str
    at: datetime
    policy: str


@dataclass(frozen=True, slots=True)
class StampRequest:
    """A request for a timestamp, and what the answer has to repeat."""

    body: bytes
    nonce: int = field(repr=False)


def request_timestamp(data: bytes) -> StampRequest:
    """Return the request for a timestamp of ``data``: SHA-256, a random nonce, certificates wanted."""
    builder = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256)
    request: TimeStampRequest = builder.build()
    if request.nonce is None:
        raise RuntimeError("a request without a nonce")
    return StampRequest(request.as_bytes(), request.nonce)


def verify_timestamp(
    answer: bytes, data: bytes, trust: Trust, *, nonce: int | None = None
) -> Timestamp:
    """Check that ``answer`` stamps ``data``, and return who did it when.

    Checked are status, signature, the certificate up to one that is trusted as it was valid then, its extended key
    usage (timeStamping alone, critical: RFC 3161, section 2.3), policy, ``nonce`` where one is given, and the imprint.

    Raises:
        FormatError: It is no granted time-stamp response.
        SignatureError: It stamps other bytes, repeats another nonce, or its signature is not good.
        UnknownSignerError: It is by nobody who is trusted to stamp, or under another policy.
    """
    if len(answer) > MAX_ANSWER_BYTES:
        raise FormatError("A timestamp is longer than 64 KiB.")
    ordered = sorted_certificates(answer)
    try:
        response = decode_timestamp_response(ordered)
        if response.status != _GRANTED:
            raise FormatError(f"The authority granted no timestamp (status {response.status}).")
        return _verified(response, data, trust, nonce)
    except VerificationError as error:
        raise _sorted_out(str(error)) from error
    except _UNREADABLE as error:
        raise FormatError("This is not a time-stamp response.") from error


def _verified(
    response: TimeStampResponse, data: bytes, trust: Trust, nonce: int | None
) -> Timestamp:
    info = response.tst_info
    # All are roots to the library; OpenSSL still wants a chain that ends in one that signed itself.
    builder = VerifierBuilder(roots=list(trust.authorities))
    if nonce is not None:
        builder = builder.nonce(nonce)
    builder.build().verify_message(response, data)
    certificate = _signer(response)
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if len(usages) != 1:
        raise UnknownSignerError("The certificate of the timestamp is for other uses as well.")
    policy = info.policy.dotted_string
    if trust.policy is not None and policy != trust.policy:
        raise UnknownSignerError(f"The timestamp is under another policy, {policy}.")
    return Timestamp(_name(certificate), info.gen_time.astimezone(UTC), policy)


def _signer(response: TimeStampResponse) -> x509.Certificate:
    # One signer and its certificate among them, or it would not have been verified.
    (signer,) = response.signed_data.signer_infos
    certificates = map(x509.load_der_x509_certificate, response.signed_data.certificates)
    return next(
        one
        for one in certificates
        if (one.issuer, one.serial_number) == (signer.issuer, signer.serial_number)
    )


def _name(certificate: x509.Certificate) -> str:
    """Return what to call the authority: its common name, or all that its certificate says."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = names[0].value if names else certificate.subject.rfc4514_string()
    shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    # The page and the terminal show it: what cannot be seen has no place there.
    return "".join(one if one.isprintable() else "?" for one in shown)[:200]


def _sorted_out(message: str) -> FormatError | SignatureError | UnknownSignerError:
    if _UNTRUSTED in message or "EKU" in message:
        return UnknownSignerError("The timestamp is by nobody who is trusted to make any.")
    if "Mismatch between messages" in message:
        return SignatureError("The timestamp is of other bytes.")
    if "Nonce mismatch" in message:
        return SignatureError("The timestamp answers another request.")
    if any(reason in message for reason in _FORGED):
        return SignatureError("The signature of the timestamp does not verify.")
    return FormatError("This is not a time-stamp response that can be verified.")
