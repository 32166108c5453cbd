"""JSON Web Signatures that are made while their payload streams (RFC 7515, general JSON serialization).

The form is that of a signed vCon (draft-ietf-vcon-vcon-core, "Signed Form"): one signature, whose header has the
algorithm, the certificates and the vCon's UUID. The payload is never whole in memory.
"""

import base64
import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self, TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from service.domain.errors import InvalidInputError

MIN_RSA_BITS: Final = 2048
"""RFC 7518, section 3.3."""
_P256_BYTES: Final = 32
_HASH: Final = Prehashed(SHA256())
_PUT: Final = {"separators": (",", ":"), "sort_keys": True}

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class JwsSigner:
    """A private key, and the certificates that lead from it to a root: its own first."""

    key: SigningKey = field(repr=False)
    chain: tuple[Certificate, ...]

    @classmethod
    def parse(cls, chain_pem: bytes, key_pem: bytes) -> Self:
        """Return the signer that two PEM files are. Nothing of the key is repeated in an error.

        Raises:
            InvalidInputError: One of them cannot be read, they do not belong together, or the key is neither RSA of
                2048 bits or more nor on the curve P-256.
        """
        try:
            chain = tuple(load_pem_x509_certificates(chain_pem))
        except ValueError:
            raise InvalidInputError("the certificate is no PEM file of certificates") from None
        try:
            key = load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The chain is cut: what was read is a secret.
            raise InvalidInputError("the key is no PEM file without a passphrase") from None
        if not _is_taken(key):
            raise InvalidInputError("the key is neither RSA of 2048 bits or more nor on P-256")
        if key.public_key() != chain[0].public_key():
            raise InvalidInputError("the key is not that of the first certificate")
        return cls(key, chain)

    @property
    def algorithm(self) -> str:
        """The name of the algorithm (RFC 7518, section 3.1)."""
        return "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in hexadecimal."""
        return self.chain[0].fingerprint(SHA256()).hex()

    def begin(self, uuid: str) -> "SigningStream":
        """Return what signs one payload, the vCon ``uuid``."""
        return SigningStream(self, uuid)

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of what has this SHA-256, as a JWS has it (RFC 7518, sections 3.3 and 3.4)."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(digest, padding.PKCS1v15(), _HASH)
        r, s = decode_dss_signature(self.key.sign(digest, ec.ECDSA(_HASH)))
        return r.to_bytes(_P256_BYTES, "big") + s.to_bytes(_P256_BYTES, "big")


class SigningStream:
    """A JWS in the making: `update` and `finish` return the next bytes of it."""

    def __init__(self, signer: JwsSigner, uuid: str) -> None:
        self._signer, self._uuid = signer, uuid
        protected = json.dumps({"alg": signer.algorithm}, **_PUT)  # type: ignore[arg-type]  # by name
        self._protected = encode_base64url(protected.encode())
        self._digest = sha256(self._protected + b".")
        self._started = False
        self._rest = b""

    def update(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return what ``data``, the next of the payload, adds to the JWS."""
        # Three bytes at a time become four characters.
        data = self._rest + bytes(data)
        whole = len(data) - len(data) % 3
        self._rest = data[whole:]
        return self._head() + self._encoded(data[:whole])

    def finish(self) -> bytes:
        """Return the end of the JWS, with its signature."""
        last = self._head() + self._encoded(self._rest)
        x5c = [
            base64.b64encode(one.public_bytes(Encoding.DER)).decode()
            for one in self._signer.chain
        ]
        signature = {
            "header": {"alg": self._signer.algorithm, "uuid": self._uuid, "x5c": x5c},
            "protected": self._protected.decode(),
            "signature": encode_base64url(self._signer.sign(self._digest.digest())).decode(),
        }
        told = json.dumps([signature], **_PUT)  # type: ignore[arg-type]  # by name
        return last + b'","signatures":' + told.encode() + b"}"

    def _head(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return b'{"payload":"'

    def _encoded(self, data: bytes) -> bytes:
        encoded = encode_base64url(data)
        self._digest.update(encoded)
        return encoded


def encode_base64url(data: bytes) -> bytes:
    """Return ``data`` in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _is_taken(key: object) -> TypeGuard[SigningKey]:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size >= MIN_RSA_BITS
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
