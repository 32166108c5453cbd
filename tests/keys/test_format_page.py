"""`docs/format-sealing.md` is enough to open an archive: a second implementation, and its vectors."""

import base64
import hmac
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from service.crypto.blind_index import BlindIndex, derive_index_key
from service.crypto.fields import FieldSealer
from service.crypto.secret import DataKey, FileKey, IndexMaster
from service.crypto.stream import PayloadSealer
from service.crypto.wrap import new_key
from service.keys.ring import KeyRing
from service.keys.session import IntakeSession

_PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format-sealing.md").read_text()
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    pseudorandom = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(pseudorandom, info + b"\x01", "sha256")


def _base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _secret_of(identity: str) -> bytes:
    symbols = identity.lower().rpartition("1")[2][:-6]
    bits = "".join(f"{_BECH32.index(symbol):05b}" for symbol in symbols)
    return int(bits[:256], 2).to_bytes(32, "big")


def _file_key(header: bytes, secret: bytes) -> bytes:
    _, first, body, end, last = header.decode().split("\n")
    share = _base64(first.removeprefix("-> X25519 "))
    key = X25519PrivateKey.from_private_bytes(secret)
    shared = key.exchange(X25519PublicKey.from_public_bytes(share))
    salt = share + key.public_key().public_bytes_raw()
    wrapping_key = _hkdf(shared, salt, b"age-encryption.org/v1/X25519")
    file_key = ChaCha20Poly1305(wrapping_key).decrypt(bytes(12), _base64(body), None)
    covered = header[: header.index(b"---") + 3]
    mac = hmac.digest(_hkdf(file_key, b"", b"header"), covered, "sha256")
    assert (_base64(end.removeprefix("--- ")), last) == (mac, "")
    return file_key


def _open_payload(payload: bytes, file_key: bytes) -> bytes:
    cipher = ChaCha20Poly1305(_hkdf(file_key, payload[:16], b"payload"))
    chunks = [payload[at : at + 65552] for at in range(16, len(payload), 65552)]
    flags = [0] * (len(chunks) - 1) + [1]
    return b"".join(
        cipher.decrypt(number.to_bytes(11, "big") + bytes([flag]), chunk, None)
        for number, (chunk, flag) in enumerate(zip(chunks, flags, strict=True))
    )


def _open_field(sealed: bytes, key: bytes, place: bytes) -> bytes:
    assert sealed[:1] == b"\x01"
    padded = AESGCM(key).decrypt(sealed[1:13], sealed[13:], place)
    return padded[: padded.rindex(b"\x80")]


@pytest.fixture
def epoch_file(created, places):
    assert created.load()
    lines = (places[0] / "epoch-000001.key").read_text().splitlines()
    values = dict(line[2:].split(": ", 1) for line in lines[1:-1])
    return _secret_of(lines[-1]), _base64(values["wrapping-key"])


@pytest.fixture
def ring(created):
    return KeyRing(created.load())


def test_a_second_implementation_opens_a_recording(ring, epoch_file):
    plain, file_key = b"speech" * 40_000, FileKey.generate()
    _, header = ring.seal_header(file_key)
    sealer = PayloadSealer(file_key)
    payload = bytes(sealer.update(plain)) + sealer.finish()
    assert _open_payload(payload, _file_key(header, epoch_file[0])) == plain


def test_a_second_implementation_opens_a_field_of_a_row(ring, epoch_file):
    key = new_key()
    _, wrapped = ring.wrap(key)
    sealed = FieldSealer(key).seal(
        b"Aino", table="customer", row="cu_1", column="sealed", version=3
    )
    place = b"taltio.field.v1" + b"\0\x08customer" + b"\0\x06sealed" + bytes(7) + b"\3cu_1"
    assert _open_field(sealed, aes_key_unwrap(epoch_file[1], wrapped), place) == b"Aino"


def test_a_second_implementation_opens_a_delivery_after_its_session(ring, epoch_file, now):
    session, key = IntakeSession(ring.intake_keys(), now=now), new_key()
    wrapped = session.wrap(key, now=now)
    file_key = _file_key(session.sealed, epoch_file[0])
    session_key = _hkdf(file_key, b"", b"taltio.intake_session.v1")
    assert aes_key_unwrap(session_key, wrapped) == key


def test_a_second_implementation_makes_the_same_tokens(ring, places):
    text = (places[0] / "index.key").read_text()
    master = _base64(text.splitlines()[-1].removeprefix("# index-master: "))
    key = _hkdf(master, b"", b"taltio.blind_index.v1|desk|phone|1")
    value = "+358401234567"
    expected = hmac.digest(key, value.encode(), "sha256")[:16]
    assert ring.blind_index().token("phone", value) == expected
    intake_master = _hkdf(master, b"", b"taltio.intake_index.v1")
    key = _hkdf(intake_master, b"", b"taltio.blind_index.v1|intake|delivery|1")
    expected = hmac.digest(key, b"msg_1", "sha256")[:16]
    assert ring.intake_keys().blind_index().token("delivery", "msg_1") == expected


def test_the_vectors_of_the_page_are_what_we_make():
    sealer = FieldSealer(DataKey(b"\x05" * 32), random=lambda count: b"\x09" * count)
    sealed = sealer.seal(b"abc", table="contact", row="ct_1", column="sealed", version=1)
    master = IndexMaster(b"\x03" * 32)
    index = BlindIndex(lambda field: derive_index_key(master, field))
    vectors = re.findall(r"^    ([0-9a-f]{32,})$", _PAGE, re.MULTILINE)
    assert vectors == [sealed.hex(), index.token("phone", "+358401234567").hex()]


def test_the_page_shows_every_kind_of_key_file_as_it_is_written(created, places, now):
    created.add_epoch(now=now)
    created.destroy_epoch(1, now=now)
    keys, _ = places
    for path in keys.iterdir():
        for line in path.read_text().splitlines():
            # Titles and formats word for word, values by their names.
            shown = line.partition(": ")[0] if "format" not in line else line
            known = shown.startswith("AGE-SECRET-KEY-1") or f"    {shown}" in _PAGE
            assert known, f"{path.name}: {shown}"
