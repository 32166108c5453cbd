"""Servers that lie, stall and point elsewhere: nothing is connected to, sent or kept that should not be."""
# ruff: noqa: RUF001  # look-alikes are among what is refused

import asyncio
import base64
import gzip
import hashlib
import json
import socket
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import AnnouncedRecording
from service.domain.errors import InvalidInputError
from service.domain.fetching import FetchError, FetchFault
from service.domain.urls import Origin
from service.worker.fetching.client import MOST_REDIRECTS, Fetcher
from service.worker.fetching.rules import FetchRules, parse_credentials
from tests.answering import answering, moved, ok
from tests.certificates import CertificateAuthority

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
SOUND = b"RIFF" + bytes(range(256)) * 40
SECRET = "Basic " + base64.b64encode(b"pbx:hush-hush").decode()


def rules(*origins, **more):
    allowed = {Origin.parse(origin): None for origin in origins}
    return FetchRules(**{"origins": allowed, "networks": LOOPBACK, **more})


async def fetch(url, rules, *, resolve=None, **told):
    """Return the media type and the bytes."""
    fetcher = Fetcher(rules) if resolve is None else Fetcher(rules, resolve)
    async with fetcher.asked(AnnouncedRecording(name="a.wav", url=url, **told)) as answer:
        return answer.content_type, b"".join([chunk async for chunk in answer.chunks()])


async def fault_of(url, rules, **more):
    with pytest.raises(FetchError) as refused:
        await fetch(url, rules, **more)
    error = refused.value
    assert url not in str(error)
    assert error.__context__ is None or error.__suppress_context__ or error.__cause__ is None
    return error.fault


def resolving(*answers):
    """Return a resolver that gives each answer once, and the last one for ever; and the names that it was asked for."""
    asked = []

    async def resolve(host, _port):
        asked.append(host)
        answer = answers[min(len(asked), len(answers)) - 1]
        return [answer] if isinstance(answer, str) else answer

    return resolve, asked


async def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


# -- what is described first


def described(url, **more):
    return ok(json.dumps({"url": url, **more}).encode(), "Content-Type: application/json")


async def test_what_is_described_is_fetched_with_what_each_server_may_know():
    async with answering(ok(SOUND)) as media, answering(described(media.url("/x?y"))) as graph:
        allowed = rules(
            origins={
                Origin.parse(graph.origin): "Bearer of-the-graph",
                Origin.parse(media.origin): "Bearer of-the-media",
            }
        )
        _, found = await fetch(graph.url("/v1/2"), allowed, is_described=True)
    assert found == SOUND
    assert graph.asked[0].headers["authorization"] == "Bearer of-the-graph"
    assert (media.asked[0].target, media.asked[0].headers["authorization"]) == (
        "/x?y",
        "Bearer of-the-media",
    )


async def test_what_is_described_leads_only_to_where_it_may():
    async with answering(ok(SOUND)) as media:
        async with answering(described(media.url())) as graph:
            fault = await fault_of(graph.url(), rules(graph.origin), is_described=True)
        assert fault is FetchFault.NOT_ALLOWED
        async with answering(described("http://169.254.169.254/latest")) as graph:
            fault = await fault_of(graph.url(), rules(graph.origin), is_described=True)
        assert fault is FetchFault.ADDRESS_REFUSED
    assert media.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"{}"),
        ok(b"[]"),
        ok(b'{"url": 7}'),
        ok(b"not json"),
        ok(b'{"url": "' + b"x" * 70_000 + b'"}'),
    ],
    ids=["no url", "a list", "a number", "no JSON", "too long"],
)
async def test_what_is_no_description_is_a_wrong_answer(answer):
    async with answering(answer) as graph:
        fault = await fault_of(graph.url(), rules(graph.origin), is_described=True)
    assert fault is FetchFault.WRONG_ANSWER


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_text_is_taken_where_its_hash_was_announced(is_told):
    text = b"<html>a letter</html>"
    sha256 = hashlib.sha256(text).hexdigest() if is_told else None
    async with answering(ok(text, "Content-Type: text/html")) as server:
        if is_told:
            assert (await fetch(server.url(), rules(server.origin), sha256=sha256))[1] == text
        else:
            fault = await fault_of(server.url(), rules(server.origin))
            assert fault is FetchFault.WRONG_ANSWER


