import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.log.entry import (
    MAX_ENTRY_BYTES,
    EntryType,
    LogEntry,
    commitment,
    decode_entry,
    encode_entry,
)
from service.log.errors import FormatError

AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
ENTRY = LogEntry(
    type=EntryType.OPENING_MADE,
    at=AT,
    actor="us_k5k5k5k5",
    about=("ct_a2a2", "rec_b3b3"),
    data={"purpose": "handle_complaint", "seconds": 61, "parts": [1, 2], "criteria": ["phone"]},
)
CANONICAL = (
    b'{"about":["ct_a2a2","rec_b3b3"],"actor":"us_k5k5k5k5","at":"2026-03-04T05:06:07.000089Z",'
    b'"data":{"criteria":["phone"],"parts":[1,2],"purpose":"handle_complaint","seconds":61},'
    b'"type":"opening.made","v":1}'
)

ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
scalars = st.integers(-(2**53) + 1, 2**53 - 1) | st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=50
)
entries = st.builds(
    LogEntry,
    type=st.sampled_from(EntryType),
    at=st.datetimes(timezones=st.just(UTC)),
    actor=ids,
    about=st.lists(ids, max_size=4).map(tuple),
    data=st.dictionaries(
        st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z"),
        scalars | st.lists(scalars, max_size=4).map(tuple),
        max_size=5,
    ),
)


def changed(old, new):
    assert old in CANONICAL
    return CANONICAL.replace(old, new, 1)


def test_an_entry_has_exactly_these_bytes():
    assert encode_entry(ENTRY) == CANONICAL
    assert decode_entry(CANONICAL) == ENTRY


@given(entries)
def test_entries_read_back(entry):
    assert decode_entry(encode_entry(entry)) == entry


@given(entries)
def test_the_bytes_are_those_of_any_sorted_compact_json(entry):
    data = encode_entry(entry)
    again = json.dumps(
        json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert again.encode() == data


REFUSED = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"null", id="no object"),
    pytest.param(b"[" * 60_000, id="brackets without end"),
    pytest.param(CANONICAL + b"\n", id="a newline after"),
    pytest.param(b" " + CANONICAL, id="a space before"),
    pytest.param(b"\xef\xbb\xbf" + CANONICAL, id="a byte order mark"),
    pytest.param(changed(b'"about":', b'"about": '), id="a space within"),
    pytest.param(changed(b'"v":1', b'"v":2'), id="another version"),
    pytest.param(changed(b'"v":1', b'"v":1.0'), id="a fractional version"),
    pytest.param(changed(b'"v":1', b'"v":true'), id="a true version"),
    pytest.param(changed(b',"v":1', b""), id="no version"),
    pytest.param(changed(b'"v":1', b'"v":1,"x":1'), id="a field too many"),
    pytest.param(changed(b'"v":1', b'"v":1,"v":1'), id="a field twice"),
    pytest.param(changed(b"opening.made", b"opening.faked"), id="an unknown type"),
    pytest.param(changed(b"opening.made", b"opening\\u002emade"), id="a needless escape"),
    pytest.param(changed(b'"opening.made"', b"7"), id="a type that is a number"),
    pytest.param(changed(b"us_k5k5k5k5", b""), id="no actor"),
    pytest.param(changed(b"us_k5k5k5k5", b"Ines Example"), id="an actor with a space"),
    pytest.param(changed(b"us_k5k5k5k5", b"x" * 65), id="a long actor"),
    pytest.param(changed(b'"ct_a2a2"', b"1"), id="a number for a subject"),
    pytest.param(changed(b'"ct_a2a2"', b'"ines@example.org"'), id="an address for a subject"),
    pytest.param(changed(b'["ct_a2a2","rec_b3b3"]', b'"ct_a2a2"'), id="subjects not in a list"),
    pytest.param(changed(b".000089Z", b"Z"), id="a time without microseconds"),
    pytest.param(changed(b".000089Z", b".000089+00:00"), id="a zone spelt another way"),
    pytest.param(changed(b"2026-03-04T", b"2026-02-30T"), id="a day that does not exist"),
    pytest.param(changed(b"2026-03-04T", b"2026-03-04 "), id="a space in the time"),
    pytest.param(changed(b":07.", b":60."), id="a leap second"),
    pytest.param(changed(b"61", b"61.5"), id="a fraction"),
    pytest.param(changed(b"61", b"1e2"), id="an exponent"),
    pytest.param(changed(b"61", b"-0"), id="minus zero"),
    pytest.param(changed(b"61", b"NaN"), id="not a number"),
    pytest.param(changed(b"61", b"true"), id="a boolean"),
    pytest.param(changed(b"61", b"null"), id="null"),
    pytest.param(changed(b"61", b"9007199254740992"), id="an integer beyond doubles"),
    pytest.param(changed(b"61", b"9" * 5000), id="an integer without end"),
    pytest.param(changed(b"61", b'{"a":1}'), id="an object within the data"),
    pytest.param(changed(b"[1,2]", b"[[1],2]"), id="a list within a list"),
    pytest.param(changed(b"handle_complaint", b"\\ud800"), id="a lone surrogate"),
    pytest.param(
        changed(b"handle_complaint", "tyytymätön".encode()), id="letters beyond ASCII"
    ),
    pytest.param(changed(b"handle_complaint", b"\\u0000"), id="a NUL"),
    pytest.param(changed(b"handle_complaint", b"x" * 1025), id="a long text"),
    pytest.param(changed(b'"parts"', b'"Parts"'), id="a name with a capital"),
    pytest.param(
        changed(b'"criteria":["phone"],"parts":[1,2]', b'"parts":[1,2],"criteria":["phone"]'),
        id="names out of order",
    ),
]


