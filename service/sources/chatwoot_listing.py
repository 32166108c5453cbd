"""Chatwoot's listing: conversations and their messages, as its REST interface tells them when it is asked.

What is asked for (Chatwoot's "Application APIs"): the conversations of an account, newest activity first, 25 a page,
and the messages of each, 20 a page, those before one of them with ``before``. Types are numbers there and times seconds
of the epoch. A message does not tell when it was edited: what is told is how it was when it was listed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from service.domain.contact import ContactFacts
from service.domain.errors import InvalidInputError
from service.sources.chatwoot import (
    Json,
    read_object,
    read_time,
    understand_message,
)
from service.sources.events import SourceRule, Understood
from service.sources.strict_json import decode_json

MOST_TOGETHER: Final = 100
"""So many messages are kept as one delivery at the most."""
_TOGETHER_BYTES: Final = 512 * 1024
# What of a message makes it another one; addresses of files and pictures are made anew each time it is listed.
_COMPARED: Final = (
    "id",
    "content",
    "message_type",
    "private",
    "created_at",
    "content_attributes",
)
# What of a conversation changes with every look, and is told of its messages.
_LEFT_OUT: Final = frozenset({"messages", "last_non_activity_message"})


@dataclass(frozen=True, slots=True)
class ListedConversation:
    """A conversation of the listing; ``told`` is what it says of it but for its messages."""

    ident: str
    active_at: datetime
    told: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """A message of a conversation; ``number`` is that by which those before it are asked for."""

    number: int
    sent_at: datetime
    told: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """Messages of a conversation as one delivery. ``compared`` stays the same while they do."""

    body: bytes = field(repr=False)
    compared: bytes = field(repr=False)
    messages: int

    @property
    def ident(self) -> str:
        """What identifies the delivery."""
        return hashlib.sha256(self.compared).hexdigest()


def read_conversations(body: bytes) -> tuple[ListedConversation, ...]:
    """Return the conversations of a page, in its order.

    Raises:
        InvalidInputError: It is no such page; the detail repeats nothing of it.
    """
    data = read_object(read_object(_page(body), "the listing").get("data"), "its data")
    return tuple(
        ListedConversation(
            ident=str(_number(one)),
            active_at=_at(one, "last_activity_at"),
            told={name: value for name, value in one.items() if name not in _LEFT_OUT},
        )
        for one in _payload(data)
    )


def read_messages(body: bytes) -> tuple[ListedMessage, ...]:
    """Return the messages of a page, oldest first.

    Raises:
        InvalidInputError: It is no such page; the detail repeats nothing of it.
    """
    told = _payload(read_object(_page(body), "the messages"))
    found = [ListedMessage(_number(one), _at(one, "created_at"), one) for one in told]
    return tuple(sorted(found, key=lambda one: one.number))


def deliveries_of(
    conversation: ListedConversation,
    messages: Sequence[ListedMessage],
    *,
    rule: SourceRule,
    timezone: ZoneInfo,
    now: datetime,
) -> Iterator[ListedDelivery]:
    """Yield the messages as deliveries: those of each day of ``timezone`` apart, so that the same come to the same.

    One that cannot be understood is a delivery of its own, so that it is in the way of no other.
    """
    together: list[ListedMessage] = []
    size, day = 0, None
    for message in sorted(messages, key=lambda one: one.number):
        sent_on = message.sent_at.astimezone(timezone).date()
        is_full = len(together) >= MOST_TOGETHER or size >= _TOGETHER_BYTES
        if together and (is_full or sent_on != day):
            yield _delivery(conversation, together)
            together, size = [], 0
        day = sent_on
        if _facts(conversation, message, rule=rule, now=now) is None:
            yield _delivery(conversation, [message])
            continue
        together.append(message)
        size += len(json.dumps(message.told))
    if together:
        yield _delivery(conversation, together)


def statement_of(
    conversation: ListedConversation,
    messages: Sequence[ListedMessage],
    *,
    rule: SourceRule,
    now: datetime,
) -> ContactFacts | None:
    """Return what a statement says of a conversation all of whose ``messages`` are known.

    None while nobody but the company among its own, or Chatwoot itself, has written.
    """
    for message in sorted(messages, key=lambda one: (one.sent_at, one.number)):
        for facts in _facts(conversation, message, rule=rule, now=now) or ():
            if facts.direction is not None:
                return ContactFacts(
                    source_id=facts.source_id,
                    channel=facts.channel,
                    direction=facts.direction,
                    started_at=facts.started_at,
                    parties=facts.parties,
                    is_stated=True,
                )
    return None


def understand_listed(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what was listed: messages of a conversation, each as a webhook tells it.

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    told = read_object(decode_json(body), "the body")
    conversation = read_object(told.get("conversation"), "conversation")
    found = [
        _understand(conversation, read_object(one, "a message"), rule=rule, now=now)
        for one in _payload(told)
    ]
    return Understood(
        tuple(facts for one in found for facts in one.contacts),
        tuple(dict.fromkeys(remark for one in found for remark in one.remarks)),
    )


def _facts(
    conversation: ListedConversation,
    message: ListedMessage,
    *,
    rule: SourceRule,
    now: datetime,
) -> tuple[ContactFacts, ...] | None:
    """Return what a message tells; None where it is not understood, as a delivery of its own will say."""
    try:
        body = _delivery(conversation, [message]).body
        return understand_listed(body, rule, now).contacts
    except InvalidInputError:
        return None


def _understand(
    conversation: Json, message: Json, *, rule: SourceRule, now: datetime
) -> Understood:
    meta = conversation.get("meta")
    channel = meta.get("channel") if isinstance(meta, Mapping) else None
    told = {**message, "conversation": {"channel": channel, **conversation}}
    # It may have been edited before it was listed, and the edit not told.
    return understand_message(told, rule=rule, now=now, seen_at=now, is_anew=True)


def _delivery(
    conversation: ListedConversation, messages: Sequence[ListedMessage]
) -> ListedDelivery:
    told = [one.told for one in messages]
    compared = [[one.get(name) for name in _COMPARED] + [_files(one)] for one in told]
    return ListedDelivery(
        body=json.dumps({"conversation": conversation.told, "payload": told}).encode(),
        compared=json.dumps([conversation.ident, compared], sort_keys=True).encode(),
        messages=len(messages),
    )


def _files(message: Json) -> list[object]:
    attachments = message.get("attachments")
    listed = attachments if isinstance(attachments, list) else ()
    return [one.get("id") for one in listed if isinstance(one, Mapping)]


def _page(body: bytes) -> object:
    """Return the JSON of a page. It is read strictly message by message: one that is odd hides no other.

    Raises:
        InvalidInputError: It is no JSON.
    """
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        # The chain is cut: it carries the whole page.
        raise InvalidInputError("it is no JSON") from None
    return value


def _payload(told: Json) -> Sequence[Json]:
    payload = told.get("payload")
    if not isinstance(payload, list):
        raise InvalidInputError("payload is no list")
    return [read_object(one, "one of payload") for one in payload]


def _number(message: Json) -> int:
    number = message.get("id")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InvalidInputError("an id is no number")
    return number


def _at(told: Json, name: str) -> datetime:
    at = read_time(told.get(name))
    if at is None:
        raise InvalidInputError(f"{name} is missing, or no time")
    return at
