"""URLs are read in one way only, or refused."""
# ruff: noqa: RUF001  # look-alikes are among what is refused

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from service.domain.errors import InvalidInputError
from service.domain.urls import MAX_URL_CHARACTERS, Origin, WebUrl


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://pbx.example", "https://pbx.example/"),
        ("HTTPS://PBX.Example:443/a", "https://pbx.example/a"),
        ("http://pbx.example:80/a", "http://pbx.example/a"),
        ("http://pbx.example:443/a", "http://pbx.example:443/a"),
        ("https://pbx.example:8443/a?b=c#d", "https://pbx.example:8443/a?b=c"),
        ("https://pbx.example?b", "https://pbx.example/?b"),
        ("https://pbx.example/a?", "https://pbx.example/a"),
        ("https://pbx.example/a??", "https://pbx.example/a??"),
        ("https://xn--fsq.example/", "https://xn--fsq.example/"),
        ("https://pbx_1/", "https://pbx_1/"),
        ("http://10.0.0.5/", "http://10.0.0.5/"),
        ("http://[FD00::0:5]:8080/", "http://[fd00::5]:8080/"),
        ("https://a.example/a b/ä", "https://a.example/a%20b/%C3%A4"),
        ("https://a.example/%2f%C3%a4+?a=%2B", "https://a.example/%2f%C3%a4+?a=%2B"),
        ("https://a.example/x@y:z", "https://a.example/x@y:z"),
        ("https://a.example/../b/./c", "https://a.example/../b/./c"),
    ],
)
def test_a_url_has_one_form(text, address):
    url = WebUrl.parse(text)
    assert url.address == address
    assert WebUrl.parse(address) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/a",
        "//pbx.example/",
        "https:pbx.example",
        "https:/pbx.example",
        "https:///pbx.example",
        "https://",
        "https://:443/",
        "https://pbx.example:/",
        "https://pbx.example:0/",
        "https://pbx.example:080/",
        "https://pbx.example:65536/",
        "https://pbx.example:4 43/",
        "https://pbx.example:٤٤٣/",
        "https://a@pbx.example/",
        "https://a:b@pbx.example/",
        "https://@pbx.example/",
        "https://pbx.example./",
        "https://pbx..example/",
        "https://-pbx.example/",
        "https://pbx.example-/",
        "https://pbx%2eexample/",
        "https://раураl.example/",
        "https://ⓟbx.example/",
        "https://pbx。example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 127 + "example/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.1.0/",
        "https://1.2.3.4.5/",
        "https://a.1/",
        "https://a.0x1/",
        "https://256.0.0.1/",
        "https://[127.0.0.1]/",
        "https://[::1/",
        "https://[::1%25lo]/",
        "https://[::1]a/",
        "https://pbx.example\\a/",
        "https://pbx.example/\\a",
        "https://pbx.example/\r\nX: y",
        "https://pbx.example/\x00",
        "https://pbx.example/\t",
        "https://pbx.example/\u202e",
        "https://pbx.example/\u2028",
        " https://pbx.example/",
        "file:///etc/passwd",
        "ftp://pbx.example/",
        "gopher://pbx.example/",
        "data:audio/wav,x",
        "javascript://pbx.example/",
        "httpſ://pbx.example/",
        "https://pbx.example/" + "a" * MAX_URL_CHARACTERS,
    ],
)
def test_what_has_another_reading_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidInputError) as refused:
        WebUrl.parse(text)
    assert len(text) < 9 or text not in str(refused.value)


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="abx.:/@?#[]\\%0127-_ \r\n\tä\u3002", max_size=40),
)


@given(rest=TEXTS, scheme=st.sampled_from(["https://", "http://", "HTTPS://", "https:"]))
@example(rest="a.example#@b.example/", scheme="https://")
@example(rest="a.example?@b.example/", scheme="https://")
@example(rest="a.example?", scheme="https://")
@settings(max_examples=500)
def test_whatever_is_taken_other_programs_read_the_same_way(rest, scheme):
    try:
        url = WebUrl.parse(scheme + rest)
    except InvalidInputError:
        return
    origin = url.origin
    assert url.address.isascii()
    assert url.address.isprintable()
    assert " " not in url.address
    for read in (urlsplit(scheme + rest), urlsplit(url.address)):
        assert read.hostname == origin.host or origin.ip is not None
        assert (read.port or {"http": 80, "https": 443}[read.scheme]) == origin.port
        assert read.username is None
    sent = URL(url.address, encoded=True)
    assert (sent.scheme, sent.host, sent.port) == (origin.scheme, origin.host, origin.port)
    assert sent.raw_path_qs == url.target
    assert WebUrl.parse(url.address) == url


@given(text=TEXTS)
def test_a_url_without_its_scheme_is_none(text):
    with pytest.raises(InvalidInputError):
        WebUrl.parse(text.removeprefix("h"))


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("c", "https://a.example:8443/b/c"),
        ("/c?d", "https://a.example:8443/c?d"),
        ("../c", "https://a.example:8443/c"),
        ("?d", "https://a.example:8443/b/x?d"),
        ("//e.example/", "https://e.example/"),
        ("http://e.example/", "http://e.example/"),
        ("#f", "https://a.example:8443/b/x?y"),
    ],
)
def test_a_redirect_is_relative_to_where_it_came_from(location, address):
    assert WebUrl.parse("https://a.example:8443/b/x?y").follow(location).address == address


@pytest.mark.parametrize(
    "location",
    ["https://[", "file:///", "//a@b/", "/\r\nX: y", "\thttps://b/", "\\\\b\\", "//b:0/"],
)
def test_a_redirect_to_no_url_is_refused(location):
    with pytest.raises(InvalidInputError):
        WebUrl.parse("https://a.example/").follow(location)


@given(location=TEXTS)
def test_any_redirect_is_read_or_refused(location):
    try:
        url = WebUrl.parse("https://a.example/b").follow(location)
    except InvalidInputError:
        return
    assert WebUrl.parse(url.address) == url


def test_a_url_prints_no_more_than_where_it_leads():
    url = WebUrl.parse("https://a.example/secret?key=secret")
    assert "secret" not in f"{url!r} {url}"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://PBX.example", "https://pbx.example"),
        ("https://pbx.example/", "https://pbx.example"),
        ("https://pbx.example:443", "https://pbx.example"),
        ("http://10.0.0.5:8088", "http://10.0.0.5:8088"),
        ("http://[fd00::5]", "http://[fd00::5]"),
    ],
)
def test_an_origin_has_one_form(text, origin):
    assert str(Origin.parse(text)) == origin
    assert Origin.parse(origin) == Origin.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example/b",
        "https://a.example?b",
        "https://a.example#b",
        "a.example",
        "*",
        "https://*.example",
        "https://a@b",
        "ftp://a",
    ],
)
def test_what_is_more_or_less_than_an_origin_is_refused(text):
    with pytest.raises(InvalidInputError):
        Origin.parse(text)
