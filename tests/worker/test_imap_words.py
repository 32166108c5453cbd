"""What is said over IMAP: arguments that say what they should, lines that tell what they tell and no more."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.worker.imap import words
from service.worker.imap.words import BodyPart, Described


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("INBOX", b'"INBOX"'),
        ('a"b\\c', b'"a\\"b\\\\c"'),
        ("Ruoka & juoma", b'"Ruoka &- juoma"'),
        # The example of RFC 3501, section 5.1.3.
        ("~peter/mail/台北/日本語", b'"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),
        ("Lähetetyt", b'"L&AOQ-hetetyt"'),
        ("\U0001f4ec", b'"&2D3c7A-"'),
        ("rivi\r\nA LOGOUT", b'"rivi&AA0ACg-A LOGOUT"'),
    ],
)
def test_a_mailbox_is_named_in_modified_utf_7(name, sent):
    assert words.encode_mailbox(name) == sent


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_name_of_a_mailbox_ends_its_string_or_line(name):
    sent = words.encode_mailbox(name)
    assert sent.isascii()
    assert b"\r" not in sent
    assert b"\n" not in sent
    inside = sent[1:-1].replace(b"\\\\", b"").replace(b'\\"', b"")
    assert b'"' not in inside
    assert b"\\" not in inside


@pytest.mark.parametrize("text", ["ä", "a\r\nb", "a\0b", "\x7f"])
def test_what_a_quoted_string_cannot_hold_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidInputError) as refused:
        words.quoted(text)
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            b'* 3 FETCH (UID 9 RFC822.SIZE 77 INTERNALDATE "22-Nov-2026 11:54:07 +0200")',
            Described(9, 77, datetime(2026, 11, 22, 9, 54, 7, tzinfo=UTC)),
        ),
        (
            b'* 3 fetch (internaldate " 2-nov-2026 01:00:00 -0130" FLAGS (\\Seen UID "a) b") rfc822.size 0 uid 9)',
            Described(9, 0, datetime(2026, 11, 2, 2, 30, tzinfo=UTC)),
        ),
        (b'* 3 FETCH (UID 9 RFC822.SIZE 77 INTERNALDATE "soon")', Described(9, 77, None)),
        (b"* 3 FETCH (UID 9 RFC822.SIZE 77)", Described(9, 77, None)),
        (b"* 3 FETCH (UID 9)", None),
        (b"* 3 FETCH (FLAGS (UID 9 RFC822.SIZE 77))", None),
        (b"* 3 FETCH (UID -9 RFC822.SIZE 77)", None),
        (b"* 3 FETCH (UID 9) RFC822.SIZE 77", None),
        (b"* SEARCH 9", None),
        (b"* 3 EXPUNGE", None),
        (b"", None),
    ],
)
def test_a_mail_is_described_by_what_the_line_tells_of_it(line, told):
    assert words.parse_described(line) == told


@pytest.mark.parametrize(
    "text",
    [
        b"30-Feb-2026 11:54:07 +0200",
        b"22-Foo-2026 11:54:07 +0200",
        b"22-Nov-2026 25:54:07 +0200",
        b"22-Nov-2026 11:54:07",
        b"22-Nov-2026 11:54:07 +9900",
        b"01-Jan-0001 00:00:00 +0200",
        b"",
    ],
)
def test_a_time_that_is_none_is_not_told(text):
    assert words.parse_internal_date(text) is None


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (b"* 1 FETCH (UID 9 BODY[] {12}", BodyPart(12, None)),
        (b"* 1 FETCH (BODY[] {0}", BodyPart(0, None)),
        (b'* 1 FETCH (UID 9 BODY[] "a\\"b\\\\")', BodyPart(None, b'a"b\\')),
        (b'* 1 FETCH (UID 9 BODY[] "")', BodyPart(None, b"")),
        (b"* 1 FETCH (UID 9 BODY[] NIL)", BodyPart(None, None)),
        (b"* 1 FETCH (UID 9 BODY[]<0> {12}", None),
        (b"* 1 FETCH (UID 9 BODY[] ~{12}", None),
        (b"* 1 FETCH (FLAGS (\\Seen))", None),
        (b"* OK BODY[] {12}", None),
    ],
)
def test_a_mail_begins_to_come_as_a_literal_a_string_or_not_at_all(line, body):
    assert words.parse_body(line) == body


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"* LIST () / {5}", (b"* LIST () / ", 5)),
        (b"* OK do not write {5}", None),
        (b"t1 NO because of {5}", None),
        (b"* LIST () {5} x", None),
        (b"* LIST () {-5}", None),
    ],
)
def test_a_literal_begins_at_the_end_of_data_and_not_of_what_is_said_to_people(line, found):
    assert words.parse_literal(line) == found


def test_uids_are_found_in_an_answer_to_a_search_alone():
    assert list(words.find_uids(b"* SEARCH 2 84 882")) == [2, 84, 882]
    assert list(words.find_uids(b"* SEARCH")) == []
    assert list(words.find_uids(b"* SEARCHED 2")) == []
    assert list(words.find_uids(b"* 2 EXISTS")) == []


@given(st.binary(max_size=200), st.sampled_from([b"", b"* 1 FETCH (", b"* SEARCH ", b"* OK ["]))
def test_whatever_the_line_reading_it_raises_nothing(line, start):
    line = start + line
    list(words.find_uids(line))
    words.parse_described(line)
    words.parse_body(line)
    words.parse_literal(line)
    words.parse_code(line)
    words.parse_capabilities(line)
    words.parse_internal_date(line)


@pytest.mark.parametrize(
    "filling", [b"(", b'"', b"\\", b"UID ", b'" ', b'BODY[] "', b'BODY[] "\\']
)
def test_a_line_costs_in_proportion_to_its_length(filling):
    def cost(size):
        line = b"* 1 FETCH (" + filling * (size // len(filling))
        began = time.thread_time()
        words.parse_described(line)
        words.parse_body(line)
        return time.thread_time() - began

    cost(10_000)
    assert cost(160_000) < 100 * max(cost(10_000), 0.0005)
