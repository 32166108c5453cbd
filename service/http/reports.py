"""What the operator is told when something goes wrong: where and what kind, never what was sent."""

import logging
import sys
import traceback
from collections.abc import Iterator

from aiohttp.http_exceptions import HttpProcessingError

from service.domain.ids import new_id

log = logging.getLogger("taltio.http")


def report_incident(error: Exception, *, text: str | None = None) -> str:
    """Write ``error`` to the operator's log and return the id under which it is found there.

    ``text`` is shown too; give that of our own errors only. The text of any other may repeat what was sent.
    """
    incident = new_id("in")
    told = {} if text is None else {"text": text}
    extra = {"incident": incident, **told, **described(error)}
    log.error("http.incident", extra=extra)
    return incident


def described(error: BaseException) -> dict[str, str]:
    """Return what a line of the journal says of ``error``: its kind, and where it was raised."""
    return {"error": type(error).__qualname__, "places": "".join(describe_places(error))}


def describe_places(error: BaseException) -> Iterator[str]:
    """Go through where the error and its causes were raised: types and source lines, no values."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield from traceback.format_tb(cause.__traceback__)
        yield f"{type(cause).__module__}.{type(cause).__qualname__}\n"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


class WireLog(logging.LoggerAdapter[logging.Logger]):
    """The logger for aiohttp's server, which by itself writes requests that it cannot parse, tokens and all."""

    def log(self, level: int, msg: object, *_: object, **details: object) -> None:
        """Write of a malformed request its kind, when debugging, for anybody can send one; of others the places too."""
        error = details.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        if not isinstance(error, BaseException):
            self.logger.debug("http.wire", extra={"text": str(msg)})
        elif isinstance(error, HttpProcessingError):
            self.logger.debug("http.malformed", extra={"error": type(error).__qualname__})
        else:
            self.logger.log(level, "http.wire", extra=described(error))
