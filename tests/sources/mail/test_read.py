"""What is read of a message, also of one that was built to hurt its reader."""

import time
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sources.mail.facts import Address, Flag, PartKind
from service.sources.mail.headers import decode_text, parse_addresses
from service.sources.mail.journal import parse_report
from service.sources.mail.read import TOO_DEEP, message_of, read_mail

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "samples" / "postfix-lmtp"


def mail(text: str = "Hei!", **headers: str) -> bytes:
    """Return a mail of a customer; ``headers`` add to its headers or replace them."""
    told = {"From": "Maija Testi <maija@example.fi>", "To": "apu@example.com", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
    return f"{head}\r\n{text}\r\n".encode()


def text_of(raw: bytes) -> str:
    return read_mail(raw)[1][0].decode()


def test_mails_that_postfix_delivered_are_read():
    files = sorted(SAMPLES.glob("*.eml"))
    if not files:
        pytest.skip("samples of Postfix are absent")
    read = [read_mail(file.read_bytes()) for file in files]
    assert all(not one.problem for one, _ in read)
    (first, data), (second, _) = read[0], read[1]
    assert first.headers.subject == "Valitus laskusta äö"
    assert first.headers.sent_at == "2026-11-22T09:54:07Z"
    assert data[0].decode().startswith("Lasku on väärin.\n.piste")
    assert second.headers.subject == "Sähkökatko Kärsämäellä"
    assert [part.name for part in second.body.parts] == ["", "lasku.pdf"]


@pytest.mark.parametrize(
    ("header", "read"),
    [
        pytest.param("=?utf-8?q?S=C3=A4hk=C3=B6?=", "Sähkö", id="quoted"),
        pytest.param("=?utf-8?q?S=C3?= =?utf-8?q?=A4hk=C3=B6?=", "Sähkö", id="cut in two"),
        pytest.param("=?iso-8859-1?q?p=E4iv=E4=E4?= x", "päivää x", id="latin"),
        pytest.param("=?no-such?q?a=E4?=", "aä", id="unknown charset"),
        pytest.param("=?idna?q?xn--a?=", "xn--a", id="a charset that is a program"),
        pytest.param("=?utf-8?b?U8OkaA?=", "Säh", id="base64 without its end"),
        pytest.param("a\u202eb\x07c", "abc", id="overrides and controls"),
        pytest.param("plain", "plain", id="plain"),
    ],
)
def test_an_encoded_header_is_read(header, read):
    assert decode_text(header) == read


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("a@example.org", [("", "a@example.org")]),
        ('"Meikäläinen, Maija" <a@example.org>', [("Meikäläinen, Maija", "a@example.org")]),
        (
            "Ryhmä: a@example.org, b@example.org;",
            [("", "a@example.org"), ("", "b@example.org")],
        ),
        (
            "a@example.org (Maija (koti)), <b@example.org>",
            [("", "a@example.org"), ("", "b@example.org")],
        ),
        ("<@relay.example:a@example.org>", [("", "a@example.org")]),
        ('"a\\"b" <a@example.org>', [('a"b', "a@example.org")]),
        ("undisclosed-recipients:;", []),
        ("", []),
        ("(" * 5000, []),
    ],
)
def test_addresses_are_read(header, read):
    assert parse_addresses(header) == [Address(name=n, address=a) for n, a in read]


def test_the_plain_text_of_two_alternatives_is_the_text():
    message = EmailMessage()
    message.set_content("Teksti")
    message.add_alternative("<p>Muotoiltu <b>teksti</b></p>", subtype="html")
    read, data = read_mail(bytes(message))
    assert [part.kind for part in read.body.parts] == [PartKind.TEXT, PartKind.HTML]
    assert data[0].decode().strip() == "Teksti"
    assert "<b>teksti</b>" in data[1].decode()


