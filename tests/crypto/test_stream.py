import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.crypto.errors import PayloadError
from service.crypto.secret import FileKey
from service.crypto.stream import (
    CHUNK_BYTES,
    NONCE_BYTES,
    SEALED_CHUNK_BYTES,
    TAG_BYTES,
    PayloadOpener,
    PayloadSealer,
    _chunk_nonce,
    _cipher,
    open_stream,
    plain_length,
    sealed_length,
)

_FILE_KEY = FileKey(b"\x0b" * 16)
_SIZES = [0, 1, 65535, 65536, 65537, 131072, 131073, 300000]


def _plain(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(997)) * (size // 997) + bytes(size % 997)


def _payload(plain: bytes, file_key: FileKey = _FILE_KEY) -> bytes:
    sealer = PayloadSealer(file_key)
    return bytes(sealer.update(plain)) + sealer.finish()


def _opener(payload: bytes) -> PayloadOpener:
    return PayloadOpener(_FILE_KEY, payload[:NONCE_BYTES], len(payload))


def _open_range(opener: PayloadOpener, payload: bytes, start: int, stop: int) -> bytes:
    found = opener.covering(start, stop)
    sealed = payload[found.sealed_start : found.sealed_stop]
    plain = opener.open_chunks(found.first_chunk, sealed)
    return bytes(plain[found.skip_bytes : found.skip_bytes + stop - start])


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", _SIZES)
def test_what_is_sealed_opens(size):
    plain = _plain(size)
    payload = _payload(plain)
    assert len(payload) == sealed_length(size)
    assert b"".join(open_stream(_FILE_KEY, [payload])) == plain


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("piece", [1000, 65536, 65537, 131072])
def test_the_pieces_in_which_it_arrives_do_not_matter(size, piece):
    plain = _plain(size)
    sealer = PayloadSealer(_FILE_KEY, random=lambda count: b"n" * count)
    sealed = b"".join([*map(sealer.update, _pieces(plain, piece)), sealer.finish()])
    whole = PayloadSealer(_FILE_KEY, random=lambda count: b"n" * count)
    assert sealed == bytes(whole.update(plain)) + whole.finish()
    assert sealer.plain_bytes == size


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 150_000), max_size=5))
def test_any_sequence_of_updates_opens_in_any_pieces(sizes):
    plain = [_plain(size) for size in sizes]
    sealer = PayloadSealer(_FILE_KEY)
    sealed = b"".join([*map(sealer.update, plain), sealer.finish()])
    assert b"".join(open_stream(_FILE_KEY, _pieces(sealed, 50_001))) == b"".join(plain)


def test_sealing_into_a_used_buffer_writes_what_update_returns():
    plain = _plain(300_000)
    buffer = bytearray(b"\xff" * 500_000)
    sealer = PayloadSealer(_FILE_KEY, random=lambda count: b"n" * count)
    room = sealer.room_bytes(len(plain))
    assert sealer.update_into(plain, memoryview(buffer)) == room
    same = PayloadSealer(_FILE_KEY, random=lambda count: b"n" * count)
    assert buffer[:room] == same.update(plain)
    assert set(buffer[room:]) == {0xFF}


def test_a_buffer_that_is_too_small_takes_nothing_in():
    sealer = PayloadSealer(_FILE_KEY)
    with pytest.raises(ValueError, match="not enough"):
        sealer.update_into(_plain(70_000), bytearray(100))
    assert sealer.plain_bytes == 0
    sealed = bytes(sealer.update(b"abc")) + sealer.finish()
    assert b"".join(open_stream(_FILE_KEY, [sealed])) == b"abc"


def test_a_finished_payload_takes_nothing_more():
    sealer = PayloadSealer(_FILE_KEY)
    sealer.finish()
    with pytest.raises(ValueError, match="finished"):
        sealer.update(b"more")
    with pytest.raises(ValueError, match="finished"):
        sealer.finish()


def test_two_payloads_of_one_plaintext_have_nothing_in_common():
    first, second = _payload(bytes(100)), _payload(bytes(100))
    assert first[:NONCE_BYTES] != second[:NONCE_BYTES]
    assert first[NONCE_BYTES:] != second[NONCE_BYTES:]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 50))
def test_the_length_of_a_payload_tells_the_length_of_its_plaintext(size):
    assert plain_length(sealed_length(size)) == size


