from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log.errors import ProofError
from service.log.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root_hash,
    subtree_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"%d" % i) for i in range(300)]

sizes = st.integers(min_value=1, max_value=300)


def naive_root(leaves):
    # RFC 6962, section 2.1, word for word.
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index, leaves):
    # RFC 6962, section 2.1.1, word for word.
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(size, leaves, *, is_known):
    # RFC 6962, section 2.1.2, word for word.
    if size == len(leaves):
        return [] if is_known else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if size <= k:
        return [*naive_subproof(size, leaves[:k], is_known=is_known), naive_root(leaves[k:])]
    return [*naive_subproof(size - k, leaves[k:], is_known=False), naive_root(leaves[:k])]


def test_hashes_are_those_of_the_published_test_tree():
    # The first values of the reference tree that Certificate Transparency tests with.
    assert leaf_hash(b"").hex() == (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    )
    assert root_hash([leaf_hash(b""), leaf_hash(b"\x00")]).hex() == (
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    )


def test_the_empty_tree_has_the_hash_of_nothing():
    assert root_hash([]) == EMPTY_ROOT == sha256(b"").digest()


def test_a_leaf_never_hashes_like_a_node():
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


@given(size=sizes)
def test_the_root_is_that_of_the_definition(size):
    assert root_hash(LEAVES[:size]) == naive_root(LEAVES[:size])


@given(data=st.data(), size=sizes)
def test_an_inclusion_proof_is_that_of_the_definition_and_verifies(data, size):
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    leaves = LEAVES[:size]
    proof = prove_inclusion(index, size, subtree_of(leaves))
    assert list(proof) == naive_path(index, leaves)
    verify_inclusion(leaves[index], index=index, size=size, proof=proof, root=root_hash(leaves))


@given(data=st.data(), new_size=sizes)
def test_a_consistency_proof_is_that_of_the_definition_and_verifies(data, new_size):
    old_size = data.draw(st.integers(min_value=1, max_value=new_size))
    leaves = LEAVES[:new_size]
    proof = prove_consistency(old_size, new_size, subtree_of(leaves))
    assert list(proof) == naive_subproof(old_size, leaves, is_known=True)
    verify_consistency(
        old_size=old_size,
        new_size=new_size,
        proof=proof,
        old_root=root_hash(leaves[:old_size]),
        new_root=root_hash(leaves),
    )


@given(data=st.data(), size=sizes)
def test_a_proof_for_one_index_proves_no_other(data, size):
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    other = data.draw(st.integers(min_value=0, max_value=size).filter(lambda i: i != index))
    leaves = LEAVES[:size]
    proof = prove_inclusion(index, size, subtree_of(leaves))
    with pytest.raises(ProofError):
        verify_inclusion(
            leaves[index], index=other, size=size, proof=proof, root=root_hash(leaves)
        )


def flipped(value):
    return bytes([value[0] ^ 1]) + value[1:]


INCLUSION_CHANGES = [
    pytest.param(lambda p: p | {"leaf": flipped(p["leaf"])}, id="another leaf"),
    pytest.param(lambda p: p | {"leaf": p["leaf"][:31]}, id="a short leaf"),
    pytest.param(lambda p: p | {"index": 4}, id="another index"),
    pytest.param(lambda p: p | {"index": -1}, id="a negative index"),
    pytest.param(lambda p: p | {"index": 11}, id="an index past the end"),
    pytest.param(lambda p: p | {"size": 64}, id="another size"),
    pytest.param(lambda p: p | {"size": 0}, id="an empty tree"),
    pytest.param(lambda p: p | {"root": flipped(p["root"])}, id="another root"),
    pytest.param(lambda p: p | {"root": b""}, id="an empty root"),
    pytest.param(lambda p: p | {"proof": p["proof"][:-1]}, id="the last hash cut off"),
    pytest.param(lambda p: p | {"proof": p["proof"][1:]}, id="the first hash cut off"),
    pytest.param(lambda p: p | {"proof": (*p["proof"], p["root"])}, id="a hash added"),
    pytest.param(lambda p: p | {"proof": p["proof"][::-1]}, id="hashes in another order"),
    pytest.param(
        lambda p: p | {"proof": (flipped(p["proof"][0]), *p["proof"][1:])}, id="one bit flipped"
    ),
    pytest.param(
        lambda p: p | {"proof": (p["proof"][0] + b"\0", *p["proof"][1:])}, id="a longer hash"
    ),
]


@pytest.mark.parametrize("change", INCLUSION_CHANGES)
def test_an_inclusion_proof_detects(change):
    leaves = LEAVES[:11]
    proof = prove_inclusion(5, 11, subtree_of(leaves))
    good = {
        "leaf": leaves[5],
        "index": 5,
        "size": 11,
        "proof": proof,
        "root": root_hash(leaves),
    }
    verify_inclusion(good.pop("leaf"), **good)
    bad = change(good | {"leaf": leaves[5]})
    with pytest.raises(ProofError):
        verify_inclusion(bad.pop("leaf"), **bad)


CONSISTENCY_CHANGES = [
    pytest.param(lambda p: p | {"old_size": 5}, id="another old size"),
    pytest.param(lambda p: p | {"old_size": 0}, id="an empty old tree"),
    pytest.param(lambda p: p | {"old_size": 12}, id="an old tree larger than the new"),
    pytest.param(lambda p: p | {"new_size": 6}, id="another new size"),
    pytest.param(lambda p: p | {"old_root": flipped(p["old_root"])}, id="another old root"),
    pytest.param(lambda p: p | {"new_root": flipped(p["new_root"])}, id="another new root"),
    pytest.param(lambda p: p | {"old_root": p["old_root"][:31]}, id="a short root"),
    pytest.param(lambda p: p | {"proof": ()}, id="no proof"),
    pytest.param(lambda p: p | {"proof": p["proof"][:-1]}, id="the last hash cut off"),
    pytest.param(lambda p: p | {"proof": p["proof"][1:]}, id="the first hash cut off"),
    pytest.param(lambda p: p | {"proof": (*p["proof"], p["new_root"])}, id="a hash added"),
    pytest.param(
        lambda p: p | {"proof": (flipped(p["proof"][0]), *p["proof"][1:])}, id="one bit flipped"
    ),
]


@pytest.mark.parametrize("change", CONSISTENCY_CHANGES)
def test_a_consistency_proof_detects(change):
    leaves = LEAVES[:11]
    good = {
        "old_size": 6,
        "new_size": 11,
        "proof": prove_consistency(6, 11, subtree_of(leaves)),
        "old_root": root_hash(leaves[:6]),
        "new_root": root_hash(leaves),
    }
    verify_consistency(**good)
    with pytest.raises(ProofError):
        verify_consistency(**change(good))


@pytest.mark.parametrize("index", [-1, 3])
def test_no_proof_is_made_for_a_leaf_that_is_not_there(index):
    with pytest.raises(ProofError):
        prove_inclusion(index, 3, subtree_of(LEAVES[:3]))


@pytest.mark.parametrize(("old_size", "new_size"), [(0, 3), (4, 3), (-1, 3)])
def test_no_consistency_proof_is_made_between_impossible_sizes(old_size, new_size):
    with pytest.raises(ProofError):
        prove_consistency(old_size, new_size, subtree_of(LEAVES))
