import hashlib
import hmac

import pytest

from service.crypto.blind_index import TOKEN_BYTES, BlindIndex, derive_index_key
from service.crypto.secret import IndexMaster

_MASTER = IndexMaster(b"\x03" * 32)


def _index(master: IndexMaster = _MASTER) -> BlindIndex:
    return BlindIndex(lambda field: derive_index_key(master, field))


def test_equal_values_of_a_field_have_equal_tokens():
    assert _index().token("phone", "+358401234567") == _index().token("phone", "+358401234567")


@pytest.mark.parametrize(
    ("field", "value"),
    [("phone", "+358401234568"), ("email", "+358401234567"), ("phone", "+358401234567 ")],
)
def test_other_values_and_fields_have_other_tokens(field, value):
    assert _index().token(field, value) != _index().token("phone", "+358401234567")


def test_another_archive_has_other_tokens():
    other = _index(IndexMaster.generate())
    assert other.token("phone", "+358401234567") != _index().token("phone", "+358401234567")


def test_the_order_of_use_does_not_change_tokens():
    index = _index()
    first = index.token("phone", "+358401234567")
    index.token("email", "aino@example.org")
    index.token("phone", "+358401234568")
    assert index.token("phone", "+358401234567") == first


def test_a_token_is_a_truncated_hmac_as_documented():
    prk = hmac.digest(bytes(32), _MASTER, "sha256")
    key = hmac.digest(prk, b"taltio.blind_index.v1|desk|phone|1\x01", "sha256")
    expected = hmac.new(key, b"+358401234567", hashlib.sha256).digest()[:16]
    assert _index().token("phone", "+358401234567") == expected
    assert len(expected) == TOKEN_BYTES


def test_fields_versions_and_scopes_have_keys_of_their_own():
    keys = {
        bytes(derive_index_key(_MASTER, "phone")),
        bytes(derive_index_key(_MASTER, "email")),
        bytes(derive_index_key(_MASTER, "phone", version=2)),
        bytes(derive_index_key(_MASTER, "phone", scope="intake")),
    }
    assert len(keys) == 4


@pytest.mark.parametrize("field", ["", "Phone", "a|b", "1a", "a b", "ä", "a" * 64])
def test_refuses_a_field_named(field):
    with pytest.raises(ValueError, match="no such index"):
        derive_index_key(_MASTER, field)


def test_refuses_a_version_below_one():
    with pytest.raises(ValueError, match="no such index"):
        derive_index_key(_MASTER, "phone", version=0)


def test_an_empty_value_has_no_token():
    with pytest.raises(ValueError, match="no token"):
        _index().token("phone", "")
