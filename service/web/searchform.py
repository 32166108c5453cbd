"""The search form: one box that tells by itself what was typed into it, and the filters beside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from service.archive.lookup import Criteria
from service.domain.contact import Channel, Direction, RecordingState
from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    CustomerNumber,
    EmailAddress,
    MeteringPoint,
    PhoneNumber,
    require_plain,
)

FIELDS: Final = (
    "text",
    "as",
    "channel",
    "direction",
    "recording",
    "queue",
    "agent",
    "from",
    "to",
    "cursor",
)
"""Every parameter of the search page's address; others are refused."""

_CHOICES: Final[Mapping[str, type[StrEnum]]] = {
    "channel": Channel,
    "direction": Direction,
    "recording": RecordingState,
}


class BoxKind(StrEnum):
    """What the text in the box can be."""

    PHONE = "phone"
    CUSTOMER_NUMBER = "customer_number"
    EMAIL = "email"
    METERING_POINT = "metering_point"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchForm:
    """The form as it was sent, what it asks for, and what is wrong with it.

    ``problems`` maps a field to the key of what to say about it. ``kind`` is what the box was taken for, ``others``
    what it could be as well. ``criteria`` is None when there is a problem.
    """

    values: Mapping[str, str]
    criteria: Criteria | None
    kind: BoxKind | None
    others: tuple[BoxKind, ...]
    problems: Mapping[str, str]
    cursor: str | None

    def value(self, name: str) -> str:
        """Return what was sent as ``name``, or nothing."""
        return self.values.get(name, "")

    def problem(self, name: str) -> str | None:
        """Return the key of what is wrong with a field, or None."""
        return self.problems.get(name)

    def address(self, **changes: str | None) -> str:
        """Return the address of this search with ``changes``; None removes a field, and paging starts anew."""
        values = {**self.values, **{k.rstrip("_"): v for k, v in changes.items()}}
        if "cursor" not in changes:
            values.pop("cursor", None)
        query = urlencode({name: value for name, value in values.items() if value})
        return f"/search?{query}" if query else "/search"


def _is_phone(text: str, region: str) -> bool:
    try:
        PhoneNumber.parse(text, region=region)
    except InvalidInputError:
        return False
    return True


def parse_search(query: Mapping[str, str], *, timezone: ZoneInfo, region: str) -> SearchForm:
    """Return what the search page's ``query`` asks for; what cannot be understood is a problem of its field."""
    values = {name: query[name].strip() for name in FIELDS if query.get(name, "").strip()}
    if query.get("text", "").startswith(" ") and _is_phone(f"+{values.get('text')}", region):
        # A plus sign that was not escaped arrives as a space; a form escapes it, and may send a pasted space.
        values["text"] = f"+{values['text']}"
    possible = decide_kinds(values["text"]) if "text" in values else ()
    kind = next((k for k in BoxKind if k == values.get("as")), None) if possible else None
    kind = kind or next(iter(possible), None)
    found: dict[str, object] = {}
    problems: dict[str, str] = {}
    for name, value in values.items():
        if name not in {"as", "cursor"}:
            try:
                found |= _criterion(name, value, kind, timezone=timezone, region=region)
            except (InvalidInputError, ValueError, OverflowError):
                problems[name] = f"search.wrong.{kind if name == 'text' else name}"
    criteria = Criteria(**found)  # type: ignore[arg-type]  # _criterion gives fields of Criteria by name
    if (
        criteria.started_from
        and criteria.started_to
        and criteria.started_from >= criteria.started_to
    ):
        problems["to"] = "search.wrong.order"
    return SearchForm(
        values=values,
        criteria=None if problems else criteria,
        kind=kind,
        others=tuple(other for other in possible if other is not kind),
        problems=problems,
        cursor=values.get("cursor"),
    )


def decide_kinds(text: str) -> tuple[BoxKind, ...]:
    """Decide what ``text`` can be, the likeliest first."""
    number = BoxKind.CUSTOMER_NUMBER
    digits = re.sub(r"[\s\-()./\u2010-\u2015]", "", text)
    shapes = (
        (".*@.*", text, (BoxKind.EMAIL,)),
        (r"\+.*", digits, (BoxKind.PHONE,)),
        (r"[0-9]{18}", digits, (BoxKind.METERING_POINT, number)),
        (r"0[0-9]{4,15}", digits, (BoxKind.PHONE, number)),
        (r"[0-9]{5,16}", digits, (number, BoxKind.PHONE)),
    )
    return next((kinds for shape, of, kinds in shapes if re.fullmatch(shape, of)), (number,))


def _criterion(
    name: str, value: str, kind: BoxKind | None, *, timezone: ZoneInfo, region: str
) -> dict[str, object]:
    """Return the field of ``Criteria`` that a field of the form stands for."""
    match name:
        case "text":
            return _identifier(value, kind, region=region)
        case "channel" | "direction" | "recording":
            return {name: _CHOICES[name](value)}
        case "from":
            return {"started_from": _midnight(date.fromisoformat(value), timezone)}
        case "to":
            # A reader means the whole of the last day; the criterion is half-open.
            return {
                "started_to": _midnight(date.fromisoformat(value) + timedelta(days=1), timezone)
            }
        case _:
            return {name: require_plain(value, what=f"the {name}")}


def _identifier(value: str, kind: BoxKind | None, *, region: str) -> dict[str, object]:
    match kind:
        case BoxKind.PHONE:
            return {"phone": PhoneNumber.parse(value, region=region).e164}
        case BoxKind.EMAIL:
            return {"email": EmailAddress.parse(value).address}
        case BoxKind.METERING_POINT:
            return {"metering_point": MeteringPoint.parse(value).digits}
        case _:
            return {"customer_number": CustomerNumber.parse(value).text}


def _midnight(day: date, timezone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), timezone).astimezone(UTC)
