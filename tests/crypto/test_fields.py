import os
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from service.crypto.fields import FieldSealer, Sealed, _place
from service.crypto.secret import DataKey
from service.domain.errors import TamperedError

_KEY = DataKey(b"\x05" * 32)
_PLACE = {"table": "contact", "row": "ct_1", "column": "sealed", "version": 1}
_VALUE = b'{"name":"Aino Esimerkki"}'


def _sealed(value: bytes = _VALUE) -> Sealed:
    return FieldSealer(_KEY).seal(value, **_PLACE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100))
def test_a_value_opens_where_it_was_sealed(value):
    assert FieldSealer(_KEY).open(_sealed(value), **_PLACE) == value


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"\0" * 16, b"\x80", b"a\x80\0\0", b"\0" * 15 + b"\x80"]
)
def test_a_value_that_looks_like_padding_comes_back_as_it_was(value):
    assert FieldSealer(_KEY).open(_sealed(value), **_PLACE) == value


@pytest.mark.parametrize(
    ("value_bytes", "sealed_bytes"), [(0, 45), (1, 45), (15, 45), (16, 61), (31, 61), (32, 77)]
)
def test_the_length_of_a_value_shows_in_steps_of_sixteen_bytes(value_bytes, sealed_bytes):
    assert len(_sealed(bytes(value_bytes))) == sealed_bytes


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param({"table": "customer"}, id="table"),
        pytest.param({"row": "ct_2"}, id="row"),
        pytest.param({"column": "subject"}, id="column"),
        pytest.param({"version": 2}, id="version"),
        pytest.param({"table": "contac", "column": "tsealed"}, id="a letter between names"),
        pytest.param({"column": "seale", "row": "dct_1"}, id="a letter between column and row"),
        pytest.param({"row": ""}, id="no row"),
    ],
)
def test_a_value_moved_to_another_place_does_not_open(moved):
    with pytest.raises(TamperedError):
        FieldSealer(_KEY).open(_sealed(), **(_PLACE | moved))


def test_a_value_does_not_open_under_the_key_of_another_row():
    with pytest.raises(TamperedError):
        FieldSealer(DataKey.generate()).open(_sealed(), **_PLACE)


@pytest.mark.parametrize("position", range(len(_sealed())))
def test_one_changed_bit_is_detected(position):
    changed = bytearray(_sealed())
    changed[position] ^= 1
    with pytest.raises(TamperedError):
        FieldSealer(_KEY).open(Sealed(bytes(changed)), **_PLACE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: b"", id="nothing left"),
        pytest.param(lambda sealed: sealed[:1], id="the version alone"),
        pytest.param(lambda sealed: sealed[:-1], id="last byte missing"),
        pytest.param(lambda sealed: sealed[1:], id="first byte missing"),
        pytest.param(lambda sealed: sealed[:44], id="shorter than any"),
        pytest.param(lambda sealed: sealed + b"\0", id="a byte added"),
        pytest.param(lambda sealed: b"\x02" + sealed[1:], id="another format version"),
        pytest.param(lambda _: _VALUE, id="the value in the clear"),
    ],
)
def test_detects(change):
    with pytest.raises(TamperedError):
        FieldSealer(_KEY).open(Sealed(change(_sealed())), **_PLACE)


@pytest.mark.parametrize(
    "padded",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"a\x80", id="too short"),
        pytest.param(bytes(16), id="no mark"),
        pytest.param(b"a" * 16, id="no padding"),
        pytest.param(b"a\x80" + bytes(30), id="too long"),
    ],
)
def test_padding_that_this_format_does_not_write_is_refused(padded):
    place = _place("contact", "sealed", 1) + b"ct_1"
    forged = b"\x01" + bytes(12) + AESGCM(_KEY).encrypt(bytes(12), padded, place)
    with pytest.raises(TamperedError):
        FieldSealer(_KEY).open(Sealed(forged), **_PLACE)


def test_the_same_value_sealed_twice_does_not_show():
    assert _sealed() != _sealed()


def test_the_format_is_as_documented():
    nonce = b"\x09" * 12
    sealed = FieldSealer(_KEY, random=lambda _: nonce).seal(b"abc", **_PLACE)
    place = b"taltio.field.v1\0\7contact\0\6sealed\0\0\0\0\0\0\0\1ct_1"
    padded = b"abc\x80" + bytes(12)
    assert sealed == b"\x01" + nonce + AESGCM(_KEY).encrypt(nonce, padded, place)


def test_what_was_sealed_by_the_first_version_opens():
    sealed = bytes.fromhex(
        "01090909090909090909090909b2eb46307fe77ddcbf40962ef33dc682fbb0175038122548fc703c09cb2a7180"
    )
    assert FieldSealer(_KEY).open(Sealed(sealed), **_PLACE) == b"abc"


def test_the_error_names_the_place_and_not_the_value():
    with pytest.raises(TamperedError, match=r"contact\.sealed of ct_1") as detected:
        FieldSealer(DataKey.generate()).open(_sealed(), **_PLACE)
    assert "Aino" not in str(detected.value)


def test_each_nonce_is_fetched_from_the_system_when_it_is_used(monkeypatch):
    """A machine set back to a snapshot has once more all that lay ready in memory; only the system is reseeded."""
    fetched = []

    def urandom(count: int) -> bytes:
        fetched.append(secrets.token_bytes(count))
        return fetched[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    sealer = FieldSealer(_KEY)
    nonces = [sealer.seal(_VALUE, **_PLACE)[1:13] for _ in range(3)]
    assert nonces == fetched