# -- what is asked for, and how


async def test_the_bytes_come_as_they_are_and_the_type_without_its_parameters():
    async with answering(ok(SOUND, "Content-Type: Audio/WAV; x=y")) as server:
        assert await fetch(server.url(), rules(server.origin)) == ("audio/wav", SOUND)


@pytest.mark.parametrize(
    ("header", "told", "kind"),
    [
        ("Content-Type: audio/ogg", "audio/wav", "audio/wav"),
        ("Content-Type: audio/ogg", None, "audio/ogg"),
        ("Content-Type: rubbish", None, "application/octet-stream"),
        ("X: y", None, "application/octet-stream"),
    ],
)
async def test_the_type_is_what_was_announced_or_else_what_is_declared(header, told, kind):
    async with answering(ok(SOUND, header)) as server:
        found, _ = await fetch(server.url(), rules(server.origin), content_type=told)
    assert found == kind


async def test_a_signed_url_is_asked_for_character_by_character():
    target = "/a%2Fb/+%20.wav?sig=a%2Bb/c==&x=%2f&y"
    async with answering(ok(SOUND)) as server:
        await fetch(server.url(target + "#part"), rules(server.origin))
    assert server.asked[0].target == target


async def test_nothing_is_sent_that_was_not_meant_to_be():
    async with answering(ok(SOUND)) as server:
        await fetch(server.url(), rules(server.origin))
    assert server.asked[0].headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "taltio",
        "connection": "close",
    }


async def test_proxies_and_credentials_of_the_environment_are_not_used(monkeypatch, tmp_path):
    async with answering(ok(SOUND)) as server, answering(ok(b"proxied")) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        _, body = await fetch(server.url(), rules(server.origin))
        assert body == SOUND
        assert proxy.asked == []
        assert "authorization" not in server.asked[0].headers


# -- 21: internal addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "fc00::1",
        "fd00:ec2::254",
        "0.0.0.0",  # noqa: S104  # nothing is bound to it
        "::",
        "100.64.0.1",
        "fe80::1%lo",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "224.0.0.1",
        "no address",
    ],
)
async def test_a_name_that_leads_to_an_internal_address_is_refused_before_it_is_asked(address):
    resolve, asked = resolving(address)
    url = "http://pbx.example:8080/a.wav"
    where = rules("http://pbx.example:8080", networks=())
    assert await fault_of(url, where, resolve=resolve) is FetchFault.ADDRESS_REFUSED
    assert asked == ["pbx.example"]


async def test_a_name_of_whose_addresses_one_is_internal_is_refused():
    resolve, _ = resolving(["127.0.0.1", "10.0.0.1"])
    async with answering(ok(SOUND)) as server:
        origin = f"http://pbx.example:{server.port}"
        fault = await fault_of(f"{origin}/a.wav", rules(origin), resolve=resolve)
    assert fault is FetchFault.ADDRESS_REFUSED
    assert server.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_loopback_is_refused_without_its_network_although_its_origin_is_allowed(host):
    async with answering(ok(SOUND)) as server:
        origin = f"http://{host}:{server.port}"
        fault = await fault_of(f"{origin}/", rules(origin, networks=()))
    assert fault is FetchFault.ADDRESS_REFUSED
    assert server.asked == []


async def test_the_address_is_judged_where_the_socket_is_made_as_well(monkeypatch):
    """No resolver is asked about an address that stands in a URL: this is what holds then."""
    monkeypatch.setattr("service.worker.fetching.client.judge_url", _judged_by_nobody)
    async with answering(ok(SOUND)) as server:
        where = rules(server.origin, networks=())
        assert await fault_of(server.url(), where) is FetchFault.ADDRESS_REFUSED
    assert server.asked == []


def _judged_by_nobody(text, _rules):
    from service.domain.urls import WebUrl  # noqa: PLC0415  # for this one test

    return WebUrl.parse(text)


async def test_link_local_is_refused_whatever_is_allowed():
    where = rules("http://169.254.169.254", networks=(ip_network("169.254.0.0/16"),))
    fault = await fault_of("http://169.254.169.254/latest/meta-data/", where)
    assert fault is FetchFault.ADDRESS_REFUSED


