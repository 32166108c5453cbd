"""The child process: shuts itself in, then reads mails for its parent, each under a limit of processor time."""

import json
import math
import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from service.sources.mail.facts import Body, ReadMail
from service.sources.mail.read import read_mail
from service.worker.confine import confine
from service.worker.mail.pipe import HEADERS, MAIL, MAX_PAYLOAD_BYTES, PART, PIECE_BYTES
from service.worker.media.pipe import END, MAX_READ_BYTES
from service.worker.media.reader import Channel

MEMORY: Final = "memory_limit"
TOO_MUCH: Final = "too_much"
FAILED: Final = "reader_failed"
_MOST_CPU_SECONDS: Final = 3600
_REHEARSAL: Final = (
    b"From: =?utf-8?q?a?= <a@example.org>\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=%b\r\n"
    b"Content-Transfer-Encoding: %b\r\nContent-Disposition: inline; x*0*=utf-8'en'%%41\r\n\r\n<p>x</p>\r\n--b--\r\n"
)
# Python imports each when it is first asked for, and then no file can be opened any more.
_CHARSETS: Final = [
    "ascii",
    "big5",
    "cp1250",
    "cp1251",
    "cp1252",
    "cp1253",
    "cp1254",
    "cp1257",
    "cp437",
    "cp850",
    "cp865",
    "euc_jp",
    "euc_kr",
    "gb18030",
    "gb2312",
    "gbk",
    "hz",
    "iso2022_jp",
    "iso2022_kr",
    "iso8859_1",
    "iso8859_10",
    "iso8859_13",
    "iso8859_15",
    "iso8859_2",
    "iso8859_4",
    "iso8859_5",
    "iso8859_7",
    "iso8859_9",
    "koi8_r",
    "koi8_u",
    "mac_roman",
    "shift_jis",
    "utf_16",
    "utf_16_be",
    "utf_16_le",
    "utf_32",
    "utf_7",
    "utf_8",
    "utf_8_sig",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One mail to be read, as it comes over the socket."""

    size_bytes: int
    cpu_seconds: int
    memory_bytes: int


def main() -> None:
    """Serve the parent at the other end of standard input, until it has no more mails."""
    channel = Channel(0)
    order = _order(channel)
    _rehearse()
    confine(
        memory_bytes=order.memory_bytes,
        cpu_seconds=_allowed(order),
        most_cpu_seconds=_MOST_CPU_SECONDS,
    )
    with suppress(EOFError):
        while True:
            _serve(channel, order)
            channel.send(END)
            order = _order(channel)
            resource.setrlimit(resource.RLIMIT_CPU, (_allowed(order), _MOST_CPU_SECONDS))
    os._exit(0)


def _order(channel: Channel) -> Order:
    return Order(**json.loads(channel.greeting()))


def _allowed(order: Order) -> int:
    """Return the processor time, in whole seconds since this process began, at which the mail has cost its share."""
    used = time.process_time()
    return min(math.floor(used + order.cpu_seconds), _MOST_CPU_SECONDS)


def _serve(channel: Channel, order: Order) -> None:
    told = ReadMail()

    def tell(read: ReadMail) -> None:
        nonlocal told
        told = read
        channel.send(HEADERS, msgspec.json.encode(read))

    try:
        raw = b"".join(
            channel.ask(start, min(MAX_READ_BYTES, order.size_bytes - start))
            for start in range(0, order.size_bytes, MAX_READ_BYTES)
        )
        read, parts = read_mail(raw, tell)
        message = msgspec.json.encode(read)
    except EOFError:
        raise
    except Exception as error:  # noqa: BLE001  # the outermost edge: what a mail makes of its reader is told of the mail
        problem = MEMORY if isinstance(error, MemoryError) else FAILED
        read, parts = msgspec.structs.replace(told, problem=problem), ()
        message = msgspec.json.encode(read)
    if len(message) > MAX_PAYLOAD_BYTES:
        read, parts = msgspec.structs.replace(told, body=Body(), problem=TOO_MUCH), ()
        message = msgspec.json.encode(read)
    channel.send(MAIL, message)
    for data in parts:
        for start in range(0, len(data), PIECE_BYTES):
            channel.send(PART, data[start : start + PIECE_BYTES])


def _rehearse() -> None:
    """Read mails of our own, so that whatever is imported on first use is there."""
    for charset in _CHARSETS:
        for encoding in (b"7bit", b"quoted-printable", b"base64"):
            read_mail(_REHEARSAL % (charset.encode(), encoding))
