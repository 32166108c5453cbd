"""Card numbers and identity codes are hidden where text is shown; everything else is shown as it is."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn

from service.domain.masking import CARD_MASK, CODE_MASK, mask_text

# The payment schemes publish these for tests; nobody's card has such a number.
CARDS = (
    "4111111111111111",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "30569309025904",
    "3530111333300000",
    "6011111111111117",
    "6200000000000005",
    "6759649826438453",
)


@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_shows_its_last_four_digits(card):
    shown = mask_text(f"Korttini on {card}, kiitos.")
    assert (shown.text, shown.hidden) == (f"Korttini on {CARD_MASK}{card[-4:]}, kiitos.", 1)


@pytest.mark.parametrize(
    "written",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111 - 1111 - 1111 - 1111",
        "4111.1111.1111.1111",
        "4111\u00a01111\u202f1111\u20091111",
        "4111\u20111111\u20131111\u22121111",
        "4111\u200b1111\u00ad1111\u20601111",
        "4111 1111 1111\n1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "41111111 11111111",
        "\uff14\uff11\uff11\uff11 1111 1111 1111",
    ],
)
def test_the_digits_may_stand_in_groups(written):
    assert mask_text(f"nro {written}!").text == f"nro {CARD_MASK}1111!"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4111 1111 1111 1111 12 27 123", "•••• 1111 12 27 123"),
        ("12 4111 1111 1111 1111", "12 •••• 1111"),
        ("visa4111111111111111eur", "visa•••• 1111eur"),
        ("4111111111111111 5555555555554444", "•••• 1111 •••• 4444"),
        ("4111111111111111,378282246310005", "•••• 1111,•••• 0005"),
        ("tilaus 7 kortti 4111111111111111", "tilaus 7 kortti •••• 1111"),
        ("9" * 30 + " 4111111111111111", "9" * 30 + " •••• 1111"),
    ],
)
def test_a_card_number_is_found_beside_other_numbers(text, shown):
    assert mask_text(text).text == shown


@pytest.mark.parametrize(
    "written",
    [
        "131052-928T",
        "131052-928t",
        "131052\u2013928T",
        "131052\u2212928T",
        "131052 - 928T",
        "131052 -928 T",
        "13 10 52 - 9 2 8 T",
        "13.10.52-928T",
        "131052 928T",
        "131052928T",
        "010100A900F",
        "010100a 900 f",
        "010594Y9032",
        "290200A900B",
        "010190-900P",
    ],
)
def test_an_identity_code_shows_nothing(written):
    shown = mask_text(f"Hetu: {written}.")
    assert (shown.text, shown.hidden) == (f"Hetu: {CODE_MASK}.", 1)


def test_inflected_and_glued_words_hide_no_identity_code():
    assert mask_text("131052-928T:n hetu131052-928T").text == f"{CODE_MASK}:n hetu{CODE_MASK}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hei, laskuni on väärin.",
        pytest.param("4111 1111 1111 1112", id="the check digit is wrong"),
        pytest.param("1111 1111 1111 1117", id="nobody issues such"),
        pytest.param("5555 5555 5555 55", id="no Mastercard is so short"),
        pytest.param("14111111111111111", id="within a longer group"),
        pytest.param("4111 1111    1111 1111", id="too far apart"),
        pytest.param("4111 1111 x 1111 1111", id="something between"),
        pytest.param("131052-928U", id="the check character is wrong"),
        pytest.param("321052-928T", id="no such day"),
        pytest.param("1131052-928T", id="a digit before"),
        pytest.param("131052-928T1", id="a digit after"),
        pytest.param("0405111234 040 511 1234 +358 40 511 1234", id="telephone numbers"),
        pytest.param("643 000 111 222 333 444", id="a metering point"),
        pytest.param("FI21 1234 5600 0007 85", id="an account"),
        pytest.param("20261123 133335 2026-11-23T13:33:35.000000+02:00", id="times"),
        pytest.param("1310529085", id="ten digits without a sign"),
    ],
)
def test_anything_else_is_shown_as_it_is(text):
    shown = mask_text(text)
    assert (shown.text, shown.hidden) == (text, 0)


def test_what_was_hidden_is_not_in_what_programs_write_of_it():
    assert "1111" not in repr(mask_text("Kortti 4111111111111111"))


@settings(max_examples=200)
@given(st.text(alphabet="0123456789 -.\nAaTt•", max_size=80))
def test_whatever_the_text_is_only_what_is_hidden_differs(text):
    shown = mask_text(text)
    assert (shown.hidden == 0) == (shown.text == text)
    pieces = shown.text.replace(CODE_MASK, CARD_MASK).split(CARD_MASK)
    assert text.startswith(pieces[0])
    assert text.count("•") <= shown.text.count("•")


@settings(max_examples=200)
@given(
    st.sampled_from("456"),
    st.lists(st.integers(0, 9), min_size=14, max_size=14),
    st.lists(st.sampled_from(["", " ", "-"]), min_size=16, max_size=16),
)
def test_every_card_number_that_checks_is_hidden_however_it_is_grouped(first, digits, between):
    prefix = {"4": "4", "5": "53", "6": "65"}[first]
    body = (prefix + "".join(map(str, digits)))[:15]
    card = body + luhn.calc_check_digit(body)
    written = "".join(a + b for a, b in zip(card, between, strict=True))
    assert mask_text(f"a{written}b").hidden == 1


@pytest.mark.parametrize(
    "text", ["4 " * 50_000, "1" * 100_000, "010101-" * 15_000, "4111 " * 20_000]
)
def test_text_that_is_built_to_hurt_takes_a_moment(text):
    begun = time.process_time()
    mask_text(text)
    assert time.process_time() - begun < 2
