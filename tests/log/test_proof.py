import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from service.log.checkpoint import Checkpoint, log_key, sign_checkpoint
from service.log.errors import FormatError, ProofError, SignatureError, UnknownSignerError
from service.log.merkle import leaf_hash, prove_inclusion, root_hash, subtree_of
from service.log.note import VerifierKey
from service.log.proof import LogProof, decode_proof, encode_proof, verify_proof

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "log.example.org/taltio"
KEY = log_key(ORIGIN, SECRET)
ENTRIES = [b"entry %d" % i for i in range(11)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
CHECKPOINT = sign_checkpoint(Checkpoint(ORIGIN, 11, root_hash(LEAVES)), SECRET)


def proof_of(index, extra=None):
    hashes = prove_inclusion(index, 11, subtree_of(LEAVES))
    return LogProof(index, hashes, CHECKPOINT, extra)


PROOF = proof_of(5, extra=b"\0salt")
DATA = encode_proof(PROOF)


def test_a_proof_is_written_as_the_specification_shows():
    lines = DATA.decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra AHNhbHQ=", "index 5"]
    assert [len(line) for line in lines[3:7]] == [44] * 4
    assert lines[7] == ""
    assert "\n".join(lines[8:]).encode() == CHECKPOINT


@pytest.mark.parametrize("index", range(11))
def test_each_entry_is_proven_and_no_other_in_its_place(index):
    proof = decode_proof(encode_proof(proof_of(index)))
    assert proof == proof_of(index)
    for other, entry in enumerate(ENTRIES):
        if other == index:
            verify_proof(proof, entry=entry, key=KEY)
        else:
            with pytest.raises(ProofError):
                verify_proof(proof, entry=entry, key=KEY)


def test_the_only_entry_of_a_log_has_a_proof_without_hashes():
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, 1, LEAVES[0]), SECRET)
    data = encode_proof(LogProof(0, (), checkpoint))
    assert data == b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + checkpoint
    verify_proof(decode_proof(data), entry=ENTRIES[0], key=KEY)


def test_a_stranger_s_key_says_nothing_and_a_forged_checkpoint_is_alteration():
    other = VerifierKey(ORIGIN, bytes(32))
    with pytest.raises(UnknownSignerError):
        verify_proof(PROOF, entry=ENTRIES[5], key=other)
    forged = CHECKPOINT.replace(b"\n11\n", b"\n12\n")
    with pytest.raises(SignatureError):
        verify_proof(LogProof(5, PROOF.hashes, forged), entry=ENTRIES[5], key=KEY)


def test_a_proof_for_another_size_is_refused():
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, 10, root_hash(LEAVES[:10])), SECRET)
    with pytest.raises(ProofError):
        verify_proof(LogProof(5, PROOF.hashes, checkpoint), entry=ENTRIES[5], key=KEY)


def test_no_flipped_bit_goes_unnoticed_but_for_those_of_the_extra_line():
    for bit in range(len(DATA) * 8):
        changed = bytearray(DATA)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            proof = decode_proof(bytes(changed))
            verify_proof(proof, entry=ENTRIES[5], key=KEY)
        except (FormatError, ProofError, SignatureError, UnknownSignerError):
            continue
        assert (proof.index, proof.hashes, proof.checkpoint) == (5, PROOF.hashes, CHECKPOINT)
        assert proof.extra != PROOF.extra


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(DATA.replace(b"@v1", b"@v2"), id="another version"),
        pytest.param(b"\n" + DATA, id="an empty line first"),
        pytest.param(DATA.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(DATA.replace(b"extra AHNhbHQ=", b"extra "), id="empty extra data"),
        pytest.param(DATA.replace(b"extra AHNhbHQ=", b"extra AHNhbHQ"), id="extra not base64"),
        pytest.param(
            DATA.replace(b"extra AHNhbHQ=\n", b"extra AA==\nextra AA==\n"), id="extra twice"
        ),
        pytest.param(DATA.replace(b"index 5\n", b""), id="no index"),
        pytest.param(DATA.replace(b"index 5", b"index 05"), id="a leading zero"),
        pytest.param(DATA.replace(b"index 5", b"index -5"), id="a negative index"),
        pytest.param(DATA.replace(b"index 5", b"index  5"), id="two spaces"),
        pytest.param(DATA.replace(b"index 5", b"Index 5"), id="a capital"),
        pytest.param(DATA.replace(b"index 5", b"index %d" % 2**63), id="an index of 2^63"),
        pytest.param(DATA.replace(b"index 5", b"index " + b"9" * 5000), id="an endless index"),
        pytest.param(DATA.replace(b"index 5", b"index 5\nAAAA"), id="a short hash"),
        pytest.param(DATA.replace(b"index 5", b"index 5\n"), id="an empty line in the middle"),
        pytest.param(
            DATA.replace(b"index 5", b"index 5" + (b"\n" + b"A" * 43 + b"=") * 64),
            id="64 hashes",
        ),
        pytest.param(DATA[: DATA.index(b"\n\n")], id="no checkpoint"),
        pytest.param(DATA + b"\n", id="an empty line after"),
        pytest.param(DATA[:-1], id="the last newline cut off"),
        pytest.param(b"\xff" + DATA, id="bytes that are not ASCII"),
        pytest.param(DATA + b"x" * 700_000, id="a file without end"),
    ],
)
def test_refuses_a_proof_with(data):
    with pytest.raises(FormatError):
        decode_proof(data)


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda i, n, junk: DATA[:i] + junk + DATA[i + n :],
        st.integers(0, len(DATA)),
        st.integers(0, 60),
        st.binary(max_size=60),
    )
)
def test_bytes_are_one_proof_or_none(data):
    try:
        proof = decode_proof(data)
    except FormatError:
        return
    assert encode_proof(proof) == data
