"""Requests to a witness and what it decides: only what continues what it cosigned is ever cosigned."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from service.log.checkpoint import (
    Checkpoint,
    cosign_checkpoint,
    decode_checkpoint,
    find_cosignatures,
    log_key,
    sign_checkpoint,
)
from service.log.errors import FormatError, ProofError, SignatureError, UnknownSignerError
from service.log.merkle import leaf_hash, prove_consistency, root_hash, subtree_of
from service.log.note import KeyKind, VerifierKey
from service.log.witness import (
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    OtherSizeError,
    UnknownLogError,
    cosignature_lines,
    decode_request,
    encode_request,
    format_size,
    merge_cosignatures,
    parse_size,
    require_consistent,
    without_cosignatures,
)

ORIGIN = "log.example.org"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(5, 37)))
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(9, 41)))
WITNESS_KEY = VerifierKey(
    "witness.example.org", WITNESS.public_key().public_bytes_raw(), KeyKind.COSIGNATURE
)
LEAVES = [leaf_hash(b"entry %d" % n) for n in range(20)]
FORKED = [*LEAVES[:5], *(leaf_hash(b"other %d" % n) for n in range(15))]
LOGS = (log_key("another.example.org", STRANGER), log_key(ORIGIN, SECRET))
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def state(size, leaves=LEAVES, origin=ORIGIN):
    return Checkpoint(origin, size, root_hash(leaves[:size]))


def asked(old, size, leaves=LEAVES, *, secret=SECRET, origin=ORIGIN):
    proof = prove_consistency(old, size, subtree_of(leaves)) if old else ()
    return AddCheckpoint(old, proof, sign_checkpoint(state(size, leaves, origin), secret))


@pytest.mark.parametrize(("old", "size"), [(0, 0), (0, 7), (7, 7), (7, 8), (8, 16), (5, 20)])
def test_a_request_that_continues_what_was_cosigned_is_allowed(old, size):
    request = asked(old, size)
    assert decode_request(encode_request(request)) == request
    last = state(old) if old else None
    assert require_consistent(request, logs=LOGS, last=last) == state(size)


@pytest.mark.parametrize(
    ("request_", "last", "error", "size"),
    [
        pytest.param(asked(7, 9, origin="x.example.org"), 7, UnknownLogError, None, id="no such log"),
        pytest.param(asked(7, 9, secret=STRANGER), 7, UnknownSignerError, None, id="not its key"),
        pytest.param(replace(asked(0, 4), old_size=5), 5, FormatError, None, id="old beyond new"),
        pytest.param(asked(0, 9), 7, OtherSizeError, 7, id="from the beginning again"),
        pytest.param(asked(3, 9), 7, OtherSizeError, 7, id="from before"),
        pytest.param(asked(8, 9), 7, OtherSizeError, 7, id="from after"),
        pytest.param(asked(3, 5), 7, OtherSizeError, 7, id="a smaller log"),
        pytest.param(asked(3, 9), 0, OtherSizeError, 0, id="never cosigned"),
        pytest.param(asked(7, 7, FORKED), 7, OtherSizeError, 7, id="two logs of one size"),
        pytest.param(asked(7, 9, FORKED), 7, ProofError, None, id="another history"),
        pytest.param(replace(asked(7, 9), proof=()), 7, ProofError, None, id="no proof"),
        pytest.param(
            replace(asked(7, 9), proof=(*asked(7, 9).proof, LEAVES[0])), 7, ProofError, None,
            id="a proof too long",
        ),
        pytest.param(replace(asked(0, 9), proof=(LEAVES[0],)), 0, ProofError, None, id="a needless proof"),
        pytest.param(replace(asked(7, 7), proof=(LEAVES[0],)), 7, ProofError, None, id="as needless"),
        pytest.param(
            AddCheckpoint(0, (), sign_checkpoint(Checkpoint(ORIGIN, 0, LEAVES[0]), SECRET)),
            0, ProofError, None, id="an empty log with a root",
        ),
    ],
)  # fmt: skip
def test_anything_else_is_refused(request_, last, error, size):
    known = state(last) if last else None
    with pytest.raises(error) as refused:
        require_consistent(request_, logs=LOGS, last=known)
    # The subclasses mean other answers, so the class is exact.
    assert refused.type is error
    if size is not None:
        assert refused.value.size == size


def test_a_signature_that_was_changed_is_refused():
    request = asked(0, 9)
    forged = request.checkpoint.replace(b"\n9\n", b"\n8\n")
    with pytest.raises(SignatureError):
        require_consistent(replace(request, checkpoint=forged), logs=LOGS, last=None)


GOOD = encode_request(asked(7, 9))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 7\n",
        GOOD.replace(b"old 7", b"old 07"),
        GOOD.replace(b"old 7", b"old -7"),
        GOOD.replace(b"old 7", b"old  7"),
        GOOD.replace(b"old 7", b"Old 7"),
        GOOD.replace(b"old 7", b"old 9223372036854775808"),
        GOOD.replace(b"old 7\n", b"old 7\r\n"),
        GOOD.replace(b"old 7\n", b"old 7\nAAAA\n"),
        GOOD.replace(b"old 7\n", b"old 7\n" + b"A" * 44 + b"\n"),
        GOOD.replace(b"old 7\n", "old 7\nä\n".encode()),
        GOOD.replace(b"old 7\n", b"old 7\n" + 64 * (b"A" * 43 + b"=\n")),
        GOOD.replace(b"\n\nlog", b"\nlog"),
        GOOD[:-1],
        GOOD + b"\xff\n",
        GOOD + b" " * MAX_REQUEST_BYTES,
    ],
)
def test_a_malformed_request_is_refused(data):
    with pytest.raises(FormatError):
        decode_request(data)


@settings(max_examples=300)
@given(st.binary(max_size=400) | st.builds(
    lambda at, value: GOOD[: at % len(GOOD)] + value + GOOD[at % len(GOOD) + 1 :],
    st.integers(0, 2000), st.binary(max_size=3),
))  # fmt: skip
def test_any_bytes_are_a_request_in_one_spelling_or_refused(data):
    try:
        request = decode_request(data)
    except FormatError:
        return
    assert encode_request(request) == data


NOTE = asked(0, 9).checkpoint
COSIGNED = cosign_checkpoint(NOTE, name=WITNESS_KEY.name, key=WITNESS, now=NOW)
LINES = cosignature_lines(COSIGNED, WITNESS_KEY)


def test_cosignatures_join_the_checkpoint_and_leave_it_again():
    assert merge_cosignatures(NOTE, LINES, [WITNESS_KEY]) == COSIGNED
    assert find_cosignatures(COSIGNED, [WITNESS_KEY])[0].at == NOW
    assert without_cosignatures(COSIGNED, LOGS[1]) == NOTE


def test_lines_by_others_are_dropped():
    other = cosign_checkpoint(NOTE, name="else.example.org", key=STRANGER, now=NOW)
    strange = other[len(NOTE) :]
    assert merge_cosignatures(NOTE, strange + LINES, [WITNESS_KEY]) == COSIGNED
    with pytest.raises(UnknownSignerError):
        merge_cosignatures(NOTE, strange, [WITNESS_KEY])


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (b"", FormatError),
        (b"hello\n", FormatError),
        (LINES[:-1], FormatError),
        (b"\n" + LINES, FormatError),
        (NOTE, FormatError),
        (LINES * 65, FormatError),
        (LINES * 1000, FormatError),
        (LINES.replace(LINES[60:61], b"A" if LINES[60:61] != b"A" else b"B"), SignatureError),
        (cosign_checkpoint(asked(0, 8).checkpoint, name=WITNESS_KEY.name, key=WITNESS, now=NOW)
         .split(b"\n\n")[1].split(b"\n")[1] + b"\n", SignatureError),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_cosignature_of_this_checkpoint_is_refused(lines, error):
    with pytest.raises(error):
        merge_cosignatures(NOTE, lines, [WITNESS_KEY])


@settings(max_examples=300)
@given(st.binary(max_size=300) | st.builds(
    lambda at, value: LINES[: at % len(LINES)] + value + LINES[at % len(LINES) + 1 :],
    st.integers(0, 500), st.binary(max_size=3),
))  # fmt: skip
def test_whatever_a_witness_answers_only_its_true_cosignature_is_taken(lines):
    try:
        merged = merge_cosignatures(NOTE, lines, [WITNESS_KEY])
    except (FormatError, SignatureError, UnknownSignerError):
        return
    assert set(merged[len(NOTE) :].splitlines()) == set(LINES.splitlines())
    assert decode_checkpoint(merged) == state(9)


@given(st.integers(0, (1 << 63) - 1))
def test_a_size_is_read_as_it_was_told(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    "data",
    [b"", b"7", b"07\n", b"-1\n", b"7\n\n", b" 7\n", b"9223372036854775808\n", b"\xff\n"],
)
def test_anything_else_tells_no_size(data):
    with pytest.raises(FormatError):
        parse_size(data)
