import pytest

from service.crypto.secret import DataKey, WrappingKey
from service.crypto.wrap import WRAPPED_BYTES, new_key, unwrap_key, wrap_key
from service.domain.errors import TamperedError

# RFC 3394, section 4.6: wrap 256 bits of key data with a 256-bit key.
_RFC_WRAPPING_KEY = WrappingKey(bytes(range(32)))
_RFC_KEY = DataKey(
    bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
)
_RFC_WRAPPED = bytes.fromhex(
    "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
)


def test_wraps_and_unwraps_as_rfc_3394_does():
    assert wrap_key(_RFC_WRAPPING_KEY, _RFC_KEY) == _RFC_WRAPPED
    assert unwrap_key(_RFC_WRAPPING_KEY, _RFC_WRAPPED) == _RFC_KEY


def test_a_new_key_comes_back():
    wrapping_key, key = WrappingKey.generate(), new_key()
    wrapped = wrap_key(wrapping_key, key)
    assert len(wrapped) == WRAPPED_BYTES
    assert unwrap_key(wrapping_key, wrapped) == key


def test_new_keys_differ():
    assert len({bytes(new_key()) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("position", range(WRAPPED_BYTES))
def test_one_changed_bit_is_detected(position):
    changed = bytearray(_RFC_WRAPPED)
    changed[position] ^= 0x80
    with pytest.raises(TamperedError):
        unwrap_key(_RFC_WRAPPING_KEY, bytes(changed))


@pytest.mark.parametrize(
    "wrapped",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(_RFC_WRAPPED[:-1], id="a byte missing"),
        pytest.param(_RFC_WRAPPED[:-8], id="a block missing"),
        pytest.param(_RFC_WRAPPED + bytes(8), id="a block added"),
        pytest.param(
            bytes.fromhex("64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
            id="a wrapped key of 128 bits",
        ),
    ],
)
def test_refuses(wrapped):
    with pytest.raises(TamperedError):
        unwrap_key(_RFC_WRAPPING_KEY, wrapped)


def test_another_wrapping_key_does_not_unwrap():
    with pytest.raises(TamperedError):
        unwrap_key(WrappingKey.generate(), _RFC_WRAPPED)
