"""Statements: what a source says that it handled, as CSV (RFC 4180), one contact a row.

Columns, in any order, named by the first row: ``source_id``, ``channel`` (call, email, chat), ``direction`` (inbound,
outbound) and ``started_at`` are needed; ``ended_at``, ``phone``, ``email``, ``customer_number``, ``agent_id``,
``queue`` and ``recorded`` (yes, no) may be there and may be empty. Others are passed over.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, TypeVar

from service.domain.contact import (
    EXPECTED,
    NONE,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    CustomerNumber,
    EmailAddress,
    PhoneNumber,
    require_plain,
)
from service.domain.times import parse_rfc3339, resolve_local
from service.sources.events import SourceRule

MAX_ROWS: Final = 500_000
_NEEDED: Final = ("source_id", "channel", "direction", "started_at")
_RECORDED: Final = {"yes": EXPECTED, "no": NONE, "": None}
_MAX_FIELD: Final = 10_000
_LOCAL: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)


def read_statement(data: bytes, *, rule: SourceRule) -> tuple[ContactFacts, ...]:
    """Return what a statement tells, one fact sheet a contact; the same contact twice is told once, as at first.

    Times without an offset are of the source's time zone.

    Raises:
        InvalidInputError: It is not such a CSV; the detail names the line and what is wrong there.
    """
    try:
        # Spreadsheet programs put a byte order mark first.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"not UTF-8 at byte {error.start}") from None
    facts: dict[str, ContactFacts] = {}
    for line, row in _rows(text):
        try:
            one = _facts(row, rule=rule)
        except InvalidInputError as error:
            raise InvalidInputError(f"line {line}: {error.detail}") from None
        except ValueError as error:
            raise InvalidInputError(f"line {line}: {error}") from None
        facts.setdefault(one.source_id, one)
    return tuple(facts.values())


def _rows(text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for number, row in enumerate(reader):
            if number > MAX_ROWS:
                raise InvalidInputError(f"more than {MAX_ROWS:,} rows: send it day by day")
            if header is None:
                header = [name.strip().lower() for name in row]
                missing = [name for name in _NEEDED if name not in header]
                if missing:
                    raise InvalidInputError(
                        f"the first line has no column {', '.join(missing)}"
                    )
            elif row:
                if len(row) != len(header) or max(map(len, row)) > _MAX_FIELD:
                    raise InvalidInputError(
                        f"line {reader.line_num}: {len(row)} fields, and {len(header)} columns"
                    )
                yield reader.line_num, dict(zip(header, map(str.strip, row), strict=True))
    except csv.Error as error:
        raise InvalidInputError(f"line {reader.line_num}: {error}") from None
    if header is None:
        raise InvalidInputError("nothing is in it; the first line names the columns")


def _facts(row: Mapping[str, str], *, rule: SourceRule) -> ContactFacts:
    started_at = _time(row["started_at"], "started_at", rule)
    recorded = row.get("recorded", "").lower()
    if recorded not in _RECORDED:
        raise InvalidInputError("recorded is neither yes nor no, nor empty")
    number = row.get("customer_number")
    return ContactFacts(
        source_id=require_plain(row["source_id"], what="source_id"),
        channel=_one_of(Channel, row["channel"], "channel"),
        direction=_one_of(Direction, row["direction"], "direction"),
        started_at=started_at,
        ended_at=_time(row["ended_at"], "ended_at", rule) if row.get("ended_at") else None,
        queue=require_plain(row["queue"], what="queue") if row.get("queue") else None,
        customer_number=CustomerNumber.parse(number).text if number else None,
        parties=tuple(_parties(row, region=rule.region)),
        recording=_RECORDED[recorded],
        is_stated=True,
    )


def _parties(row: Mapping[str, str], *, region: str) -> Iterator[Party]:
    phone, email, agent = (row.get(name, "") for name in ("phone", "email", "agent_id"))
    if phone or email:
        e164 = as_sent = None
        if phone:
            try:
                e164 = PhoneNumber.parse(phone, region=region).e164
            except InvalidInputError:
                as_sent = require_plain(phone, what="phone")
        address = EmailAddress.parse(email).address if email else None
        yield Party(role=PartyRole.CUSTOMER, phone=e164, phone_as_sent=as_sent, email=address)
    if agent:
        yield Party(role=PartyRole.AGENT, agent_id=require_plain(agent, what="agent_id"))


K = TypeVar("K", Channel, Direction)


def _one_of(kind: type[K], text: str, what: str) -> K:
    try:
        return kind(text.lower())
    except ValueError:
        known = ", ".join(kind)
        raise InvalidInputError(f"{what} is none of {known}") from None


def _time(text: str, what: str, rule: SourceRule) -> datetime:
    try:
        return parse_rfc3339(text)
    except ValueError:
        pass
    try:
        if _LOCAL.fullmatch(text):
            return resolve_local(datetime.fromisoformat(text), rule.timezone)[0]
    except ValueError:
        pass
    raise InvalidInputError(
        f"{what} is no time such as 2026-11-22T14:02:00+02:00 or 2026-11-22 14:02:00"
    )
