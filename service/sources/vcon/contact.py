"""What a vCon tells of a contact (draft-ietf-vcon-vcon-core). One vCon is one contact, known by its UUID.

Names of older drafts are understood. What names the vCon or its first party in another way than the draft is read as
widespread writers mean it; what would be understood wrongly is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from service.domain.contact import (
    MAX_RECORDINGS,
    NONE,
    AnnouncedRecording,
    Channel,
    ContactFacts,
    MessageChange,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_plain
from service.domain.times import format_time, parse_rfc3339
from service.domain.urls import MAX_URL_CHARACTERS
from service.sources.chat import LEFT_OUT
from service.sources.events import SourceRule
from service.sources.generic import (
    MAX_MESSAGES,
    TIME_OUT_OF_WINDOW,
    is_plausible,
    read_contact,
)
from service.sources.vcon.content import (
    Member,
    body_of,
    hashes_of,
    media_type_of,
    text_of,
)
from service.sources.vcon.extension import CHANGE, CONTACT, EXTENSION, OWN_PURPOSES
from service.sources.vcon.forms import open_vcon
from service.sources.vcon.parties import (
    cast_parties,
    clean,
    decide_direction,
    members_of,
    read_parties,
)

MAX_DIALOGS: Final = 2_000
_MAX_IDENT: Final = 1_000
_MAX_SECONDS: Final = 10_000_000
_KNOWN: Final = frozenset({EXTENSION.lower(), "cc"})
_CHANGES: Final = tuple(MessageChange)
_MAIL: Final = ("message/", "multipart/")


@dataclass(frozen=True, slots=True)
class CarriedRecording:
    """A recording whose bytes a delivery carries."""

    name: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnderstoodVcon:
    """What a vCon tells, the recordings in it, and what should be looked at (stable codes)."""

    facts: ContactFacts
    recordings: tuple[CarriedRecording, ...]
    remarks: tuple[str, ...]


@dataclass(slots=True)
class _Told:
    """What the dialogs tell, gathered one after the other."""

    starts: list[tuple[datetime, str]] = field(default_factory=list)
    ends: list[datetime] = field(default_factory=list)
    messages: list[MessageText] = field(default_factory=list)
    carried: list[CarriedRecording] = field(default_factory=list)
    announced: list[AnnouncedRecording] = field(default_factory=list)
    disposition: str = ""
    is_call: bool = False
    is_mail: bool = False
    first: int | None = None
    leaves: bool = False
    changes: dict[int, MessageChange] = field(default_factory=dict)


def understand_vcon(
    body: bytes, rule: SourceRule, *, received_at: datetime, now: datetime
) -> UnderstoodVcon:
    """Return what the delivered vCon tells.

    Raises:
        NotBelievedError: Nobody vouches for it who has to, or it is encrypted.
        InvalidInputError: It is none, or cannot be understood safely; the detail names the place.
    """
    opened = open_vcon(body, rule.vcon, received_at=received_at)
    vcon = opened.vcon
    _require_understood(vcon)
    uuid = require_plain(text_of(vcon, "uuid").lower(), what="uuid")
    parties = read_parties(vcon, rule)
    told = _dialogs(vcon, parties)
    facts = _extended(_facts(vcon, uuid, parties, told, rule), vcon, rule, now=now)
    times = (facts.started_at, facts.ended_at, *(one.sent_at for one in facts.messages))
    is_odd = any(one is not None and not is_plausible(one, now=now) for one in times)
    leaves = told.leaves or _leaves(vcon)
    remarks = (
        *opened.remarks,
        *([TIME_OUT_OF_WINDOW] if is_odd else []),
        *([LEFT_OUT] if leaves else []),
    )
    return UnderstoodVcon(facts, tuple(told.carried), remarks)


def _require_understood(vcon: Member) -> None:
    """Return when the vCon asks for nothing that the archive does not know ("critical", before "must_support")."""
    for name in ("critical", "must_support"):
        asked = vcon.get(name) or []
        if not isinstance(asked, list):
            raise InvalidInputError(f"{name} is a list of extensions")
        if any(not isinstance(one, str) or one.lower() not in _KNOWN for one in asked):
            raise InvalidInputError(
                f"{name} asks for an extension that the archive does not know"
            )


def _facts(
    vcon: Member, uuid: str, parties: Sequence[Party], told: _Told, rule: SourceRule
) -> ContactFacts:
    first = told.first or 0
    direction = decide_direction(parties, first, rule)
    created = [_time(vcon, "created_at", "the vCon")] if not told.starts else []
    started_at, as_sent = min([*told.starts, *created])
    is_recorded = bool(told.carried or told.announced)
    is_none = bool(told.disposition) and not is_recorded
    return ContactFacts(
        source_id=uuid,
        channel=_channel(vcon, parties, told),
        direction=direction,
        started_at=started_at,
        ended_at=max(told.ends, default=None),
        started_at_as_sent=None if as_sent == format_time(started_at) else as_sent,
        subject=clean(text_of(vcon, "subject")) or None,
        parties=cast_parties(vcon, parties, first, direction),
        messages=tuple(told.messages),
        outcome=told.disposition or None if not is_recorded else None,
        recording=NONE if is_none else None,
        not_recorded_reason=told.disposition if is_none else None,
        recordings=tuple(told.announced),
        # One that grows tells of more dialogs later.
        is_part=True,
    )


def _channel(vcon: Member, parties: Sequence[Party], told: _Told) -> Channel:
    if told.is_call:
        return Channel.CALL
    if told.is_mail:
        return Channel.EMAIL
    has_dialogs = bool(members_of(vcon, "dialog"))
    if parties and all(one.email and not one.phone for one in parties):
        return Channel.EMAIL
    return Channel.CHAT if has_dialogs else Channel.CALL


def _extended(
    facts: ContactFacts, vcon: Member, rule: SourceRule, *, now: datetime
) -> ContactFacts:
    """Return the facts as our own extension tells them, where the vCon has it."""
    asked, value = vcon.get("extensions"), vcon.get(CONTACT)
    if not isinstance(asked, list) or EXTENSION not in asked or not isinstance(value, dict):
        return facts
    own = {**value, "source_id": facts.source_id}
    for name in ("messages", "recordings"):
        own.pop(name, None)
    try:
        (known,) = read_contact(own, region=rule.region, now=now)[1].contacts
    except InvalidInputError as error:
        raise InvalidInputError(f"{CONTACT}: {error.detail}") from None
    return replace(
        known, messages=facts.messages, recordings=facts.recordings, is_part=facts.is_part
    )


def _dialogs(vcon: Member, parties: Sequence[Party]) -> _Told:
    dialogs = members_of(vcon, "dialog")
    if len(dialogs) > MAX_DIALOGS:
        raise InvalidInputError(f"more than {MAX_DIALOGS} dialogs")
    told = _Told(changes=_changes(vcon))
    for place, dialog in enumerate(dialogs):
        _read_dialog(told, dialog, place, parties)
    if (
        len(told.messages) > MAX_MESSAGES
        or len(told.carried) + len(told.announced) > MAX_RECORDINGS
    ):
        raise InvalidInputError(
            f"a contact has at most {MAX_MESSAGES} messages and {MAX_RECORDINGS} recordings"
        )
    return told


def _changes(vcon: Member) -> dict[int, MessageChange]:
    """Return the dialogs that are later versions of messages, as our own vCons say, by their places."""
    found = {}
    for one in members_of(vcon, "attachments"):
        place, body = one.get("dialog"), one.get("body")
        told = body.get("change") if isinstance(body, dict) else None
        if one.get("purpose") == CHANGE and isinstance(place, int) and told in _CHANGES:
            found[place] = MessageChange(told)
    return found


def _read_dialog(told: _Told, dialog: Member, place: int, parties: Sequence[Party]) -> None:
    what = f"dialog[{place}]"
    kind = text_of(dialog, "type") or _kind(dialog)
    at, as_sent = _time(dialog, "start", what)
    told.starts.append((at, as_sent))
    duration = dialog.get("duration")
    if isinstance(duration, int | float) and 0 < duration <= _MAX_SECONDS:
        try:
            told.ends.append(at + timedelta(seconds=duration))
        except OverflowError:
            raise InvalidInputError(f"{what}.start is too late") from None
    # Who began the earliest dialog began the conversation; its other dialogs begin with whoever spoke then.
    if told.first is None or at == min(one for one, _ in told.starts):
        told.first = _first(dialog, told.first)
    match kind:
        case "recording":
            told.is_call = True
            _read_recording(told, dialog, what)
        case "text":
            change = told.changes.get(place)
            _read_text(told, dialog, what, at, parties, change=change)
        case "incomplete":
            told.is_call = True
            told.disposition = told.disposition or clean(text_of(dialog, "disposition")) or kind
        case "transfer" | "recording-set":
            told.is_call = True
        case _:
            raise InvalidInputError(f"{what}.type is none that is known")


def _kind(dialog: Member) -> str:
    """Return the type of a dialog that has none, as older writers of mails leave it out."""
    kind = media_type_of(dialog)
    is_text = kind.startswith(("text/", *_MAIL))
    return "text" if is_text else "recording" if kind.startswith(("audio/", "video/")) else ""


def _first(dialog: Member, otherwise: int | None) -> int | None:
    """Return the place of the party that began a dialog: its originator, or the first of its parties."""
    told = dialog.get("originator", dialog.get("parties"))
    while isinstance(told, list) and told:
        told = next((one for one in told if one not in (None, [])), None)
    is_place = isinstance(told, int) and not isinstance(told, bool) and told >= 0
    return told if is_place and isinstance(told, int) else otherwise


def _read_recording(told: _Told, dialog: Member, what: str) -> None:
    """Take a recording that is inline, or say where it can be fetched; each under a name of its own."""
    name = clean(text_of(dialog, "filename")) or what.replace("[", "-").rstrip("]")
    known = {one.name for one in told.carried} | {one.name for one in told.announced}
    while name in known:
        name = f"{what} {name}"
    name = require_plain(name, what=f"{what}.filename")
    content_type = media_type_of(dialog)
    data = body_of(dialog, what)
    if data is not None:
        told.carried.append(
            CarriedRecording(name, content_type or "application/octet-stream", data)
        )
        return
    url = text_of(dialog, "url").strip()
    if len(url) > MAX_URL_CHARACTERS or "\x00" in url:
        raise InvalidInputError(f"{what}.url has at most {MAX_URL_CHARACTERS} characters")
    # One URL for several dialogs is one recording.
    if url and url not in {one.url for one in told.announced}:
        hashes = hashes_of(dialog, what)
        told.announced.append(
            AnnouncedRecording(
                name=name,
                url=url,
                content_type=content_type or None,
                sha512=hashes[0] if hashes else None,
            )
        )


def _read_text(
    told: _Told,
    dialog: Member,
    what: str,
    at: datetime,
    parties: Sequence[Party],
    *,
    change: MessageChange | None,
) -> None:
    kind = media_type_of(dialog)
    told.is_mail = (
        told.is_mail
        or kind.startswith(_MAIL)
        or "email" in text_of(dialog, "application").lower()
    )
    data = body_of(dialog, what)
    if data is None:
        # Texts are not fetched: what comes from elsewhere as a text is mostly a page that says that it is not there.
        told.leaves = told.leaves or bool(text_of(dialog, "url"))
        return
    text = data.decode(errors="replace")
    if "\x00" in text:
        raise InvalidInputError(f"{what}.body has characters that are not text")
    ident = clean(text_of(dialog, "message_id"))[:_MAX_IDENT]
    told.messages.append(
        MessageText(
            sender=_sender(dialog, parties),
            writer=_writer(dialog, parties),
            sent_at=at,
            text=text,
            ident=ident,
            change=change if ident else None,
            changed_at=at if ident and change else None,
        )
    )


def _sender(dialog: Member, parties: Sequence[Party]) -> str:
    place = _first(dialog, None)
    if place is None or place >= len(parties):
        return "unknown"
    party = parties[place]
    told = (party.name, party.email, party.phone, party.phone_as_sent)
    return next((one for one in told if one), f"party {place + 1}")


def _writer(dialog: Member, parties: Sequence[Party]) -> PartyRole | None:
    place = _first(dialog, None)
    return None if place is None or place >= len(parties) else parties[place].role


def _leaves(vcon: Member) -> bool:
    """Tell whether there are parts that a contact has no place for: attachments and analyses of others."""
    attachments = members_of(vcon, "attachments")
    others = [one for one in attachments if text_of(one, "purpose", "type") not in OWN_PURPOSES]
    return bool(others or members_of(vcon, "analysis"))


def _time(member: Member, name: str, what: str) -> tuple[datetime, str]:
    text = text_of(member, name)
    try:
        return parse_rfc3339(text), text
    except ValueError:
        raise InvalidInputError(f"{what}: {name} is not an RFC 3339 time") from None