# -- 22: names that change


async def test_the_answer_that_was_judged_is_the_one_that_is_connected_to():
    """Public when it is judged, internal when it is connected to: it is asked once, and that counts."""
    resolve, asked = resolving("127.0.0.1", "127.0.0.2")
    async with answering(ok(SOUND)) as server:
        origin = f"http://pbx.example:{server.port}"
        where = rules(origin, networks=(ip_network("127.0.0.1/32"),))
        _, body = await fetch(f"{origin}/a.wav", where, resolve=resolve)
        assert body == SOUND
        assert asked == ["pbx.example"]
        # The next attempt asks again, and judges again: nothing is remembered.
        fault = await fault_of(f"{origin}/a.wav", where, resolve=resolve)
    assert fault is FetchFault.ADDRESS_REFUSED
    assert asked == ["pbx.example"] * 2


async def test_a_name_that_changes_between_a_redirect_and_its_target_is_judged_anew():
    resolve, asked = resolving("127.0.0.1", "10.0.0.1")
    async with answering(moved("/b.wav")) as server:
        origin = f"http://pbx.example:{server.port}"
        fault = await fault_of(f"{origin}/a.wav", rules(origin), resolve=resolve)
    assert fault is FetchFault.ADDRESS_REFUSED
    assert len(asked) == 2


# -- 23, 27: redirects and credentials


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P"])
async def test_a_redirect_within_what_is_allowed_is_followed(status):
    async with (
        answering(ok(SOUND)) as second,
        answering(moved(second.url("/b.wav"), status)) as first,
    ):
        where = rules(first.origin, second.origin)
        _, body = await fetch(first.url(), where)
    assert body == SOUND
    assert [asked.target for asked in second.asked] == ["/b.wav"]


@pytest.mark.parametrize(("hops", "is_followed"), [(MOST_REDIRECTS, True), (4, False)])
async def test_at_most_three_redirects_are_followed(hops, is_followed):
    def answer(asked):
        step = int(asked.target[1:])
        return ok(SOUND) if step == hops else moved(f"/{step + 1}")

    async with answering(answer) as server:
        where = rules(server.origin)
        if is_followed:
            assert (await fetch(server.url("/0"), where))[1] == SOUND
        else:
            fault = await fault_of(server.url("/0"), where)
            assert fault is FetchFault.WRONG_ANSWER
    assert len(server.asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "fault"),
    [
        ("http://elsewhere.example/", FetchFault.NOT_ALLOWED),
        ("//elsewhere.example/", FetchFault.NOT_ALLOWED),
        ("http://127.0.0.1:1/", FetchFault.NOT_ALLOWED),
        ("http://10.0.0.1/", FetchFault.ADDRESS_REFUSED),
        ("http://169.254.169.254/latest/meta-data/", FetchFault.ADDRESS_REFUSED),
        ("https://169.254.169.254/latest/meta-data/", FetchFault.ADDRESS_REFUSED),
        ("http://localhost/", FetchFault.ADDRESS_REFUSED),
        ("//2130706433/", FetchFault.ADDRESS_REFUSED),
        ("https://127.0.0.1:{port}/", FetchFault.NOT_ALLOWED),
        ("file:///etc/passwd", FetchFault.NOT_ALLOWED),
        ("gopher://127.0.0.1:{port}/", FetchFault.NOT_ALLOWED),
        ("data:audio/wav,x", FetchFault.NOT_ALLOWED),
        ("http://good@127.0.0.1:{port}/", FetchFault.NOT_ALLOWED),
        ("http://127.0.0.1:{port}\\@evil.example/", FetchFault.NOT_ALLOWED),
        ("http://[::1", FetchFault.NOT_ALLOWED),
        ("http://127.0.0.1:{port}/\tx", FetchFault.NOT_ALLOWED),
    ],
)
async def test_a_redirect_to_anything_else_is_not_followed(location, fault):
    def answer(asked):
        port = asked.headers["host"].partition(":")[2]
        return (
            moved(location.replace("{port}", port)) if asked.target == "/a.wav" else ok(SOUND)
        )

    async with answering(answer) as server:
        https = server.origin.replace("http", "https")
        assert await fault_of(server.url(), rules(server.origin, https)) is fault
    assert len(server.asked) == 1


