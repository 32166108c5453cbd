"""The archive's own contact JSON: what `POST /api/v1/contacts` takes and `standard-webhooks` sources send.

```
{source?, source_id, channel, direction, started_at, ended_at?, answered_at?, outcome?, parties[], queue?, subject?,
 notice?: "played"|"not_played", notice_version?,
 customer_number?, metering_point?, messages?: [], recording?: "expected"|"none",
 not_recorded_reason?, recordings?: [], recording_pauses?: []}
parties: {role, phone?, email?, name?, agent_id?}
messages: {from, at, text, id?, change?: "edited"|"deleted", changed_at?, internal?}
recordings, to be fetched: {name, url, content_type?, size_bytes?, sha256?}
recording_pauses: {recording, start, end?, reason, who?, start_seconds?, end_seconds?}
```
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

import msgspec

from service.domain.contact import (
    MAX_PARTIES,
    MAX_RECORDINGS,
    NONE,
    AnnouncedRecording,
    Channel,
    ContactFacts,
    Direction,
    MessageChange,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import (
    MAX_IDENTIFIER_CHARACTERS,
    CustomerNumber,
    EmailAddress,
    MeteringPoint,
    PhoneNumber,
    require_plain,
)
from service.domain.pauses import MAX_PAUSES, RecordingPause, merge_pauses
from service.domain.times import format_time, parse_rfc3339
from service.domain.urls import MAX_URL_CHARACTERS
from service.sources.events import Understood
from service.sources.strict_json import decode_json

MAX_MESSAGES = 2_000
MAX_SECONDS = 10_000_000
"""No place in a recording is later."""
TIME_OUT_OF_WINDOW = "time_out_of_window"
"""The remark on a contact that cannot have been when it is said to."""
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_CLOCK_SKEW = timedelta(days=1)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]{1,63}/[a-z0-9!#$&^_.+\-]{1,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SENT_VALUE = re.compile(r"Invalid enum value '.*'", re.DOTALL)

T = TypeVar("T")


class PartyJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A party as it is sent."""

    role: PartyRole
    phone: str | None = None
    email: str | None = None
    name: str | None = None
    agent_id: str | None = None


class MessageJson(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"sender": "from"}
):
    """A message as it is sent, or a version of it that was edited or deleted; `id` is the same in all of them."""

    sender: str
    at: str
    text: str | None = None
    id: str | None = None
    change: MessageChange | None = None
    changed_at: str | None = None
    internal: bool = False


class RecordingJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recording that the archive is to fetch, as it is sent; `sha256` in hexadecimal."""

    name: str
    url: str
    content_type: str | None = None
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] | None = None
    sha256: str | None = None


class PauseJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pause of the recording called `recording`, as it is sent; the seconds are where in that recording it lies."""

    recording: str
    start: str
    reason: str
    end: str | None = None
    who: str | None = None
    start_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None
    end_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None


class ContactJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contact as it is sent."""

    source_id: str
    channel: Channel
    direction: Direction
    started_at: str
    parties: tuple[PartyJson, ...]
    source: str | None = None
    ended_at: str | None = None
    answered_at: str | None = None
    outcome: str | None = None
    notice: Literal["played", "not_played"] | None = None
    notice_version: str | None = None
    queue: str | None = None
    subject: str | None = None
    customer_number: str | None = None
    metering_point: str | None = None
    messages: tuple[MessageJson, ...] = ()
    recording: Literal["expected", "none"] | None = None
    not_recorded_reason: str | None = None
    recordings: tuple[RecordingJson, ...] = ()
    recording_pauses: tuple[PauseJson, ...] = ()


def parse_contact(
    body: bytes,
    *,
    region: str,
    now: datetime,
    regions: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str | None, Understood]:
    """Return the source that the contact names, if it does, and what the contact JSON tells.

    National telephone numbers are read as of ``region``, or of what ``regions`` has for the source. What is not a
    telephone number ("anonymous", an extension) is kept as it was sent. An empty optional text is one that is not
    told. Times outside 1990 … tomorrow are kept and remarked upon.

    Raises:
        InvalidInputError: ``body`` is not one contact; the detail names the field and what it should be.
    """
    return read_contact(decode_json(body), region=region, now=now, regions=regions)


def read_contact(
    value: object,
    *,
    region: str,
    now: datetime,
    regions: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str | None, Understood]:
    """Do as `parse_contact` with a value that was read from JSON.

    Raises:
        InvalidInputError: It is not one contact; see there.
    """
    try:
        sent = msgspec.convert(value, ContactJson)
    except msgspec.ValidationError as error:
        # The chain is cut, and what was sent in the place of a known value is not repeated.
        raise InvalidInputError(_SENT_VALUE.sub("Not a known value", str(error))) from None
    if len(sent.parties) > MAX_PARTIES or len(sent.messages) > MAX_MESSAGES:
        raise InvalidInputError(
            f"a contact has at most {MAX_PARTIES} parties and {MAX_MESSAGES} messages"
        )
    if len(sent.recordings) > MAX_RECORDINGS:
        raise InvalidInputError(f"a contact names at most {MAX_RECORDINGS} recordings")
    if len(sent.recording_pauses) > MAX_PAUSES:
        raise InvalidInputError(f"a contact has at most {MAX_PAUSES} recording_pauses")
    facts = _facts(sent, region=regions.get(sent.source or "", region))
    return sent.source, Understood((facts,), _remarks(facts, now=now))


def _facts(sent: ContactJson, *, region: str) -> ContactFacts:
    started_at = _time(sent.started_at, "started_at")
    ended_at = _optional(sent.ended_at, lambda text: _time(text, "ended_at"))
    if ended_at is not None and ended_at < started_at:
        raise InvalidInputError("ended_at is before started_at")
    return ContactFacts(
        started_at_as_sent=_as_sent(sent.started_at, started_at),
        ended_at_as_sent=_as_sent(sent.ended_at, ended_at),
        source_id=require_plain(sent.source_id, what="source_id"),
        channel=sent.channel,
        direction=sent.direction,
        started_at=started_at,
        ended_at=ended_at,
        answered_at=_optional(sent.answered_at, lambda text: _time(text, "answered_at")),
        outcome=_optional(sent.outcome, lambda text: require_plain(text, what="outcome")),
        notice=sent.notice,
        notice_version=_optional(
            sent.notice_version, lambda text: require_plain(text, what="notice_version")
        ),
        queue=_optional(sent.queue, lambda text: require_plain(text, what="queue")),
        subject=_optional(sent.subject, lambda text: _text(text, "subject")),
        customer_number=_optional(sent.customer_number, lambda t: CustomerNumber.parse(t).text),
        metering_point=_optional(sent.metering_point, lambda t: MeteringPoint.parse(t).digits),
        parties=tuple(_party(party, region=region) for party in sent.parties),
        messages=tuple(_message(message) for message in sent.messages),
        recording=sent.recording,
        not_recorded_reason=_optional(
            sent.not_recorded_reason, lambda text: _text(text, "not_recorded_reason")
        ),
        recordings=_recordings(sent),
        recording_pauses=_pauses(sent),
    )


def _optional(text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return what ``parse`` makes of ``text``; many systems send an empty one for what they do not know."""
    return parse(text) if text and not text.isspace() else None


def _message(sent: MessageJson) -> MessageText:
    ident = _optional(sent.id, lambda text: require_plain(text, what="messages.id")) or ""
    changed_at = _optional(sent.changed_at, lambda text: _time(text, "messages.changed_at"))
    if sent.change is not None and not (ident and changed_at):
        raise InvalidInputError("messages.change needs messages.id and messages.changed_at")
    if (sent.text is None) != (sent.change is MessageChange.DELETED):
        raise InvalidInputError("messages.text: one that was deleted has none, others have one")
    return MessageText(
        sender=_text(sent.sender, "messages.from"),
        sent_at=_time(sent.at, "messages.at"),
        text=_text(sent.text or "", "messages.text"),
        ident=ident,
        change=sent.change,
        changed_at=changed_at,
        is_internal=sent.internal,
    )


def _recordings(sent: ContactJson) -> tuple[AnnouncedRecording, ...]:
    """Return the recordings that are to be fetched.

    A URL that cannot be fetched is no reason to refuse the contact: what became of it is shown there.
    """
    if sent.recordings and sent.recording == NONE:
        raise InvalidInputError("recordings are named, and recording is none")
    announced = tuple(_recording(one) for one in sent.recordings)
    for what in ("name", "url"):
        if len({getattr(one, what) for one in announced}) < len(announced):
            raise InvalidInputError(f"recordings: a {what} is there twice")
    return announced


