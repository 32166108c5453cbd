"""Mails that a mail service posts: the raw message is found in the request and kept as mail that came by LMTP is.

It is the one thing that is unpacked before it is acknowledged, for what is archived is the message and not what it was
wrapped in. A request without one is kept as it came, and needs attention.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from service.archive.receive import Intake, Kept
from service.archive.receive_mail import Envelope, keep_mail
from service.domain.errors import InvalidInputError, NotSignedInError, TooLargeError
from service.http.bodies import MAX_BODY_BYTES, read_body, require_unencoded
from service.http.errors import SlowRequestError
from service.http.uploads import PAUSE_SECONDS, content_type_of
from service.sources.posted_mail import Fields, PostedMail

MAX_FIELDS: Final = 1_000
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_CHUNK: Final = 64 * 1024
_STAMP: Final = re.compile(rb"[0-9]{1,12}")
_KEY: Final = re.compile(r"[!-~]{16,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What Mailgun signs its posts with."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``text`` is.

        Raises:
            InvalidInputError: It is none. The text is not repeated.
        """
        if not _KEY.fullmatch(text.strip()):
            raise InvalidInputError("the signing key is not 16 to 128 visible characters")
        return cls(text.strip().encode())


def verify_mailgun(fields: Fields, *, key: SigningKey) -> bytes:
    """Return the token of a post that Mailgun signed: HMAC-SHA-256 of time and token, in hexadecimal.

    The signature says nothing of the content, nor does a retry keep it: what comes twice is known by its bytes.

    Raises:
        NotSignedInError: It did not.
    """
    stamp, token = fields.get("timestamp", b""), fields.get("token", b"")
    expected = hmac.new(key.key, stamp + token, hashlib.sha256).hexdigest().encode()
    is_valid = hmac.compare_digest(expected, fields.get("signature", b""))
    if not is_valid or not token or not _STAMP.fullmatch(stamp):
        raise NotSignedInError("no signature matches")
    return token


async def read_posted(request: web.Request, *, max_bytes: int) -> Fields:
    """Return what was posted: fields of a form, the last of each name; a JSON body under the name ``""``.

    Raises:
        TooLargeError: It is longer than ``max_bytes``, or has more than 1,000 fields.
        UnsupportedMediaTypeError: It is compressed.
        SlowRequestError: It paused for too long.
        InvalidInputError: It is no form that can be read.
    """
    kind = content_type_of(request)
    if kind == _MULTIPART:
        return await _multipart(request, max_bytes)
    body = await read_body(request, max_bytes=max_bytes)
    if kind == _FORM:
        # Megabytes of escapes take a while, and others are waiting.
        return await asyncio.to_thread(_form, body)
    return {"": body}


def _form(body: bytes) -> Fields:
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise TooLargeError(f"a form of more than {MAX_FIELDS} fields") from None
    return {name.decode(errors="replace"): value for name, value in pairs}


async def _multipart(request: web.Request, max_bytes: int) -> Fields:
    require_unencoded(request)
    if (request.content_length or 0) > max_bytes:
        raise TooLargeError(f"a body of more than {max_bytes} bytes")
    fields: dict[str, bytes] = {}
    left, count = max_bytes, 0
    try:
        reader = await request.multipart()
        while True:
            async with asyncio.timeout(PAUSE_SECONDS):
                part = await reader.next()
            if part is None:
                return fields
            if not isinstance(part, aiohttp.BodyPartReader):
                raise InvalidInputError("a part of the form has parts of its own")
            count += 1
            if count > MAX_FIELDS:
                raise TooLargeError(f"a form of more than {MAX_FIELDS} fields")
            value = await _value(part, left)
            left -= len(value)
            if part.name is not None:
                fields[part.name] = value
    except TimeoutError as error:
        raise SlowRequestError(f"a body paused for more than {PAUSE_SECONDS} s") from error
    except (ValueError, AssertionError, KeyError, EOFError, aiohttp.ClientError) as error:
        # The chain is cut: it may repeat what was sent.
        raise InvalidInputError(f"no multipart form ({type(error).__name__})") from None


async def _value(part: aiohttp.BodyPartReader, left: int) -> bytes:
    value = bytearray()
    while True:
        async with asyncio.timeout(PAUSE_SECONDS):
            chunk = await part.read_chunk(_CHUNK)
        if not chunk:
            return bytes(value)
        value += chunk
        if len(value) > left:
            raise TooLargeError("a body that is longer than is taken")


async def keep_posted(
    intake: Intake,
    mail: PostedMail,
    *,
    source: str,
    limit_bytes: int,
    is_tls: bool,
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
        intake, chunks(), envelope, source=source, limit_bytes=limit_bytes, now=now
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