async def test_a_redirect_to_nowhere_is_no_answer():
    async with answering(ok(b"", status="302 Found")) as server:
        fault = await fault_of(server.url(), rules(server.origin))
    assert fault is FetchFault.WRONG_ANSWER


async def test_credentials_are_sent_to_their_origin_and_follow_no_redirect():
    async with answering(ok(SOUND)) as second, answering(moved(second.url())) as first:
        origins = {Origin.parse(first.origin): SECRET, Origin.parse(second.origin): None}
        await fetch(first.url(), FetchRules(origins=origins, networks=LOOPBACK))
    assert first.asked[0].headers["authorization"] == SECRET
    assert "authorization" not in second.asked[0].headers


async def test_each_origin_gets_its_own_credentials_also_after_a_redirect():
    async with answering(ok(SOUND)) as second, answering(moved(second.url())) as first:
        origins = {
            Origin.parse(first.origin): SECRET,
            Origin.parse(second.origin): "Bearer other",
        }
        await fetch(first.url(), FetchRules(origins=origins, networks=LOOPBACK))
    assert second.asked[0].headers["authorization"] == "Bearer other"


async def test_a_cookie_is_given_back_to_nobody():
    resolve, _ = resolving("127.0.0.1")

    def answer(asked):
        return ok(SOUND) if asked.target == "/b" else ok(b"", *COOKIE, status="302 Found")

    async with answering(answer) as server:
        origin = f"http://pbx.example:{server.port}"
        await fetch(f"{origin}/a", rules(origin), resolve=resolve)
    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


COOKIE = ("Location: /b", "Set-Cookie: a=b; Path=/")


# -- 24: URLs


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "data:audio/wav;base64,AAAA",
        "http://good@127.0.0.1:{port}/",
        "http://user:hush-hush@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}@evil.example/",
        "http://127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:0{port}/",
        "http://127.0.0.1:{port}\r\nX: y/",
        "http://127.0.0.1:{port}/\r\nHost: evil.example",
        "http:\\\\127.0.0.1:{port}\\",
        "http://１２７.0.0.1:{port}/",
        "http://раураl.example/",
        "//127.0.0.1:{port}/",
        "pbx",
    ],
)
async def test_a_url_that_has_two_readings_or_another_scheme_is_refused(url):
    async with answering(ok(SOUND)) as server:
        told = url.replace("{port}", str(server.port))
        assert await fault_of(told, rules(server.origin)) is FetchFault.NOT_ALLOWED
    assert server.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]:6379/",
        "http://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "http://localhost:6379/",
        "http://a.LocalHost/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://127.0.0.1./",
    ],
)
@pytest.mark.parametrize("origins", [(), ("https://pbx.example",)], ids=["none", "another"])
async def test_what_means_an_internal_machine_is_told_apart_whatever_is_allowed(url, origins):
    """Nothing is asked either way; but this may be an attack, and an origin that is missing is none."""
    with pytest.raises(FetchError) as refused:
        await fetch(url, rules(*origins, networks=()))
    assert (refused.value.fault, refused.value.tries) == (FetchFault.ADDRESS_REFUSED, 1)


async def test_another_name_for_an_allowed_server_is_not_allowed():
    resolve, asked = resolving("127.0.0.1")
    async with answering(ok(SOUND)) as server:
        url = f"http://pbx.example.evil.example:{server.port}/"
        where = rules(f"http://pbx.example:{server.port}")
        assert await fault_of(url, where, resolve=resolve) is FetchFault.NOT_ALLOWED
    assert asked == []


# -- 25: answers


def raw(head, body=b""):
    return ("HTTP/1.1 " + "\r\n".join([*head, "", ""])).encode() + body


async def endless(_asked):
    yield raw(["200 OK", "Transfer-Encoding: chunked"])
    while True:
        yield b"10000\r\n" + bytes(0x10000) + b"\r\n"


async def trickling(_asked):
    yield raw(["200 OK", "Content-Length: 1000"])
    while True:
        yield b"x"
        await asyncio.sleep(0.02)