def _recording(sent: RecordingJson) -> AnnouncedRecording:
    # As it was sent: its signature may be of these very characters.
    url = _require_text(sent.url, "recordings.url").strip()
    if not url or len(url) > MAX_URL_CHARACTERS:
        raise InvalidInputError(f"recordings.url has 1 to {MAX_URL_CHARACTERS} characters")
    kind = _optional(sent.content_type, lambda text: text.partition(";")[0].strip().lower())
    sha256 = _optional(sent.sha256, str.lower)
    if kind is not None and not _MEDIA_TYPE.fullmatch(kind):
        raise InvalidInputError("recordings.content_type is not a media type such as audio/wav")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise InvalidInputError("recordings.sha256 is not 64 hexadecimal digits")
    return AnnouncedRecording(
        name=require_plain(sent.name, what="recordings.name"),
        url=url,
        content_type=kind,
        size_bytes=sent.size_bytes,
        sha256=sha256,
    )


def _pauses(sent: ContactJson) -> tuple[RecordingPause, ...]:
    pauses, is_contradicted = merge_pauses((), [_pause(one) for one in sent.recording_pauses])
    if is_contradicted:
        raise InvalidInputError("recording_pauses: one is there twice, and differs")
    return pauses


def _pause(sent: PauseJson) -> RecordingPause:
    started_at = _time(sent.start, "recording_pauses.start")
    ended_at = _optional(sent.end, lambda text: _time(text, "recording_pauses.end"))
    if ended_at is not None and ended_at < started_at:
        raise InvalidInputError("recording_pauses.end is before start")
    start, end = sent.start_seconds, sent.end_seconds
    if end is not None and (start is None or end < start):
        raise InvalidInputError("recording_pauses.end_seconds comes after a start_seconds")
    reason = _optional(sent.reason, lambda text: _text(text, "recording_pauses.reason"))
    if reason is None:
        raise InvalidInputError("recording_pauses.reason is empty")
    return RecordingPause(
        recording=require_plain(sent.recording, what="recording_pauses.recording"),
        started_at=started_at,
        ended_at=ended_at,
        reason=reason,
        who=_optional(sent.who, lambda text: _text(text, "recording_pauses.who")),
        start_seconds=start,
        end_seconds=end,
    )


def _party(sent: PartyJson, *, region: str) -> Party:
    phone = phone_as_sent = None
    if sent.phone and not sent.phone.isspace():
        try:
            phone = PhoneNumber.parse(sent.phone, region=region).e164
        except InvalidInputError:
            phone_as_sent = _text(sent.phone, "phone")[:MAX_IDENTIFIER_CHARACTERS]
    return Party(
        role=sent.role,
        phone=phone,
        phone_as_sent=phone_as_sent,
        email=_optional(sent.email, lambda text: EmailAddress.parse(text).address),
        name=_optional(sent.name, lambda text: _text(text, "name")),
        agent_id=_optional(sent.agent_id, lambda text: require_plain(text, what="agent_id")),
    )


def _time(text: str, what: str) -> datetime:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidInputError(
            f"{what} is not an RFC 3339 time with an offset, such as 2026-11-22T14:02:00+02:00"
        ) from error


def _as_sent(text: str | None, at: datetime | None) -> str | None:
    """Return ``text``, unless all that it says is ``at`` in UTC: an offset tells what the clocks there showed."""
    return None if at is None or text == format_time(at) else text


def _text(text: str, what: str) -> str:
    """Return ``text`` in NFC, if it is one that can be stored."""
    return unicodedata.normalize("NFC", _require_text(text, what))


def _require_text(text: str, what: str) -> str:
    """Return ``text``; NUL and lone surrogates cannot be stored and are refused."""
    # What is printable is neither, and most texts are but for their line ends.
    if not text.isprintable() and ("\x00" in text or _SURROGATE.search(text)):
        raise InvalidInputError(f"{what} has characters that are not text")
    return text


def is_plausible(at: datetime, *, now: datetime) -> bool:
    """Tell whether a contact can have been then: from 1990 until tomorrow."""
    return _EARLIEST <= at <= now + _CLOCK_SKEW


def _remarks(facts: ContactFacts, *, now: datetime) -> tuple[str, ...]:
    whole = (facts.started_at, facts.ended_at, facts.answered_at)
    pauses = [at for one in facts.recording_pauses for at in (one.started_at, one.ended_at)]
    told = (*whole, *pauses, *(message.sent_at for message in facts.messages))
    told += tuple(message.changed_at for message in facts.messages)
    if any(at is not None and not is_plausible(at, now=now) for at in told):
        return (TIME_OUT_OF_WINDOW,)
    return ()
