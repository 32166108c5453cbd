"""Certificates for servers on loopback, of an authority of the test's own."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class CertificateAuthority:
    """Makes certificates in ``directory``; ``file`` is what has to be trusted."""

    directory: Path
    _key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.file = self.directory / "ca.pem"
        made = self._made(_named("Example Root"), self._key.public_key(), days=30, is_root=True)
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def serving(self, name: str, *, days: float = 20) -> ssl.SSLContext:
        """Return what a server called ``name`` speaks TLS with; its certificate ends in ``days``."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._made(_named(name), key.public_key(), days=days, is_root=False)
        file = self.directory / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)

    def _made(self, subject, public, *, days: float, is_root: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_named("Example Root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=40))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_root,
                    key_cert_sign=is_root,
                    crl_sign=is_root,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName(subject.rdns[0].rfc4514_string()[3:].replace(" ", "-"))]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
