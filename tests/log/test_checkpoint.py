from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from service.log.base64text import format_base64, parse_base64
from service.log.checkpoint import (
    Checkpoint,
    Cosignature,
    cosign_checkpoint,
    decode_checkpoint,
    find_cosignatures,
    format_checkpoint,
    log_key,
    parse_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.merkle import EMPTY_ROOT
from service.log.note import (
    KeyKind,
    Note,
    NoteSignature,
    VerifierKey,
    decode_note,
    encode_note,
)

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
ORIGIN = "log.example.org/taltio"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CHECKPOINT = Checkpoint(ORIGIN, 20852163, bytes(range(32)))
SIGNED = sign_checkpoint(CHECKPOINT, SECRET)
KEY = log_key(ORIGIN, SECRET)
WITNESS = VerifierKey(
    "w.example.com", OTHER.public_key().public_bytes_raw(), KeyKind.COSIGNATURE
)
COSIGNED = cosign_checkpoint(SIGNED, name="w.example.com", key=OTHER, now=NOW)

# The example of C2SP signed-note.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfX"
    "ppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()


def unknown_signature(number):
    return NoteSignature(f"w{number}.example.org", bytes(4), bytes(64))


def test_the_example_of_the_specification_verifies():
    key = VerifierKey.parse(EXAMPLE_KEY)
    note = decode_note(EXAMPLE_NOTE)
    (signature,) = note.signatures
    assert signature.is_claimed_by(key)
    key.require_signature(signature.value, note.text.encode())
    assert key.format() == EXAMPLE_KEY
    assert encode_note(note) == EXAMPLE_NOTE


def test_a_checkpoint_reads_as_it_was_signed():
    assert format_checkpoint(CHECKPOINT) == (
        "log.example.org/taltio\n20852163\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    )
    assert decode_checkpoint(SIGNED) == CHECKPOINT
    verify_checkpoint(SIGNED, KEY)


@given(
    origin=st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1),
    size=st.integers(0, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
)
def test_checkpoints_read_back(origin, size, root):
    checkpoint = Checkpoint(origin, size, root)
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint


def test_lines_after_the_root_are_kept_and_signed():
    checkpoint = Checkpoint(ORIGIN, 0, EMPTY_ROOT, ("one", "two"))
    signed = sign_checkpoint(checkpoint, SECRET)
    assert decode_checkpoint(signed) == checkpoint
    verify_checkpoint(signed, KEY)
    with pytest.raises(SignatureError):
        verify_checkpoint(signed.replace(b"two", b"2wo"), KEY)


GOOD_TEXT = format_checkpoint(CHECKPOINT)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("\n\n\n", id="empty lines"),
        pytest.param(GOOD_TEXT[:-1], id="no newline at the end"),
        pytest.param(GOOD_TEXT + "\n", id="an empty line after"),
        pytest.param(GOOD_TEXT.replace(ORIGIN, ""), id="no origin"),
        pytest.param(GOOD_TEXT.replace("20852163", "020852163"), id="a leading zero"),
        pytest.param(GOOD_TEXT.replace("20852163", "00"), id="two zeros"),
        pytest.param(GOOD_TEXT.replace("20852163", "-1"), id="a negative size"),
        pytest.param(GOOD_TEXT.replace("20852163", "+1"), id="a sign"),
        pytest.param(GOOD_TEXT.replace("20852163", "1_0"), id="an underscore"),
        pytest.param(GOOD_TEXT.replace("20852163", "\u0661"), id="a digit of another script"),
        pytest.param(GOOD_TEXT.replace("20852163", str(2**63)), id="a size of 2^63"),
        pytest.param(GOOD_TEXT.replace("20852163", "9" * 5000), id="a size without end"),
        pytest.param(GOOD_TEXT.replace("Hh8=", "Hh8"), id="no padding"),
        pytest.param(GOOD_TEXT.replace("Hh8=", "Hh9="), id="unused bits set"),
        pytest.param(GOOD_TEXT.replace("Hh8=", ""), id="a short root"),
        pytest.param(GOOD_TEXT.replace("Hh8=", "Hh8= "), id="a space after the root"),
        pytest.param(GOOD_TEXT.replace("AAEC", "AA-_"), id="the URL alphabet"),
        pytest.param(GOOD_TEXT.replace("\n", "\r\n"), id="carriage returns"),
    ],
)
def test_refuses_a_checkpoint_with(text):
    with pytest.raises(FormatError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(SIGNED[:-1], id="no newline at the end"),
        pytest.param(SIGNED + b"\n", id="an empty line after"),
        pytest.param(SIGNED + b"more\n", id="a line that is no signature"),
        pytest.param(SIGNED.split(b"\n\n")[0] + b"\n", id="no signatures"),
        pytest.param(SIGNED.split(b"\n\n")[0] + b"\n\n", id="an empty list of signatures"),
        pytest.param(SIGNED.replace("\u2014".encode(), b"-"), id="a hyphen for the dash"),
        pytest.param(SIGNED.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(SIGNED.replace(b"taltio\n", b"taltio\t\n"), id="a tab"),
        pytest.param(SIGNED.replace(b"taltio\n", b"taltio\x00\n"), id="a NUL"),
        pytest.param(
            SIGNED.replace(b"taltio\n", b"talti\xf6\n"), id="bytes that are not UTF-8"
        ),
        pytest.param(SIGNED.replace(b"taltio ", b"tal+tio "), id="a plus in the name"),
        pytest.param(
            SIGNED.replace(b"taltio ", "tal\u00a0tio ".encode()), id="a hard space in the name"
        ),
        pytest.param(SIGNED.replace(b"taltio ", b"taltio  "), id="two spaces"),
        pytest.param(SIGNED[:-2] + b"!\n", id="a signature that is not base64"),
        pytest.param("x\n\n\u2014 a AAAAAA==\n".encode(), id="a signature of nothing"),
        pytest.param(b"x" * (512 * 1024) + SIGNED, id="more than 512 KiB"),
        pytest.param(
            encode_note(Note(GOOD_TEXT, tuple(map(unknown_signature, range(65))))),
            id="65 signatures",
        ),
    ],
)
def test_refuses_a_note_with(data):
    with pytest.raises(FormatError):
        decode_checkpoint(data)


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))
)
def test_bytes_are_one_note_or_none(data):
    try:
        note = decode_note(data)
    except FormatError:
        return
    assert encode_note(note) == data


