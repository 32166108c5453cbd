"""Mail: how many come in and are understood in a minute, and what the worst of them costs where it is read."""

import asyncio
import resource
import smtplib
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.archives import new_archive, serving
from bench.results import Result
from bench.sizes import MIB, Sizes
from service.sources.mail.facts import Part
from service.worker.mail.run import ChildMailReader, MailLimits

_CONNECTIONS: Final = 4
"""As many as a mail server opens to one that is slow."""
_PER_MINUTE: Final = 1_000
_MOST_SECONDS: Final = 5.0
_SENDER, _ARCHIVE = "maija@example.fi", "archive@archive.invalid"


def taken(sizes: Sizes, directory: Path) -> Result:
    """Measure mails a minute by LMTP, from the first greeting until the last of them is in its contact.

    Raises:
        RuntimeError: A mail that was acknowledged is in no contact.
    """
    port = _free_port()
    archive = new_archive(
        directory / "archive",
        storage=f'[[sources]]\nname = "mail"\nkind = "mail"\nmail_listen = "127.0.0.1:{port}"\n'
        'company_addresses = ["@example.com"]\n',
    )
    mails = [ordinary(n) for n in range(sizes.mails)]
    with serving(archive) as process:
        used = process.cpu_seconds()
        begun = time.perf_counter()
        with ThreadPoolExecutor(max_workers=_CONNECTIONS) as pool:
            for sent in [
                pool.submit(_deliver, port, mails[n::_CONNECTIONS]) for n in range(_CONNECTIONS)
            ]:
                sent.result()
        acknowledged = time.perf_counter() - begun
        archive.wait_until_understood()
        seconds = time.perf_counter() - begun
        used = process.cpu_seconds() - used
        lost = sizes.mails - archive.count("messages")
    if lost:
        raise RuntimeError(f"{lost} mails are in no contact")
    rate = sizes.mails / seconds * 60
    return Result(
        what=f"mails a minute by LMTP over {_CONNECTIONS} connections: kept, read in a child, in their contacts",
        against="ordinary mails in a minute",
        ours=rate,
        reference=_PER_MINUTE,
        unit="/min",
        figure=rate,
        figure_unit="/min",
        bound=_PER_MINUTE,
        is_ceiling=False,
        spread=(rate, rate),
        note=f"one run of {sizes.mails:,}; acknowledged {sizes.mails / acknowledged * 60:,.0f} a minute; "
        f"{used / sizes.mails * 1000:.1f} ms of processor time each, children not included",
    )


def ordinary(number: int) -> bytes:
    """Return a mail as customers write them: text, the same as HTML, and every fifth with a picture of 100 KiB."""
    text = (
        f"Hei,\n\nlaskuni numero {number} on mielestäni väärä. Voisitteko tarkistaa?\n\nTerveisin Maija\n"
        * 4
    )
    parts = [
        f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{text}",
        f"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>{text}</p>",
    ]
    if number % 5 == 0:
        lines = "\n".join(["/9j/" * 19] * (100 * 1024 // 76))
        parts.append(
            f'Content-Type: image/jpeg; name="lasku.jpg"\nContent-Transfer-Encoding: base64\n\n{lines}\n'
        )
    body = "".join(f"--b\n{part}\n" for part in parts)
    return (
        f"From: Maija Malli <asiakas{number}@example.fi>\nTo: apu@example.com\nSubject: Lasku {number}\n"
        f"Date: Sun, 22 Nov 2026 12:00:00 +0000\nMessage-ID: <{number}@mail.example.fi>\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/mixed; boundary="b"\n\n{body}--b--\n'
    ).encode()


def _deliver(port: int, mails: list[bytes]) -> None:
    with smtplib.LMTP("127.0.0.1", port, timeout=60) as client:
        for mail in mails:
            client.sendmail(_SENDER, [_ARCHIVE], mail, mail_options=["BODY=8BITMIME"])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


_HEAD: Final = b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def _filled(before: bytes, unit: bytes, after: bytes = b"") -> bytes:
    """Return a mail of 1 MiB: ``unit`` as often as it fits in."""
    room = MIB - len(_HEAD) - len(before) - len(after)
    return _HEAD + before + unit * (room // len(unit)) + after


def _nested() -> bytes:
    levels = (
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n)
        for n in range(16_000)
    )
    return (_HEAD + b"".join(levels))[:MIB]


HOSTILE: Final[Mapping[str, Callable[[], bytes]]] = {
    "nested parts": _nested,
    "many parts": lambda: _filled(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", b"--b\r\n\r\n", b"--b--\r\n"
    ),
    "many headers": lambda: _filled(b"", b"A:\r\n", b"\r\n"),
    "one long header": lambda: _filled(b"To: ", b"(", b"\r\n\r\n"),
    "many addresses": lambda: _filled(b"Cc: ", b"a@b,", b"\r\n\r\n"),
    "encoded words": lambda: _filled(b"X-A: ", b"=?utf-8?q?=41?= ", b"\r\n\r\n"),
    "folded lines": lambda: _filled(b"References: ", b"<a@b>\r\n ", b"\r\n\r\n"),
    "parameters in pieces": lambda: _filled(
        b"Content-Disposition: attachment", b";filename*9*=%", b"\r\n\r\n"
    ),
    "nested elements": lambda: _filled(b"Content-Type: text/html\r\n\r\n", b"<b>"),
    "elements that cross": lambda: _filled(
        b"Content-Type: text/html\r\n\r\n", b"<a><p><table>"
    ),
    "entities": lambda: _filled(b"Content-Type: text/html\r\n\r\n", b"&#x41;"),
    "digits": lambda: _filled(b"Content-Type: text/plain\r\n\r\n", b"4 - "),
}
"""Mails of 1 MiB, each built to cost its reader much."""


@dataclass(frozen=True, slots=True)
class _Raw:
    mail: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.mail)

    async def read(self, offset: int, length: int) -> bytes:
        return self.mail[offset : offset + length]


async def _forget(_part: Part, pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


def worst(sizes: Sizes, _: Path) -> Result:
    """Measure the processor time of the child that reads each hostile mail, and its start."""
    names = list(HOSTILE) if sizes.rounds > 1 else list(HOSTILE)[:2]
    costs = {name: asyncio.run(_read(HOSTILE[name]())) for name in names}
    dearest = max(costs, key=lambda name: costs[name][0])
    figure = costs[dearest][0]
    given_up = sum(problem != "" for _, problem in costs.values())
    return Result(
        what=f"a mail of 1 MiB built to hurt its reader, the worst of {len(costs)} kinds, in the child",
        against="the limit of the child",
        ours=figure,
        reference=MailLimits().cpu_seconds,
        unit="s",
        figure=figure,
        figure_unit="s",
        bound=_MOST_SECONDS,
        is_ceiling=True,
        spread=(min(cost for cost, _ in costs.values()), figure),
        note=f"processor time, the child's start included; worst: {dearest}; {given_up} given up, headers told",
    )


async def _read(mail: bytes) -> tuple[float, str]:
    before = _children_seconds()
    async with ChildMailReader().session() as session:
        read = await session.read(_Raw(mail), _forget)
    return _children_seconds() - before, read.problem


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


ROWS: Final = {"mail": taken, "mail-hostile": worst}
"""Rows of mail."""
