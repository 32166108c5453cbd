import os

import pytest

from service.crypto.secret import DataKey, FileKey, IndexKey, IndexMaster, Secret, WrappingKey

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


def _file_keys(count: int) -> set[bytes]:
    return {bytes(FileKey.generate()) for _ in range(count)}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_file_keys_do_not_repeat_across_a_fork():
    count = 50_000
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "wb") as pipe:
            pipe.writelines(_file_keys(count))
        os._exit(0)
    os.close(writing)
    mine = _file_keys(count)
    with os.fdopen(reading, "rb") as pipe:
        sent = pipe.read()
    os.waitpid(child, 0)
    theirs = {sent[start : start + 16] for start in range(0, len(sent), 16)}
    assert len(mine) == len(theirs) == count
    assert not mine & theirs


def test_secrets_are_bytes_to_those_who_use_them():
    assert isinstance(DataKey.generate(), bytes)
    assert issubclass(FileKey, Secret)
