"""Errors as HTTP answers: RFC 9457 problems. The only place that gives errors a status."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from service.access.errors import InviteRefusedError, TooManyRequestsError
from service.domain import errors as domain
from service.http.errors import (
    CrossSiteError,
    OverloadedError,
    SlowRequestError,
    UnknownHostError,
    UnknownVersionError,
    UnsupportedMediaTypeError,
)
from service.http.reports import report_incident
from storage import errors as storage

_RETRY_SECONDS: Final = 5

STATUS: Final[Mapping[type[domain.ArchiveError], HTTPStatus]] = {
    domain.ArchiveError: HTTPStatus.INTERNAL_SERVER_ERROR,
    domain.InvalidInputError: HTTPStatus.BAD_REQUEST,
    domain.NotSignedInError: HTTPStatus.UNAUTHORIZED,
    domain.NotPermittedError: HTTPStatus.FORBIDDEN,
    CrossSiteError: HTTPStatus.FORBIDDEN,
    domain.NotFoundError: HTTPStatus.NOT_FOUND,
    SlowRequestError: HTTPStatus.REQUEST_TIMEOUT,
    domain.ContradictionError: HTTPStatus.CONFLICT,
    domain.TooManyUploadsError: HTTPStatus.TOO_MANY_REQUESTS,
    domain.BusyError: HTTPStatus.LOCKED,
    domain.ErasedError: HTTPStatus.GONE,
    InviteRefusedError: HTTPStatus.GONE,
    domain.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnknownVersionError: HTTPStatus.PRECONDITION_FAILED,
    UnknownHostError: HTTPStatus.MISDIRECTED_REQUEST,
    TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
    # Not 4xx: it is nothing that the sender could do otherwise.
    domain.TamperedError: HTTPStatus.INTERNAL_SERVER_ERROR,
    domain.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each error; a subclass that is not named has that of its nearest base."""

_STORAGE: Final[Mapping[type[storage.StorageError], tuple[HTTPStatus, str, str]]] = {
    storage.FullError: (
        HTTPStatus.INSUFFICIENT_STORAGE,
        "full",
        "There is no room left to store this.",
    ),
    storage.UnavailableError: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        domain.UnavailableError.code,
        domain.UnavailableError.public,
    ),
    # Before what it is a kind of: no disk failed, and it mends itself.
    storage.DoubtfulError: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "in_doubt",
        "Whether this was kept cannot be told right now. Send it again in a moment: it is kept once.",
    ),
    storage.BrokenError: (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "storage_failed",
        "The archive's disk failed to keep what was written. Nothing more is taken until its operator has mended it.",
    ),
}
_FROM_FRAMEWORK: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.EXPECTATION_FAILED: "expectation_failed",
}
CODES: Final = frozenset(
    {error.code for error in STATUS}
    | {"full", "in_doubt", "storage_failed", "method_not_allowed", "expectation_failed"}
)
"""The codes of this module's table; subclasses that are not named in it add their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a client is told. ``detail`` is safe to show; ``incident`` is what to quote to the operator."""

    status: HTTPStatus
    code: str
    detail: str
    incident: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Return the problem as ``application/problem+json``."""
        # Without a page of its own for each type, the type is about:blank and the title that of the status
        # (RFC 9457, section 4.2.1); ``code`` and ``incident`` are extension members.
        members: dict[str, str | int] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
        }
        if self.incident is not None:
            members["incident"] = self.incident
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(members),
            headers={**self.headers, "Content-Type": "application/problem+json"},
        )


def problem_of(error: Exception) -> Problem:
    """Return what to answer for ``error``. What is our fault is written to the operator's log, without contents."""
    if isinstance(error, domain.ArchiveError):
        return _of_archive(error)
    if isinstance(error, storage.StorageError):
        return _of_storage(error)
    if isinstance(error, web.HTTPException):
        return _of_framework(error)
    return _of_surprise(error)


def _of_archive(error: domain.ArchiveError) -> Problem:
    status = next(STATUS[base] for base in type(error).__mro__ if base in STATUS)
    incident = None
    # Of being busy the numbers tell; a line for each would be one more storm.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, OverloadedError):
        incident = report_incident(error, text=str(error))
    headers = {}
    if isinstance(error, TooManyRequestsError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(_RETRY_SECONDS)
    elif status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    detail = getattr(error, "detail", None)
    return Problem(
        status=status,
        code=error.code,
        detail=detail if isinstance(detail, str) else error.public,
        incident=incident,
        headers=headers,
    )


def _of_storage(error: storage.StorageError) -> Problem:
    known = next((_STORAGE[base] for base in type(error).__mro__ if base in _STORAGE), None)
    if known is None:
        return _of_surprise(error)
    status, code, detail = known
    headers = (
        {"Retry-After": str(_RETRY_SECONDS)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    )
    incident = report_incident(error, text=str(error))
    return Problem(status=status, code=code, detail=detail, incident=incident, headers=headers)


def _of_framework(error: web.HTTPException) -> Problem:
    status = HTTPStatus(error.status)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    code = _FROM_FRAMEWORK.get(status, domain.InvalidInputError.code)
    return Problem(status=status, code=code, detail=status.phrase, headers=headers)


def _of_surprise(error: Exception) -> Problem:
    return Problem(
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        code=domain.ArchiveError.code,
        detail=domain.ArchiveError.public,
        # The message of an exception that is not ours may repeat what was sent; its type and place do not.
        incident=report_incident(error),
    )
