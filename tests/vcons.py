"""vCons of the tests' own, and certificates that sign them."""

import base64
import functools
import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from service.crypto.jws import JwsSigner

UUID = "019f15a6-a752-826f-b9a2-279e0d16bc46"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def certificate(key, name, *, issuer=None, issuer_key=None, is_root=False, days=30, now=NOW):
    """Return a certificate; without an issuer it signs itself."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name) if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )
    signer = issuer_key or key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if is_root:
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, hashes.SHA256())


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem_of(*certificates):
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@functools.cache
def rsa_key(_number=0):
    """Return the RSA key of this number; making one takes a while."""
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def ec_key(_number=0):
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def root():
    return certificate(ec_key(1), "Example Root", is_root=True, days=3650)


@functools.cache
def signer(kind="RS256"):
    """Return a signer whose certificate leads to `root`."""
    key = rsa_key() if kind == "RS256" else ec_key()
    leaf = certificate(key, "Example Signer", issuer=root(), issuer_key=ec_key(1))
    return JwsSigner(key, (leaf,))


def signed(payload, signer, *, uuid=UUID):
    """Return the bytes of a signed vCon whose payload is these bytes."""
    stream = signer.begin(uuid)
    return stream.update(payload) + stream.finish()


def signed_by_hand(payload, alg, key, x5c=(), *, header=None):
    """Return a JWS as an object, signed with any algorithm."""
    protected = encoded(json.dumps({"alg": alg, **(header or {})}).encode())
    text = f"{protected}.{encoded(payload)}".encode()
    if alg == "PS256":
        salt = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signature = key.sign(text, salt, hashes.SHA256())
    else:
        signature = key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    told = [
        base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode() for one in x5c
    ]
    return {
        "payload": encoded(payload),
        "signatures": [
            {
                "header": {"alg": alg, **({"x5c": told} if told else {})},
                "protected": protected,
                "signature": encoded(signature),
            }
        ],
    }


def call(**changes):
    """Return the unsigned vCon of a call, as an object."""
    return {
        "vcon": "0.4.0",
        "uuid": UUID,
        "created_at": "2026-11-22T11:00:00Z",
        "parties": [
            {"tel": "tel:+358401234567", "name": "Ines Esimerkki"},
            {"tel": "+358201234567", "name": "Asiakaspalvelu"},
        ],
        "dialog": [
            {
                "type": "recording",
                "start": "2026-11-22T10:58:00+02:00",
                "duration": 61.5,
                "parties": [0, 1],
                "mediatype": "audio/wav",
                "filename": "a.wav",
                "encoding": "base64url",
                "body": encoded(b"RIFF-not-quite-a-wave"),
            }
        ],
        **changes,
    }
