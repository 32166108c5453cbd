"""The public age test vectors (C2SP CCTV) for files with neither armor nor passphrase."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.crypto.age import open_header, parse_header
from service.crypto.errors import HeaderError, HeaderMacError, NoMatchError, PayloadError
from service.crypto.recipients import parse_identity
from service.crypto.stream import (
    NONCE_BYTES,
    PayloadOpener,
    PayloadSealer,
    open_stream,
    plain_length,
)

_VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "age"
_OUTCOMES = {
    HeaderError: "header failure",
    HeaderMacError: "HMAC failure",
    NoMatchError: "no match",
    PayloadError: "payload failure",
}


@dataclass(frozen=True)
class Vector:
    expect: str
    payload_sha256: str | None
    file_key: str
    identities: tuple[str, ...]
    file: bytes


def _parse(path: Path) -> Vector | None:
    head, _, file = path.read_bytes().partition(b"\n\n")
    pairs = [line.split(": ", 1) for line in head.decode().splitlines()]
    values = dict(pairs)
    if "armored" in values or "passphrase" in values:
        return None
    if "compressed" in values:
        assert values["compressed"] == "zlib"
        file = zlib.decompress(file)
    identities = tuple(value for name, value in pairs if name == "identity")
    return Vector(values["expect"], values.get("payload"), values["file key"], identities, file)


def _vectors(*expects: str) -> list[object]:
    """Return the vectors that expect one of ``expects``, or all."""
    paths = sorted(_VECTORS.iterdir()) if _VECTORS.is_dir() else []
    parsed = ((path.name, _parse(path)) for path in paths)
    return [
        pytest.param(vector, id=name)
        for name, vector in parsed
        if vector and (not expects or vector.expect in expects)
    ]


def _open(vector: Vector, piece_bytes: int) -> tuple[str, bytes]:
    """Return the outcome, in the vectors' words, and everything released before it."""
    released = bytearray()
    try:
        header = parse_header(vector.file)
        file_key = open_header(header, [parse_identity(text) for text in vector.identities])
        assert file_key == bytes.fromhex(vector.file_key)
        payload = vector.file[header.length_bytes :]
        if len(payload) < NONCE_BYTES:
            return "header failure", b""
        starts = range(0, len(payload), piece_bytes)
        for plain in open_stream(file_key, (payload[at : at + piece_bytes] for at in starts)):
            released += plain
    except tuple(_OUTCOMES) as error:
        return _OUTCOMES[type(error)], bytes(released)
    return "success", bytes(released)


@pytest.mark.parametrize("vector", _vectors())
@pytest.mark.parametrize("piece_bytes", [1 << 20, 65552, 5000])
def test_ends_as_the_vector_says_having_released_what_it_says(vector, piece_bytes):
    outcome, released = _open(vector, piece_bytes)
    assert outcome == vector.expect
    expected = vector.payload_sha256 or hashlib.sha256(b"").hexdigest()
    assert hashlib.sha256(released).hexdigest() == expected


@pytest.mark.parametrize("vector", _vectors("success", "payload failure"))
def test_random_access_agrees_with_the_vector(vector):
    header = parse_header(vector.file)
    file_key = open_header(header, [parse_identity(text) for text in vector.identities])
    payload = vector.file[header.length_bytes :]

    def everything() -> bytes:
        opener = PayloadOpener(file_key, payload[:NONCE_BYTES], len(payload))
        end = opener.end_covering()
        opener.verify_end(payload[end.sealed_start : end.sealed_stop])
        return bytes(opener.open_chunks(0, payload[NONCE_BYTES:]))

    if vector.expect == "success":
        assert hashlib.sha256(everything()).hexdigest() == vector.payload_sha256
    else:
        with pytest.raises(PayloadError):
            everything()


@pytest.mark.parametrize("vector", _vectors("success"))
def test_sealing_the_plaintext_again_gives_the_same_payload(vector):
    header = parse_header(vector.file)
    file_key = open_header(header, [parse_identity(text) for text in vector.identities])
    payload = vector.file[header.length_bytes :]
    plain = b"".join(open_stream(file_key, [payload]))
    sealer = PayloadSealer(file_key, random=lambda _: payload[:NONCE_BYTES])
    assert bytes(sealer.update(plain)) + sealer.finish() == payload
    assert plain_length(len(payload)) == len(plain)


def test_the_vectors_are_there():
    if not _VECTORS.is_dir():
        pytest.skip("the age test vectors are absent: ../shared/vectors/age")
    outcomes = {vector.expect for path in _VECTORS.iterdir() if (vector := _parse(path))}
    assert outcomes == {"success", *_OUTCOMES.values()}