def test_every_length_is_either_that_of_one_plaintext_or_impossible():
    possible = {sealed_length(size): size for size in range(CHUNK_BYTES * 2 + 40)}
    for sealed_bytes in range(sealed_length(CHUNK_BYTES * 2)):
        if sealed_bytes in possible:
            assert plain_length(sealed_bytes) == possible[sealed_bytes]
        else:
            with pytest.raises(PayloadError):
                plain_length(sealed_bytes)


@pytest.mark.parametrize(
    "sealed_bytes",
    [
        -1,
        0,
        16,
        31,
        32 + SEALED_CHUNK_BYTES,
        17 + SEALED_CHUNK_BYTES,
        16 + SEALED_CHUNK_BYTES + 15,
    ],
)
def test_refuses_a_length_that_no_payload_has(sealed_bytes):
    with pytest.raises(PayloadError):
        PayloadOpener(_FILE_KEY, bytes(16), sealed_bytes)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (0, 65536),
        (65535, 65537),
        (65536, 131072),
        (1, 300_000),
        (299_999, 300_000),
        (0, 300_000),
        (200_000, 265_536),
    ],
)
def test_any_range_opens_from_the_chunks_that_cover_it(start, stop):
    plain = _plain(300_000)
    payload = _payload(plain)
    assert _open_range(_opener(payload), payload, start, stop) == plain[start:stop]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 299_999), st.integers(1, 300_000))
def test_every_range_opens(start, size):
    stop = min(start + size, 300_000)
    assert _open_range(_opener(_LONG), _LONG, start, stop) == _LONG_PLAIN[start:stop]


_LONG_PLAIN = _plain(300_000)
_LONG = _payload(_LONG_PLAIN)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (5, 5), (5, 4), (-1, 4), (0, 300_001)])
def test_there_is_no_covering_for_an_impossible_range(start, stop):
    with pytest.raises(ValueError, match="no range"):
        _opener(_LONG).covering(start, stop)


def test_a_range_of_64_kib_reads_two_chunks_at_most():
    found = _opener(_LONG).covering(100_000, 165_536)
    assert found.sealed_stop - found.sealed_start == 2 * SEALED_CHUNK_BYTES


@pytest.mark.parametrize("size", _SIZES)
def test_the_length_is_not_told_before_the_final_chunk_is_verified(size):
    payload = _payload(_plain(size))
    opener = _opener(payload)
    with pytest.raises(ValueError, match="verify the final chunk"):
        _ = opener.plain_bytes
    end = opener.end_covering()
    opener.verify_end(payload[end.sealed_start : end.sealed_stop])
    assert opener.is_end_verified
    assert opener.plain_bytes == size


def test_opening_other_chunks_does_not_verify_the_end():
    opener = _opener(_LONG)
    _open_range(opener, _LONG, 0, 131_072)
    _open_range(opener, _LONG, 0, 65_536)
    assert not opener.is_end_verified
    _open_range(opener, _LONG, 0, 300_000)
    assert opener.is_end_verified


def test_opening_into_a_used_buffer_writes_what_opening_returns():
    opener, buffer = _opener(_LONG), bytearray(b"\xff" * 400_000)
    assert opener.open_chunks_into(0, _LONG[NONCE_BYTES:], buffer) == 300_000
    assert buffer[:300_000] == _LONG_PLAIN
    assert set(buffer[300_000:]) == {0xFF}
    with pytest.raises(ValueError, match="not enough"):
        opener.open_chunks_into(0, _LONG[NONCE_BYTES:], bytearray(10))


def _chunks(payload: bytes) -> list[bytes]:
    return _pieces(payload[NONCE_BYTES:], SEALED_CHUNK_BYTES)


def _flipped(payload: bytes, position: int) -> bytes:
    changed = bytearray(payload)
    changed[position] ^= 1
    return bytes(changed)


