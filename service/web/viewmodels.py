"""What templates need worked out: pure functions from the desk's values to what is shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

from service.archive.lookup import Criteria, Reason
from service.domain.actor import Actor
from service.domain.contact import Party, PartyRole
from service.domain.customer import Occupancy
from service.domain.purpose import ALLOWED, REFERENCE, Grant, Purpose
from service.web.formats import Formats
from service.web.i18n import Words
from service.web.searchform import SearchForm
from service.web.views import (
    CheckOutcome,
    CheckView,
    FoundContact,
    Playback,
    RecordingView,
    Waveform,
)
from service.web.waveform import Lane, draw_lanes

_ROLE_ORDER: Final = {PartyRole.CUSTOMER: 0, PartyRole.AGENT: 1, PartyRole.OTHER: 2}
_STEREO: Final = 2


@dataclass(frozen=True, slots=True)
class PurposeChoice:
    """A purpose that the actor may choose; ``reference`` is what it must name: a complaint, a request, or None."""

    name: Purpose
    reference: str | None


@dataclass(frozen=True, slots=True)
class Searched:
    """One criterion of a search: the key of its name, its value as shown, the address of the search without it."""

    key: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class PlayerView:
    """What a player needs: whence the sound, where to report, its lanes and their names, what was heard before."""

    source: str
    heard_address: str
    lanes: tuple[Lane, ...]
    lane_names: tuple[str, ...]
    heard_json: str


def decide_purposes(actor: Actor) -> tuple[PurposeChoice, ...]:
    """Decide which purposes ``actor`` may choose, in the order of the closed list."""
    allowed = {p for role in actor.roles for p in ALLOWED.get(role, frozenset())}
    return tuple(PurposeChoice(p, REFERENCE.get(p)) for p in Purpose if p in allowed)


def parties_in_order(parties: Sequence[Party]) -> list[Party]:
    """Return the customer first, then the agents, then the others."""
    return sorted(parties, key=lambda party: _ROLE_ORDER[party.role])


def searched_criteria(form: SearchForm, *, words: Words, formats: Formats) -> list[Searched]:
    """Return each criterion that was searched, in words."""
    shown = []
    for name, value in form.values.items():
        if name in {"as", "cursor"}:
            continue
        key = f"fact.{form.kind if name == 'text' else name}"
        removed = {"text": None, "as": None} if name == "text" else {name: None}
        shown.append(
            Searched(key, _value(name, value, form, words, formats), form.address(**removed))
        )
    return shown


def _value(name: str, value: str, form: SearchForm, words: Words, formats: Formats) -> str:
    if name in {"channel", "direction"}:
        return words.text(f"{name}.{value}")
    if name == "recording":
        return words.text(f"recording.state.{value}")
    if name in {"from", "to"}:
        return formats.day(
            datetime.combine(date.fromisoformat(value), datetime.min.time(), formats.timezone)
        )
    if name == "text" and form.criteria:
        return _identifier(form.criteria, formats) or value
    return value


def _identifier(criteria: Criteria, formats: Formats) -> str | None:
    """Return the identifier that was searched as it was understood."""
    if criteria.phone:
        return formats.phone(criteria.phone)
    if criteria.metering_point:
        return grouped(criteria.metering_point)
    return criteria.email or criteria.customer_number


def reason_words(reasons: Sequence[Reason], *, words: Words) -> str:
    """Return in words why a contact matched: ``puhelinnumero (asiakas), palvelujono``."""
    return ", ".join(dict.fromkeys(_reason(reason, words) for reason in reasons))


def _reason(reason: Reason, words: Words) -> str:
    name = known_words("matched", reason.criterion, messages=words.messages)
    kind, _, detail = reason.met_by.partition(":")
    match kind:
        case "party" if f"party.{detail}" in words.messages:
            how = words.text(f"party.{detail}").lower()
        case "link":
            how = words.text("met.link", name=link_reason_words((detail,), words=words))
        case "stated":
            how = words.text("met.stated")
        case _:
            return name
    return name if how == name else f"{name} ({how})"


def link_reason_words(names: Sequence[str], *, words: Words) -> str:
    """Return in words by what a contact was linked to a customer."""
    return ", ".join(known_words("matched", name, messages=words.messages) for name in names)


def field_names(fields: Sequence[str], *, words: Words) -> str:
    """Return the names of a contact's fields in words."""
    return ", ".join(known_words("fact", name, messages=words.messages) for name in fields)


