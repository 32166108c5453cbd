"""Chatwoot: the messages of its conversations, as its webhooks tell of them (Chatwoot documentation, "Webhooks").

What its listing tells of them is understood in `service.sources.chatwoot_listing`, by the same rules.

A conversation is one contact, of which each message is a part; they come in any order and more than once. Numbers and
names of types are written in two ways, depending on where in a webhook they stand.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from service.domain.contact import (
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
from service.domain.identifiers import EmailAddress, PhoneNumber, require_plain
from service.domain.times import parse_rfc3339
from service.domain.urls import MAX_URL_CHARACTERS
from service.sources.chat import (
    LEFT_OUT,
    MAX_FILES,
    file_name,
    is_text_file,
    plain_name,
    readable,
)
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import ReceivedRequest, decode_request
from service.sources.strict_json import decode_json

Json = Mapping[str, object]

_TOLD: Final = frozenset({"message_created", "message_updated"})
_DIRECTIONS: Final = {
    "incoming": Direction.INBOUND,
    "outgoing": Direction.OUTBOUND,
    "template": Direction.OUTBOUND,
    0: Direction.INBOUND,
    1: Direction.OUTBOUND,
    3: Direction.OUTBOUND,
}
_ACTIVITY: Final = ("activity", 2)
_RESOLVED: Final = "resolved"
_MAIL: Final = "Channel::Email"
_ROLES: Final = {"contact": PartyRole.CUSTOMER, "user": PartyRole.AGENT}
_NOBODY: Final = {PartyRole.CUSTOMER: PartyRole.CUSTOMER.value, PartyRole.AGENT: "Chatwoot"}
"""Who wrote what Chatwoot names no sender of; on the company's side it is a bot or a greeting."""
_UTC_TEXT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) UTC", re.ASCII
)
_LAST_SECOND: Final = 253_402_300_799


