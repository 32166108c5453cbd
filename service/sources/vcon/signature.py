"""Who signed a vCon: a JSON Web Signature in general JSON form, with certificates (RFC 7515, RFC 7518).

Only RS256, PS256 and ES256 are checked; ``none`` and algorithms of shared secrets never are, whatever a header says.
Certificates come with the vCon (``x5c``) and have to lead to one that is trusted; nothing is fetched (``x5u``).
Certificates of version 1 lead nowhere, but one of them can itself be trusted.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    KeyUsage,
    load_der_x509_certificate,
    load_pem_x509_certificate,
)
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from service.domain.errors import InvalidInputError
from service.sources.strict_json import decode_json
from service.sources.vcon.errors import SIGNATURE_INVALID, NotBelievedError

MAX_SIGNATURES: Final = 8
MAX_CERTIFICATES: Final = 10
"""In one signature."""
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192
_P256_BYTES: Final = 32
_PEM: Final = re.compile(
    rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----.+?-----END \1-----", re.DOTALL
)
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)

Header = dict[str, object]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Anchors:
    """What is trusted: certificates to which those of senders lead, and keys of senders that have no certificate."""

    certificates: tuple[Certificate, ...]
    keys: tuple[PublicKey, ...] = ()

    @classmethod
    def parse(cls, pem: bytes) -> Self:
        """Return what a PEM file names: certificates and public keys.

        Raises:
            InvalidInputError: There are none, or one that cannot be used.
        """
        certificates, keys = [], []
        for found in _PEM.finditer(pem):
            try:
                if found[1] == b"CERTIFICATE":
                    certificates.append(load_pem_x509_certificate(found[0]))
                else:
                    keys.append(_require_key(load_pem_public_key(found[0])))
            except (ValueError, UnsupportedAlgorithm):
                raise InvalidInputError("a certificate or key in it cannot be read") from None
        if not certificates and not keys:
            raise InvalidInputError("no PEM file of certificates or public keys")
        return cls(tuple(certificates), tuple(keys))


def verify_jws(
    jws: dict[str, object], anchors: Anchors | None, *, at: datetime
) -> tuple[bytes, bool]:
    """Return the payload of a JWS, and whether somebody who is trusted signed it, with a certificate valid ``at``.

    Without ``anchors`` nobody is trusted; what a signature's own certificate contradicts is refused all the same.

    Raises:
        NotBelievedError: There are anchors and no signature leads to one, or a signature is wrong.
        InvalidInputError: It is no such JWS.
    """
    payload, signatures = jws.get("payload"), jws.get("signatures")
    if not isinstance(payload, str) or not isinstance(signatures, list) or not signatures:
        raise InvalidInputError("a signed vCon has a payload and signatures")
    if len(signatures) > MAX_SIGNATURES:
        raise InvalidInputError(f"more than {MAX_SIGNATURES} signatures")
    faults = []
    is_checked = False
    for one in signatures:
        try:
            if _verify(one, payload, anchors, at=at):
                return decode_base64url(payload, "the payload"), True
            is_checked = True
        except NotBelievedError as error:
            faults.append(error)
    if anchors is not None or not is_checked:
        raise faults[0]
    return decode_base64url(payload, "the payload"), False


def _verify(signature: object, payload: str, anchors: Anchors | None, *, at: datetime) -> bool:
    """Tell whether somebody who is trusted signed; False where nobody is, and nothing is wrong that can be checked.

    Raises:
        NotBelievedError: It is wrong, or of somebody who is not trusted.
    """
    header, beside, protected, value = _read(signature)
    algorithm, chain = _algorithm(header, beside), _chain(header, beside)
    text = f"{protected}.{payload}".encode()
    if chain:
        if not _is_by(_key_of(chain[0]), algorithm, value, text):
            _refuse("the signature is not of this content")
        if anchors is None:
            return False
        _require_trusted(chain, anchors, at=at)
        return True
    if anchors is None:
        return False
    known = (*anchors.keys, *(_key_of(one) for one in _valid(anchors.certificates, at)))
    if not any(_is_by(key, algorithm, value, text) for key in known):
        _refuse("no key that is trusted made the signature, and it brings no certificate")
    return True


def _read(signature: object) -> tuple[Header, Header, str, bytes]:
    """Return the protected header, the other one, the text of the first, and the signature's value."""
    if not isinstance(signature, dict):
        _refuse("a signature is no object")
    protected, told = signature.get("protected"), signature.get("signature")
    if not isinstance(protected, str) or not isinstance(told, str):
        _refuse("a signature has no protected header, or nothing in it")
    try:
        header = decode_json(decode_base64url(protected, "the protected header"))
        value = decode_base64url(told, "the signature")
    except InvalidInputError as error:
        _refuse(error.detail)
    beside = signature.get("header") or {}
    if not isinstance(header, dict) or not isinstance(beside, dict):
        _refuse("the header of a signature is no object")
    if "crit" in header or "crit" in beside:
        _refuse("the signature asks for what the archive does not know (crit)")
    return header, beside, protected, value