async def silent(_asked):
    await asyncio.sleep(60)
    yield b""


async def slow_head(_asked):
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
        yield bytes([byte])
        await asyncio.sleep(0.05)


async def endless_trailers(_asked):
    yield raw(["200 OK", "Transfer-Encoding: chunked"], b"5\r\nRIFFx\r\n0\r\n")
    while True:
        yield b"X: y\r\n" * 1000


async def endless_extension(_asked):
    yield raw(["200 OK", "Transfer-Encoding: chunked"], b"5;a=")
    while True:
        yield b"x" * 0x10000


async def endless_patience(_asked):
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100
        await asyncio.sleep(0)


def in_pieces(*pieces):
    async def answer(_asked):
        yield raw(["200 OK", f"Content-Length: {sum(map(len, pieces))}"])
        for piece in pieces:
            yield piece
            await asyncio.sleep(0.01)

    return answer


WRONG = [
    pytest.param(endless, FetchFault.TOO_LARGE, id="endless"),
    pytest.param(trickling, FetchFault.UNREACHABLE, id="a byte at a time"),
    pytest.param(silent, FetchFault.UNREACHABLE, id="no head"),
    pytest.param(slow_head, FetchFault.UNREACHABLE, id="a head that trickles"),
    pytest.param(
        raw(["200 OK", "Content-Length: 1000"], bytes(999)),
        FetchFault.UNREACHABLE,
        id="less than its length",
    ),
    pytest.param(
        raw(["200 OK", "Transfer-Encoding: chunked"], b"5\r\nRIFFx\r\n"),
        FetchFault.UNREACHABLE,
        id="chunks without an end",
    ),
    pytest.param(
        raw(["200 OK", "Transfer-Encoding: chunked"], b"zz\r\nRIFFx\r\n0\r\n\r\n"),
        FetchFault.UNREACHABLE,
        id="chunks that are none",
    ),
    pytest.param(raw(["200 OK"], SOUND), FetchFault.WRONG_ANSWER, id="no length at all"),
    pytest.param(
        raw(["200 OK", "Content-Length: 200000"]),
        FetchFault.TOO_LARGE,
        id="too large by its length",
    ),
    pytest.param(ok(SOUND, status="206 Part"), FetchFault.WRONG_ANSWER, id="a part, unasked"),
    pytest.param(ok(b"", status="204 No"), FetchFault.WRONG_ANSWER, id="no content"),
    pytest.param(ok(SOUND, status="202 Later"), FetchFault.WRONG_ANSWER, id="accepted"),
    pytest.param(ok(b"", status="304 Same"), FetchFault.WRONG_ANSWER, id="not modified"),
    pytest.param(
        ok(SOUND, status="999 ?"), FetchFault.UNREACHABLE, id="no status that is known"
    ),
    pytest.param(
        ok(b"<html>Error", "Content-Type: text/html"), FetchFault.WRONG_ANSWER, id="a page"
    ),
    pytest.param(
        ok(b" \n<!DOCTYPE HTML><p>Error", "Content-Type: audio/wav"),
        FetchFault.WRONG_ANSWER,
        id="a page that says it is sound",
    ),
    pytest.param(
        ok(b"{}", "Content-Type: application/json"), FetchFault.WRONG_ANSWER, id="JSON"
    ),
    pytest.param(
        ok(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip"),
        FetchFault.WRONG_ANSWER,
        id="a compressed bomb",
    ),
    pytest.param(
        ok(SOUND, "Transfer-Encoding: chunked"), FetchFault.UNREACHABLE, id="length and chunks"
    ),
    pytest.param(ok(SOUND, "Content-Length: 3"), FetchFault.UNREACHABLE, id="two lengths"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", FetchFault.UNREACHABLE, id="another protocol"),
    pytest.param(b"", FetchFault.UNREACHABLE, id="nothing"),
    pytest.param(
        raw(["200 OK", "X: " + "y" * 100_000]), FetchFault.UNREACHABLE, id="huge head"
    ),
    pytest.param(moved("/a.wav"), FetchFault.WRONG_ANSWER, id="a circle"),
    *(
        pytest.param(
            raw(["200 OK", *(f"Transfer-Encoding: {coding}" for coding in codings)], body),
            FetchFault.WRONG_ANSWER,
            id=f"transfer codings {codings}",
        )
        for body in (b"5\r\nRIFFx\r\n0\r\n\r\n",)
        for codings in (
            ["identity"],
            ["gzip"],
            ["gzip, chunked"],
            ["chunked, identity"],
            ["chunked", "identity"],
            ["xchunked"],
            [""],
        )
    ),
    pytest.param(
        ok(SOUND, "Content-Encoding: identity", "Content-Encoding: gzip"),
        FetchFault.WRONG_ANSWER,
        id="compressed, says a second line",
    ),
    pytest.param(
        in_pieces(b"\n ", b"<", b"html><p>", b"Error"),
        FetchFault.WRONG_ANSWER,
        id="a page in pieces",
    ),
    pytest.param(ok(b""), FetchFault.WRONG_ANSWER, id="nothing in it"),
    pytest.param(
        raw(["200 OK", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        FetchFault.WRONG_ANSWER,
        id="nothing in it, in chunks",
    ),
    pytest.param(endless_trailers, FetchFault.UNREACHABLE, id="trailers without an end"),
    pytest.param(endless_extension, FetchFault.UNREACHABLE, id="a chunk's head without an end"),
    pytest.param(endless_patience, FetchFault.UNREACHABLE, id="100 Continue without an end"),
]


DATED = ["Date: Wed, 21 Oct 2015 07:28:00 GMT"]


@pytest.mark.parametrize(("answer", "fault"), WRONG)
async def test_what_is_no_whole_recording_is_refused(answer, fault):
    async with answering(answer) as server:
        where = rules(
            server.origin,
            max_bytes=100_000,
            window=timedelta(seconds=0.3),
            longest=timedelta(seconds=9),
        )
        async with asyncio.timeout(8):
            assert await fault_of(server.url(), where) is fault


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"sha256": "0" * 64}, FetchFault.OTHER_BYTES),
        ({"sha512": "0" * 128}, FetchFault.OTHER_BYTES),
        ({"size_bytes": len(SOUND) - 1}, FetchFault.OTHER_BYTES),
        ({"size_bytes": len(SOUND) + 1}, FetchFault.OTHER_BYTES),
        ({"size_bytes": 0}, FetchFault.OTHER_BYTES),
    ],
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_other_bytes_than_were_announced_are_refused(told, fault, is_chunked):
    chunked = f"{len(SOUND):x}\r\n".encode() + SOUND + b"\r\n0\r\n\r\n"
    answer = raw(["200 OK", "Transfer-Encoding: chunked"], chunked) if is_chunked else ok(SOUND)
    async with answering(answer) as server:
        assert await fault_of(server.url(), rules(server.origin), **told) is fault


async def test_without_a_length_it_is_taken_when_what_was_announced_tells_that_it_is_whole():
    digest, longer = hashlib.sha256(SOUND).hexdigest(), hashlib.sha512(SOUND).hexdigest()
    async with answering(raw(["200 OK"], SOUND)) as server:
        for told in ({"sha256": digest}, {"sha512": longer}, {"size_bytes": len(SOUND)}):
            assert (await fetch(server.url(), rules(server.origin), **told))[1] == SOUND
    async with answering(raw(["200 OK"], SOUND[:-1])) as server:
        for told in ({"sha256": digest}, {"sha512": longer}, {"size_bytes": len(SOUND)}):
            fault = await fault_of(server.url(), rules(server.origin), **told)
            assert fault is FetchFault.OTHER_BYTES


@pytest.mark.parametrize(
    "told", [{"size_bytes": 0}, {"sha256": hashlib.sha256().hexdigest()}], ids=str
)
async def test_an_empty_recording_is_one_where_it_was_announced_as_such(told):
    async with answering(ok(b"", "Content-Type: audio/wav")) as server:
        assert (await fetch(server.url(), rules(server.origin), **told))[1] == b""


@given(cuts=st.lists(st.integers(0, len(SOUND)), max_size=6))
@settings(max_examples=10, deadline=None)
def test_in_whatever_pieces_it_comes_it_is_the_same(cuts):
    bounds = [0, *sorted(cuts), len(SOUND)]
    pieces = [SOUND[a:b] for a, b in pairwise(bounds)]

    async def fetched():
        async with answering(in_pieces(*pieces)) as server:
            return await fetch(server.url(), rules(server.origin))

    assert asyncio.run(fetched())[1] == SOUND


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 0),
        (["Retry-After: 120"], 120),
        (["Retry-After: 0"], 0),
        (["Retry-After: 86400"], 3600),
        (["Retry-After: " + "9" * 5000], 0),
        (["Retry-After: -5"], 0),
        (["Retry-After: soon"], 0),
        (["Retry-After: Wed, 21 Oct 2015 07:28:30 GMT"], 0),
        ([*DATED, "Retry-After: Wed, 21 Oct 2015 07:28:30 GMT"], 30),
        ([*DATED, "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"], 3600),
        ([*DATED, "Retry-After: Wed, 21 Oct 2015 07:00:00 GMT"], 0),
        ([*DATED, "Retry-After: Wed, 21 Oct 2015 07:28:30 -0000"], 0),
    ],
)
async def test_a_server_may_put_us_off_for_an_hour_at_the_most(headers, seconds):
    async with answering(ok(b"", *headers, status="503 Busy")) as server:
        with pytest.raises(FetchError) as refused:
            await fetch(server.url(), rules(server.origin))
    assert refused.value.pause == timedelta(seconds=seconds)


