"""The journal: what the service tells its operator on standard error, one event a line.

An event is a name and fields: ids, sizes, counts, durations. What another library says in words, and the text of an
error that is not ours, may repeat what was sent, and is left out: the kind of the error and its places are enough.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from service.config.sections import JournalConfig
from service.domain.errors import ArchiveError
from service.http.reports import described
from storage.errors import StorageError

_OURS: Final = "taltio"
_EVENT: Final = re.compile(r"[a-z]+\.[a-z_]+")
FOREIGN: Final = "library.message"
# What every record has; the rest was given as ``extra``.
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_PLAIN: Final = re.compile(r"[\x21\x23-\x3c\x3e-\x7e]+")
_PLACES: Final = "places"

Value = str | int | float | bool | None


def write_journal(config: JournalConfig) -> None:
    """Write events to standard error from now on, as ``config`` says; where somebody takes them already, do nothing."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if config.format == "json" else TextLines())
    level = getattr(logging, config.level.upper())
    # Libraries tell of their daily work, in words that are not written anyway.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING))
    logging.getLogger(_OURS).setLevel(level)


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``event``, ``logger``, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        head = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": _event(record),
        }
        head["logger"] = record.name
        # The head stands in front, and no field takes its place.
        return json.dumps({**head, **dict(fields_of(record)), **head})


class TextLines(logging.Formatter):
    """Time, level, event and fields; behind them, indented, where an error was raised."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines, of a record."""
        fields = dict(fields_of(record))
        places = str(fields.pop(_PLACES, "") or "")
        told = [f"{name}={_plain(value)}" for name, value in fields.items()]
        line = " ".join([_time(record), record.levelname, record.name, _event(record), *told])
        return "\n".join([line, *(f"  {place}" for place in places.splitlines())])


def fields_of(record: logging.LogRecord) -> Iterator[tuple[str, Value]]:
    """Go through what a record says beside its event."""
    if not _is_ours(record):
        yield "place", f"{record.module}.{record.funcName}"
    else:
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                yield name, _told(value)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        if isinstance(error, ArchiveError | StorageError):
            yield "text", str(error)
        yield from described(error).items()


def _told(value: object) -> Value:
    """Return a field as it is told: several names as one text, and of what is none of these its type alone."""
    if isinstance(value, list | tuple) and all(isinstance(one, str | int) for one in value):
        return " ".join(str(one) for one in value)
    return value if isinstance(value, Value) else type(value).__qualname__


def _event(record: logging.LogRecord) -> str:
    if not _is_ours(record) or not _EVENT.fullmatch(str(record.msg)):
        return FOREIGN
    return str(record.msg)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == _OURS


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def _plain(value: Value) -> str:
    """Return a value on one line, quoted where it is not one plain word."""
    text = "-" if value is None else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
