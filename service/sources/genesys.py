"""Genesys Cloud: what a bulk export says of each recording. The recordings of one conversation are one contact.

A file of metadata is a JSON object with ``conversationId``, ``recordingId``, ``mediaType``, ``initialDirection``,
``startTime``, ``endTime``, ``userIds`` and more (Genesys Cloud Resource Center, "Work with exported recordings in AWS
S3 bucket"). Names are compared without regard to capitals; those that an export calls otherwise are named in the
settings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from service.domain.contact import (
    EXPECTED,
    MAX_PARTIES,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.errors import InvalidInputError
from service.domain.identifiers import EmailAddress, require_plain
from service.domain.times import parse_rfc3339
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import decode_request
from service.sources.strict_json import decode_json
from service.sources.telephony import Number, decide_direction, read_number

NAMES: Final = MappingProxyType(
    {
        "conversation": "conversationid",
        "media": "mediatype",
        "direction": "initialdirection",
        "started_at": "starttime",
        "ended_at": "endtime",
        "caller": "ani",
        "dialled": "dnis",
        "agents": "userids",
        "queues": "queueids",
    }
)
"""What is read of the metadata, and what Genesys Cloud calls it, in small letters."""

_CHANNELS: Final[Mapping[str, Channel | None]] = {
    "call": Channel.CALL,
    "callback": Channel.CALL,
    "chat": Channel.CHAT,
    "message": Channel.CHAT,
    "email": Channel.EMAIL,
    # A picture of an agent's screen belongs to a conversation, and does not tell of which kind that is.
    "screen": None,
}
_CALLS: Final = frozenset(name for name, one in _CHANNELS.items() if one is Channel.CALL)
_DIRECTIONS: Final = {"inbound": Direction.INBOUND, "outbound": Direction.OUTBOUND}
_IDENT: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OFFSET: Final = re.compile(r"([+-]\d\d)(\d\d)$", re.ASCII)
_MARK: Final = b"\xef\xbb\xbf"


def understand_genesys(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a file of metadata tells: a part of the contact that its conversation is.

    Raises:
        InvalidInputError: It is none, PGP encrypted it, or it lies in the folder of another conversation.
    """
    request = decode_request(body)
    place = dict(parse_qsl(request.query))
    if "encrypted" in place:
        raise InvalidInputError(
            "encrypted with PGP: it cannot be opened here; export it plainly"
        )
    told = _Told(request.body, rule.names)
    conversation = _conversation(told, place.get("conversation", ""))
    facts = _facts(told, conversation, rule)
    times = [at for at in (facts.started_at, facts.ended_at) if at]
    is_odd = any(not is_plausible(at, now=now) for at in times)
    return Understood((facts,), (TIME_OUT_OF_WINDOW,) if is_odd else ())


class _Told:
    """The metadata of one recording, by our names."""

    def __init__(self, text: bytes, names: Sequence[tuple[str, str]]) -> None:
        value = decode_json(text.removeprefix(_MARK))
        if not isinstance(value, dict):
            raise InvalidInputError("the metadata are no JSON object")
        self._names = {**NAMES, **{ours: theirs.lower() for ours, theirs in names}}
        self._values: dict[str, object] = {}
        for name, one in value.items():
            if name.lower() in self._values:
                raise InvalidInputError("a name appears twice in the metadata")
            self._values[name.lower()] = one

    def text(self, name: str) -> str:
        """Return a text; nothing where it is not told.

        Raises:
            InvalidInputError: It is no text.
        """
        value = self._values.get(self._names[name])
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidInputError(f"{self._names[name]} is no text")
        return value.strip()

    def texts(self, name: str) -> Sequence[str]:
        """Return a list of texts, each once; an empty one where it is not told.

        Raises:
            InvalidInputError: It is no list of texts.
        """
        value = self._values.get(self._names[name])
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InvalidInputError(f"{self._names[name]} is no list of texts")
        return tuple(dict.fromkeys(one for one in value if one))


def _conversation(told: _Told, folder: str) -> str:
    """Return the conversation that the metadata tell, or else the folder in which they lay."""
    told_of = told.text("conversation").lower() or folder
    if not _IDENT.fullmatch(told_of):
        raise InvalidInputError("the metadata tell no conversation")
    if folder and folder != told_of:
        raise InvalidInputError("the metadata lie in the folder of another conversation")
    return told_of


def _facts(told: _Told, conversation: str, rule: SourceRule) -> ContactFacts:
    media = told.text("media").lower()
    if media not in _CHANNELS:
        known = ", ".join(_CHANNELS)
        raise InvalidInputError(f"mediaType is none of {known}")
    channel = _CHANNELS[media]
    caller, dialled = (read_number(told.text(name), rule) for name in ("caller", "dialled"))
    direction = _DIRECTIONS.get(told.text("direction").lower())
    if direction is None and channel is Channel.CALL:
        direction = decide_direction(caller, dialled)
    queues = told.texts("queues")
    parties = [*_outside(told, caller, dialled, direction), *_agents(told)]
    return ContactFacts(
        source_id=conversation,
        channel=channel,
        direction=direction if channel else None,
        started_at=_time(told, "started_at"),
        ended_at=_time(told, "ended_at"),
        queue=require_plain(queues[0], what="queue") if queues else None,
        parties=tuple(parties[:MAX_PARTIES]),
        recording=EXPECTED if channel is Channel.CALL else None,
        is_part=True,
    )


def _outside(
    told: _Told, caller: Number, dialled: Number, direction: Direction | None
) -> Iterator[Party]:
    """Yield the customer, and the number of the company that was dialled, where it is a telephone number."""
    is_outbound = direction is Direction.OUTBOUND
    customer, company = (dialled, caller) if is_outbound else (caller, dialled)
    address = told.text("dialled" if is_outbound else "caller")
    email = _address(address)
    if email is not None:
        yield Party(role=PartyRole.CUSTOMER, email=email)
    elif customer.phone is not None:
        yield Party(role=PartyRole.CUSTOMER, phone=customer.phone)
    elif customer.as_sent is not None and told.text("media").lower() in _CALLS:
        yield Party(role=PartyRole.CUSTOMER, phone_as_sent=customer.as_sent)
    if company.phone is not None:
        yield Party(role=PartyRole.OTHER, phone=company.phone)


def _address(text: str) -> str | None:
    """Return the address of a mail; None for telephones, also where they are SIP addresses."""
    try:
        return None if ":" in text else EmailAddress.parse(text).address
    except InvalidInputError:
        return None


def _agents(told: _Told) -> Iterator[Party]:
    for user in told.texts("agents"):
        yield Party(role=PartyRole.AGENT, agent_id=require_plain(user, what="agent_id"))


def _time(told: _Told, name: str) -> datetime | None:
    """Return a time of RFC 3339, also where the colon of its offset is missing; None where it is not told."""
    text = told.text(name)
    if not text:
        return None
    try:
        return parse_rfc3339(_OFFSET.sub(r"\1:\2", text))
    except ValueError as error:
        raise InvalidInputError(f"{NAMES[name]}: {error}") from None
