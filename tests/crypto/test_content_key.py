"""Contents that a source encrypted: opened as they come, believed when the tag says so."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from service.crypto.content_key import ContentOpener
from service.crypto.errors import PayloadError

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEY, IV = os.urandom(32), os.urandom(12)
PLAIN = bytes(range(256)) * 20


def wrapped(key=KEY, hashed=SHA256):
    return PRIVATE.public_key().encrypt(key, OAEP(MGF1(hashed()), hashed(), None))


def sealed(plain=PLAIN):
    return AESGCM(KEY).encrypt(IV, plain, None)


def opened(content, *, size=1000, key=None, iv=IV, private=PRIVATE):
    opener = ContentOpener(private, wrapped=key or wrapped(), iv=iv)
    chunks = [opener.update(content[at : at + size]) for at in range(0, len(content), size)]
    opener.finish()
    return b"".join(chunks)


@pytest.mark.parametrize("size", [1, 7, 15, 16, 17, 5136, 9999])
def test_it_opens_however_it_comes(size):
    assert opened(sealed(), size=size) == PLAIN


def test_nothing_at_all_opens_too():
    assert opened(sealed(b"")) == b""


@pytest.mark.parametrize("at", [0, len(PLAIN) - 1, len(PLAIN), -1])
def test_a_flipped_bit_is_refused(at):
    content = bytearray(sealed())
    content[at] ^= 1
    with pytest.raises(PayloadError):
        opened(bytes(content))


@pytest.mark.parametrize(
    "content",
    [sealed()[:-1], sealed()[:-16], sealed() + b"\0", b"", b"x" * 15],
    ids=["a byte less", "no tag", "a byte more", "nothing", "not even a tag"],
)
def test_another_length_is_refused(content):
    with pytest.raises(PayloadError):
        opened(content)


@pytest.mark.parametrize(
    ("key", "iv"),
    [
        (wrapped(hashed=SHA1), IV),
        (b"x" * 256, IV),
        (b"x", IV),
        (wrapped(os.urandom(16)), IV),
        (wrapped(), b"short"),
        (wrapped(), b"x" * 16),
    ],
    ids=["SHA-1", "noise", "a byte", "a short key", "a short nonce", "a long nonce"],
)
def test_another_key_or_nonce_is_refused(key, iv):
    with pytest.raises(PayloadError):
        opened(sealed(), key=key, iv=iv)