def advice_words(reasons: Sequence[str], *, words: Words) -> list[str]:
    """Return what to do about an item with ``reasons``, each advice once; none for a reason without words."""
    keys = [f"attention.advice.{reason}" for reason in reasons]
    return list(dict.fromkeys(words.text(key) for key in keys if key in words.messages))


def by_month(
    found: Sequence[FoundContact], *, formats: Formats
) -> list[tuple[str, list[FoundContact]]]:
    """Return the contacts in runs of one month each, without changing their order."""
    runs = groupby(found, key=lambda one: formats.month(one.contact.started_at))
    return [(month, list(run)) for month, run in runs]


def occupied(occupancy: Occupancy, *, formats: Formats) -> str:
    """Return the days of an occupancy, an open end left open."""
    days = (occupancy.occupied_from, occupancy.occupied_to)
    start, end = (
        formats.day(datetime.combine(d, datetime.min.time(), formats.timezone)) if d else ""
        for d in days
    )
    return f"{start}\N{EN DASH}{end}"


def grouped(digits: str) -> str:
    """Return a metering point in groups of which a reader can keep one in mind: ``643 000 111 222 333 444``."""
    return " ".join(digits[n : n + 3] for n in range(0, len(digits), 3))


def recording_facts(recording: RecordingView, *, words: Words, formats: Formats) -> str:
    """Return length, channels, format and size in one line."""
    facts = []
    if recording.duration is not None:
        facts.append(formats.duration(recording.duration))
    if recording.channels:
        facts.append(words.count("recording.channels", len(recording.channels)))
    if recording.codec:
        facts.append(recording.codec)
    if recording.size_bytes:
        facts.append(formats.size(recording.size_bytes))
    return " · ".join(facts)


def player_view(
    recording: RecordingView, grant: Grant, waveform: Waveform | None
) -> PlayerView:
    """Return the player of one recording under one grant."""
    rendition = "playable" if recording.playback is Playback.RENDITION else ""
    address = f"/api/v1/recordings/{recording.id}"
    asked = {"rendition": rendition} if rendition else {}
    lanes = draw_lanes(waveform.channels) if waveform else ()
    return PlayerView(
        source=f"{address}/content?{urlencode({'grant': grant.id, **asked})}",
        heard_address=f"{address}/heard" + (f"?{urlencode(asked)}" if asked else ""),
        lanes=lanes,
        lane_names=lane_names(recording.channels, len(lanes)),
        heard_json=json.dumps(recording.heard),
    )


def lane_names(channels: Sequence[PartyRole | None], lanes: int) -> tuple[str, ...]:
    """Return what each lane is called: a role where it is known, else a number; a single one is ``all``."""
    if lanes <= 1:
        return ("all",)
    roles = tuple(channels) if len(channels) == lanes else (None,) * lanes
    fallback = ("first", "second")
    return tuple(
        str(role) if role else (fallback[n] if n < _STEREO else "more")
        for n, role in enumerate(roles)
    )


def check_words(check: CheckView, *, words: Words) -> str:
    """Return what a check found, in words that a customer understands.

    One that could not be done, or not yet, is told with its cause, where one is known for its kind.
    """
    key = f"check.{check.outcome}.{check.code}"
    if check.outcome in {CheckOutcome.PASSED, CheckOutcome.FAILED}:
        return words.text(key)
    told = words.text(f"check.{check.outcome}")
    return f"{told}: {words.text(key)}" if key in words.messages else told


def known_words(prefix: str, code: str, *, messages: Mapping[str, object]) -> str:
    """Return the words for a code, or the code itself where it has none: sources tell reasons of their own."""
    words = messages.get(f"{prefix}.{code}")
    return words if isinstance(words, str) else code