def _algorithm(header: Header, beside: Header) -> str:
    told = {
        one["alg"] if isinstance(one["alg"], str) else ""
        for one in (header, beside)
        if "alg" in one
    }
    if len(told) != 1 or not told <= {"RS256", "PS256", "ES256"}:
        _refuse("the signature is not RS256, PS256 or ES256")
    return told.pop()


def _chain(header: Header, beside: Header) -> Sequence[Certificate]:
    told = beside.get("x5c", header.get("x5c"))
    if told != header.get("x5c", told):
        _refuse("the two headers have other certificates")
    if told is None:
        return ()
    if not isinstance(told, list) or not 0 < len(told) <= MAX_CERTIFICATES:
        _refuse(f"x5c is a list of 1 to {MAX_CERTIFICATES} certificates")
    try:
        return [load_der_x509_certificate(base64.b64decode(one, validate=True)) for one in told]
    except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm):
        _refuse("x5c has something that is no certificate")


def _key_of(certificate: Certificate) -> PublicKey:
    try:
        return _require_key(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        _refuse("the key of a certificate is neither RSA of 2048 bits or more nor on P-256")


def _require_key(key: object) -> PublicKey:
    """Return ``key``, if it is one that signatures are checked with.

    Raises:
        ValueError: It is not.
    """
    if isinstance(key, rsa.RSAPublicKey) and _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("no key of this kind")


def _is_by(key: PublicKey, algorithm: str, value: bytes, text: bytes) -> bool:
    """Tell whether ``key`` made the signature ``value`` of ``text``. An algorithm that is not the key's made none."""
    is_rsa = isinstance(key, rsa.RSAPublicKey)
    if is_rsa != (algorithm in {"RS256", "PS256"}):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            salted = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
            scheme = salted if algorithm == "PS256" else padding.PKCS1v15()
            key.verify(value, text, scheme, SHA256())
        else:
            if len(value) != 2 * _P256_BYTES:
                return False
            r, s = value[:_P256_BYTES], value[_P256_BYTES:]
            der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            key.verify(der, text, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _require_trusted(chain: Sequence[Certificate], anchors: Anchors, *, at: datetime) -> None:
    """Return when the first of ``chain`` is trusted itself, or leads to one that is (RFC 5280, section 6)."""
    if chain[0] in _valid(anchors.certificates, at) or chain[0].public_key() in anchors.keys:
        return
    if not anchors.certificates:
        _refuse("the certificate leads to none that is trusted")
    try:
        verifier = (
            PolicyBuilder()
            .store(Store(list(anchors.certificates)))
            .time(at)
            .max_chain_depth(MAX_CERTIFICATES)
            .extension_policies(ca_policy=_AUTHORITIES, ee_policy=ExtensionPolicy.permit_all())
            .build_client_verifier()
        )
        verifier.verify(chain[0], list(chain[1:]))
    except (VerificationError, ValueError, UnsupportedAlgorithm):
        # Its text may repeat names in the certificates.
        _refuse("the certificate leads to none that is trusted, or is not valid at the time")


def _valid(certificates: Sequence[Certificate], at: datetime) -> list[Certificate]:
    return [
        one for one in certificates if one.not_valid_before_utc <= at <= one.not_valid_after_utc
    ]


def _require_authority(_: Policy, __: Certificate, found: BasicConstraints) -> None:
    if not found.ca:
        raise ValueError("no authority")


def _require_signing(_: Policy, __: Certificate, found: KeyUsage | None) -> None:
    if found is not None and not found.key_cert_sign:
        raise ValueError("an authority that may not sign certificates")


_AUTHORITIES: Final = (
    ExtensionPolicy.permit_all()
    .require_present(BasicConstraints, Criticality.AGNOSTIC, _require_authority)
    .may_be_present(KeyUsage, Criticality.AGNOSTIC, _require_signing)
)


def decode_base64url(text: str, what: str) -> bytes:
    """Return what ``text`` encodes (RFC 4648, section 5), with or without padding.

    Raises:
        InvalidInputError: It encodes nothing; ``what`` it is is named.
    """
    plain = text.rstrip("=")
    if len(text) - len(plain) > 2 or not _BASE64URL.fullmatch(plain):  # noqa: PLR2004  # RFC 4648, 4
        raise InvalidInputError(f"{what} is not base64url")
    try:
        return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        raise InvalidInputError(f"{what} is not base64url") from None


def _refuse(detail: str) -> NoReturn:
    raise NotBelievedError(SIGNATURE_INVALID, detail)