def understand_chatwoot(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a webhook tells: a message, a later version of one, or that its conversation is over.

    Events of other kinds tell nothing that is archived, nor do Chatwoot's own lines of what happened ("activity").

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    request = decode_request(body)
    told = read_object(decode_json(request.body), "the body")
    event = told.get("event")
    if not isinstance(event, str):
        raise InvalidInputError("event is missing")
    _require_account(told, rule)
    if event in _TOLD:
        seen_at = _signed_at(request) or now
        is_anew = event == "message_updated"
        return understand_message(told, rule=rule, now=now, seen_at=seen_at, is_anew=is_anew)
    if event == "conversation_status_changed" and told.get("status") == _RESOLVED:
        ended_at = read_time(told.get("updated_at")) or _signed_at(request) or now
        return Understood(
            (
                ContactFacts(
                    source_id=read_ident(told.get("id"), "id"), ended_at=ended_at, is_part=True
                ),
            )
        )
    return Understood(())


def _require_account(told: Json, rule: SourceRule) -> None:
    """Conversations are numbered within an account: those of two would be one contact.

    Raises:
        InvalidInputError: It is told of another account than the source's.
    """
    account = told.get("account")
    ident = account.get("id") if isinstance(account, Mapping) else None
    if rule.account and ident is not None and ident != rule.account:
        raise InvalidInputError(
            "account.id is another than listing_account: let each account have a source of its own"
        )


def understand_message(
    told: Json, *, rule: SourceRule, now: datetime, seen_at: datetime, is_anew: bool
) -> Understood:
    """Return what is told of one message, with its ``conversation``; ``seen_at`` is when it was as it is told.

    With ``is_anew`` it may be a later version of what was told before.

    Raises:
        InvalidInputError: It cannot be read; the detail says what is missing.
    """
    kind = told.get("message_type")
    if kind in _ACTIVITY:
        return Understood(())
    direction = _DIRECTIONS.get(kind) if isinstance(kind, str | int) else None
    if direction is None:
        raise InvalidInputError("message_type is none that is known")
    conversation = read_object(told.get("conversation"), "conversation")
    sent_at = read_time(told.get("created_at"))
    if sent_at is None:
        raise InvalidInputError("created_at is missing, or no time")
    customer = _customer(told, conversation, direction, region=rule.region)
    sender = _sender(told, direction, region=rule.region)
    is_inbound = direction is Direction.INBOUND
    message = _version(
        told,
        customer if is_inbound else sender,
        sent_at,
        writer=PartyRole.CUSTOMER if is_inbound else PartyRole.AGENT,
        seen_at=seen_at,
        is_anew=is_anew,
    )
    is_internal = told.get("private") is True
    # A note among the company's own begins no conversation; it stands in the one that there is.
    files = () if message.change else _files(told, message)
    facts = ContactFacts(
        source_id=read_ident(conversation.get("id"), "conversation.id"),
        channel=Channel.EMAIL if conversation.get("channel") == _MAIL else Channel.CHAT,
        direction=None if is_internal else direction,
        started_at=sent_at,
        ended_at=sent_at,
        queue=_inbox(told),
        parties=tuple(one for one in (customer, sender) if one is not None),
        messages=(message,),
        recordings=files[:MAX_FILES],
        is_part=True,
    )
    times = (sent_at, message.changed_at or sent_at)
    is_odd = any(not is_plausible(at, now=now) for at in times)
    remarks = (
        *([TIME_OUT_OF_WINDOW] if is_odd else []),
        *([LEFT_OUT] if len(files) > MAX_FILES else []),
    )
    return Understood((facts,), remarks)


def _version(
    told: Json,
    sender: Party | None,
    sent_at: datetime,
    *,
    writer: PartyRole,
    seen_at: datetime,
    is_anew: bool,
) -> MessageText:
    attributes = told.get("content_attributes")
    attributes = attributes if isinstance(attributes, Mapping) else {}
    is_deleted = attributes.get("deleted") is True
    changed_at = read_time(told.get("updated_at")) or seen_at
    return MessageText(
        sender=_name(sender) if sender else _NOBODY[writer],
        sent_at=sent_at,
        # Where it was deleted, Chatwoot writes words of its own in the place of the customer's.
        text="" if is_deleted else _text(told, attributes),
        ident=read_ident(told.get("id"), "id"),
        change=MessageChange.DELETED if is_deleted else None,
        changed_at=changed_at if is_anew or is_deleted else None,
        is_internal=told.get("private") is True,
        writer=writer,
    )


def _text(told: Json, attributes: Json) -> str:
    """Return the text, and below it what the customer filled in, where it was a form."""
    content = told.get("content")
    lines = [readable(content)] if isinstance(content, str) and content else []
    filled = attributes.get("submitted_values")
    for one in filled if isinstance(filled, Sequence) and not isinstance(filled, str) else ():
        if isinstance(one, Mapping):
            name, value = one.get("name") or one.get("title"), one.get("value")
            lines.append(readable(f"{name}: {value}"))
    return "\n".join(lines)


def _customer(
    told: Json, conversation: Json, direction: Direction, *, region: str
) -> Party | None:
    meta = conversation.get("meta")
    known = meta.get("sender") if isinstance(meta, Mapping) else None
    sender = told.get("sender") if direction is Direction.INBOUND else None
    for one in (known, sender):
        if isinstance(one, Mapping):
            party = _party(PartyRole.CUSTOMER, one, region=region)
            if party is not None:
                return party
    return None


def _sender(told: Json, direction: Direction, *, region: str) -> Party | None:
    """Return who of the company wrote; None for the customer, and for nobody."""
    sender = told.get("sender")
    if direction is Direction.INBOUND or not isinstance(sender, Mapping):
        return None
    role = _ROLES.get(str(sender.get("type")), PartyRole.AGENT)
    return _party(role, sender, region=region) if role is not PartyRole.CUSTOMER else None


def _party(role: PartyRole, told: Json, *, region: str) -> Party | None:
    name = _plain(told.get("name")) or None
    is_agent = role is PartyRole.AGENT
    ident = told.get("id")
    party = Party(
        role=role,
        name=name,
        email=_email(told.get("email")),
        phone=None if is_agent else _phone(told.get("phone_number"), region=region),
        agent_id=str(ident) if is_agent and isinstance(ident, int) else None,
    )
    return None if party == Party(role=role) else party


def _name(party: Party) -> str:
    return party.name or party.email or party.phone or party.agent_id or party.role.value


def _files(told: Json, message: MessageText) -> tuple[AnnouncedRecording, ...]:
    """Return what was sent with the message; its addresses expire, and so it is fetched at once."""
    attachments = told.get("attachments")
    found = {}
    for place, one in enumerate(attachments if isinstance(attachments, list) else (), 1):
        url = one.get("data_url") if isinstance(one, Mapping) else None
        if (
            isinstance(one, Mapping)
            and isinstance(url, str)
            and 0 < len(url) <= MAX_URL_CHARACTERS
        ):
            stem = f"{message.ident}-{_number(one, place)}"
            name = file_name(stem, one.get("extension"), url)
            found[url] = AnnouncedRecording(
                name=name,
                url=url,
                is_internal=message.is_internal,
                is_text=is_text_file(name),
            )
    return tuple({one.name: one for one in found.values()}.values())


def _number(attachment: Json, place: int) -> str:
    """Return what tells a file of a message from the others: its number, or else its place among them."""
    ident = attachment.get("id")
    return str(ident) if isinstance(ident, int) else f"file{place}"


def _inbox(told: Json) -> str | None:
    inbox = told.get("inbox")
    return (_plain(inbox.get("name")) or None) if isinstance(inbox, Mapping) else None


def read_ident(value: object, what: str) -> str:
    """Return a number of Chatwoot's, or what stands for one, as text; ``what`` names it in the error.

    Raises:
        InvalidInputError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise InvalidInputError(f"{what} is missing")
    return require_plain(str(value), what=what)


def read_object(value: object, what: str) -> Json:
    """Return a JSON object; ``what`` names it in the error.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"{what} is no JSON object")
    return value


def _plain(value: object) -> str:
    return plain_name(value) if isinstance(value, str) else ""


def _email(value: object) -> str | None:
    try:
        return EmailAddress.parse(value).address if isinstance(value, str) and value else None
    except InvalidInputError:
        return None


def _phone(value: object, *, region: str) -> str | None:
    try:
        return (
            PhoneNumber.parse(value, region=region).e164
            if isinstance(value, str) and value
            else None
        )
    except InvalidInputError:
        return None


def _signed_at(request: ReceivedRequest) -> datetime | None:
    stamp = request.header("x-chatwoot-timestamp")
    return read_time(int(stamp)) if re.fullmatch(r"[0-9]{10}", stamp, re.ASCII) else None


def read_time(value: object) -> datetime | None:
    """Return a time in any of the ways in which Chatwoot writes one; None where there is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC) if 0 < value <= _LAST_SECOND else None
    if not isinstance(value, str):
        return None
    old = _UTC_TEXT.fullmatch(value)
    try:
        return parse_rfc3339(f"{old[1]}T{old[2]}Z" if old else value)
    except ValueError:
        return None
