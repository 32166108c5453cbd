"""Mails are read in a process of its own that is shut in, replaced when it dies, and never believed."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.domain.errors import UnavailableError
from service.sources.mail.facts import Flag
from service.worker import children
from service.worker.mail import run
from service.worker.mail.run import (
    CPU_LIMIT,
    MISBEHAVED,
    NOT_IN_TIME,
    ChildMailReader,
    MailLimits,
)

ROOT = Path(__file__).parents[2]
MAIL = b"From: maija@example.fi\r\nSubject: Lasku\r\n\r\nHei!\r\n"


class Raw:
    def __init__(self, data):
        self.data, self.size_bytes = data, len(data)

    async def read(self, offset, length):
        return self.data[offset : offset + length]


async def read(*mails, reader=None):
    """Return what was read of each mail, and the bytes of its parts."""
    results = []
    async with (reader or ChildMailReader()).session() as session:
        for mail in mails:
            parts = []

            async def keep(_, pieces, parts=parts):
                parts.append(b"".join([piece async for piece in pieces]))

            results.append((await session.read(Raw(mail), keep), parts))
    return results


@pytest.fixture
def child_that(monkeypatch):
    """Put other code in the child's place: ``say`` sends a frame, ``order`` is what it got."""

    def put(code):
        monkeypatch.setattr(
            children,
            "_BOOT",
            "import os, signal, struct, time\n"
            "def say(kind, payload=b''):\n"
            "    os.write(0, struct.pack('>cI', kind, len(payload)) + payload)\n"
            "order = os.read(0, 65536)\n" + code,
        )

    return put


async def test_mails_are_read_one_after_the_other():
    first, second, large = await read(MAIL, MAIL + b"x" * 600_000, b"")
    assert first[0].headers.subject == "Lasku"
    assert first[1] == [b"Hei!\n"]
    assert len(second[1][0]) == 600_005
    assert large[0].headers.subject == ""


CONFINED = """
import json, os, socket, threading
from service.worker.confine import confine
from service.worker.mail import child
child._rehearse()
confine(memory_bytes=2**28, cpu_seconds=10, most_cpu_seconds=20)
told = {}
def attempt(name, act):
    try:
        act()
        told[name] = "done"
    except BaseException as error:
        told[name] = type(error).__name__
attempt("read", lambda: os.open("/etc/hostname", os.O_RDONLY))
attempt("connect", lambda: socket.socket())
attempt("memory", lambda: bytearray(2**29))
from service.sources.mail.read import read_mail
for charset in ("windows-1257", "iso-8859-15", "no-such", "cp1006", "utf-16"):
    read_mail(b"Content-Type: text/html; charset=" + charset.encode() + b"\\r\\n\\r\\n<p>x")
    told[charset] = "read"
os.write(1, json.dumps(told).encode())
"""


def test_it_can_open_nothing_and_read_everything():
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED], cwd=ROOT, env={}, capture_output=True, check=False
    )
    told = json.loads(ran.stdout or ran.stderr)
    assert told["read"] == told["connect"] == "OSError"
    assert told["memory"] == "MemoryError"
    assert [told[name] for name in ("cp1006", "no-such")] == ["read", "read"]


SLOW = (
    b"Content-Type: multipart/mixed; boundary=b0\r\nSubject: Hidas\r\n\r\n"
    + b"".join(
        b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (i, i + 1)
        for i in range(48)
    )
    + b"--x\r\n" * 500_000
)


async def test_a_mail_that_costs_too_much_is_known_by_its_headers_and_the_next_is_read():
    limits = MailLimits(cpu_seconds=1)
    begun = time.monotonic()
    slow, next_one = await read(SLOW, MAIL, reader=ChildMailReader(limits))
    assert slow[0].problem == CPU_LIMIT
    assert slow[0].headers.subject == "Hidas"
    assert slow[0].flags == (Flag.UNREADABLE,)
    assert next_one[0].headers.subject == "Lasku"
    assert time.monotonic() - begun < 20


async def test_after_some_mails_a_fresh_child_reads():
    started = []
    limits = MailLimits(mails=2)
    original = run._start

    async def noting(theirs):
        started.append(await original(theirs))
        return started[-1]

    run._start = noting
    try:
        await read(*[MAIL] * 5, reader=ChildMailReader(limits))
    finally:
        run._start = original
    assert len(started) == 3
    assert all(process.returncode is not None for process in started)


HASH = hashlib.sha256(b"osa").hexdigest()
PART = f'{{"kind":"text","size_bytes":3,"sha256":"{HASH}"}}'
LIES = {
    "no JSON": "say(b'M', b'nothing')",
    "a field too long": 'say(b\'M\', b\'{"headers":{"subject":"\' + b"x" * 3000 + b\'"}}\')',
    "a word of its own": "say(b'Z')",
    "too long a frame": "os.write(0, struct.pack('>cI', b'M', 2**31)); time.sleep(9)",
    "bytes outside the mail": "say(b'R', struct.pack('>QI', 10**6, 10))",
    "the same bytes for ever": "[say(b'R', struct.pack('>QI', 0, 40)) for _ in range(9)]; time.sleep(9)",
    "other bytes than announced": f"say(b'M', b'{{\"body\":{{\"parts\":[{PART}]}}}}'); say(b'P', b'abc')",
    "more bytes than announced": f"say(b'M', b'{{\"body\":{{\"parts\":[{PART}]}}}}'); say(b'P', b'osaosa')",
    "something after its end": "say(b'M', b'{}'); say(b'P', b'x')",
}


@pytest.mark.parametrize("code", LIES.values(), ids=LIES)
async def test_a_child_that_lies_is_not_believed(child_that, code):
    child_that(code)
    ((told, _),) = await read(MAIL)
    assert told.problem == MISBEHAVED
    assert told.body.parts == ()


async def test_a_child_that_crashes_has_told_what_it_had_told(child_that):
    child_that(
        'say(b\'H\', b\'{"headers":{"subject":"Ensin"}}\'); os.kill(os.getpid(), signal.SIGSEGV)'
    )
    ((told, _),) = await read(MAIL)
    assert (told.headers.subject, told.problem) == ("Ensin", "reader_crashed")


@pytest.mark.parametrize("code", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_a_child_that_was_killed_is_tried_again_later(child_that, code):
    child_that(code)
    with pytest.raises(UnavailableError):
        await read(MAIL)


async def test_a_child_that_says_nothing_is_given_up(child_that):
    child_that("time.sleep(60)")
    ((told, _),) = await read(MAIL, reader=ChildMailReader(MailLimits(wall_seconds=0.3)))
    assert told.problem == NOT_IN_TIME


async def test_cancelled_at_any_moment_it_leaves_no_process():
    before = _children()
    for moment in range(6):
        task = asyncio.create_task(read(MAIL, MAIL))
        await asyncio.sleep(moment * 0.05)
        task.cancel()
        await asyncio.wait([task])
    # One that was killed while it was being started is collected a moment later.
    for _ in range(500):
        if _children() <= before:
            break
        await asyncio.sleep(0.01)
    assert _children() <= before


def _children():
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


async def test_what_keeping_raises_passes_through_and_ends_the_child():
    async def keep(*_):
        raise ZeroDivisionError

    async with ChildMailReader().session() as session:
        with pytest.raises(ZeroDivisionError):
            await session.read(Raw(MAIL), keep)
        told = await session.read(Raw(MAIL), _ignore)
    assert told.headers.subject == "Lasku"


async def _ignore(*_):
    return
