"""Contents that a source encrypted before it stored them: AES-256-GCM, under a key wrapped for an RSA key of ours.

The content key is wrapped by RSAES-OAEP with SHA-256 (RFC 8017, section 7.1; MGF1 with SHA-256); the tag of 16 bytes
is the end of what is stored (NIST SP 800-38D).
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256

from service.crypto.errors import PayloadError

_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_IV_BYTES: Final = 12


class ContentOpener:
    """Opens one content as its bytes come. What `update` returns is believed only when `finish` returns."""

    def __init__(self, private: RSAPrivateKey, *, wrapped: bytes, iv: bytes) -> None:
        """Unwrap the key.

        Raises:
            PayloadError: It is not wrapped for ``private``, or key and ``iv`` are not of their lengths.
        """
        oaep = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)
        try:
            key = private.decrypt(wrapped, oaep)
        except ValueError:
            raise PayloadError("the content key is not wrapped for this key") from None
        if len(key) != _KEY_BYTES or len(iv) != _IV_BYTES:
            raise PayloadError("the content key or its nonce is not of its length")
        self._decryptor = Cipher(AES(key), GCM(iv)).decryptor()
        self._held = b""

    def update(self, chunk: bytes) -> bytes:
        """Return what ``chunk`` opens; the last 16 bytes are held back, for they may be the tag."""
        held = self._held + chunk
        opened, self._held = held[:-_TAG_BYTES], held[-_TAG_BYTES:]
        return self._decryptor.update(opened)

    def finish(self) -> None:
        """Return when all of it authenticates.

        Raises:
            PayloadError: It does not; nothing that was opened may be kept.
        """
        try:
            self._decryptor.finalize_with_tag(self._held)
        except (InvalidTag, ValueError):
            raise PayloadError("the tag is not that of the content") from None
