"""A field map: how the JSON of a system with a shape of its own tells what the archive's contact JSON tells.

One rule for each field, as a line of text: where the value stands (a JSON Pointer, RFC 6901), perhaps with what its
values mean here, or a constant. There are no expressions and no templates.

```
source_id        /call/id
channel          = call
direction        /call/dir | in = inbound | out = outbound
customer.phone   /call/from
```
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self

from service.domain.errors import InvalidInputError
from service.domain.times import format_time, from_microseconds, resolve_local
from service.sources.events import Adapter, SourceRule, Understood
from service.sources.generic import MAX_MESSAGES, parse_contact
from service.sources.json_pointer import ABSENT, JsonPointer
from service.sources.strict_json import decode_json

MAX_RULE_CHARACTERS: Final = 1_000
MAX_VALUES: Final = 50
_MAX_TEXT: Final = 1 << 20

_TIMES: Final = ("started_at", "ended_at")
_SCALARS: Final = (
    "source_id",
    "channel",
    "direction",
    *_TIMES,
    "queue",
    "subject",
    "customer_number",
    "metering_point",
    "notice",
    "notice_version",
    "recording",
    "not_recorded_reason",
)
_PARTIES: Final = (
    "customer.phone",
    "customer.email",
    "customer.name",
    "agent.agent_id",
    "agent.name",
    "agent.phone",
    "agent.email",
    "other.phone",
    "other.email",
    "other.name",
)
_RECORDING: Final = ("recording.name", "recording.url", "recording.content_type")
_MESSAGES: Final = ("messages", "messages.from", "messages.at", "messages.text")
FIELDS: Final = (*_SCALARS, *_PARTIES, *_RECORDING, *_MESSAGES)
"""Every field that can be mapped. ``messages`` is an array, in whose members the other three are looked for."""

REQUIRED: Final = ("source_id", "channel", "direction", "started_at")
"""What every contact begins with."""

_ANY: Final = "*"
_LOCAL: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T]([0-2]\d:[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?)", re.ASCII
)
# From here on a number counts milliseconds: in seconds it would be the year 5138.
_MILLISECONDS: Final = 100_000_000_000
_LAST_SECOND: Final = 253_402_300_799
_PROBE: Final[Mapping[str, object]] = MappingProxyType(
    {
        "source_id": "probe",
        "channel": "call",
        "direction": "inbound",
        "started_at": "0001-01-01T00:00:00Z",
        "parties": [],
    }
)


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where one field comes from: a place, with the meanings of what stands there, or a constant."""

    pointer: JsonPointer | None
    constant: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule that ``text`` writes.

        Raises:
            InvalidInputError: It is none; the detail says what is wrong.
        """
        if len(text) > MAX_RULE_CHARACTERS or not text.isprintable():
            raise InvalidInputError(
                f"a rule is one line of at most {MAX_RULE_CHARACTERS} characters"
            )
        plain = text.strip()
        if plain.startswith("="):
            return cls(None, plain.removeprefix("=").strip())
        place, *meanings = plain.split(" | ")
        if len(meanings) > MAX_VALUES:
            raise InvalidInputError(f"a rule knows at most {MAX_VALUES} values")
        values: dict[str, str] = {}
        for meaning in meanings:
            sent, equals, meant = meaning.partition("=")
            if not equals or sent.strip() in values:
                raise InvalidInputError("after | stands a value = its meaning, each value once")
            values[sent.strip()] = meant.strip()
        return cls(JsonPointer.parse(place.strip()), values=MappingProxyType(values))

    def find(self, document: object) -> object:
        """Return what the rule finds in ``document``; None where that tells nothing.

        Raises:
            InvalidInputError: What stands there has no meaning here.
        """
        if self.pointer is None:
            return self.constant
        value = self.pointer.find(document)
        if value is ABSENT or value is None:
            return None
        if not self.values:
            return value
        sent = value if isinstance(value, str) else json.dumps(value)
        meant = self.values.get(sent, self.values.get(_ANY))
        if meant is None:
            raise InvalidInputError("the value that stands there has no meaning in the rule")
        return meant or None


@dataclass(frozen=True, slots=True)
class MappedField:
    """What a rule made of a document: the value as the contact JSON has it, None where it is not told."""

    name: str
    value: object = None
    error: str | None = None

    @property
    def told(self) -> str:
        """What is wrong, with the name of the field in front."""
        error = self.error or ""
        return error if error.startswith(self.name) else f"{self.name}: {error}"


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The rules of a source, by the field that each is for."""

    rules: Mapping[str, FieldRule]

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Self:
        """Return the map that ``texts`` writes, a rule for each field; empty texts are no rules.

        Raises:
            InvalidInputError: A field is unknown, a rule is none, or the map says nothing of what every contact needs.
        """
        rules: dict[str, FieldRule] = {}
        for name, text in texts.items():
            if name not in FIELDS:
                raise InvalidInputError("there is no such field in a contact")
            if not text.strip():
                continue
            try:
                rules[name] = FieldRule.parse(text)
            except InvalidInputError as error:
                raise InvalidInputError(f"{name}: {error.detail}") from None
        missing = [name for name in REQUIRED if name not in rules]
        if missing:
            raise InvalidInputError(f"there is no rule for {', '.join(missing)}")
        for group, wanted in ((_MESSAGES, _MESSAGES), (_RECORDING, _RECORDING[:2])):
            if rules.keys() & set(group) and not set(wanted) <= rules.keys():
                raise InvalidInputError(f"{', '.join(wanted)} go together")
        return cls(MappingProxyType(rules))

    def apply(self, document: object, rule: SourceRule) -> tuple[MappedField, ...]:
        """Return what each rule makes of ``document``, in the order of ``FIELDS``."""
        return tuple(self._field(name, document, rule) for name in FIELDS if name in self.rules)

    def adapter(self) -> Adapter:
        """Return the adapter of a source with this map."""

        def understand(body: bytes, rule: SourceRule, now: datetime) -> Understood:
            mapped = self.apply(decode_json(body), rule)
            wrong = [one.told for one in mapped if one.error]
            if wrong:
                raise InvalidInputError("; ".join(wrong))
            return contact_from(mapped, rule, now)

        return understand

    def _field(self, name: str, document: object, rule: SourceRule) -> MappedField:
        if name in _MESSAGES[1:]:
            # They are looked for in each member of the array, with it.
            return MappedField(name)
        try:
            found = self.rules[name].find(document)
            if name == "messages":
                return MappedField(name, self._messages(found, rule))
            value = _text(name, found, rule)
            if value is None and name in REQUIRED:
                return MappedField(name, error="nothing stands there")
            if value is not None:
                _probe(name, value, rule)
        except InvalidInputError as error:
            return MappedField(name, error=error.detail)
        return MappedField(name, value)

    def _messages(self, found: object, rule: SourceRule) -> list[dict[str, object]] | None:
        if found is None:
            return None
        if not isinstance(found, list) or len(found) > MAX_MESSAGES:
            raise InvalidInputError(f"not an array of at most {MAX_MESSAGES} messages")
        messages: list[dict[str, object]] = []
        for one in found:
            told = {
                part: _text(f"messages.{part}", self.rules[f"messages.{part}"].find(one), rule)
                for part in ("from", "at", "text")
            }
            if None in told.values():
                raise InvalidInputError("a message lacks who sent it, when, or its text")
            messages.append(dict(told))
        return messages


