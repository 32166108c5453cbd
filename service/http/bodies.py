"""Bodies of requests: whole, bounded, in one encoding, or refused. Uploads stream elsewhere."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from service.domain.errors import InvalidInputError, TooLargeError
from service.http.errors import (
    SlowRequestError,
    UnsupportedMediaTypeError,
)
from service.http.queries import parse_pairs
from service.sources.strict_json import decode_json

MAX_BODY_BYTES: Final = 1024**2
MAX_FORM_BYTES: Final = 64 * 1024
SECONDS: Final = 30
"""How long a whole body may take."""

_FORM: Final = "application/x-www-form-urlencoded"
_PARSED: web.RequestKey[Mapping[str, str]] = web.RequestKey("form", Mapping)


async def read_body(
    request: web.Request, *, max_bytes: int = MAX_BODY_BYTES, seconds: float | None = None
) -> bytes:
    """Return the body as it was sent. It is never unpacked: a small body may hide a vast one.

    Raises:
        TooLargeError: It is longer than ``max_bytes``, or says so.
        UnsupportedMediaTypeError: It is compressed.
        SlowRequestError: It did not arrive in ``seconds``, 30 unless told.
    """
    require_unencoded(request)
    if (request.content_length or 0) > max_bytes:
        raise TooLargeError(f"a body of more than {max_bytes} bytes")
    if request.content.is_eof():
        # Small bodies come with their head, and there is nothing to wait for.
        whole = request.content.read_nowait()
        if len(whole) > max_bytes:
            raise TooLargeError(f"a body of more than {max_bytes} bytes")
        return whole
    seconds = SECONDS if seconds is None else seconds
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_any():
                body += chunk
                # What a body says about its length need not be true, and need not be said.
                if len(body) > max_bytes:
                    raise TooLargeError(f"a body of more than {max_bytes} bytes")
    except TimeoutError as error:
        raise SlowRequestError(f"a body took longer than {seconds} s") from error
    return bytes(body)


async def read_json(request: web.Request, *, max_bytes: int = MAX_BODY_BYTES) -> object:
    """Return the JSON value in the body (``service.sources.strict_json``).

    Raises:
        UnsupportedMediaTypeError: It is not declared as JSON in UTF-8, or is compressed.
        TooLargeError, SlowRequestError: As for ``read_body``.
        InvalidInputError: It is no strict JSON.
    """
    require_json(request)
    return decode_json(await read_body(request, max_bytes=max_bytes))


async def read_form(request: web.Request) -> Mapping[str, str]:
    """Return the fields of a form, each at most once; the same again when asked again.

    Raises:
        UnsupportedMediaTypeError: It is not a URL-encoded form in UTF-8, or is compressed.
        TooLargeError, SlowRequestError: As for ``read_body``, at 64 KiB.
        InvalidInputError: It is malformed, or a field is given twice.
    """
    if _PARSED in request:
        return request[_PARSED]
    _require_type(request, _FORM)
    body = await read_body(request, max_bytes=MAX_FORM_BYTES)
    form: dict[str, str] = {}
    for name, value in parse_pairs(_ascii(body)):
        if name in form:
            raise InvalidInputError("a field of the form is given twice")
        form[name] = value
    request[_PARSED] = form
    return form


def require_json(request: web.BaseRequest) -> None:
    """Return when the body is declared as JSON in UTF-8.

    A page of another site can send forms and text without being asked first, but not this type (Fetch, 2.2.2).

    Raises:
        UnsupportedMediaTypeError: It is not.
    """
    _require_type(request, "application/json")


def is_form(request: web.Request) -> bool:
    """Tell whether the body says that it is a URL-encoded form."""
    return request.content_type == _FORM


def require_unencoded(request: web.BaseRequest) -> None:
    """Return when the body is sent as it is.

    Raises:
        UnsupportedMediaTypeError: It is compressed or otherwise coded (RFC 9110, section 8.4).
    """
    codings = ",".join(request.headers.getall("Content-Encoding", [])).lower().split(",")
    if any(coding.strip() not in {"", "identity"} for coding in codings):
        raise UnsupportedMediaTypeError("send the content without Content-Encoding")


def _require_type(request: web.BaseRequest, expected: str) -> None:
    declared = request.headers.getall("Content-Type", [])
    if len(declared) != 1 or request.content_type != expected:
        raise UnsupportedMediaTypeError(f"send Content-Type: {expected}")
    if (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaTypeError("send UTF-8")


def _ascii(body: bytes) -> str:
    try:
        return body.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidInputError("a form is escaped to ASCII") from None
