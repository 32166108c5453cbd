"""The inclusion and consistency vectors of transparency-dev/merkle.

One vector that is meant to pass has roots of 12 bytes; we refuse it, because a root hash here
is always 32 bytes long.
"""

import base64
import json
from pathlib import Path

import pytest

from service.log.errors import ProofError
from service.log.merkle import HASH_BYTES, verify_consistency, verify_inclusion

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "merkle"


def vectors(kind):
    paths = sorted((VECTORS / kind).rglob("*.json"))
    if not paths:
        skipped = pytest.mark.skip(reason="the vectors beside the checkout are absent")
        return [pytest.param(None, marks=skipped)]
    return [
        pytest.param(json.loads(p.read_text()), id=str(p.relative_to(VECTORS))) for p in paths
    ]


def unpack(text):
    return base64.b64decode(text or "")


def verify(vector):
    proof = [unpack(value) for value in vector["proof"] or []]
    if "leafIdx" in vector:
        verify_inclusion(
            unpack(vector["leafHash"]),
            index=vector["leafIdx"],
            size=vector["treeSize"],
            proof=proof,
            root=unpack(vector["root"]),
        )
    else:
        verify_consistency(
            old_size=vector["size1"],
            new_size=vector["size2"],
            proof=proof,
            old_root=unpack(vector["root1"]),
            new_root=unpack(vector["root2"]),
        )


def has_short_root(vector):
    roots = [vector[name] for name in ("root", "root1", "root2") if name in vector]
    return any(len(unpack(root)) != HASH_BYTES for root in roots)


@pytest.mark.parametrize("vector", vectors("inclusion") + vectors("consistency"))
def test_a_vector_gives_the_result_it_states_and_short_roots_are_refused(vector):
    if vector["wantErr"] or has_short_root(vector):
        with pytest.raises(ProofError):
            verify(vector)
    else:
        verify(vector)


def test_only_one_vector_that_should_pass_is_refused_for_its_short_roots():
    all_vectors = [p.values[0] for p in vectors("inclusion") + vectors("consistency")]
    if None in all_vectors:
        pytest.skip("the vectors beside the checkout are absent")
    assert len(all_vectors) == 196
    refused = [v["desc"] for v in all_vectors if not v["wantErr"] and has_short_root(v)]
    assert refused == ["sizes are equal (one) and proof is empty"]
