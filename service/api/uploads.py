"""``/api/v1/uploads``: recordings that come in pieces, over connections that break (tus 1.0).

Core protocol with the extensions creation, creation-with-upload, creation-defer-length, checksum, concatenation,
expiration and termination. What is uploaded, and by whom it may be, is as of ``PUT …/recordings/{name}``.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from service.api.tus_headers import (
    BASE,
    VERSION,
    Concat,
    format_concat,
    parse_checksum,
    parse_concat,
    parse_metadata,
    parse_number,
)
from service.archive.incoming import ALGORITHMS, Checksum
from service.archive.upload_view import ChecksumMismatchError, Target, UploadView
from service.archive.uploads import Uploads
from service.domain.errors import ArchiveError, InvalidInputError
from service.domain.identifiers import require_plain, require_source_name
from service.domain.permission import Permission
from service.http.errors import UnknownVersionError, UnsupportedMediaTypeError
from service.http.frame import ACTOR, NOW, SITE
from service.http.limits import UPLOADS as ROOM
from service.http.problems import problem_of
from service.http.queries import read_query
from service.http.routes import TOKEN_ONLY, Need, Route
from service.http.uploads import parse_type, read_chunks
from storage.errors import StorageError

UPLOADS: Final = web.AppKey("uploads", Uploads)
EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,checksum,concatenation,expiration,termination"
BYTES: Final = "application/offset+octet-stream"
_CHECKSUM_MISMATCH: Final = 460
_TUS: Final = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}

Handler = Callable[[web.Request], Awaitable[web.Response]]


async def tell_protocol(request: web.Request) -> web.Response:
    """``OPTIONS /api/v1/uploads``: what of tus is spoken here."""
    read_query(request, ())
    return web.Response(
        status=204,
        headers={
            **_TUS,
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(request.app[UPLOADS].max_bytes),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        },
    )


async def begin_upload(request: web.Request) -> web.Response:
    """``POST /api/v1/uploads``: begin an upload, or make one recording of partial uploads."""
    return await _answered(request, _begin)


async def get_upload(request: web.Request) -> web.Response:
    """``HEAD /api/v1/uploads/{upload_id}``: how many bytes of the upload are kept."""
    return await _answered(request, _look)


async def append_to_upload(request: web.Request) -> web.Response:
    """``PATCH /api/v1/uploads/{upload_id}``: the next bytes of the upload."""
    return await _answered(request, _append)


async def remove_upload(request: web.Request) -> web.Response:
    """``DELETE /api/v1/uploads/{upload_id}``: remove the upload and what came of it; a recording stays."""
    return await _answered(request, _remove)


async def change_upload(request: web.Request) -> web.Response:
    """``POST /api/v1/uploads/{upload_id}``: the method that ``X-HTTP-Method-Override`` names, for who cannot send it.

    Raises:
        InvalidInputError: It names none of HEAD, PATCH and DELETE.
    """
    meant = request.headers.get("X-HTTP-Method-Override", "").upper()
    handlers: Mapping[str, Handler] = {"HEAD": _look, "PATCH": _append, "DELETE": _remove}
    if meant not in handlers:
        raise InvalidInputError("X-HTTP-Method-Override: HEAD, PATCH or DELETE")
    return await _answered(request, handlers[meant])


async def _answered(request: web.Request, handler: Handler) -> web.Response:
    """Answer in the words of tus, errors too."""
    try:
        read_query(request, ())
        _require_version(request)
        response = await handler(request)
    except ChecksumMismatchError as error:
        # A number of tus's own, which no list of HTTP has.
        response = problem_of(error).response()
        response.set_status(_CHECKSUM_MISMATCH, "Checksum Mismatch")
    except UnknownVersionError as error:
        response = problem_of(error).response()
        response.headers["Tus-Version"] = VERSION
    except (ArchiveError, StorageError) as error:
        response = problem_of(error).response()
    response.headers.update(_TUS)
    return response


def _require_version(request: web.Request) -> None:
    if request.headers.getall("Tus-Resumable", []) != [VERSION]:
        raise UnknownVersionError("another version of tus")


async def _begin(request: web.Request) -> web.Response:
    uploads, concat = request.app[UPLOADS], parse_concat(request.headers.get("Upload-Concat"))
    target = _target(request, concat)
    has_body = _has_body(request)
    if concat.kind == "final":
        if has_body or "Upload-Length" in request.headers:
            raise InvalidInputError("a final upload has neither bytes nor a length of its own")
        with request.app[ROOM]:
            view = await uploads.join(
                target, concat.ids, actor=request[ACTOR], now=request[NOW]
            )
        return _created(request, view)
    length = _length(request)
    _checksum(request)
    with request.app[ROOM]:
        view = await uploads.begin(
            target, kind=concat.kind, length=length, actor=request[ACTOR], now=request[NOW]
        )
        if has_body:
            view = await _add_first_bytes(request, view)
    return _created(request, view)


async def _add_first_bytes(request: web.Request, view: UploadView) -> UploadView:
    """Add what came with the creation. Where that fails, its sender learns no name of the upload: it is removed."""
    try:
        return await _add_bytes(request, view.row.id, offset=0, length=None)
    except BaseException:
        with suppress(ArchiveError, StorageError):
            await request.app[UPLOADS].remove(
                view.row.id, actor=request[ACTOR], now=request[NOW]
            )
        raise


async def _look(request: web.Request) -> web.Response:
    view = await request.app[UPLOADS].look(
        request.match_info["upload_id"], actor=request[ACTOR], now=request[NOW]
    )
    headers = _state(view)
    if view.row.length_bytes is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(view.row.length_bytes)
    if view.target.metadata:
        headers["Upload-Metadata"] = view.target.metadata
    if view.row.kind != "whole":
        headers["Upload-Concat"] = format_concat(view.row.kind, view.target.partials)
    return web.Response(headers=headers)


async def _append(request: web.Request) -> web.Response:
    if _type(request) != BYTES:
        raise UnsupportedMediaTypeError(f"send Content-Type: {BYTES}")
    offset = parse_number(request.headers.get("Upload-Offset", ""), what="Upload-Offset")
    sent = request.headers.get("Upload-Length")
    length = None if sent is None else parse_number(sent, what="Upload-Length")
    with request.app[ROOM]:
        view = await _add_bytes(
            request, request.match_info["upload_id"], offset=offset, length=length
        )
    return web.Response(status=204, headers=_state(view))


async def _remove(request: web.Request) -> web.Response:
    await request.app[UPLOADS].remove(
        request.match_info["upload_id"], actor=request[ACTOR], now=request[NOW]
    )
    return web.Response(status=204)


async def _add_bytes(
    request: web.Request, upload_id: str, *, offset: int, length: int | None
) -> UploadView:
    uploads = request.app[UPLOADS]
    return await uploads.append(
        upload_id,
        read_chunks(request, max_bytes=uploads.max_bytes),
        offset=offset,
        length=length,
        checksum=_checksum(request),
        actor=request[ACTOR],
        now=request[NOW],
    )


def _checksum(request: web.Request) -> Checksum | None:
    sent = request.headers.get("Upload-Checksum")
    return None if sent is None else parse_checksum(sent)


def _has_body(request: web.Request) -> bool:
    """Tell whether the upload's first bytes come with its creation. aiotus declares bytes and sends none.

    Raises:
        UnsupportedMediaTypeError: There is a body of another type.
    """
    if not request.body_exists or request.content_length == 0:
        return False
    if _type(request) != BYTES:
        raise UnsupportedMediaTypeError(f"send Content-Type: {BYTES}, or no body")
    return True


def _type(request: web.Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _length(request: web.Request) -> int | None:
    sent, deferred = (request.headers.get(f"Upload-{one}Length") for one in ("", "Defer-"))
    if (sent is None) == (deferred is None) or deferred not in {None, "1"}:
        raise InvalidInputError("Upload-Length, or Upload-Defer-Length: 1")
    return None if sent is None else parse_number(sent, what="Upload-Length")


def _target(request: web.Request, concat: Concat) -> Target:
    """Return what is uploaded, as ``Upload-Metadata`` tells it.

    Raises:
        InvalidInputError: It tells no contact, or no name for the recording.
    """
    sent = request.headers.get("Upload-Metadata", "").strip()
    told = parse_metadata(sent)
    if concat.kind == "partial":
        return Target(metadata=sent)
    contact, source, source_id = (told.get(one) for one in ("contact", "source", "source_id"))
    is_known = contact is not None and source is None and source_id is None
    if not is_known and (contact is not None or source is None or source_id is None):
        raise InvalidInputError("Upload-Metadata: contact, or source and source_id")
    name = told.get("name", told.get("filename", ""))
    return Target(
        metadata=sent,
        contact_id=contact,
        source=None if source is None else require_source_name(source),
        source_id=None if source_id is None else require_plain(source_id, what="source_id"),
        name=require_plain(name, what="filename"),
        content_type=parse_type(told.get("filetype", "")),
    )


def _created(request: web.Request, view: UploadView) -> web.Response:
    # What a request says of the host may be anybody's. Without a name that was set, the address is relative to that of
    # the request (RFC 9110, section 10.2.2), which aiotus cannot read.
    place = f"{request.app[SITE].public_url or ''}{BASE}/{view.row.id}"
    headers = _state(view) | {"Location": place}
    return web.Response(status=201, headers=headers)


def _state(view: UploadView) -> dict[str, str]:
    return {
        "Upload-Offset": str(view.row.offset_bytes),
        "Upload-Expires": format_datetime(view.expires_at, usegmt=True),
    }


def upload_routes() -> tuple[Route, ...]:
    """Return the routes of uploads. The application needs ``UPLOADS``."""
    one = BASE + "/{upload_id}"
    deliver = Permission.ADD_CONTACT
    return (
        Route(method="OPTIONS", path=BASE, handler=tell_protocol, needs=Need.PUBLIC),
        *(
            Route(method=method, path=path, handler=handler, needs=deliver, accepts=TOKEN_ONLY)
            for method, path, handler in (
                ("POST", BASE, begin_upload),
                ("HEAD", one, get_upload),
                ("PATCH", one, append_to_upload),
                ("DELETE", one, remove_upload),
                ("POST", one, change_upload),
            )
        ),
    )
