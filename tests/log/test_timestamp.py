"""Timestamps of a real authority: what was stamped when is believed, and nothing else."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.log.der import sorted_certificates
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.timestamp import (
    MAX_ANSWER_BYTES,
    Timestamp,
    Trust,
    request_timestamp,
    verify_timestamp,
)
from tests.authority import POLICY, Authority

DATA = b"a checkpoint\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("time") / "tsa")


@pytest.fixture(scope="module")
def request_():
    return request_timestamp(DATA)


@pytest.fixture(scope="module")
def answer(authority, request_):
    return authority.answer(request_.body)


def test_a_timestamp_tells_who_stamped_when(authority, request_, answer):
    stamped = verify_timestamp(answer, DATA, authority.trust, nonce=request_.nonce)
    assert stamped.authority == "Example Time"
    assert stamped.policy == POLICY
    # The authority is a program beside the test and has the test's own clock.
    assert abs(stamped.at - datetime.now(UTC)) < timedelta(minutes=2)
    assert verify_timestamp(answer, DATA, replace(authority.trust, policy=POLICY)) == stamped


def test_each_request_has_a_nonce_of_its_own(request_):
    assert request_timestamp(DATA).nonce != request_.nonce
    assert str(request_.nonce) not in repr(request_)


def test_openssl_agrees(authority, answer, tmp_path):
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "answer").write_bytes(answer)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "answer"]
    done = subprocess.run(
        [*command, "-CAfile", authority.certificates], cwd=tmp_path, check=False,
        capture_output=True,
    )  # fmt: skip
    assert b"Verification: OK" in done.stdout + done.stderr


def test_other_bytes_another_nonce_and_another_policy_are_refused(authority, request_, answer):
    with pytest.raises(SignatureError, match="other bytes"):
        verify_timestamp(answer, DATA + b"!", authority.trust)
    with pytest.raises(SignatureError, match="another request"):
        verify_timestamp(answer, DATA, authority.trust, nonce=request_.nonce + 1)
    with pytest.raises(UnknownSignerError, match="another policy"):
        verify_timestamp(answer, DATA, replace(authority.trust, policy="1.2.3"))


def test_an_authority_that_nobody_trusts_is_unknown_and_proves_no_tampering(answer, tmp_path):
    other = Authority(tmp_path / "other")
    with pytest.raises(UnknownSignerError):
        verify_timestamp(answer, DATA, other.trust)


@pytest.mark.parametrize(
    ("usage", "is_accepted"),
    [
        ("critical,timeStamping", True),
        ("timeStamping", False),
        ("critical,timeStamping,serverAuth", False),
        ("critical,serverAuth", False),
    ],
)
def test_a_certificate_stamps_if_it_is_for_timestamps_alone(
    tmp_path, usage, is_accepted, request_, authority
):
    other = Authority(tmp_path / "other", usage=usage)
    # Stamped now: its certificate was not valid before it was made.
    forged = other.forge(authority.answer(request_.body))
    if is_accepted:
        verify_timestamp(forged, DATA, other.trust, nonce=request_.nonce)
    else:
        with pytest.raises(UnknownSignerError):
            verify_timestamp(forged, DATA, other.trust, nonce=request_.nonce)


def test_a_refusal_is_no_timestamp(authority):
    rejected = bytes.fromhex("30053003020102")
    granted_without = bytes.fromhex("30053003020100")
    for data in (rejected, granted_without):
        with pytest.raises(FormatError):
            verify_timestamp(data, DATA, authority.trust)
    with pytest.raises(FormatError, match="longer"):
        verify_timestamp(bytes(MAX_ANSWER_BYTES + 1), DATA, authority.trust)


@pytest.mark.parametrize("pem", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_is_refused(pem):
    with pytest.raises(FormatError):
        Trust.parse(pem)


def test_the_order_of_certificates_is_put_right_and_nothing_else(answer):
    ordered = sorted_certificates(answer)
    assert sorted(ordered) == sorted(answer)
    assert sorted_certificates(ordered) == ordered


def test_every_bit_of_what_is_stamped_is_vouched_for(authority, answer):
    """A flipped bit is refused, or it stands where nothing is said: no other time, name or policy comes out."""
    good = verify_timestamp(answer, DATA, authority.trust)
    accepted = 0
    for bit in range(0, len(answer) * 8, 5):
        flipped = bytearray(answer)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert verify_timestamp(bytes(flipped), DATA, authority.trust) == good
        except (FormatError, SignatureError, UnknownSignerError):
            continue
        accepted += 1
    # A quarter of the bits is of a certificate that it brings along and that nobody needs.
    assert accepted < len(answer) * 8 // 5 // 2


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_bytes_are_a_timestamp_or_refused(authority, answer, data):
    cut = data.draw(st.integers(0, len(answer)))
    middle = data.draw(st.binary(max_size=8))
    skipped = data.draw(st.integers(0, 8))
    whole = data.draw(st.sampled_from([b"", answer[:cut]])) + middle + answer[cut + skipped :]
    try:
        stamped = verify_timestamp(whole, DATA, authority.trust)
    except (FormatError, SignatureError, UnknownSignerError):
        return
    assert isinstance(stamped, Timestamp)
    assert stamped == verify_timestamp(answer, DATA, authority.trust)