def contact_from(
    mapped: tuple[MappedField, ...], rule: SourceRule, now: datetime
) -> Understood:
    """Return the contact that the fields tell.

    Raises:
        InvalidInputError: They do not make one; the detail names the field.
    """
    body = json.dumps(_document({one.name: one.value for one in mapped})).encode()
    _, understood = parse_contact(body, region=rule.region, now=now)
    return understood


def _probe(name: str, value: object, rule: SourceRule) -> None:
    """Return when ``value`` is one that the field may have, whatever the others are.

    Raises:
        InvalidInputError: It is not.
    """
    fields = {name: value}
    if name in _RECORDING:
        fields = {"recording.name": "probe", "recording.url": "https://example.org/", **fields}
    body = json.dumps({**_PROBE, **_document(fields)}).encode()
    # No time is out of its window here: that is remarked upon, and no error.
    parse_contact(body, region=rule.region, now=from_microseconds(0))


def _document(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the contact JSON of ``fields`` that tell something."""
    told = {name: value for name, value in fields.items() if value is not None}
    document: dict[str, object] = {name: told[name] for name in _SCALARS if name in told}
    document["parties"] = list(_parties(told))
    recording = {name.partition(".")[2]: told[name] for name in _RECORDING if name in told}
    if "url" in recording:
        document["recordings"] = [recording]
    if "messages" in told:
        document["messages"] = told["messages"]
    return document


def _parties(told: Mapping[str, object]) -> Iterator[dict[str, object]]:
    for role in ("customer", "agent", "other"):
        known = {
            name.partition(".")[2]: told[name]
            for name in _PARTIES
            if name.startswith(f"{role}.") and name in told
        }
        if known:
            yield {"role": role, **known}


def _text(name: str, value: object, rule: SourceRule) -> str | None:
    """Return ``value`` as the text that the contact JSON has; an empty one tells nothing.

    Raises:
        InvalidInputError: It is an object, an array, or a time that cannot be read.
    """
    if value is None or value == "":
        return None
    if isinstance(value, dict | list):
        raise InvalidInputError("an object or an array stands there, and no value")
    if name in _TIMES or name == "messages.at":
        return _time(value, rule)
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > _MAX_TEXT:
        raise InvalidInputError("the text is too long")
    return text


def _time(value: object, rule: SourceRule) -> str:
    """Return a time in RFC 3339: Unix times count seconds or milliseconds, local ones are those of the source.

    In the hour that an autumn night has twice, the first is taken.

    Raises:
        InvalidInputError: It is a number that is no time.
    """
    if isinstance(value, bool):
        raise InvalidInputError("true and false are no times")
    text = str(value)
    if re.fullmatch(r"[0-9]{1,13}(\.[0-9]{1,9})?", text, re.ASCII):
        seconds = float(text)
        seconds = seconds / 1000 if seconds >= _MILLISECONDS else seconds
        if seconds > _LAST_SECOND:
            raise InvalidInputError("the number is no time")
        return format_time(from_microseconds(round(seconds * 1_000_000)))
    local = _LOCAL.fullmatch(text)
    if local is None:
        return text
    try:
        naive = datetime.fromisoformat(f"{local[1]}T{local[2]}")
        at, _ = resolve_local(naive, rule.timezone)
    except ValueError:
        raise InvalidInputError("there is no such time") from None
    return format_time(at)
