"""Answers in JSON."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web


def json_response(
    value: object, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return ``value`` as a JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers=headers,
    )