def test_a_formatted_mail_without_plain_text_has_the_text_of_its_formatted_one():
    raw = mail(
        "<p>Hei</p><p>Lasku &amp; <a href='https://example.org/x'>linkki</a></p>",
        Content_Type="text/html",
    )
    assert text_of(raw) == "Hei\n\nLasku & linkki ⟨https://example.org/x⟩"


def test_attachments_keep_their_bytes_their_names_and_a_warning_where_one_is_due():
    message = EmailMessage()
    message.set_content("Liitteenä")
    message.add_attachment(
        b"%PDF-1.7", maintype="application", subtype="pdf", filename="päiväys.pdf"
    )
    message.add_attachment(b"MZ\x90", maintype="image", subtype="png", filename="kuva.png")
    message.add_attachment(b"x", maintype="application", subtype="x", filename="lasku.pdf.exe")
    read, data = read_mail(bytes(message))
    told = [(part.name, part.content_type, part.is_risky) for part in read.body.parts[1:]]
    assert told == [
        ("päiväys.pdf", "application/pdf", False),
        ("kuva.png", "image/png", True),
        ("lasku.pdf.exe", "application/x", True),
    ]
    assert data[1:] == (b"%PDF-1.7", b"MZ\x90", b"x")


@pytest.mark.parametrize(
    ("headers", "flag"),
    [
        ({"Auto_Submitted": "auto-replied"}, Flag.AUTO_REPLY),
        ({"X_Autoreply": "yes"}, Flag.AUTO_REPLY),
        ({"Auto_Submitted": "auto-generated"}, Flag.AUTOMATIC),
        ({"From": "MAILER-DAEMON@mx.example.com"}, Flag.BOUNCE),
        (
            {"Content_Type": 'multipart/report; report-type=delivery-status; boundary="b"'},
            Flag.BOUNCE,
        ),
        ({"List_Id": "<news.example.org>"}, Flag.BULK),
        ({"From": "a@example.org, b@example.org"}, Flag.SEVERAL_FROM),
        ({"Content_Type": "application/pkcs7-mime; smime-type=enveloped-data"}, Flag.ENCRYPTED),
    ],
)
def test_a_message_that_nobody_wrote_by_hand_is_marked(headers, flag):
    assert flag in read_mail(mail("--b\r\n\r\nx\r\n--b--", **headers))[0].flags


@pytest.mark.parametrize("value", ["no", "", "maybe"])
def test_an_ordinary_message_is_not_marked(value):
    assert read_mail(mail(Auto_Submitted=value))[0].flags == ()


def test_a_bounce_says_which_message_it_is_about():
    raw = mail(
        "--b\r\n\r\nEi mennyt perille\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        "Message-ID: <lost@example.com>\r\nSubject: x\r\n--b--",
        Content_Type="multipart/report; report-type=delivery-status; boundary=b",
    )
    assert read_mail(raw)[0].body.about == ("lost@example.com",)


JOURNAL = (
    b"From: MicrosoftExchange@example.com\r\nTo: arkisto@example.com\r\nX-MS-Journal-Report:\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="j"\r\n\r\n'
    b"--j\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"Sender: maija@example.fi\r\nSubject: Lasku\r\nMessage-Id: <in@example.fi>\r\n"
    b"To: apu@example.com\r\nBcc: esimies@example.com, Expanded: kaikki@example.com\r\n"
    b"Recipient: toinen@example.com\r\n\r\n"
    b"--j\r\nContent-Type: message/rfc822\r\n\r\n%b\r\n--j--\r\n"
)


def test_a_journal_report_is_unwrapped_and_its_recipients_are_known():
    inner = mail("Sisin viesti", Message_ID="<in@example.fi>", Subject="Lasku")
    read, data = read_mail(JOURNAL % inner.removesuffix(b"\r\n"))
    assert (read.headers.message_id, read.headers.subject) == ("in@example.fi", "Lasku")
    assert data[0].decode().strip() == "Sisin viesti"
    assert read.report is not None
    assert [one.address for one in read.report.recipients] == [
        "apu@example.com",
        "esimies@example.com",
        "toinen@example.com",
    ]
    assert Flag.JOURNAL in read.flags


