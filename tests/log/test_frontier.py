import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log.errors import FormatError
from service.log.frontier import Frontier
from service.log.merkle import EMPTY_ROOT, leaf_hash, root_hash

LEAVES = [leaf_hash(b"%d" % i) for i in range(600)]


@given(first=st.integers(0, 300), second=st.integers(0, 300))
def test_a_frontier_goes_on_without_the_leaves_before_it(first, second):
    before = Frontier().extended(LEAVES[:first])
    frontier = Frontier(before.size, before.peaks).extended(LEAVES[first : first + second])
    assert frontier.size == first + second
    assert frontier.root == root_hash(LEAVES[: first + second])


def test_the_first_frontier_is_that_of_the_empty_tree():
    assert Frontier().root == EMPTY_ROOT


def test_the_peaks_are_the_roots_of_the_largest_perfect_subtrees():
    assert Frontier().extended(LEAVES[:3]).peaks == (root_hash(LEAVES[:2]), LEAVES[2])


@pytest.mark.parametrize(
    ("size", "peaks"),
    [
        pytest.param(3, (bytes(32),), id="a hash missing"),
        pytest.param(3, (bytes(32),) * 3, id="a hash too many"),
        pytest.param(1, (bytes(31),), id="a hash one byte short"),
        pytest.param(-1, (), id="a negative size"),
        pytest.param((1 << 64) - 1, (bytes(32),) * 64, id="a size that no tree has"),
    ],
)
def test_refuses_a_frontier_with(size, peaks):
    with pytest.raises(FormatError):
        Frontier(size, peaks)
