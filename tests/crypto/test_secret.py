import os

import pytest

from service.crypto.age import seal_header
from service.crypto.fields import FieldSealer
from service.crypto.recipients import X25519Identity
from service.crypto.secret import DataKey, FileKey, IndexKey, IndexMaster, Secret, WrappingKey
from service.crypto.wrap import new_key
from service.domain.ids import new_id

_KINDS = [FileKey, DataKey, WrappingKey, IndexKey, IndexMaster]


@pytest.mark.parametrize("kind", _KINDS)
def test_key_material_does_not_print(kind):
    secret = kind(b"s" * kind.size_bytes)
    for shown in (repr(secret), str(secret), f"{secret}", "%s %r" % (secret, secret)):  # noqa: UP031  # one of the ways
        assert "sss" not in shown
        assert kind.__name__ in shown


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_key_has_one_length(kind, surplus):
    with pytest.raises(ValueError, match="bytes") as refused:
        kind(b"s" * (kind.size_bytes + surplus))
    assert "sss" not in str(refused.value)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_new_key_takes_its_randomness_from_where_it_is_told(kind):
    assert kind.generate(lambda size: b"r" * size) == b"r" * kind.size_bytes


RECIPIENT = X25519Identity.generate().recipient
FIELDS = FieldSealer(DataKey.generate())


def _header_shares(count):
    """Return the ephemeral share of each of ``count`` headers to one recipient."""
    return [seal_header(FileKey.generate(), [RECIPIENT]).split(b"\n")[1] for _ in range(count)]


def _nonces(count):
    """Return the version and nonce of each of ``count`` sealed values."""
    place = {"table": "t", "row": "r", "column": "c", "version": 1}
    return [FIELDS.seal(b"", **place)[:13] for _ in range(count)]


MADE = [
    pytest.param(
        lambda count: [bytes(FileKey.generate()) for _ in range(count)], 50_000, id="file keys"
    ),
    pytest.param(lambda count: [new_key() for _ in range(count)], 50_000, id="keys of rows"),
    pytest.param(lambda count: [new_id("ct").encode() for _ in range(count)], 20_000, id="ids"),
    pytest.param(_nonces, 20_000, id="nonces of fields"),
    pytest.param(_header_shares, 1_000, id="headers"),
    pytest.param(
        lambda count: [bytes(FileKey.generate()) for _ in range(count)],
        1_000_000,
        id="a million file keys",
        marks=pytest.mark.long,
    ),
]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize(("make", "count"), MADE)
def test_nothing_random_repeats_across_a_fork(make, count):
    # A fork has all that its parent has, as a machine has that is brought back from a snapshot.
    make(10)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "wb") as pipe:
            pipe.writelines(one.hex().encode() + b"\n" for one in make(count))
        os._exit(0)
    os.close(writing)
    mine = make(count)
    with os.fdopen(reading, "rb") as pipe:
        theirs = [bytes.fromhex(line.decode()) for line in pipe]
    os.waitpid(child, 0)
    assert len(mine) == len(theirs) == count
    assert len({*mine, *theirs}) == 2 * count


def test_secrets_are_bytes_to_those_who_use_them():
    assert isinstance(DataKey.generate(), bytes)
    assert issubclass(FileKey, Secret)