_FULL = _payload(_plain(3 * CHUNK_BYTES))
_A, _B, _C = _chunks(_FULL)
_NONCE = _FULL[:NONCE_BYTES]
_SHORT = _payload(b"short")
_CHANGES = [
    pytest.param(_flipped(_FULL, 0), 0, id="nonce changed"),
    pytest.param(_flipped(_FULL, NONCE_BYTES), 0, id="first byte changed"),
    pytest.param(
        _flipped(_FULL, NONCE_BYTES + SEALED_CHUNK_BYTES), 1, id="second chunk changed"
    ),
    pytest.param(_flipped(_FULL, len(_FULL) - 1), 2, id="last tag changed"),
    pytest.param(_NONCE + _B + _A + _C, 0, id="chunks swapped"),
    pytest.param(_NONCE + _A + _C, 1, id="chunk left out"),
    pytest.param(_NONCE + _B + _C, 0, id="first chunk left out"),
    pytest.param(_NONCE + _A + _A + _C, 1, id="chunk repeated"),
    pytest.param(_NONCE + _A + _B, 2, id="cut at a chunk"),
    pytest.param(_NONCE + _A + _B + _C[:-1], 2, id="last byte missing"),
    pytest.param(_NONCE + _A + _B + _C[:15], 2, id="cut within a tag"),
    pytest.param(_NONCE, 0, id="no chunk"),
    pytest.param(_NONCE[:10], 0, id="cut within the nonce"),
    pytest.param(b"", 0, id="nothing"),
    pytest.param(_FULL + b"\0", 3, id="a byte added"),
    pytest.param(_FULL + _C, 3, id="final chunk repeated"),
    pytest.param(_NONCE + _A + _SHORT[NONCE_BYTES:], 1, id="end of another payload"),
    pytest.param(_payload(_plain(5), FileKey(b"x" * 16)), 0, id="another file's payload"),
]


@pytest.mark.parametrize(("payload", "whole_chunks"), _CHANGES)
def test_streaming_releases_what_was_verified_and_then_raises(payload, whole_chunks):
    released: list[bytes] = []
    with pytest.raises(PayloadError):
        released.extend(open_stream(_FILE_KEY, _pieces(payload, 40_000)))
    assert b"".join(released) == _plain(3 * CHUNK_BYTES)[: whole_chunks * CHUNK_BYTES]


def _random_access(payload: bytes) -> bytes:
    opener = _opener(payload)
    end = opener.end_covering()
    opener.verify_end(payload[end.sealed_start : end.sealed_stop])
    return bytes(opener.open_chunks(0, payload[NONCE_BYTES:]))


@pytest.mark.parametrize(
    "payload", [pytest.param(change.values[0], id=change.id) for change in _CHANGES]
)
def test_random_access_detects_the_same_changes(payload):
    with pytest.raises(PayloadError):
        _random_access(payload)


def test_a_chunk_of_another_place_does_not_open():
    with pytest.raises(PayloadError):
        _opener(_LONG).open_chunks(1, _chunks(_LONG)[0])


@pytest.mark.parametrize(
    ("first", "size"),
    [
        (0, 0),
        (0, 1),
        (0, SEALED_CHUNK_BYTES - 1),
        (0, SEALED_CHUNK_BYTES + 1),
        (-1, SEALED_CHUNK_BYTES),
        (4, SEALED_CHUNK_BYTES),
        (5, SEALED_CHUNK_BYTES),
        (4, 100),
        (0, 6 * SEALED_CHUNK_BYTES),
    ],
)
def test_refuses_bytes_that_are_not_whole_chunks_of_the_payload(first, size):
    with pytest.raises(PayloadError):
        _opener(_LONG).open_chunks(first, bytes(size))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_arbitrary_bytes_never_open(data, piece):
    with pytest.raises(PayloadError):
        list(open_stream(_FILE_KEY, _pieces(data, piece)))
    with pytest.raises(PayloadError):
        _random_access(data)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_one_changed_bit_in_a_payload_is_detected(data):
    position = data.draw(st.integers(0, len(_FULL) - 1))
    with pytest.raises(PayloadError):
        _random_access(_flipped(_FULL, position))


def test_a_payload_that_ends_in_an_empty_chunk_is_refused():
    cipher = _cipher(_FILE_KEY, _NONCE)
    full = cipher.encrypt(_chunk_nonce(0, 0), bytes(CHUNK_BYTES), None)
    forged = _NONCE + full + cipher.encrypt(_chunk_nonce(1, 1), b"", None)
    assert len(forged) == NONCE_BYTES + SEALED_CHUNK_BYTES + TAG_BYTES
    with pytest.raises(PayloadError, match="empty"):
        list(open_stream(_FILE_KEY, [forged]))
    with pytest.raises(PayloadError):
        _random_access(forged)