async def test_an_answer_that_takes_longer_than_it_may_is_given_up():
    async def steady(_asked):
        yield raw(["200 OK", "Content-Length: 100000000"])
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)

    async with answering(steady) as server:
        where = rules(server.origin, longest=timedelta(seconds=0.3))
        assert await fault_of(server.url(), where) is FetchFault.UNREACHABLE


async def test_what_is_done_with_the_bytes_meanwhile_is_not_held_against_the_server():
    async def parts(_asked):
        yield raw(["200 OK", f"Content-Length: {6 * 1000}"])
        for _ in range(6):
            yield bytes(1000)

    async with answering(parts) as server:
        where = rules(server.origin, window=timedelta(seconds=0.05), bytes_per_second=1000)
        announced = AnnouncedRecording(name="a", url=server.url())
        received = 0
        async with Fetcher(where).asked(announced) as answer:
            async for chunk in answer.chunks():
                received += len(chunk)
                await asyncio.sleep(0.1)
    assert received == 6000


async def test_a_server_that_is_not_there_is_told_apart_from_one_that_refuses():
    port = await free_port()
    origin = f"http://127.0.0.1:{port}"
    assert await fault_of(f"{origin}/", rules(origin)) is FetchFault.UNREACHABLE


async def test_a_name_without_an_address_is_a_server_that_is_down():
    async def nowhere(_host, _port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolve in (nowhere, resolving([])[0]):
        fault = await fault_of(
            "http://pbx.example/", rules("http://pbx.example"), resolve=resolve
        )
        assert fault is FetchFault.UNREACHABLE


async def test_the_next_address_is_tried_when_one_does_not_answer():
    resolve, _ = resolving(["127.0.0.2", "127.0.0.1"])
    async with answering(ok(SOUND)) as server:
        origin = f"http://pbx.example:{server.port}"
        assert (await fetch(f"{origin}/", rules(origin), resolve=resolve))[1] == SOUND


# -- 26: certificates


@pytest.fixture
def authority(tmp_path):
    return CertificateAuthority(tmp_path / "ca")


@pytest.mark.parametrize(
    ("name", "days", "is_known", "fault"),
    [
        ("pbx.example", 20, True, None),
        ("other.example", 20, True, FetchFault.UNTRUSTED),
        ("pbx.example", -1, True, FetchFault.UNTRUSTED),
        ("pbx.example", 20, False, FetchFault.UNTRUSTED),
    ],
    ids=["good", "of another name", "expired", "of an unknown authority"],
)
async def test_a_certificate_is_always_verified(authority, name, days, is_known, fault):
    resolve, _ = resolving("127.0.0.1")
    async with answering(ok(SOUND), tls=authority.serving(name, days=days)) as server:
        origin = f"https://pbx.example:{server.port}"
        where = rules(origin, tls=authority.trusting() if is_known else None)
        if fault is None:
            assert (await fetch(f"{origin}/", where, resolve=resolve))[1] == SOUND
        else:
            assert await fault_of(f"{origin}/", where, resolve=resolve) is fault
            assert server.asked == []


async def test_a_server_without_tls_gets_nothing_in_the_clear():
    resolve, _ = resolving("127.0.0.1")
    async with answering(ok(SOUND)) as server:
        origin = f"https://pbx.example:{server.port}"
        where = FetchRules(
            origins={Origin.parse(origin): SECRET},
            networks=LOOPBACK,
            window=timedelta(seconds=0.2),
        )
        async with asyncio.timeout(5):
            fault = await fault_of(f"{origin}/", where, resolve=resolve)
    assert fault in {FetchFault.UNTRUSTED, FetchFault.UNREACHABLE}
    assert server.asked == []


# -- credentials as they are written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Basic pbx:hush-hush", SECRET),
        ("basic pbx:hush-hush\n", SECRET),
        ("Basic pbx:a:b c\r\n", "Basic " + base64.b64encode(b"pbx:a:b c").decode()),
        (
            "Basic p\u00e4:\u00f6",
            "Basic " + base64.b64encode("p\u00e4:\u00f6".encode()).decode(),
        ),
        ("Bearer abc-._~+/==", "Bearer abc-._~+/=="),
    ],
)
def test_credentials_are_one_line(text, value):
    assert parse_credentials(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hush-hush",
        "Basic hush-hush",
        "Bearer",
        "Bearer hush hush",
        "Digest hush-hush",
        "Bearer hush\nX: y",
        "Basic a:hush\nX: y",
        "Basic a:hush\x00",
        "Bearer " + "a" * 5000,
    ],
)
def test_what_are_no_credentials_is_refused_and_not_repeated(text):
    with pytest.raises(InvalidInputError) as refused:
        parse_credentials(text)
    assert "hush" not in str(refused.value)