@pytest.mark.parametrize("data", REFUSED)
def test_refuses(data):
    with pytest.raises(FormatError):
        decode_entry(data)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_other_bytes_are_refused(data):
    with pytest.raises(FormatError):
        decode_entry(data)


@given(at=st.integers(0, len(CANONICAL) - 1), byte=st.integers(0, 255))
def test_whatever_byte_changes_it_is_another_entry_or_none(at, byte):
    data = CANONICAL[:at] + bytes([byte]) + CANONICAL[at + 1 :]
    try:
        entry = decode_entry(data)
    except FormatError:
        return
    assert encode_entry(entry) == data
    assert (entry == ENTRY) == (data == CANONICAL)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"at": AT.replace(tzinfo=None)}, id="a time without zone"),
        pytest.param({"at": AT.astimezone(timezone(timedelta(hours=2)))}, id="a local time"),
        pytest.param({"actor": "ines@example.org"}, id="an address as actor"),
        pytest.param({"about": ("+358 40 0000 001",)}, id="a number as subject"),
        pytest.param({"data": {"seconds": 1.5}}, id="a fraction"),
        pytest.param({"data": {"is_held": True}}, id="a boolean"),
        pytest.param({"data": {"why": None}}, id="nothing"),
        pytest.param({"data": {"Why": "x"}}, id="a name with a capital"),
        pytest.param({"data": {"lines": ["a\nb"]}}, id="a newline"),
        pytest.param({"data": {"a": {"b": 1}}}, id="a map within"),
    ],
)
def test_no_entry_can_be_made_with(changes):
    fields = {"type": EntryType.SIGNOUT, "at": AT, "actor": "us_a"} | changes
    with pytest.raises(FormatError):
        LogEntry(**fields)


def test_an_entry_longer_than_a_bundle_can_count_is_refused():
    data = {"ids": ["x" * 1000] * 66}
    with pytest.raises(FormatError):
        encode_entry(LogEntry(EntryType.SIGNOUT, AT, "system", data=data))
    with pytest.raises(FormatError):
        decode_entry(bytes(MAX_ENTRY_BYTES + 1))


def test_an_entry_does_not_change_with_what_it_was_made_from():
    data = {"sizes": [1, 2]}
    entry = LogEntry(EntryType.SIGNOUT, AT, "system", data=data)
    data["sizes"].append(3)
    data["more"] = 4
    assert entry.data == {"sizes": (1, 2)}
    with pytest.raises(TypeError):
        entry.data["more"] = 4


def test_a_commitment_is_hmac_sha256():
    # RFC 4231, test case 1.
    assert commitment(b"\x0b" * 20, b"Hi There") == (
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )


def test_a_commitment_needs_a_salt_that_cannot_be_guessed():
    with pytest.raises(FormatError):
        commitment(bytes(15), b"value")