def test_the_message_in_a_journal_report_is_had_byte_for_byte():
    inner = b"DKIM-Signature: v=1;\r\n\tb=x\r\nFrom:  a@example.fi \r\n\r\n--j2\r\nbody \r\n"
    assert message_of(JOURNAL % inner) == inner
    assert message_of(inner) == inner


def test_a_report_without_a_message_in_it_is_a_message_itself():
    raw = mail("Teksti", X_MS_Journal_Report="")
    assert read_mail(raw)[0].report is None
    assert text_of(raw).strip() == "Teksti"


@given(text=st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_a_report_may_say_anything(text):
    parse_report(text)


HURTFUL = {
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 10_000,
    "nested": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i)
        for i in range(3000)
    ),
    "messages in messages": b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    "addresses": b"To: " + b"a@example.org, " * 60_000 + b"\r\n\r\nx",
    "headers": b"X-A: a\r\n" * 20_000 + b"\r\nx",
    "a header of a megabyte": b"Subject: " + b"a" * 1_000_000 + b"\r\n\r\nx",
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 20_000 + b"\r\n\r\nx",
    "comments": b"From: " + b"(" * 5000 + b"\r\n\r\nx",
    "elements": b"Content-Type: text/html\r\n\r\n" + b"<div>" * 50_000,
    "attributes": b"Content-Type: text/html\r\n\r\n<p "
    + b" ".join(b"a%d=1" % i for i in range(30_000))
    + b">",
    "links": b"Content-Type: text/html\r\n\r\n" + b"<a href='http://example.org'><b>" * 3000,
    "parameters": b"Content-Type: text/plain; charset=" + b';"' * 30_000 + b"\r\n\r\nx",
    "names": b"Content-Disposition: attachment; "
    + b"".join(b"filename*%d*=b; " % i for i in range(5000))
    + b"\r\n\r\nx",
    "unknown charset": b"Content-Type: text/plain; charset=zlib\r\n\r\n\xff\xfe",
    "half a character": b"Content-Type: text/html; charset=utf-7\r\n\r\n<p>+2AA-",
    "parts that are none": b"Content-Type: multipart/mixed\r\n\r\nText",
    "bad base64": b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%=",
    "line ends in an address": b"From: =?utf-8?q?a=0D=0ABcc:_x?= <a@example.org>\r\n\r\nx",
    "nothing": b"",
    "no headers": b"\r\n\r\n",
    "noise": bytes(range(256)) * 20,
}


@pytest.mark.parametrize("raw", HURTFUL.values(), ids=HURTFUL)
def test_what_is_built_to_hurt_is_read_in_little_time(raw):
    begun = time.process_time()
    read, data = read_mail(raw)
    assert time.process_time() - begun < 2
    assert len(read.body.parts) == len(data)
    assert all(address.name.isprintable() for address in read.headers.senders)


def test_parts_beyond_the_limit_are_left_out_and_that_is_told():
    read, _ = read_mail(HURTFUL["parts"])
    assert Flag.CUT in read.flags


def test_a_message_that_is_nested_too_deep_is_known_by_its_headers():
    read, data = read_mail("Subject: Syvä\r\n".encode() + HURTFUL["nested"])
    assert read.problem == TOO_DEEP
    assert read.headers.subject == "Syvä"
    assert data == ()


def test_the_headers_are_told_before_the_body_is_read():
    told = []
    read_mail(mail(Subject="Ensin"), told.append)
    assert [one.headers.subject for one in told] == ["Ensin"]
    assert told[0].body.parts == ()


@given(raw=st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_any_bytes_can_be_read(raw):
    read_mail(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + raw)
    read_mail(raw)
