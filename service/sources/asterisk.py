"""Asterisk: call detail records, as CSV or as events of its manager, grouped into calls by their ``linkedid``.

A call has a row for each pair of legs; what the hang-up extension made (``dst`` is ``h``) tells that there was a
call, and nothing more. Times are local, unless the columns have epochs; ``uniqueid`` begins with the epoch of its
channel, which tells the hour that an autumn night has twice (Asterisk documentation, "CDR Fields").
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from service.domain.contact import (
    EXPECTED,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_plain
from service.domain.times import resolve_local
from service.sources.asterisk_ami import fields_of, is_event
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import decode_request
from service.sources.telephony import Number, Standing, decide_direction, read_name, read_number

_BASE: Final = (
    *("accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp"),
    *("lastdata", "start", "answer", "end", "duration", "billsec", "disposition", "amaflags"),
)
_ORDERS: Final = {
    len(order): order
    for order in (
        _BASE,
        (*_BASE, "uniqueid"),
        (*_BASE, "uniqueid", "userfield"),
        (*_BASE, "uniqueid", "userfield", "peeraccount", "linkedid", "sequence"),
    )
}
"""The orders of cdr_csv, by how many columns they have."""

COLUMNS: Final = frozenset(
    {
        *_BASE,
        "uniqueid",
        "userfield",
        "peeraccount",
        "linkedid",
        "sequence",
        "recordingfile",
        "queue",
    }
    | {"start_epoch", "answer_epoch", "end_epoch", "-"}
)
"""What a column may be called in the settings; ``-`` is passed over."""

_EVENT: Final = {
    "accountcode": "accountcode",
    "source": "src",
    "destination": "dst",
    "destinationcontext": "dcontext",
    "callerid": "clid",
    "channel": "channel",
    "destinationchannel": "dstchannel",
    "lastapplication": "lastapp",
    "lastdata": "lastdata",
    "starttime": "start",
    "answertime": "answer",
    "endtime": "end",
    "billableseconds": "billsec",
    "disposition": "disposition",
    "uniqueid": "uniqueid",
    "userfield": "userfield",
    "linkedid": "linkedid",
    "sequence": "sequence",
    "recordingfile": "recordingfile",
    "queue": "queue",
}
_OUTCOMES: Final = {
    "ANSWERED": "answered",
    "NO ANSWER": "unanswered",
    "BUSY": "busy",
    "FAILED": "failed",
    "CONGESTION": "failed",
}
_MAX_ROWS: Final = 100_000
_LOCAL: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?", re.ASCII)
_EPOCH: Final = re.compile(r"\d{9,11}(?:\.\d{1,9})?", re.ASCII)
_UNIQUE: Final = re.compile(r"(?:.*-)?(\d{9,11})\.\d+", re.ASCII)
_CLID: Final = re.compile(
    r'\s*(?:"(?P<quoted>.*)"|(?P<plain>[^<]*))\s*(?:<[^>]*>)?\s*', re.DOTALL
)
_AGENT: Final = re.compile(r"[A-Za-z0-9]+/(?P<name>[^/@]+?)(?:@[^/]*)?-[0-9a-fA-F;]+", re.ASCII)
_USERFIELD: Final = re.compile(r"(?:^|[;,|])queue=([^;,|]+)")
_DAY: Final = timedelta(hours=12)

Row = Mapping[str, str]


def understand_request(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a file of call detail records tells: one fact sheet a call.

    Raises:
        InvalidInputError: It is no such CSV; the detail names the line.
    """
    return _understand(_rows_of_csv(decode_request(body).body, rule.columns), rule, now=now)


