import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.crypto import bech32
from service.crypto.bech32 import decode_bech32, encode_bech32
from service.domain.errors import InvalidInputError


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["age", "age1pq", "age-secret-key-", "a"]))
def test_what_is_encoded_decodes_to_itself(data, prefix):
    text = encode_bech32(prefix, data)
    assert decode_bech32(text) == (prefix, data)
    assert decode_bech32(text.upper()) == (prefix.upper(), data)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("age1qpzry9x8", max_size=60))
def test_any_text_decodes_or_is_refused_and_never_has_two_forms(text):
    try:
        prefix, data = decode_bech32(text)
    except InvalidInputError:
        return
    assert encode_bech32(prefix.lower(), data) == text.lower()


@pytest.mark.parametrize("text", ["A12UEL5L", "a12uel5l", "?1ezyfcl"])
def test_the_valid_strings_of_bip_173_are_accepted(text):
    assert decode_bech32(text)[1] == b""


_VALID = encode_bech32("age", bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("1", id="a separator alone"),
        pytest.param("age", id="no separator"),
        pytest.param("1qqqqqq", id="no prefix"),
        pytest.param("age1qqqqq", id="shorter than a checksum"),
        pytest.param(_VALID[:-1], id="last character missing"),
        pytest.param(
            _VALID[:-1] + ("q" if _VALID[-1] != "q" else "p"), id="mistyped at the end"
        ),
        pytest.param(_VALID.replace("age", "agf", 1), id="mistyped in the prefix"),
        pytest.param(_VALID[:10].upper() + _VALID[10:], id="mixed case"),
        pytest.param(_VALID.replace("q", "b", 1), id="a character bech32 does not have"),
        pytest.param(_VALID + "\n", id="a line feed at the end"),
        pytest.param(" " + _VALID, id="a space in front"),
        pytest.param("å1" + _VALID[4:], id="not ASCII"),
        pytest.param("\u212a1" + _VALID[4:], id="a letter whose lower case is ASCII"),
        pytest.param("a1qqqqsqqqq", id="checksum of something else"),
    ],
)
def test_refuses(text):
    with pytest.raises(InvalidInputError):
        decode_bech32(text)


@pytest.mark.parametrize("symbols", [[1], [0, 1], [31], [0, 0, 0]])
def test_refuses_symbols_that_are_not_whole_bytes(symbols):
    body = [*bech32._expand("age"), *symbols]
    remainder = bech32._polymod([*body, *[0] * 6]) ^ 1
    checksum = [remainder >> 5 * (5 - place) & 31 for place in range(6)]
    text = "age1" + "".join(bech32._ALPHABET[symbol] for symbol in [*symbols, *checksum])
    with pytest.raises(InvalidInputError, match="whole bytes"):
        decode_bech32(text)


def test_the_message_does_not_repeat_what_may_be_a_secret():
    with pytest.raises(InvalidInputError) as refused:
        decode_bech32("AGE-SECRET-KEY-1QQQQBQQQQQQQ")
    assert "QQQ" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
