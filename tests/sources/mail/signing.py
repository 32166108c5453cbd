"""Signs mails for tests, as a sender's server would (RFC 6376, RFC 8463): relaxed and short."""

import base64
import hashlib
import re

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMES = ("from", "to", "subject", "date", "message-id")


def rsa_pair(bits=2048):
    """Return a private key, and the record that publishes the other half."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def ed25519_pair():
    """Return the same of the other kind."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return key, f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"


def sign(message, key, *, domain="example.fi", selector="s1", tags="", length=None):
    """Return ``message`` with a signature of ``length`` bytes of its body in front, which has ``tags`` too."""
    head, _, body = message.partition(b"\r\n\r\n")
    headers = dict(_header(line) for line in re.split(rb"\r\n(?![ \t])", head))
    names = [name for name in NAMES if name in headers]
    body = re.sub(rb"[ \t]+", b" ", re.sub(rb"[ \t]+(?=\r\n)", b"", body)).rstrip(b"\r\n")
    body = body + b"\r\n" if body else b""
    digest = base64.b64encode(hashlib.sha256(body[:length]).digest()).decode()
    kind = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"
    tags += "" if length is None else f" l={min(length, len(body))};"
    value = (
        f"v=1; a={kind}-sha256; c=relaxed/relaxed; d={domain}; s={selector};{tags} "
        f"h={':'.join(names)}; bh={digest}; b="
    )
    lines = [f"{name}:".encode() + headers[name] for name in names]
    data = b"\r\n".join([*lines, f"dkim-signature:{value}".encode()])
    how = (data, PKCS1v15(), SHA256()) if kind == "rsa" else (hashlib.sha256(data).digest(),)
    signature = key.sign(*how)
    text = base64.b64encode(signature).decode()
    return f"DKIM-Signature: {value}{text}\r\n".encode() + message


def _header(line):
    name, _, value = line.partition(b":")
    plain = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip()
    return name.decode().lower(), plain
