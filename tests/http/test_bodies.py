"""Bodies that are too large, packed, mislabelled, malformed or slow."""

import asyncio
import gzip

import pytest

from service.http import bodies as module
from tests.http.conftest import raw

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "code"),
    [
        pytest.param("/json", JSON, b'{"a": 1}', 200, None, id="JSON"),
        pytest.param(
            "/json",
            {"Content-Type": 'Application/JSON; charset="UTF-8"'},
            b"{}",
            200,
            None,
            id="JSON in other letters",
        ),
        pytest.param(
            "/json", JSON, b"[" + b"1," * 600 + b"1]", 413, "too_large", id="too large"
        ),
        pytest.param("/json", JSON, b"{", 400, "invalid_input", id="no JSON"),
        pytest.param("/json", JSON, b'{"a":1,"a":2}', 400, "invalid_input", id="a name twice"),
        pytest.param("/json", JSON, b"[NaN]", 400, "invalid_input", id="NaN"),
        pytest.param("/json", JSON, b"[" * 999, 400, "invalid_input", id="deep"),
        pytest.param("/json", JSON, b'{"__proto__":1}', 400, "invalid_input", id="__proto__"),
        pytest.param("/json", JSON, b"\xff", 400, "invalid_input", id="not UTF-8"),
        pytest.param("/json", JSON, b"\xef\xbb\xbf{}", 400, "invalid_input", id="BOM"),
        pytest.param("/json", JSON, b"", 400, "invalid_input", id="empty"),
        *(
            pytest.param(
                "/json", {"Content-Type": kind}, b"{}", 415, "unsupported_media_type", id=kind
            )
            for kind in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/json; charset=utf-16",
                "application/json; charset=utf-7",
                "application/jsonp",
                "application/json, text/plain",
                "multipart/form-data; boundary=application/json",
                "",
            )
        ),
        *(
            pytest.param(
                path,
                {**kind, "Content-Encoding": coding},
                gzip.compress(b"{}"),
                415,
                "unsupported_media_type",
                id=f"{coding} to {path}",
            )
            for path, kind in (("/json", JSON), ("/form", FORM), ("/body", {}))
            for coding in ("gzip", "deflate", "br", "x-unknown", "identity, gzip")
        ),
        pytest.param(
            "/json", {**JSON, "Content-Encoding": "identity"}, b"{}", 200, None, id="identity"
        ),
        pytest.param("/form", FORM, b"a=1&b=%C3%A4+%2B", 200, None, id="form"),
        pytest.param("/form", FORM, b"a=1&a=1", 400, "invalid_input", id="a field twice"),
        pytest.param("/form", FORM, b"a=%ff", 400, "invalid_query", id="field not UTF-8"),
        pytest.param("/form", FORM, b"a=%zz", 400, "invalid_query", id="bad escape"),
        pytest.param("/form", FORM, b"a=\xc3\xa4", 400, "invalid_input", id="unescaped"),
        pytest.param("/form", FORM, b"a=" + b"1" * 65_536, 413, "too_large", id="long form"),
        pytest.param("/form", JSON, b"{}", 415, "unsupported_media_type", id="JSON as form"),
        pytest.param("/body", {}, b"1" * 1000, 200, None, id="just as much as allowed"),
        pytest.param("/body", {}, b"1" * 1001, 413, "too_large", id="one byte more"),
        pytest.param("/body", {}, b"", 200, None, id="nothing"),
    ],
)
async def test_a_body_is_read_whole_or_refused(bodies, path, headers, body, status, code):
    async with bodies.post(
        path, data=body, headers=headers, skip_auto_headers=["Content-Type"]
    ) as answer:
        assert answer.status == status, await answer.text()
        if code:
            assert answer.content_type == "application/problem+json"
            assert (await answer.json())["code"] == code


async def test_a_body_that_does_not_say_how_long_it_is_is_counted(bodies):
    async def chunks():
        for _ in range(50):
            yield b"1" * 100

    async with bodies.post("/body", data=chunks()) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: -1", id="negative"),
        pytest.param(b"Content-Length: +2", id="with a sign"),
        pytest.param(b"Content-Length: two", id="a word"),
        pytest.param(b"Content-Length: 2\r\nContent-Length: 3", id="two lengths"),
        pytest.param(b"Content-Type: a/b\r\nContent-Type: c/d", id="two types"),
        pytest.param(
            b"Content-Length: 2\r\nTransfer-Encoding: chunked", id="length and chunked"
        ),
        pytest.param(b"Transfer-Encoding: chunked, identity", id="chunked not last"),
        pytest.param(b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", id="unknown"),
    ],
)
async def test_a_length_that_two_readers_could_understand_differently_is_refused(bodies, head):
    request = b"POST /body HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n{}"
    answer = await raw(bodies, request + b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
    assert answer.count(b"HTTP/1.") == 1


async def test_a_length_that_promises_too_much_is_refused_before_anything_is_read(bodies):
    request = b"POST /body HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await raw(bodies, request + b"Content-Length: 99999999999\r\n\r\n", until=b"\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_that_dribbles_is_given_up(bodies, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.05)
    request = b"POST /body HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await raw(bodies, request + b"Content-Length: 10\r\n\r\n1", until=b"\r\n")
    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_body_shorter_than_it_said_reaches_no_handler(bodies):
    reader, writer = await asyncio.open_connection(bodies.server.host, bodies.server.port)
    writer.write(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12")
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    assert not answer.startswith(b"HTTP/1.1 2")
