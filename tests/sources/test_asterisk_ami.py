"""What a manager of Asterisk sends, told apart into blocks, and nothing believed that a caller could write."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.asterisk_ami import (
    MAX_BLOCK_BYTES,
    BlockReader,
    fields_of,
    format_action,
    is_event,
    is_response,
)

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "asterisk"
GREETING = b"Asterisk Call Manager/9.0.0\r\n"
ANSWER = b"Response: Success\r\nMessage: Authentication accepted"
CDR = b"Event: Cdr\r\nPrivilege: cdr,all\r\nSource: +358401234567"
SAID = GREETING + ANSWER + b"\r\n\r\n" + CDR + b"\r\n\r\n"


def read(*pieces):
    reader = BlockReader()
    return [block for piece in pieces for block in reader.feed(piece)], reader


@given(st.lists(st.integers(0, len(SAID)), max_size=12))
def test_blocks_are_the_same_in_whatever_pieces_they_come(cuts):
    places = [0, *sorted(cuts), len(SAID)]
    pieces = [SAID[start:end] for start, end in pairwise(places)]
    blocks, reader = read(*pieces)
    assert blocks == [ANSWER, CDR]
    assert reader.is_between


def test_lines_may_end_with_a_line_feed_alone():
    blocks, _ = read(SAID.replace(b"\r\n", b"\n"))
    assert blocks == [ANSWER.replace(b"\r\n", b"\n"), CDR.replace(b"\r\n", b"\n")]


def test_what_is_begun_is_known_to_be():
    blocks, reader = read(SAID, b"Event: C")
    assert (len(blocks), reader.is_between) == (2, False)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"Asterisk Call Manager/\r\n",
        b"x" * 129,
        GREETING + b"x" * (MAX_BLOCK_BYTES + 1),
        GREETING + b"Event: Cdr\r\n" * 6000,
        GREETING + b"x" * (MAX_BLOCK_BYTES + 1) + b"\r\n\r\n",
    ],
)
def test_whatever_is_no_manager_is_told_at_once(said):
    with pytest.raises(InvalidInputError):
        read(said)


def test_a_block_is_known_by_its_first_line_alone():
    assert is_event(CDR, "Cdr")
    assert is_event(b"event: cdr", "Cdr")
    assert not is_event(b"Event: VarSet\r\nValue: x\nEvent: Cdr", "Cdr")
    assert not is_event(ANSWER, "Cdr")
    assert (is_response(ANSWER), is_response(CDR)) == (True, False)


def test_a_field_that_is_told_twice_may_have_been_smuggled_in():
    assert fields_of(b"Event: Cdr\r\nSource: a: b\r\nno field\r\n") == {
        "event": "Cdr",
        "source": "a: b",
    }
    with pytest.raises(InvalidInputError, match="twice"):
        fields_of(b'CallerID: "x\nLinkedid: 2"\r\nlinkedid: 1\r\n')


def test_an_action_says_what_it_is_given():
    assert format_action(Action="Login", Secret="a: b ä") == (
        "Action: Login\r\nSecret: a: b ä\r\n\r\n".encode()
    )


@pytest.mark.parametrize("value", ["a\r\nAction: Originate", "a\nb", "a\0", "\u2028"])
def test_a_value_never_becomes_another_field(value):
    with pytest.raises(InvalidInputError) as refused:
        format_action(Action="Login", Secret=value)
    assert "Originate" not in refused.value.detail


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_no_bytes_break_it(pieces):
    reader = BlockReader()
    try:
        for block in [b for piece in (GREETING, *pieces) for b in reader.feed(piece)]:
            is_event(block, "Cdr")
            fields_of(block)
    except InvalidInputError:
        return


@pytest.mark.skipif(not SAMPLES.exists(), reason="the captures beside the checkout are absent")
def test_what_asterisk_said_is_told_apart():
    blocks, _ = read((SAMPLES / "ami.txt").read_bytes())
    assert is_response(blocks[0])
    assert sum(is_event(block, "Cdr") for block in blocks) == 5
    assert sum(is_event(block, "VarSet") for block in blocks) == 88
