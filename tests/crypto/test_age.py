import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.crypto.age import (
    MAX_HEADER_BYTES,
    MAX_STANZAS,
    open_header,
    parse_header,
    rewrap_header,
    seal_header,
)
from service.crypto.errors import HeaderError, HeaderMacError, NoMatchError
from service.crypto.recipients import HybridIdentity, X25519Identity
from service.crypto.secret import FileKey
from service.domain.errors import InvalidInputError, TamperedError

_IDENTITY = X25519Identity(bytes(range(32)))
_HYBRID = HybridIdentity(bytes(range(32)))
_FILE_KEY = FileKey(b"\x07" * 16)
_SEALED = seal_header(_FILE_KEY, [_IDENTITY.recipient])
_BOTH = [_IDENTITY, _HYBRID]


@pytest.mark.parametrize("identity", _BOTH, ids=lambda identity: identity.family)
def test_a_header_opens_with_its_identity_and_tells_where_the_payload_is(identity):
    sealed = seal_header(_FILE_KEY, [identity.recipient])
    header = parse_header(sealed + b"payload")
    assert open_header(header, [identity]) == _FILE_KEY
    assert header.length_bytes == len(sealed)


@pytest.mark.parametrize("maker", [X25519Identity, HybridIdentity])
def test_each_of_several_recipients_opens_it(maker):
    identities = [maker.generate() for _ in range(3)]
    header = parse_header(seal_header(_FILE_KEY, [one.recipient for one in identities]))
    assert [open_header(header, [one]) for one in identities] == [_FILE_KEY] * 3


def test_nobody_else_opens_it():
    with pytest.raises(NoMatchError):
        open_header(parse_header(_SEALED), [X25519Identity.generate(), _HYBRID])


def test_rewrapped_it_opens_for_the_new_recipient_and_not_for_the_old():
    new = X25519Identity.generate()
    rewrapped = parse_header(rewrap_header(parse_header(_SEALED), [_IDENTITY], [new.recipient]))
    assert open_header(rewrapped, [new]) == _FILE_KEY
    with pytest.raises(NoMatchError):
        open_header(rewrapped, [_IDENTITY])


@pytest.mark.parametrize(
    "recipients",
    [
        pytest.param([], id="none"),
        pytest.param([_IDENTITY.recipient, _HYBRID.recipient], id="hybrid and classic"),
        pytest.param([_IDENTITY.recipient] * (MAX_STANZAS + 1), id="too many"),
        pytest.param([_HYBRID.recipient] * MAX_STANZAS, id="longer than a header may be"),
    ],
)
def test_refuses_to_seal_to(recipients):
    with pytest.raises(InvalidInputError):
        seal_header(_FILE_KEY, recipients)


def test_reads_as_many_stanzas_as_it_writes():
    sealed = seal_header(_FILE_KEY, [_IDENTITY.recipient] * MAX_STANZAS)
    assert len(parse_header(sealed).stanzas) == MAX_STANZAS


@pytest.mark.parametrize("position", range(0, len(_SEALED), 3))
def test_one_changed_bit_anywhere_is_detected(position):
    changed = bytearray(_SEALED)
    changed[position] ^= 1
    with pytest.raises((TamperedError, NoMatchError)):
        open_header(parse_header(bytes(changed)), [_IDENTITY])


