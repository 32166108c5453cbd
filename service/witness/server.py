"""``POST /add-checkpoint`` (C2SP tlog-witness): the only thing that a witness answers."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final

from aiohttp import web

from service.domain.errors import ArchiveError
from service.http.bodies import read_body
from service.http.problems import problem_of
from service.log.errors import FormatError, ProofError, SignatureError, UnknownSignerError
from service.log.witness import (
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    OtherSizeError,
    UnknownLogError,
    format_size,
)
from service.witness.cosigning import Witness
from storage.errors import StorageError
from storage.waiting import settled

_log: Final = logging.getLogger("taltio.witness")

_WITNESS: Final = web.AppKey("witness", Witness)
_CLOCK: Final[web.AppKey[Callable[[], datetime]]] = web.AppKey("clock", Callable[[], datetime])  # type: ignore[arg-type]  # a function is no class

# Of the classes that an error is of, the first counts.
_STATUS: Final = (
    (FormatError, HTTPStatus.BAD_REQUEST),
    (UnknownLogError, HTTPStatus.NOT_FOUND),
    (UnknownSignerError, HTTPStatus.FORBIDDEN),
    (SignatureError, HTTPStatus.FORBIDDEN),
    (OtherSizeError, HTTPStatus.CONFLICT),
    (ProofError, HTTPStatus.UNPROCESSABLE_ENTITY),
)


def build_witness(witness: Witness, clock: Callable[[], datetime]) -> web.Application:
    """Return the application that answers for ``witness``."""
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app[_WITNESS], app[_CLOCK] = witness, clock
    app.router.add_post("/add-checkpoint", _add_checkpoint)
    return app


async def _add_checkpoint(request: web.Request) -> web.Response:
    """Cosign the checkpoint that is asked about, or say why not."""
    witness, clock = request.app[_WITNESS], request.app[_CLOCK]
    try:
        body = await read_body(request, max_bytes=MAX_REQUEST_BYTES)
        lines = await settled(asyncio.to_thread(witness.cosign, body, clock=clock))
    except OtherSizeError as error:
        return web.Response(
            status=HTTPStatus.CONFLICT, body=format_size(error.size), content_type=SIZE_TYPE
        )
    except ArchiveError as error:
        return _refusal(error)
    except (StorageError, OSError):
        _log.exception("witness.state_not_written")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "The state cannot be written now.")
    return web.Response(body=lines, content_type="text/plain", charset="utf-8")


def _refusal(error: ArchiveError) -> web.Response:
    for kind, status in _STATUS:
        if isinstance(error, kind):
            # Of these every text is our own, and says nothing but what is wrong with the request.
            return _text(status, error.detail if isinstance(error, FormatError) else str(error))
    problem = problem_of(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("witness.failed", exc_info=error)
    return _text(HTTPStatus(problem.status), problem.detail)


def _text(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
