import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log.errors import FormatError
from service.log.frontier import Frontier, decode_frontier, encode_frontier
from service.log.merkle import EMPTY_ROOT, leaf_hash, root_hash

LEAVES = [leaf_hash(b"%d" % i) for i in range(600)]


@given(first=st.integers(0, 300), second=st.integers(0, 300))
def test_a_stored_frontier_goes_on_without_the_leaves_before_it(first, second):
    stored = encode_frontier(Frontier().extended(LEAVES[:first]))
    frontier = decode_frontier(stored).extended(LEAVES[first : first + second])
    assert frontier.size == first + second
    assert frontier.root == root_hash(LEAVES[: first + second])


def test_the_first_frontier_is_that_of_the_empty_tree():
    assert Frontier().root == EMPTY_ROOT
    assert encode_frontier(Frontier()) == b"\x01" + bytes(8)


def test_the_stored_form_is_version_size_and_hashes():
    frontier = Frontier().extended(LEAVES[:3])
    expected = b"\x01" + (3).to_bytes(8, "big") + root_hash(LEAVES[:2]) + LEAVES[2]
    assert encode_frontier(frontier) == expected


GOOD = encode_frontier(Frontier().extended(LEAVES[:3]))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD[:-1], id="one byte short"),
        pytest.param(GOOD + b"\0", id="one byte long"),
        pytest.param(GOOD[:-32], id="a hash missing"),
        pytest.param(GOOD + bytes(32), id="a hash too many"),
        pytest.param(b"\x02" + GOOD[1:], id="another version"),
        pytest.param(b"\x01" + b"\xff" * 8 + bytes(64 * 32), id="a size that no tree has"),
    ],
)
def test_refuses_a_stored_frontier_with(data):
    with pytest.raises(FormatError):
        decode_frontier(data)


@given(st.binary(max_size=200))
def test_what_decodes_is_what_was_encoded(data):
    try:
        frontier = decode_frontier(data)
    except FormatError:
        return
    assert encode_frontier(frontier) == data
