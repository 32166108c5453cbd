"""CloudEvents 1.0 over HTTP, structured, binary or in a batch, whose data is the archive's own contact JSON.

The mode is told by the Content-Type (CloudEvents HTTP protocol binding, section 3). What type an event has does not
matter: whoever may send contacts sends nothing else.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import unquote_to_bytes

from service.domain.errors import InvalidInputError
from service.domain.identifiers import MAX_IDENTIFIER_CHARACTERS
from service.domain.times import parse_rfc3339
from service.sources.events import SourceRule, Understood
from service.sources.generic import read_contact
from service.sources.requests import ReceivedRequest, decode_request
from service.sources.strict_json import decode_json

MAX_EVENTS: Final = 200
"""In one batch."""
_STRUCTURED: Final = "application/cloudevents"
_BATCH: Final = "application/cloudevents-batch"
_PREFIX: Final = "ce-"
_VERSION: Final = "1.0"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_NAME: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_JSON: Final = re.compile(r"(application|text)/json|[^/]+/[^/]+\+json", re.ASCII)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def understand_cloudevents(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return the contacts that the events of a request tell.

    Raises:
        InvalidInputError: One of them is no event, or its data no contact; the detail says which and why. None is
            understood then.
    """
    request = decode_request(body)
    content_type = request.header("content-type")
    media_type = _media_type(content_type)
    if media_type.startswith(_BATCH):
        events = _batch(request.body, media_type)
        told = [
            _in(f"event {number} of {len(events)}", _structured, event, rule, now)
            for number, event in enumerate(events, 1)
        ]
        remarks = dict.fromkeys(remark for one in told for remark in one.remarks)
        return Understood(tuple(fact for one in told for fact in one.contacts), tuple(remarks))
    if media_type.startswith(_STRUCTURED):
        _require_json_format(media_type, _STRUCTURED)
        return _structured(decode_json(request.body), rule, now)
    return _binary(request, content_type, rule=rule, now=now)


def _batch(body: bytes, media_type: str) -> Sequence[object]:
    _require_json_format(media_type, _BATCH)
    events = decode_json(body)
    if not isinstance(events, list):
        raise InvalidInputError("a batch is an array of events")
    if len(events) > MAX_EVENTS:
        raise InvalidInputError(
            f"more than {MAX_EVENTS} events in one batch: send fewer at once"
        )
    return events


def _in(
    place: str,
    read: Callable[[object, SourceRule, datetime], Understood],
    event: object,
    rule: SourceRule,
    now: datetime,
) -> Understood:
    try:
        return read(event, rule, now)
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error.detail}") from None


def _structured(event: object, rule: SourceRule, now: datetime) -> Understood:
    if not isinstance(event, dict):
        raise InvalidInputError("an event is a JSON object")
    attributes = {
        name: value for name, value in event.items() if name not in ("data", "data_base64")
    }
    _require_attributes(attributes)
    _require_json_data(attributes.get("datacontenttype") or "application/json")
    if ("data" in event) == ("data_base64" in event):
        raise InvalidInputError(
            "an event has either data or data_base64, and the contact in it"
        )
    data = event.get("data")
    if "data_base64" in event:
        data = decode_json(_from_base64(event["data_base64"]))
    return read_contact(data, region=rule.region, now=now)[1]


def _binary(
    request: ReceivedRequest, content_type: str, *, rule: SourceRule, now: datetime
) -> Understood:
    attributes: dict[str, object] = {}
    for name, value in request.headers:
        if name.startswith(_PREFIX):
            attribute = name.removeprefix(_PREFIX)
            if attribute in attributes:
                raise InvalidInputError("a ce- header is there twice")
            attributes[attribute] = decode_header(value)
    if not attributes:
        raise InvalidInputError(
            "no CloudEvent: neither ce- headers nor Content-Type application/cloudevents+json"
        )
    if attributes.pop("datacontenttype", content_type) != content_type:
        raise InvalidInputError("ce-datacontenttype is not the Content-Type")
    _require_attributes(attributes)
    _require_json_data(content_type)
    return read_contact(decode_json(request.body), region=rule.region, now=now)[1]


def decode_header(value: str) -> str:
    """Return the text of an attribute in a header (HTTP protocol binding, section 3.1.3.2).

    A quoted text is unquoted first, and percent-decoding is done once. Older senders send UTF-8 and % as they are,
    which is read as they mean it.

    Raises:
        InvalidInputError: What it encodes is not UTF-8.
    """
    quoted = _QUOTED.fullmatch(value.strip())
    text = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL) if quoted else value.strip()
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidInputError("a ce- header is not UTF-8") from None


def _require_attributes(attributes: Mapping[str, object]) -> None:
    """Return when these are the attributes of an event (CloudEvents 1.0.2, "Context Attributes")."""
    if any(not _NAME.fullmatch(name) for name in attributes):
        raise InvalidInputError("an attribute's name has other than small letters and digits")
    for name in _REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value or len(value) > MAX_IDENTIFIER_CHARACTERS:
            raise InvalidInputError(
                f"the attribute {name} is a text of 1 to {MAX_IDENTIFIER_CHARACTERS} characters"
            )
    if attributes["specversion"] != _VERSION:
        raise InvalidInputError(f"specversion is {_VERSION}, and no other is known")
    time = attributes.get("time")
    if time is not None:
        try:
            parse_rfc3339(str(time))
        except ValueError:
            raise InvalidInputError("the attribute time is not an RFC 3339 time") from None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _require_json_format(media_type: str, prefix: str) -> None:
    if media_type != f"{prefix}+json":
        raise InvalidInputError(f"events are understood as {prefix}+json alone")


def _require_json_data(content_type: object) -> None:
    if not isinstance(content_type, str) or not _JSON.fullmatch(_media_type(content_type)):
        raise InvalidInputError("the data of an event is the contact as JSON: application/json")


def _from_base64(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError("data_base64 is not base64") from None
