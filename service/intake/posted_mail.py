"""Mails that a mail service posts: the raw message is found in the request and kept as mail that came by LMTP is.

It is the one thing that is unpacked before it is acknowledged, for what is archived is the message and not what it was
wrapped in. A request without one is kept as it came, and needs attention.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from service.archive.receive import Intake, Kept
from service.archive.receive_mail import Envelope, keep_mail
from service.domain.errors import TooLargeError, UnavailableError
from service.http.bodies import MAX_BODY_BYTES, read_body
from service.intake.post_signatures import Posted
from service.sources.posted_mail import Fields, PostedMail

MAX_FIELDS: Final = 1_000
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_SECONDS: Final = 120
"""How long a whole mail may take."""


async def read_posted(request: web.Request, *, max_bytes: int) -> Posted:
    """Return what was posted: fields of a form, the last of each name; a JSON body under the name ``""``.

    Raises:
        TooLargeError: It is longer than ``max_bytes``, or has more than 1,000 fields.
        UnsupportedMediaTypeError: It is compressed.
        SlowRequestError: It did not arrive in two minutes.
        UnavailableError: It is no form that can be read, or is cut short: SendGrid sends again after 5xx alone.
    """
    body = await read_body(request, max_bytes=max_bytes, seconds=_SECONDS)
    # Megabytes of escapes take a while, and others are waiting.
    fields = await asyncio.to_thread(
        parse_posted, body, request.headers.get("Content-Type", "")
    )
    return Posted(request.headers, body, fields)


def parse_posted(body: bytes, content_type: str) -> Fields:
    """Return the fields of a body, as `read_posted` does.

    Raises:
        TooLargeError: It has more than 1,000 fields.
        UnavailableError: It is no form that can be read, or is cut short.
    """
    kind, options = parse_options_header(content_type)
    if kind == _MULTIPART:
        return _multipart(body, options.get("boundary", ""))
    return _form(body) if kind == _FORM else {"": body}


def _form(body: bytes) -> Fields:
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise TooLargeError(f"a form of more than {MAX_FIELDS} fields") from None
    return {name.decode(errors="replace"): value for name, value in pairs}


def _multipart(body: bytes, boundary: str) -> Fields:
    """Return the fields of a multipart form (RFC 7578), whose end has to be there."""
    fields: dict[str, bytes] = {}
    name, value = "", bytearray()
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS, strict=True) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    name, value = event.name, bytearray()
                elif event is None:
                    fields[name] = bytes(value)
                else:
                    value += event
    except ParserLimitReached:
        raise TooLargeError(
            f"a form of more than {MAX_FIELDS} fields, or of vast ones"
        ) from None
    except (MultipartError, ValueError) as error:
        # The chain is cut: it may repeat what was sent.
        raise UnavailableError(f"no multipart form ({type(error).__name__})") from None
    return fields


async def keep_posted(
    intake: Intake,
    mail: PostedMail,
    *,
    source: str,
    limit_bytes: int,
    is_tls: bool,
    remarks: Sequence[str],
    now: datetime,
) -> Kept:
    """Keep a mail that was posted. Who posted it is no mail server, and so no peer of the mail.

    Raises:
        TooLargeError: It is larger than ``limit_bytes``.
        storage.errors.StorageError: Nothing was kept, unless it says otherwise.
    """

    async def chunks() -> AsyncIterator[bytes]:
        yield mail.raw

    envelope = Envelope(
        mail_from=mail.mail_from,
        recipients=mail.recipients,
        peer="",
        protocol="https",
        is_tls=is_tls,
    )
    return await keep_mail(
        intake,
        chunks(),
        envelope,
        source=source,
        limit_bytes=limit_bytes,
        remarks=tuple(remarks),
        now=now,
    )


def most_posted(max_mail_bytes: int) -> int:
    """Return how long a body may be with a mail of ``max_mail_bytes`` in it: escapes take room."""
    return max_mail_bytes + max_mail_bytes // 2 + MAX_BODY_BYTES


def kept_anew(fields: Fields) -> bytes:
    """Return a body of what was read of a request in which there is no mail, so that it can be kept and looked at.

    Raises:
        TooLargeError: It is more than is kept so.
    """
    body = b"\r\n".join(name.encode() + b": " + value for name, value in fields.items())
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError("no raw message was posted, and the rest is too large to be kept")
    return body
