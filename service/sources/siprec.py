"""SIPREC: metadata of recorded sessions, as a session recording server (SRS) hands them on (RFC 7865, RFC 7866).

Each document is a part of the contacts of its sessions: the first tells who takes part, later ones who joined, left, or
that it ended. They come in any order, and complete ones repeat what was told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from service.domain.contact import (
    EXPECTED,
    Channel,
    ContactFacts,
    Direction,
    Party,
    PartyRole,
)
from service.domain.times import parse_rfc3339, resolve_local
from service.sources.events import SourceRule, Understood
from service.sources.generic import TIME_OUT_OF_WINDOW, is_plausible
from service.sources.requests import decode_request
from service.sources.siprec_bodies import find_metadata
from service.sources.siprec_session import Participant, Session, read_metadata
from service.sources.siprec_xml import read_tree
from service.sources.telephony import (
    Number,
    Standing,
    decide_direction,
    read_name,
    read_number,
    tidy,
)

_NOBODY: Final = Number(Standing.WITHHELD)
_TWO: Final = 2
_TURNS: Final = {True: 0, None: 1, False: 2}


def understand_siprec(body: bytes, rule: SourceRule, now: datetime) -> Understood:
    """Return what a document tells of its sessions, each of which is a contact.

    Raises:
        InvalidInputError: The delivery is no request, has no metadata in it, or these name no session.
    """
    request = decode_request(body)
    document = find_metadata(request.header("content-type"), request.body)
    metadata = read_metadata(read_tree(document))
    told = [
        _contact(one, rule=rule, now=now, is_partial=metadata.is_partial)
        for one in metadata.sessions
    ]
    has_odd_times = any(is_odd for _, is_odd in told)
    return Understood(
        tuple(facts for facts, _ in told), (TIME_OUT_OF_WINDOW,) if has_odd_times else ()
    )


def _contact(
    session: Session, *, rule: SourceRule, now: datetime, is_partial: bool
) -> tuple[ContactFacts, bool]:
    """Return what is told of a session, and whether it cannot have been when it is said to have been."""
    started_at, ended_at, is_odd = _times(session, rule=rule, now=now, is_partial=is_partial)
    people = _people(session, rule)
    direction = _direction(session, people, is_partial=is_partial)
    facts = ContactFacts(
        source_id=session.ident,
        channel=Channel.CALL,
        direction=direction,
        started_at=started_at,
        ended_at=ended_at,
        parties=tuple(_parties(people, direction)),
        recording=EXPECTED,
        is_part=True,
        aliases=tuple(told for one in session.references if (told := tidy(one))),
    )
    return facts, is_odd


def _times(
    session: Session, *, rule: SourceRule, now: datetime, is_partial: bool
) -> tuple[datetime | None, datetime | None, bool]:
    """Return when a session began and ended, and whether a clock was wrong.

    A client whose clock was never set says 1970. What it says of the length still holds; when it was, the time of
    receipt tells: of the end where one is told, else of the beginning.
    """
    started_at = next(_read(session.starts[:1], rule), None) or min(
        _read(session.starts, rule), default=None
    )
    ended_at = max(_read(session.stops, rule), default=None)
    if started_at is None:
        started_at = None if is_partial else ended_at or now
    told = [at for at in (started_at, ended_at) if at is not None]
    if not all(is_plausible(at, now=now) for at in told):
        return (*_by_receipt(started_at, ended_at, now=now), True)
    if started_at is not None and ended_at is not None and ended_at < started_at:
        return started_at, None, True
    return started_at, ended_at, False


def _by_receipt(
    started_at: datetime | None, ended_at: datetime | None, *, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the times of a session whose clock was wrong at one of them or at both."""
    if ended_at is None:
        return now, None
    if started_at is None:
        return None, now
    if not is_plausible(started_at, now=now) and is_plausible(ended_at, now=now):
        return ended_at, ended_at
    if is_plausible(started_at, now=now):
        return started_at, None
    length = ended_at - started_at
    is_length = length.total_seconds() >= 0 and is_plausible(now - length, now=now)
    return (now - length if is_length else now), now