def understand_event(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what an event ``Cdr`` of the manager tells.

    Raises:
        InvalidInputError: It is no such event.
    """
    told = fields_of(body)
    if not is_event(body, "Cdr"):
        raise InvalidInputError("not an event Cdr")
    row = {_EVENT[name]: value for name, value in told.items() if name in _EVENT}
    return _understand([row], rule, now=now)


def _understand(rows: Iterable[Row], rule: SourceRule, *, now: datetime) -> Understood:
    calls: dict[str, list[Row]] = {}
    for row in rows:
        linked = row.get("linkedid") or row.get("uniqueid", "")
        legs = calls.setdefault(require_plain(linked, what="linkedid"), [])
        if row.get("dst") != "h":
            legs.append(row)
    # A call of which only its hang-up is told, as of one that an application handled, waits for the rest, and is put
    # before a person when nothing comes.
    contacts = tuple(
        _call(linked, legs, rule) if legs else ContactFacts(source_id=linked, is_part=True)
        for linked, legs in calls.items()
    )
    told = [at for facts in contacts for at in (facts.started_at, facts.ended_at) if at]
    is_odd = any(not is_plausible(at, now=now) for at in told)
    return Understood(contacts, (TIME_OUT_OF_WINDOW,) if is_odd else ())


def _rows_of_csv(data: bytes, columns: Sequence[str]) -> Iterator[Row]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Display names come as the telephone sent them.
        text = data.decode("iso-8859-1")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for number, fields in enumerate(reader, start=1):
            if number > _MAX_ROWS:
                raise InvalidInputError(f"more than {_MAX_ROWS:,} rows: rotate the file daily")
            if not fields:
                continue
            order = columns or _ORDERS.get(len(fields), ())
            if len(order) != len(fields):
                raise InvalidInputError(
                    f"line {reader.line_num}: {len(fields)} columns, which is no order of cdr_csv"
                    + (f"; cdr_columns names {len(columns)}" if columns else "")
                )
            yield dict(zip(order, fields, strict=True))
    except csv.Error as error:
        raise InvalidInputError(f"line {reader.line_num}: {error}") from None


def _call(linked: str, rows: Sequence[Row], rule: SourceRule) -> ContactFacts:
    ordered = sorted(rows, key=_sequence)
    first = ordered[0]
    caller, dialled = (read_number(first.get(name, ""), rule) for name in ("src", "dst"))
    direction = decide_direction(caller, dialled)
    starts = [at for row in ordered if (at := _time(row, "start", linked, rule))]
    ends = [at for row in ordered if (at := _time(row, "end", linked, rule))]
    answers = [at for row in ordered if (at := _time(row, "answer", linked, rule))]
    states = [row.get("disposition", "").upper() for row in ordered]
    state = "ANSWERED" if "ANSWERED" in states else states[-1]
    recorded = next((row["recordingfile"] for row in ordered if row.get("recordingfile")), "")
    queue = next(filter(None, map(_queue, ordered)), None)
    return ContactFacts(
        source_id=linked,
        channel=Channel.CALL,
        direction=direction or Direction.INBOUND,
        started_at=min(starts, default=None),
        ended_at=max(ends, default=None),
        answered_at=min(answers) if answers and state == "ANSWERED" else None,
        outcome=_OUTCOMES.get(state),
        queue=require_plain(queue, what="queue") if queue else None,
        parties=tuple(_parties(ordered, caller, dialled, direction)),
        recording=EXPECTED if recorded and state == "ANSWERED" else None,
        is_part=True,
    )


def _parties(
    rows: Sequence[Row], caller: Number, dialled: Number, direction: Direction | None
) -> Iterator[Party]:
    is_outbound = direction is Direction.OUTBOUND
    customer, company = (dialled, caller) if is_outbound else (caller, dialled)
    clid = _CLID.fullmatch(rows[0].get("clid", ""))
    shown = (clid["quoted"] or clid["plain"] or "") if clid else ""
    name = None if is_outbound else read_name(shown, number=rows[0].get("src", ""))
    yield Party(
        role=PartyRole.CUSTOMER,
        phone=customer.phone,
        phone_as_sent=customer.as_sent,
        name=name,
    )
    if company.standing is Standing.COMPANY:
        yield Party(role=PartyRole.OTHER, phone=company.phone)
    side = "channel" if is_outbound else "dstchannel"
    agents = (agent_of(row.get(side, "")) for row in rows)
    for agent in dict.fromkeys(filter(None, agents)):
        yield Party(role=PartyRole.AGENT, agent_id=agent)


def agent_of(channel: str) -> str | None:
    """Return the endpoint that a channel is of (``PJSIP/anna-0000000a``); None where its name tells none.

    Raises:
        InvalidInputError: It has characters that cannot be seen.
    """
    match = _AGENT.fullmatch(channel)
    return require_plain(match["name"], what="agent_id") if match else None


def _queue(row: Row) -> str | None:
    told = row.get("queue") or ""
    match = _USERFIELD.search(row.get("userfield", ""))
    return told.strip() or (match[1].strip() if match else None) or None


def _sequence(row: Row) -> tuple[int, str]:
    text = row.get("sequence", "")
    return (int(text) if text.isascii() and text.isdigit() else 0, row.get("start", ""))


def _time(row: Row, name: str, linked: str, rule: SourceRule) -> datetime | None:
    """Return a time of the row: of its epoch if there is one, else local, the uniqueid telling the hour."""
    epoch = row.get(f"{name}_epoch", "")
    if _EPOCH.fullmatch(epoch):
        return datetime.fromtimestamp(float(epoch), UTC)
    text = row.get(name, "")
    if not _LOCAL.fullmatch(text):
        return None
    try:
        local = datetime.fromisoformat(text)
        at, is_certain = resolve_local(local, rule.timezone)
    except ValueError:
        return None
    begun = _UNIQUE.fullmatch(row.get("uniqueid") or linked)
    if is_certain or begun is None:
        return at
    other = local.replace(tzinfo=rule.timezone, fold=1).astimezone(UTC)
    near = datetime.fromtimestamp(int(begun[1]), UTC)
    return min((at, other), key=lambda one: abs(one - near)) if abs(at - near) < _DAY else at
