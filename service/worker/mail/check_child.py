"""The child process that checks the signatures of one mail: shut in, it asks its parent for bytes and for DNS."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from service.domain.times import parse_rfc3339
from service.sources.mail.check import NoAnswerError, check_mail, check_spf
from service.sources.mail.verdicts import Verdicts
from service.worker.confine import confine
from service.worker.mail.pipe import LOOKUP, VERDICTS
from service.worker.media.pipe import END, MAX_READ_BYTES
from service.worker.media.reader import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One mail to be checked, as it comes over the socket."""

    size_bytes: int
    cpu_seconds: int
    memory_bytes: int
    now: str
    peer: str
    helo: str
    mail_from: str


def main() -> None:
    """Serve the parent at the other end of standard input, once."""
    channel = Channel(0)
    order = Order(**json.loads(channel.greeting()))
    _rehearse()
    confine(
        memory_bytes=order.memory_bytes,
        cpu_seconds=order.cpu_seconds,
        most_cpu_seconds=order.cpu_seconds + 1,
    )
    with suppress(EOFError):
        channel.send(VERDICTS, msgspec.json.encode(_checked(channel, order)))
        channel.send(END)
    os._exit(0)


def _checked(channel: Channel, order: Order) -> Verdicts:
    def lookup(name: str, kind: str) -> list[str]:
        answer = json.loads(channel.exchange(LOOKUP, json.dumps([name, kind]).encode()))
        if answer is None:
            raise NoAnswerError
        return [str(one) for one in answer]

    raw = b"".join(
        channel.ask(start, min(MAX_READ_BYTES, order.size_bytes - start))
        for start in range(0, order.size_bytes, MAX_READ_BYTES)
    )
    return check_mail(
        raw,
        peer=order.peer,
        helo=order.helo,
        mail_from=order.mail_from,
        lookup=lookup,
        now=parse_rfc3339(order.now),
    )


def _rehearse() -> None:
    """Check a mail of our own, so that whatever is imported on first use is there."""
    raw = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from; bh=eA==; b=eA==\r\n"
    now = datetime.now(UTC)
    mail = raw + b"From: a@example.org\r\n\r\nx\r\n"
    check_mail(mail, peer="", helo="", mail_from="", lookup=lambda *_: [], now=now)
    check_spf("192.0.2.1", helo="example.org", mail_from="", lookup=lambda *_: ["v=spf1 -all"])