def _read(texts: Sequence[str], rule: SourceRule) -> Iterator[datetime]:
    """Yield the times that ``texts`` are; those without an offset are of the source's time zone."""
    for text in texts:
        try:
            yield parse_rfc3339(text)
        except ValueError:
            local = _local(text, rule)
            if local is not None:
                yield local


def _local(text: str, rule: SourceRule) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            return resolve_local(at, rule.timezone)[0]
        return parse_rfc3339(at.isoformat())
    except ValueError:
        return None


def _people(session: Session, rule: SourceRule) -> list[tuple[Participant, Number]]:
    """Return who took part with their numbers. Of two, an extension may tell which is the company's own."""
    people = [
        (one, read_number(_address(one), rule)) for one in _in_turn(session.participants, rule)
    ]
    is_told = any(one.is_caller for one, _ in people)
    if session.begun_by_us is None or len(people) != _TWO or not is_told:
        return people
    place = 0 if session.begun_by_us else 1
    ours, number = people[place]
    if number.standing is Standing.OUTSIDE:
        people[place] = (ours, replace(number, standing=Standing.COMPANY))
    return people


def _in_turn(participants: Sequence[Participant], rule: SourceRule) -> list[Participant]:
    """Return them with who called first, then as they joined; those who joined at one time as they were listed."""

    def turn(one: Participant) -> tuple[int, bool, float]:
        at = next(_read((one.joined_at,), rule), None)
        told = _TURNS[one.is_caller]
        return told, at is None, 0.0 if at is None else at.timestamp()

    return sorted(participants, key=turn)


def _address(participant: Participant) -> str:
    """Return the address of somebody as a number is read; a SIP address that is no number keeps its user part."""
    return participant.address.strip().strip("<>").replace("%2B", "+").replace("%2b", "+")


def _direction(
    session: Session, people: Sequence[tuple[Participant, Number]], *, is_partial: bool
) -> Direction | None:
    """Decide who began; None where the document does not tell of both sides.

    Where nothing says who called, whoever joined or is listed first did. A partial document may have left out who.
    """
    if session.begun_by_us is not None:
        return Direction.OUTBOUND if session.begun_by_us else Direction.INBOUND
    is_told = any(one.is_caller for one, _ in people)
    if not people or (is_partial and not (is_told or len(people) >= _TWO)):
        return None
    caller = people[0][1]
    others = [number for _, number in people[1:]]
    dialled = next((one for one in others if one.standing is Standing.COMPANY), None)
    dialled = dialled or next(
        (one for one in others if one.standing is Standing.OUTSIDE),
        others[0] if others else _NOBODY,
    )
    if caller.is_ours and dialled.standing is Standing.COMPANY:
        outside = [one for one in others if one.standing is Standing.OUTSIDE]
        return Direction.OUTBOUND if outside else Direction.INBOUND
    return decide_direction(caller, dialled) or Direction.INBOUND


def _parties(
    people: Sequence[tuple[Participant, Number]], direction: Direction | None
) -> Iterator[Party]:
    """Yield who took part. The customer is the first from outside, where both sides are told.

    Others from outside may be a colleague's mobile telephone or somebody whom the customer brought in.
    """
    has_customer = direction is None
    for one, number in people:
        role = _role(number, has_customer=has_customer)
        has_customer |= role is PartyRole.CUSTOMER
        party = Party(
            role=role,
            phone=number.phone,
            phone_as_sent=number.as_sent if number.phone is None else None,
            name=read_name(one.name, number=number.as_sent or ""),
        )
        yield _known_by_extension(party) if role is PartyRole.AGENT else party


def _role(number: Number, *, has_customer: bool) -> PartyRole:
    if number.standing is Standing.EXTENSION:
        return PartyRole.AGENT
    if number.standing is Standing.COMPANY or has_customer:
        return PartyRole.OTHER
    return PartyRole.CUSTOMER


def _known_by_extension(party: Party) -> Party:
    return replace(party, agent_id=party.phone_as_sent, phone_as_sent=None)
