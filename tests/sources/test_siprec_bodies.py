"""Where the metadata of SIPREC stand in what is posted, and what is refused."""

import base64
import itertools
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.sources.siprec_bodies import MAX_PARTS, find_metadata
from service.sources.siprec_session import MAX_PARTICIPANTS, MAX_SESSIONS
from service.sources.siprec_xml import MAX_DEPTH, MAX_ELEMENTS, read_tree
from tests.siprec import ALICE, BOB, ID, SDP, SONUS, STOP, XML, mixed, rfc, told, understood


@pytest.mark.parametrize(
    "parts",
    list(itertools.permutations([SDP, (XML, rfc()), ("application/gtd", "IAM,\r\nPRN,isdn")])),
)
def test_sdp_and_further_parts_stand_before_or_after_the_metadata(parts):
    assert told(mixed(*parts), kind="multipart/mixed;boundary=foobar").source_id == ID


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/mixed; boundary="foobar"',
        "multipart/mixed; boundary=another",
        "multipart/mixed",
        "application/octet-stream",
        "text/plain",
        "",
    ],
)
def test_whatever_the_header_says_the_parts_are_told_apart(kind):
    assert told(mixed(SDP, (XML, rfc())), kind=kind).source_id == ID


@pytest.mark.parametrize("kind", ["application/rs-metadata", "application/xml", "text/plain"])
def test_the_metadata_are_known_by_themselves_whatever_their_part_is_called(kind):
    assert (
        told(mixed(SDP, (kind, rfc())), kind="multipart/mixed;boundary=foobar").source_id == ID
    )
    assert told(rfc(), kind=kind).source_id == ID


def test_a_part_within_a_part_or_in_base64_is_found():
    inner = mixed((XML, rfc()), boundary="inner").decode()
    nested = mixed(SDP, ("multipart/mixed; boundary=inner", inner))
    assert told(nested, kind="multipart/mixed;boundary=foobar").source_id == ID
    packed = (
        b"--x\nContent-Type: application/rs-metadata\nContent-Transfer-Encoding: base64\n\n"
    )
    packed += base64.encodebytes(rfc().encode()) + b"--x--"
    assert told(packed, kind="multipart/mixed;boundary=x").source_id == ID


def test_the_document_is_found_verbatim():
    assert (
        find_metadata("multipart/mixed;boundary=foobar", mixed(SDP, (XML, SONUS)))
        == SONUS.encode()
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_other_encodings_are_read(encoding):
    text = rfc(people=[("p1", ALICE, "Äinö"), ("p2", BOB, "Anna")])
    name = encoding.removesuffix("-sig")
    body = text.replace("UTF-8", name).encode(encoding)
    assert told(body).parties[0].name == "Äinö"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (mixed(SDP), "multipart/mixed;boundary=foobar"),
        (SDP[1].encode(), "application/sdp"),
        (b"", "application/sdp"),
        (b"--", "multipart/mixed;boundary=foobar"),
    ],
)
def test_what_has_no_metadata_says_so_in_words(body, kind):
    with pytest.raises(InvalidInputError, match="no recording metadata"):
        understood(body, kind=kind)


def test_too_many_parts_are_refused():
    body = mixed(*[SDP] * (MAX_PARTS + 2), (XML, rfc()))
    with pytest.raises(InvalidInputError, match="parts"):
        understood(body, kind="multipart/mixed;boundary=foobar")


# -- what is refused


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ('<!DOCTYPE recording [<!ENTITY a "b">]><recording/>', "document type"),
        ('<!DOCTYPE recording SYSTEM "file:///etc/passwd"><recording/>', "document type"),
        ("<recording>&a;</recording>", "not XML"),
        ("<recording>" + "<a>" * MAX_DEPTH, "inside each other"),
        ("<recording>" + "<a/>" * MAX_ELEMENTS, "inside each other"),
        ("<recording>", "not XML"),
        ('<?xml version="1.0" encoding="x-none"?><recording/>', "not XML"),
        ('<?xml version="1.0" encoding="shift_jis"?><recording/>', "not XML"),
        ("<recording/>", "session_id"),
        ("<recording><session/></recording>", "session_id"),
        ("<vcard/>", "not metadata"),
        (rfc(ident="a" * 2000), "session_id"),
        (rfc(people=[(f"p{n}", BOB, "") for n in range(MAX_PARTICIPANTS + 1)]), "participants"),
        (
            "<recording>"
            + "".join(f'<session session_id="{n}"/>' for n in range(MAX_SESSIONS + 1))
            + "</recording>",
            "sessions",
        ),
    ],
)
def test_what_is_no_metadata_is_refused(document, why):
    with pytest.raises(InvalidInputError, match=why):
        understood(document)


_NAMES = st.sampled_from(
    [
        *("recording", "session", "participant", "nameID", "name", "stream", "datamode"),
        *("start-time", "stop-time", "participantsessionassoc", "extensiondata"),
        *("callingParty", "callid", "aor"),
    ]
)
_TEXTS = st.sampled_from(
    [
        "",
        "true",
        "partial",
        ID,
        STOP,
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "+358401234567",
        "\u202e",
    ]
)


def _element(name, text, children, ident):
    told = "".join(children)
    return f'<x:{name} id="{ident}" session_id="{ident}" aor="{text}">{text}{told}</x:{name}>'


_ELEMENTS = st.recursive(
    st.builds(_element, _NAMES, _TEXTS, st.just([]), _TEXTS),
    lambda inner: st.builds(_element, _NAMES, _TEXTS, st.lists(inner, max_size=4), _TEXTS),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_ELEMENTS, max_size=6))
def test_whatever_the_elements_are_it_is_understood_or_refused(children):
    with suppress(InvalidInputError):
        for facts in understood(f"<recording>{''.join(children)}</recording>").contacts:
            assert facts.source_id
            assert (
                facts.ended_at is None
                or facts.started_at is None
                or facts.started_at <= facts.ended_at
            )


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 900), st.booleans())
def test_whatever_the_bytes_are_they_are_understood_or_refused(noise, place, is_mixed):
    body = mixed(SDP, (XML, rfc())) if is_mixed else rfc().encode()
    with suppress(InvalidInputError):
        understood(
            body[:place] + noise + body[place + len(noise) :],
            kind="multipart/mixed;boundary=foobar",
        )
    with suppress(InvalidInputError):
        read_tree(noise)