@given(cut=st.integers(0, len(SIGNED)), junk=st.text(max_size=5), drop=st.integers(0, 5))
def test_a_changed_checkpoint_is_never_taken_for_the_signed_one(cut, junk, drop):
    data = SIGNED[:cut] + junk.encode("utf-8", "replace") + SIGNED[cut + drop :]
    if data == SIGNED:
        return
    try:
        verify_checkpoint(data, KEY)
    except (FormatError, SignatureError, UnknownSignerError):
        return
    assert decode_checkpoint(data) == CHECKPOINT


def outcome_of_flipping(bit):
    data = bytearray(SIGNED)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, SignatureError, UnknownSignerError)) as raised:
        verify_checkpoint(bytes(data), KEY)
    return raised.type


def test_no_flipped_bit_goes_unnoticed_and_nearly_all_are_seen_as_alteration():
    outcomes = [outcome_of_flipping(bit) for bit in range(len(SIGNED) * 8)]
    # One base64 character holds the end of the key id and the start of the signature; with
    # both changed, nothing tells a changed line from one by a key that we do not know.
    assert outcomes.count(UnknownSignerError) <= 6


def test_signatures_by_strangers_are_ignored():
    note = decode_note(SIGNED)
    strangers = tuple(map(unknown_signature, range(15)))
    same_name = NoteSignature(ORIGIN, b"\x01\x02\x03\x04", bytes(64))
    same_id = NoteSignature("x.example.org", KEY.key_id, bytes(64))
    signatures = (*strangers, same_name, *note.signatures, same_id)
    verify_checkpoint(encode_note(Note(note.text, signatures)), KEY)


def test_one_failing_signature_of_the_known_key_refuses_the_whole():
    note = decode_note(SIGNED)
    forged = NoteSignature(ORIGIN, KEY.key_id, bytes(64))
    with pytest.raises(SignatureError):
        verify_checkpoint(encode_note(Note(note.text, (*note.signatures, forged))), KEY)


@pytest.mark.parametrize("length", [1, 63, 65, 72])
def test_a_signature_of_wrong_length_does_not_verify(length):
    forged = NoteSignature(ORIGIN, KEY.key_id, bytes(length))
    with pytest.raises(SignatureError):
        verify_checkpoint(encode_note(Note(GOOD_TEXT, (forged,))), KEY)


