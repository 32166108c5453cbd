"""Reading a message: its headers, its journal report, its parts. Nothing that is in it is an error.

A reader that is stopped in the middle has told what it knew before: the headers come first.
"""

from collections.abc import Callable
from email.parser import BytesHeaderParser, BytesParser
from typing import Final

import msgspec

from service.sources.mail.facts import Body, Flag, Headers, ReadMail
from service.sources.mail.headers import BOUNDED, FAULTS, Mime, read_headers
from service.sources.mail.journal import find_report, inner_message
from service.sources.mail.structure import read_body

MAX_HEAD_BYTES: Final = 1 << 20
"""So much of a message is searched for its headers."""
TOO_DEEP: Final = "too_deep"
NOT_A_MESSAGE: Final = "not_a_message"


_NOTHING: Final[tuple[Body, tuple[bytes, ...]]] = (Body(), ())


def read_mail(
    raw: bytes, tell: Callable[[ReadMail], None] = lambda _: None
) -> tuple[ReadMail, tuple[bytes, ...]]:
    """Return what ``raw`` says, and the bytes of each of its parts.

    ``tell`` hears of the headers as soon as they are read. Of a journal report, what is read is the message in it.
    """
    headers = _head(raw)
    tell(ReadMail(headers=headers))
    try:
        message: Mime = BytesParser(policy=BOUNDED).parsebytes(raw)
        report = find_report(message)
        inner = _inner(raw, message) if report else None
        if report is not None and inner is not None:
            return _read_inner(inner, ReadMail(headers=headers, report=report), tell)
        body, data = read_body(message)
    except RecursionError:
        return ReadMail(headers=headers, problem=TOO_DEEP), ()
    problem = "" if headers.senders or message.keys() else NOT_A_MESSAGE
    return ReadMail(headers=headers, body=body, problem=problem), data


def read_head(raw: bytes) -> ReadMail:
    """Return what the headers of ``raw`` say, and nothing of its body."""
    return ReadMail(headers=_head(raw))


def message_of(raw: bytes) -> bytes:
    """Return the message that somebody wrote: that inside a journal report, or ``raw`` itself."""
    message: Mime = BytesHeaderParser(policy=BOUNDED).parsebytes(raw)
    if "x-ms-journal-report" not in message:
        return raw
    return _inner(raw, message) or raw


def _read_inner(
    inner: bytes, outer: ReadMail, tell: Callable[[ReadMail], None]
) -> tuple[ReadMail, tuple[bytes, ...]]:
    headers = _head(inner)
    read = msgspec.structs.replace(outer, headers=headers)
    tell(read)
    try:
        body, data = read_body(BytesParser(policy=BOUNDED).parsebytes(inner))
    except RecursionError:
        return msgspec.structs.replace(read, problem=TOO_DEEP), ()
    return msgspec.structs.replace(read, body=body), data


def _head(raw: bytes) -> Headers:
    message: Mime = BytesHeaderParser(policy=BOUNDED).parsebytes(raw[:MAX_HEAD_BYTES])
    headers = read_headers(message)
    if len(raw) > MAX_HEAD_BYTES and not message.get_payload():
        headers = msgspec.structs.replace(headers, flags=(*headers.flags, Flag.CUT))
    return headers


def _inner(raw: bytes, message: Mime) -> bytes | None:
    try:
        boundary = message.get_boundary()
    except FAULTS:
        return None
    return inner_message(raw, boundary) if boundary else None
