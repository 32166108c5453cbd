"""Identifiers have one canonical form each, or are refused."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    BusinessId,
    CustomerNumber,
    EmailAddress,
    MeteringPoint,
    PersonalIdentityCode,
    PhoneNumber,
    require_plain,
    require_source_name,
)

MAIJA = "+358401234567"


@pytest.mark.parametrize(
    ("text", "e164"),
    [
        ("0401234567", MAIJA),
        ("040 123 4567", MAIJA),
        ("040-123 4567", MAIJA),
        ("(040) 123 4567", MAIJA),
        ("040.123.4567", MAIJA),
        ("040/1234567", MAIJA),
        ("  0401234567\n", MAIJA),
        ("+358 40 123 4567", MAIJA),
        ("+358401234567", MAIJA),
        ("+358 (0)40 123 4567", MAIJA),
        ("+358 (0) 40 1234567", MAIJA),
        ("(+358) 40 1234567", MAIJA),
        ("00358401234567", MAIJA),
        ("00 358 40 1234567", MAIJA),
        ("99046812345678", "+46812345678"),
        pytest.param("358401234567", MAIJA, id="as call records have it, without the plus"),
        pytest.param("040\u00a0123\u00a04567", MAIJA, id="non-breaking spaces"),
        pytest.param("040\u202f123\u20094567", MAIJA, id="narrow spaces"),
        pytest.param("040\u2011123\u20134567", MAIJA, id="other dashes"),
        pytest.param("+358\u2212401234567", MAIJA, id="a minus"),
        pytest.param("\uff0b\uff13\uff15\uff18 40 1234567", MAIJA, id="full width"),
        pytest.param(
            "\u202a+358 40 123 4567\u202c", MAIJA, id="copied with marks of direction"
        ),
        ("020 1234567", "+358201234567"),
        ("0600 12345", "+35860012345"),
        ("09 1234 5678", "+358912345678"),
        ("+46 8 123 456 78", "+46812345678"),
        ("+1 212 555 0123", "+12125550123"),
        ("+39 06 1234 5678", "+390612345678"),
        pytest.param("+358 75 1234567", "+358751234567", id="possible, not known to be valid"),
    ],
)
def test_a_telephone_number_in_any_form_is_one_number(text, e164):
    assert PhoneNumber.parse(text, region="FI").e164 == e164
    assert PhoneNumber.parse(e164, region="FI").e164 == e164


def test_national_numbers_are_those_of_the_region():
    assert PhoneNumber.parse("08-123 456 78", region="SE").e164 == "+46812345678"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "anonymous",
        "unknown",
        "sip:maija@example.com",
        "112",
        "1234",
        pytest.param("12345", id="an extension, which is possible as a number"),
        "01234",
        "040123456789012",
        "+35840",
        "+999123456789",
        "+0401234567",
        "040 1234567 ext. 12",
        "040 1234567 x12",
        "040 1234567;ext=12",
        "040 1234567, 050 1234567",
        "0800-SOITA",
        "040\x001234567",
        "040\u200b1234567",
        "\ud800",
        "٠٤٠١٢٣٤٥٦٧",
        "0" * 10_000,
        "+" * 40,
    ],
)
def test_what_cannot_be_called_is_no_telephone_number(text):
    with pytest.raises(InvalidInputError):
        PhoneNumber.parse(text, region="FI")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("maija@example.com", "maija@example.com"),
        ("  Maija.E@Example.COM ", "maija.e@example.com"),
        ("maija+lasku@example.com", "maija+lasku@example.com"),
        ("maija@example.com.", "maija@example.com"),
        ("maija@älä.example", "maija@xn--l-zfab.example"),
        ("MAIJA@XN--L-ZFAB.example", "maija@xn--l-zfab.example"),
        pytest.param("\uff4daija\uff20example\uff0ecom", "maija@example.com", id="full width"),
        pytest.param("ma\u0308ki@example.com", "mäki@example.com", id="composed"),
        pytest.param("straße@example.com", "straße@example.com", id="no other letters"),
        ("o'brien@example.com", "o'brien@example.com"),
    ],
)
def test_an_address_is_lower_case_and_its_domain_ascii(text, address):
    assert EmailAddress.parse(text).address == address
    assert EmailAddress.parse(address).address == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "maija",
        "@example.com",
        "maija@",
        "maija@@example.com",
        "a@b@example.com",
        "maija@a..example",
        "maija@.example",
        "maija@-a.example",
        "maija@exa mple.com",
        "mai ja@example.com",
        '"maija"@example.com',
        "<maija@example.com>",
        "Maija <maija@example.com>",
        "maija@example.com, olli@example.com",
        "maija@example.com\r\nBcc: olli@example.com",
        "maija\u200b@example.com",
        "maija\u202e@example.com",
        "maija@xn--a",
        "maija@[192.0.2.1]",
        f"{'a' * 250}@example.com",
        f"a@{'a' * 64}.com",
    ],
)
def test_what_is_not_one_address_is_refused_without_being_repeated(text):
    with pytest.raises(InvalidInputError) as refused:
        EmailAddress.parse(text)
    assert refused.value.__cause__ is None
    assert not text.strip() or text.strip() not in refused.value.detail


@given(st.text(max_size=40), st.sampled_from(["example.com", "ÄLÄ.example", "例え.jp"]))
def test_an_address_in_canonical_form_is_its_own_canonical_form(local, domain):
    try:
        address = EmailAddress.parse(f"{local}@{domain}").address
    except InvalidInputError:
        return
    assert EmailAddress.parse(address).address == address


@given(st.text(max_size=60))
def test_no_text_breaks_a_parser(text):
    for parse in (
        lambda: PhoneNumber.parse(text, region="FI"),
        lambda: EmailAddress.parse(text),
        lambda: CustomerNumber.parse(text),
        lambda: MeteringPoint.parse(text),
        lambda: PersonalIdentityCode.parse(text),
        lambda: BusinessId.parse(text),
        lambda: require_plain(text, what="it"),
    ):
        try:
            parse()
        except InvalidInputError:
            continue


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("1001", "1001"), (" a-10 01 ", "A-1001"), ("007", "007"), ("åäö/1.2_3", "ÅÄÖ/1.2_3")],
)
def test_a_customer_number_is_upper_case_without_spaces(text, canonical):
    assert CustomerNumber.parse(text).text == canonical


@pytest.mark.parametrize("text", ["", "10;01", "=1+1", "10*", "%", "1" * 41, "1\u200b1", "é"])
def test_what_is_no_customer_number_is_refused(text):
    with pytest.raises(InvalidInputError):
        CustomerNumber.parse(text)


def test_a_metering_point_is_18_digits():
    assert MeteringPoint.parse("643 000 000-000000015").digits == "643000000000000015"
    for text in [
        "",
        "64300000000000001",
        "6430000000000000155",
        "64300000000000001x",
        "٦" * 18,
    ]:
        with pytest.raises(InvalidInputError):
            MeteringPoint.parse(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("131052-9085", "131052-9085"),
        ("131052a9085", "131052A9085"),
        pytest.param("131052Y9085", "131052Y9085", id="a mark of 2023"),
        pytest.param("010190-900P", "010190-900P", id="an artificial one"),
    ],
)
def test_identity_codes_are_checked_and_upper_case(text, code):
    assert PersonalIdentityCode.parse(text).code == code


@pytest.mark.parametrize(
    "text", ["", "131052-9086", "310252-9085", "131052 9085", "131052-908", "131052G9085"]
)
def test_a_wrong_identity_code_is_refused_without_being_repeated(text):
    with pytest.raises(InvalidInputError) as refused:
        PersonalIdentityCode.parse(text)
    assert refused.value.__cause__ is None
    assert not text or text not in repr(refused.value)


def test_an_identity_code_does_not_print_itself():
    assert "9085" not in repr(PersonalIdentityCode.parse("131052-9085"))


def test_business_ids_are_checked_and_have_their_dash():
    for text in ["2077474-0", "20774740", "FI20774740", " 2077474-0 "]:
        assert BusinessId.parse(text).text == "2077474-0"
    for text in ["", "2077474-1", "207747-0", "20774740x"]:
        with pytest.raises(InvalidInputError):
            BusinessId.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a\x00b", id="NUL"),
        pytest.param("a\nb", id="line break"),
        pytest.param("a\u202eb", id="right to left"),
        pytest.param("a\u2066b", id="isolate"),
        pytest.param("a\u200bb", id="zero width"),
        pytest.param("a\ufeffb", id="byte order mark"),
        pytest.param("a\ud800b", id="half a surrogate pair"),
        pytest.param("a\ue000b", id="private use"),
        pytest.param("a\u2028b", id="line separator"),
        pytest.param("\u00a0 ", id="nothing but spaces"),
        pytest.param("a" * 255, id="too long"),
    ],
)
def test_identifiers_have_no_characters_that_cannot_be_seen(text):
    with pytest.raises(InvalidInputError):
        require_plain(text, what="it")


def test_plain_text_is_composed_and_trimmed():
    assert require_plain(" A\u0308\u00a0", what="it") == "Ä"
    assert unicodedata.is_normalized("NFC", require_plain("../../etc/passwd", what="it"))


def test_sources_have_short_simple_names():
    assert require_source_name("pbx-1_b") == "pbx-1_b"
    for text in ["", "PBX", "-a", "a b", "a/b", "..", "a" * 64, "ä"]:
        with pytest.raises(InvalidInputError):
            require_source_name(text)