def test_a_key_that_did_not_sign_cannot_say_anything():
    with pytest.raises(UnknownSignerError):
        verify_checkpoint(SIGNED, log_key(ORIGIN, OTHER))
    with pytest.raises(UnknownSignerError):
        verify_checkpoint(SIGNED, log_key("other.example.org", SECRET))
    with pytest.raises(UnknownSignerError):
        verify_checkpoint(COSIGNED, WITNESS)


def test_a_signature_under_a_name_that_is_not_its_own_is_alteration():
    note = decode_note(SIGNED)
    renamed = NoteSignature("x.example.org", bytes(4), note.signatures[0].value)
    with pytest.raises(SignatureError):
        verify_checkpoint(encode_note(Note(note.text, (renamed,))), KEY)


def test_the_key_of_one_log_does_not_vouch_for_another():
    text = GOOD_TEXT.replace(ORIGIN, "other.example.org")
    signature = NoteSignature(ORIGIN, KEY.key_id, SECRET.sign(text.encode()))
    with pytest.raises(SignatureError):
        verify_checkpoint(encode_note(Note(text, (signature,))), KEY)


def test_a_cosignature_says_who_saw_it_when():
    verify_checkpoint(COSIGNED, KEY)
    assert COSIGNED.startswith(SIGNED)
    assert find_cosignatures(COSIGNED, [KEY, WITNESS]) == (Cosignature("w.example.com", NOW),)
    assert find_cosignatures(SIGNED, [WITNESS]) == ()


def with_cosignature(value):
    note = decode_note(SIGNED)
    added = NoteSignature(WITNESS.name, WITNESS.key_id, value)
    return encode_note(Note(note.text, (*note.signatures, added)))


COSIGNATURE = decode_note(COSIGNED).signatures[1].value


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_cosignature(bytes(7) + b"\1" + COSIGNATURE[8:]), id="another time"),
        pytest.param(with_cosignature(COSIGNATURE[:-1]), id="a short signature"),
        pytest.param(with_cosignature(COSIGNATURE + b"\0"), id="a long signature"),
        pytest.param(with_cosignature(COSIGNATURE[:8] + bytes(64)), id="a forged signature"),
        pytest.param(with_cosignature(COSIGNATURE[8:]), id="no time"),
        pytest.param(COSIGNED.replace(b"20852163", b"20852164"), id="another size"),
    ],
)
def test_a_cosignature_does_not_verify_with(data):
    with pytest.raises(SignatureError):
        find_cosignatures(data, [WITNESS])


def test_a_cosignature_at_a_time_beyond_the_calendar_is_refused():
    timestamp = 2**63 - 1
    message = f"cosignature/v1\ntime {timestamp}\n{GOOD_TEXT}".encode()
    data = with_cosignature(timestamp.to_bytes(8, "big") + OTHER.sign(message))
    with pytest.raises(SignatureError):
        find_cosignatures(data, [WITNESS])


VKEY = KEY.format()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(ORIGIN, id="a name alone"),
        pytest.param(VKEY + "\n", id="a newline after"),
        pytest.param(VKEY.replace("log.", "gol."), id="another name"),
        pytest.param(VKEY.partition("+")[2], id="no name"),
        pytest.param(VKEY.replace(KEY.key_id.hex(), "00000000"), id="another id"),
        pytest.param(VKEY.replace(KEY.key_id.hex(), KEY.key_id.hex().upper()), id="capitals"),
        pytest.param(VKEY[:-4], id="a short key"),
        pytest.param(VKEY + "AAAA", id="a long key"),
        pytest.param(VKEY.rpartition("+")[0] + "+", id="no key"),
        pytest.param(VKEY.rpartition("+")[0] + "+" + format_base64(b"\x02"), id="another type"),
        pytest.param("a b" + VKEY, id="a space in the name"),
    ],
)
def test_refuses_a_verifier_key_with(text):
    with pytest.raises(FormatError):
        VerifierKey.parse(text)


@given(
    st.text(max_size=80) | st.builds(lambda i, c: VKEY[:i] + c, st.integers(0, 90), st.text())
)
def test_a_text_is_one_verifier_key_or_none(text):
    try:
        key = VerifierKey.parse(text)
    except FormatError:
        return
    assert key.format() == text


@given(st.binary(max_size=100))
def test_base64_reads_back(data):
    assert parse_base64(format_base64(data)) == data


@pytest.mark.parametrize(
    "text", ["A", "AA", "AB==", "AAA\n", " AAAA", "AAAA====", "\u00e4AAA", "=="]
)
def test_base64_has_one_spelling(text):
    with pytest.raises(FormatError):
        parse_base64(text)
