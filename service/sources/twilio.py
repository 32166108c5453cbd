"""Twilio Programmable Voice: callbacks of calls and of their recordings (Twilio documentation, "TwiML Voice").

A call is told in several requests, which may come in any order and more than once: each is a part of the contact of
its parent leg. New parameters appear without notice and are passed over.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from service.domain.contact import (
    EXPECTED,
    NONE,
    AnnouncedRecording,
    Channel,
    ContactFacts,
    ContentKey,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import MAX_IDENTIFIER_CHARACTERS, PhoneNumber
from service.sources.chat import plain_name
from service.sources.events import SourceRule, Understood
from service.sources.requests import decode_request
from service.sources.strict_json import decode_json

_CALL_SID: Final = re.compile(r"CA[0-9a-f]{32}", re.ASCII)
_RECORDING_SID: Final = re.compile(r"RE[0-9a-f]{32}", re.ASCII)
_KEY_SID: Final = re.compile(r"[A-Za-z0-9]{2,64}", re.ASCII)
# As it is called now, and as it was.
_ENCRYPTION: Final = {
    "public_key_sid": "encryption_public_key_sid",
    "encrypted_cek": "encryption_cek",
    "iv": "encryption_iv",
}
_SECONDS: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_CODE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_MAX_PARAMETERS: Final = 1_000
_STEREO: Final = "2"
_DIRECTIONS: Final = {"inbound": Direction.INBOUND, "outbound-api": Direction.OUTBOUND}
_NOT_ANSWERED: Final = frozenset({"busy", "failed", "no-answer", "canceled"})


def understand_twilio(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a callback tells: of a call, or of a recording.

    Raises:
        InvalidInputError: It is no callback of either; the detail says what is missing.
    """
    request = decode_request(body)
    told = _parameters(request.query if request.method == "GET" else request.body)
    if "RecordingSid" in told or "RecordingStatus" in told:
        return _recording(told)
    return Understood((_call(told, rule=rule, now=now),))


def _parameters(form: str | bytes) -> Mapping[str, str]:
    text = form.decode("ascii", "surrogateescape") if isinstance(form, bytes) else form
    if text.startswith("{"):
        return _of_json(text)
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        raise InvalidInputError(f"more than {_MAX_PARAMETERS} parameters") from None


def _of_json(text: str) -> Mapping[str, str]:
    value = decode_json(text.encode("ascii", "surrogateescape"))
    if not isinstance(value, dict):
        raise InvalidInputError("the body is neither a form nor a JSON object")
    return {name: one for name, one in value.items() if isinstance(one, str)}


def _call(told: Mapping[str, str], *, rule: SourceRule, now: datetime) -> ContactFacts:
    parent = told.get("ParentCallSid") or ""
    direction = None if parent else _DIRECTIONS.get(told.get("Direction", ""))
    at = _time(told.get("Timestamp")) or now
    status = told.get("CallStatus", "")
    # The time is that of the status; of one that is over the call began earlier by what it lasted.
    lasted = timedelta(seconds=_seconds(told.get("CallDuration")))
    is_over = status == "completed" or status in _NOT_ANSWERED
    is_unanswered = status in _NOT_ANSWERED and not parent
    return ContactFacts(
        source_id=_sid(_CALL_SID, parent or told.get("CallSid"), "CallSid"),
        channel=Channel.CALL,
        direction=direction,
        started_at=at - lasted if is_over else at,
        ended_at=at if is_over else None,
        parties=_parties(told, direction=direction, region=rule.region),
        recording=NONE if is_unanswered else None,
        not_recorded_reason=f"not answered ({status})" if is_unanswered else None,
        is_part=True,
    )


def _parties(
    told: Mapping[str, str], *, direction: Direction | None, region: str
) -> tuple[Party, ...]:
    """Return who takes part: of the parent leg the customer, of a child leg whom the call was put through to."""
    if direction is None:
        return (_party(PartyRole.AGENT, told.get("To", ""), region=region),)
    is_inbound = direction is Direction.INBOUND
    customer = told.get("From" if is_inbound else "To", "")
    name = plain_name(told.get("CallerName", "")) or None if is_inbound else None
    company = told.get("To" if is_inbound else "From", "")
    return (
        _party(PartyRole.CUSTOMER, customer, region=region, name=name),
        _party(PartyRole.OTHER, company, region=region),
    )


def _party(role: PartyRole, address: str, *, region: str, name: str | None = None) -> Party:
    """Return a party by its telephone, or by its address as it was sent (``client:anna``, ``Anonymous``)."""
    plain = address.strip()[:MAX_IDENTIFIER_CHARACTERS]
    try:
        return Party(role=role, name=name, phone=PhoneNumber.parse(plain, region=region).e164)
    except InvalidInputError:
        return Party(role=role, name=name, phone_as_sent=_printable(plain) or None)


def _recording(told: Mapping[str, str]) -> Understood:
    """Return what is told of a recording. Its call is always the parent leg."""
    source_id = _sid(_CALL_SID, told.get("CallSid"), "CallSid")
    sid = _sid(_RECORDING_SID, told.get("RecordingSid"), "RecordingSid")
    status = told.get("RecordingStatus") or "completed"
    facts = ContactFacts(source_id=source_id)
    match status:
        case "completed":
            recording = AnnouncedRecording(
                name=f"{sid}.wav",
                url=_media_url(told),
                content_type="audio/wav",
                content_key=_content_key(told.get("EncryptionDetails", "")),
            )
            facts = ContactFacts(source_id=source_id, recordings=(recording,))
        case "in-progress":
            facts = ContactFacts(source_id=source_id, recording=EXPECTED)
        case "absent" | "failed":
            code = told.get("ErrorCode", "")
            reason = f"{status} ({code})" if _CODE.fullmatch(code) else status
            facts = ContactFacts(
                source_id=source_id,
                recording=NONE,
                not_recorded_reason=reason,
                is_of_one=True,
            )
        case _:
            raise InvalidInputError("RecordingStatus is none that is known")
    return Understood((facts,))


def _content_key(details: str) -> ContentKey | None:
    """Return the key under which the recording is encrypted; None when it is not."""
    if not details or details == "null":
        return None
    told = decode_json(details.encode())
    if not isinstance(told, dict):
        raise InvalidInputError("EncryptionDetails is no object")
    values = (told.get(name) or told.get(old) for name, old in _ENCRYPTION.items())
    key_id, wrapped, iv = (value if isinstance(value, str) else "" for value in values)
    if not _KEY_SID.fullmatch(key_id):
        raise InvalidInputError("EncryptionDetails names no key")
    return ContentKey(key_id=key_id, wrapped=_decode(wrapped), iv=_decode(iv))


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("EncryptionDetails has something that is not base64") from None


def _media_url(told: Mapping[str, str]) -> str:
    """Return where the recording is, with both channels apart where it has two."""
    url = told.get("RecordingUrl", "")
    if not url:
        raise InvalidInputError("RecordingUrl is missing")
    if told.get("RecordingChannels") != _STEREO or urlsplit(url).query:
        return url
    return f"{url}?RequestedChannels={_STEREO}"


def _sid(pattern: re.Pattern[str], text: str | None, what: str) -> str:
    if text is None or not pattern.fullmatch(text):
        raise InvalidInputError(f"{what} is missing, or none")
    return text


def _seconds(text: str | None) -> int:
    return int(text) if text and _SECONDS.fullmatch(text) else 0


def _time(text: str | None) -> datetime | None:
    """Return a time as Twilio writes them (RFC 2822, UTC); None where there is none."""
    try:
        at = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