_OTHER = seal_header(_FILE_KEY, [_IDENTITY.recipient])
_STANZA = _SEALED[len("age-encryption.org/v1\n") : _SEALED.index(b"---")]
_ENDING = b"--- " + b"A" * 43 + b"\n"
_VERSION = b"age-encryption.org/v1\n"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(_SEALED[:-44] + _OTHER[-44:], HeaderMacError, id="code of another header"),
        pytest.param(
            _SEALED.replace(b"---", _STANZA + b"---", 1), HeaderMacError, id="stanza repeated"
        ),
        pytest.param(
            _SEALED.replace(b"---", b"-> grease\n\n---", 1), HeaderMacError, id="stanza added"
        ),
        pytest.param(_VERSION + _ENDING, HeaderError, id="no stanza"),
        pytest.param(b"", HeaderError, id="empty"),
        pytest.param(_VERSION, HeaderError, id="the version alone"),
        pytest.param(_SEALED[:-1], HeaderError, id="no line feed at the end"),
        pytest.param(_SEALED.replace(b"/v1", b"/v2"), HeaderError, id="another version"),
        pytest.param(_SEALED.replace(b"\n", b"\r\n"), HeaderError, id="carriage returns"),
        pytest.param(_SEALED.replace(b"X25519 ", b"X25519  "), HeaderError, id="two spaces"),
        pytest.param(
            _SEALED.replace(b"X25519 ", b"X25519 a "), HeaderError, id="two arguments"
        ),
        pytest.param(_SEALED.replace(b"X25519 ", b"X25519\t "), HeaderError, id="a tab"),
        pytest.param(_SEALED.replace(b"X25519", b"X\xff"), HeaderError, id="not ASCII"),
        pytest.param(
            _VERSION + b"-> a\n" + b"A" * 68 + b"\n" + _ENDING, HeaderError, id="long"
        ),
        pytest.param(_VERSION + b"-> a\nAA==\n" + _ENDING, HeaderError, id="padding"),
        pytest.param(_VERSION + b"-> a\nAB\n" + _ENDING, HeaderError, id="not canonical"),
        pytest.param(
            _VERSION + b"-> a\nAAAAA\n" + _ENDING, HeaderError, id="a dangling letter"
        ),
        pytest.param(_VERSION + b"-> a\nA*A\n" + _ENDING, HeaderError, id="not base64"),
        pytest.param(_VERSION + b"-> a\n" + _ENDING, HeaderError, id="no body"),
        pytest.param(_VERSION + b"-> a\n\n---" + _ENDING[4:], HeaderError, id="no space"),
        pytest.param(_VERSION + b"-> a\n\n--- AAAA\n", HeaderError, id="a short code"),
        pytest.param(
            _VERSION + b"-> a\n\n" * (MAX_STANZAS + 1) + _ENDING, HeaderError, id="65 stanzas"
        ),
        pytest.param(
            _VERSION + b"-> a\n" + (b"A" * 64 + b"\n") * 1020 + b"\n" + _ENDING,
            HeaderError,
            id="longer than 64 KiB",
        ),
        pytest.param(_VERSION + b"-> " + b"a" * (1 << 20), HeaderError, id="an endless line"),
        pytest.param(
            _VERSION + b"-> scrypt a 1\n\n" + _STANZA + _ENDING,
            HeaderError,
            id="a passphrase too",
        ),
    ],
)
def test_refuses(data, error):
    with pytest.raises(error):
        open_header(parse_header(data), [_IDENTITY])


def test_a_header_that_is_just_short_enough_is_read():
    room = MAX_HEADER_BYTES - len(_VERSION + b"-> \n\n" + _ENDING)
    data = _VERSION + b"-> " + b"a" * room + b"\n\n" + _ENDING
    assert parse_header(data).length_bytes == MAX_HEADER_BYTES
    with pytest.raises(HeaderError):
        parse_header(data.replace(b"-> ", b"-> a"))


_LINES = st.sampled_from(
    [b"-> X25519 A", b"-> a", b"", b"A" * 64, b"--- " + b"A" * 43, b"-> ", b"---", b"AA", b"=="]
)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300)
    | st.lists(_LINES, max_size=8).map(lambda lines: _VERSION + b"\n".join([*lines, b""]))
)
@example(_SEALED)
def test_any_bytes_parse_or_are_refused(data):
    try:
        header = parse_header(data)
    except HeaderError:
        return
    assert data.startswith(header.authenticated)
    assert data[: header.length_bytes].endswith(b"\n")
    assert parse_header(data[: header.length_bytes]) == header
    with pytest.raises((HeaderError, NoMatchError)):
        open_header(header, [X25519Identity(bytes(range(1, 33)))])


def test_a_parsed_header_prints_neither_bodies_nor_code():
    shown = repr(parse_header(_SEALED))
    assert "mac" not in shown
    assert "body" not in shown
