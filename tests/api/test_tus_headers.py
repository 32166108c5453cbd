"""The headers of tus, as clients send them and as they should not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.tus_headers import (
    BASE,
    Concat,
    format_concat,
    parse_checksum,
    parse_concat,
    parse_metadata,
    parse_number,
)
from service.domain.errors import InvalidInputError, NotFoundError

ONE, OTHER = "up_" + "a" * 26, "up_" + "b" * 26
PARSERS = (
    parse_metadata,
    parse_checksum,
    parse_concat,
    lambda one: parse_number(one, what="n"),
)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        pytest.param("", {}, id="tuspy sends an empty header"),
        pytest.param(
            "filename eC53YXY=,empty", {"filename": "x.wav", "empty": ""}, id="aiotus"
        ),
        pytest.param(
            "filename cHVoZWx1IMOkw7Yud2F2, filetype YXVkaW8vd2F2",
            {"filename": "puhelu äö.wav", "filetype": "audio/wav"},
            id="tus-js-client",
        ),
    ],
)
def test_metadata_is_read_as_clients_send_it(sent, told):
    assert parse_metadata(sent) == told


@pytest.mark.parametrize(
    "sent", [",", "a YQ==,a YQ==", "a !!", "a YQ", "ä YQ==", "a /w==", "a YQ== b"]
)
def test_metadata_that_is_none_is_refused(sent):
    with pytest.raises(InvalidInputError):
        parse_metadata(sent)


@pytest.mark.parametrize("sent", ["", "-1", "+1", "1 ", "0x1", "1e3", "\u0661", "9" * 16])
def test_a_number_is_digits(sent):
    with pytest.raises(InvalidInputError):
        parse_number(sent, what="Upload-Offset")


@pytest.mark.parametrize("sent", ["", "md5 YQ==", "SHA1 YQ==", "sha1 !", "sha256"])
def test_a_checksum_has_an_algorithm_that_is_known(sent):
    if sent == "sha256":
        assert parse_checksum(sent).digest == b"", "which no bytes have"
        return
    with pytest.raises(InvalidInputError):
        parse_checksum(sent)


def test_uploads_are_named_by_path_or_address():
    sent = f"final;{BASE}/{ONE} https://arkisto.example.fi{BASE}/{OTHER}"
    assert parse_concat(sent) == Concat("final", (ONE, OTHER))
    assert parse_concat(format_concat("final", (ONE, OTHER))) == Concat("final", (ONE, OTHER))
    assert parse_concat(format_concat("partial", ())) == Concat("partial")
    assert parse_concat(None) == Concat("whole")


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "whole",
        "partial;x",
        "final",
        "final;",
        f"final;/files/{ONE}",
        f"final;{BASE}/../{ONE}",
    ],
)
def test_uploads_that_are_named_otherwise_are_refused(sent):
    with pytest.raises((InvalidInputError, NotFoundError)):
        parse_concat(sent)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.text(), max_size=5))
def test_metadata_comes_back_as_it_was_sent(told):
    sent = ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in told.items())
    assert parse_metadata(sent) == told


@given(st.text())
def test_anything_else_is_refused_and_nothing_breaks(sent):
    for parse in PARSERS:
        try:
            parse(sent)
        except (InvalidInputError, NotFoundError):
            continue
