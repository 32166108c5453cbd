"""The invented world of the demonstration, dated so that it is always recent."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

_FOLDER: Final = Path(__file__).parent
_COLUMNS: Final = (
    "customer_number",
    "name",
    "identity_code",
    "business_id",
    "phone",
    "email",
    "language",
    "protected",
    "metering_point",
    "occupied_from",
    "occupied_to",
    "marketing_permissions",
)
_DAYS_AGO: Final = frozenset({"occupied_from", "occupied_to"})
_AS_IT_IS: Final = (
    "source",
    "source_id",
    "channel",
    "direction",
    "queue",
    "subject",
    "customer_number",
    "metering_point",
    "not_recorded_reason",
)
_CONTENT_TYPES: Final = {".opus": "audio/ogg", ".wav": "audio/x-wav"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldRecording:
    """The speech of one contact, to be delivered as ``name`` by ``source``."""

    source: str
    source_id: str
    name: str
    content_type: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that the demonstration plays in.

    ``customers`` are rows of the customer register's CSV file, every column in each, several
    for some customers. ``contacts`` are contact JSON, oldest first; those without a recording
    here that expect one never get it.
    """

    company: str
    customers: tuple[Mapping[str, str], ...]
    contacts: tuple[Mapping[str, Any], ...]
    recordings: tuple[WorldRecording, ...]


def load_world(today: date) -> World:
    """Return the world as it stands on ``today``; everything in it happened on earlier days."""
    told = tomllib.loads((_FOLDER / "world.toml").read_text(encoding="utf-8"))
    zone = ZoneInfo(told["timezone"])
    contacts = [_contact(contact, today=today, zone=zone) for contact in told["contacts"]]
    return World(
        company=told["company"],
        customers=tuple(_row(customer, today=today) for customer in told["customers"]),
        contacts=tuple(
            sorted(contacts, key=lambda contact: datetime.fromisoformat(contact["started_at"]))
        ),
        recordings=tuple(
            _recording(contact) for contact in told["contacts"] if "recording" in contact
        ),
    )


def _row(customer: Mapping[str, Any], *, today: date) -> dict[str, str]:
    row = {}
    for column in _COLUMNS:
        value = customer.get(column, "")
        if value != "" and column in _DAYS_AGO:
            value = (today - timedelta(days=value)).isoformat()
        row[column] = value
    return row


def _contact(told: Mapping[str, Any], *, today: date, zone: ZoneInfo) -> dict[str, Any]:
    started_at = datetime.combine(
        today - timedelta(days=told["days_ago"]), time.fromisoformat(told["at"]), zone
    )
    contact = {key: told[key] for key in _AS_IT_IS if key in told}
    contact["started_at"] = started_at.isoformat()
    if "seconds" in told:
        contact["ended_at"] = _after(started_at, timedelta(seconds=told["seconds"]))
    contact["parties"] = [dict(party) for party in told["parties"]]
    if "messages" in told:
        contact["messages"] = [
            {
                "from": message["from"],
                "at": _after(started_at, timedelta(minutes=message["minute"])),
                "text": message["text"].strip(),
            }
            for message in told["messages"]
        ]
    if "pauses" in told:
        contact["recording_pauses"] = [
            _pause(pause, started_at, told["recording"]["name"]) for pause in told["pauses"]
        ]
    if told["channel"] == "call":
        is_expected = "recording" in told or told.get("recording_state") == "expected"
        contact["recording"] = "expected" if is_expected else "none"
    return contact


def _pause(told: Mapping[str, Any], started_at: datetime, recording: str) -> dict[str, Any]:
    begun = timedelta(seconds=told["second"])
    return {
        "recording": recording,
        "start": _after(started_at, begun),
        "end": _after(started_at, begun + timedelta(seconds=told["seconds"])),
        "reason": told["reason"],
        "who": told["who"],
        "start_seconds": told["at"],
        "end_seconds": told["at"],
    }


def _after(started_at: datetime, passed: timedelta) -> str:
    """Return the local time when ``passed`` has really passed, change of clocks or not."""
    return (
        (started_at.astimezone(ZoneInfo("UTC")) + passed)
        .astimezone(started_at.tzinfo)
        .isoformat()
    )


def _recording(told: Mapping[str, Any]) -> WorldRecording:
    recording = told["recording"]
    path = _FOLDER / "speech" / recording["file"]
    return WorldRecording(
        source=told["source"],
        source_id=told["source_id"],
        name=recording["name"],
        content_type=_CONTENT_TYPES[path.suffix],
        path=path,
    )
