"""Bodies that stream: recordings, of any length, at their sender's pace but not slower than they must be."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from service.domain.errors import InvalidInputError, TooLargeError
from service.domain.identifiers import require_plain
from service.http.bodies import require_unencoded
from service.http.errors import SlowRequestError

PAUSE_SECONDS: Final = 30
"""How long a body may pause between two pieces of it."""
_MAX_TYPE = 127
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+\-]{1,63}/[A-Za-z0-9!#$&^_.+\-]{1,63}")


async def read_chunks(
    request: web.Request, *, max_bytes: int | None = None
) -> AsyncIterator[bytes]:
    """Yield the body as its bytes come.

    Raises:
        UnsupportedMediaTypeError: It is compressed.
        TooLargeError: It announces more than ``max_bytes``. One that announces nothing is measured by who takes it.
        SlowRequestError: It paused for too long.
        InvalidInputError: It ended before the length that it announced.
    """
    require_unencoded(request)
    if max_bytes is not None and (request.content_length or 0) > max_bytes:
        raise TooLargeError(f"a body of more than {max_bytes} bytes")
    received = 0
    while True:
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                # As it came: to join what has come would be one more copy of everything.
                chunk, is_part = await request.content.readchunk()
        except TimeoutError as error:
            raise SlowRequestError(f"a body paused for more than {PAUSE_SECONDS} s") from error
        if not chunk:
            # The one object that stands for every body of nothing says for ever that another part comes.
            if is_part and not request.content.at_eof():
                continue
            break
        received += len(chunk)
        yield chunk
    if request.content_length is not None and received != request.content_length:
        raise InvalidInputError("the body ended before its announced length")


def content_type_of(request: web.BaseRequest) -> str:
    """Return the media type that the sender declares, without parameters; unknown when it is none."""
    return parse_type(request.headers.get("Content-Type", ""))


def parse_type(text: str) -> str:
    """Return the media type in ``text``, without parameters; unknown when it is none."""
    declared = text.partition(";")[0].strip().lower()
    is_type = len(declared) <= _MAX_TYPE and _TYPE.fullmatch(declared)
    return declared if is_type else "application/octet-stream"


def name_of(request: web.Request, part: str) -> str:
    """Return a part of the path as text, unescaped once. It never becomes a path of ours.

    Raises:
        InvalidInputError: It is empty, too long, or has characters that cannot be seen.
    """
    return require_plain(request.match_info[part], what=part)