@given(text=st.text(max_size=60))
@settings(max_examples=200)
def test_no_credentials_end_a_header(text):
    try:
        value = parse_credentials(text)
    except InvalidInputError:
        return
    assert value.isascii()
    assert value.isprintable()


def test_rules_and_origins_print_no_secret():
    where = FetchRules(origins={Origin.parse("https://pbx.example"): SECRET})
    assert SECRET not in repr(where)
    assert SECRET not in repr(Fetcher(where))


async def test_an_answer_prints_no_secret():
    async with answering(ok(SOUND, "X: hush-hush")) as server:
        announced = AnnouncedRecording(name="a", url=server.url("/hush-hush"))
        async with Fetcher(rules(server.origin)).asked(announced) as answer:
            assert "hush" not in repr(answer)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("Lasku on väärä.".encode(), "text/plain"),
        (b"a;b\n1;2\n", "text/csv"),
        (b"<?xml version='1.0'?><Finvoice/>", "application/xml"),
        (b"<?xml version='1.0'?><svg/>", "image/svg+xml"),
        (b"{}", "application/json"),
    ],
)
async def test_a_file_that_is_a_text_is_kept_where_one_was_announced(body, kind):
    async with answering(ok(body, f"Content-Type: {kind}")) as server:
        got = await fetch(server.url("/a.txt"), rules(server.origin), is_text=True)
        assert got == (kind, body)
    async with answering(ok(body, f"Content-Type: {kind}")) as server:
        assert await fault_of(server.url("/a"), rules(server.origin)) == FetchFault.WRONG_ANSWER


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"Sign in first", "text/html"),
        (b"<!DOCTYPE html><title>Sign in</title>", "text/plain"),
        (b"<?xml version='1.0'?>\n<html/>", "application/xml"),
        (b"{}", "application/problem+json"),
    ],
)
async def test_a_page_is_no_file(body, kind):
    async with answering(ok(body, f"Content-Type: {kind}")) as server:
        with pytest.raises(FetchError) as refused:
            await fetch(server.url("/a.txt"), rules(server.origin), is_text=True)
        assert refused.value.fault is FetchFault.WRONG_ANSWER
