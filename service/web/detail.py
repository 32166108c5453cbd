"""What the contact page shows of recordings, messages and openings."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from service.archive.contacts import ContactView
from service.archive.contacts import RecordingView as Stored
from service.archive.coverage import Heard, merge, parse_intervals, sent_milliseconds, total
from service.domain.contact import Contact, Direction, PartyRole, RecordingState
from service.domain.customer import Customer
from service.domain.masking import mask_contact
from service.domain.pauses import place_pause
from service.domain.purpose import Grant
from service.domain.times import from_microseconds
from service.sources.kinds import Stereo
from service.web.views import CustomerSummary, OpeningView, PauseView, Playback, RecordingView
from storage.rows import ObjectRow, OpeningRow

OBJECT_KINDS: Final = frozenset({"recording", "rendition", "message", "mail", "attachment"})
"""What an opening is shown of; the picture of a recording's loudness is opened with it."""
_OWN_WORDS: Final = frozenset({"message", "mail", "attachment"})
_MILLISECONDS = 1000.0
_SOUND: Final = frozenset({"audio", "video"})
# What phone systems call every file that they send, and an old name of a kind of sound.
_PERHAPS_SOUND: Final = frozenset({"", "application/octet-stream", "application/ogg"})


def summary_of(customer: Customer) -> CustomerSummary:
    """Return enough of a customer to name them."""
    return CustomerSummary(
        id=customer.id,
        number=customer.number,
        name=customer.name,
        is_protected=customer.is_protected,
    )


def role_of(sender: str, contact: Contact) -> PartyRole | None:
    """Return which party of the contact wrote a message, where the sender's name tells: no two may be called so."""
    told = sender.casefold().strip()
    roles = {
        party.role
        for party in contact.parties
        if told in {(one or "").casefold() for one in (party.name, party.email, party.agent_id)}
    }
    return roles.pop() if len(roles) == 1 and told else None


def recording_views(
    view: ContactView, *, actor_id: str, stereo: Stereo
) -> tuple[RecordingView, ...]:
    """Return the recordings of a contact, and where there is none because none was made, that, with the reason.

    ``stereo`` says whose the channels of the contact's source are.
    """
    if not view.recordings and view.contact.recording_state is RecordingState.NOT_RECORDED:
        reason = view.contact.why_not_recorded
        return (RecordingView(id="", state=RecordingState.NOT_RECORDED, cause=reason),)
    speakers = _speakers(stereo, view.contact.direction)
    return tuple(
        recording_view(one, view, actor_id=actor_id, speakers=speakers)
        for one in view.recordings
    )


def recording_view(
    stored: Stored,
    view: ContactView,
    *,
    actor_id: str,
    speakers: tuple[PartyRole | None, ...],
) -> RecordingView:
    """Return a recording as ``actor_id`` sees it, with the seconds that they have heard.

    ``speakers`` are heard on its channels where it has as many.
    """
    row, facts = stored.row, stored.sealed.facts or {}
    duration = _duration(facts)
    channels = facts.get("channels")
    count = channels if isinstance(channels, int) else 0
    return RecordingView(
        id=row.id,
        state=RecordingState(row.state),
        cause=stored.sealed.cause or None,
        expected_until=None
        if row.expected_until is None
        else from_microseconds(row.expected_until),
        received_at=None if row.received_at is None else from_microseconds(row.received_at),
        size_bytes=stored.stored.plain_bytes if stored.stored else 0,
        codec=str(facts.get("codec", "")),
        duration=duration,
        channels=speakers if channels == len(speakers) else (None,) * count,
        playback=_playback(stored, facts),
        flags=_flags(facts),
        heard=_heard(stored, view, actor_id),
        pauses=_pauses(stored.sealed.name, view.contact, duration),
        file_name=_file_name(stored),
        is_internal=stored.sealed.is_internal,
    )


def stray_pauses(view: ContactView, contact: Contact) -> tuple[PauseView, ...]:
    """Return the pauses of recordings that ``view`` does not have."""
    names = {one.sealed.name for one in view.recordings}
    strays = (pause for pause in contact.recording_pauses if pause.recording not in names)
    return tuple(PauseView(pause=pause) for pause in strays)


def _file_name(stored: Stored) -> str | None:
    told = stored.sealed.content_type.partition(";")[0].strip().lower()
    is_sound = told in _PERHAPS_SOUND or told.partition("/")[0] in _SOUND
    return None if is_sound else stored.sealed.name


def _pauses(name: str, contact: Contact, duration: timedelta | None) -> tuple[PauseView, ...]:
    return tuple(
        PauseView(
            pause=pause,
            place=None
            if duration is None
            else place_pause(
                pause,
                call_started_at=contact.started_at,
                duration_seconds=duration.total_seconds(),
            ),
        )
        for pause in mask_contact(contact).recording_pauses
        if pause.recording == name
    )


def _duration(facts: Mapping[str, object]) -> timedelta | None:
    seconds = facts.get("duration_seconds")
    return timedelta(seconds=seconds) if isinstance(seconds, int | float) else None


def _flags(facts: Mapping[str, object]) -> tuple[str, ...]:
    flags = facts.get("flags")
    return tuple(str(flag) for flag in flags) if isinstance(flags, list | tuple) else ()


def _speakers(stereo: Stereo, direction: Direction) -> tuple[PartyRole | None, ...]:
    """Return who is heard on each of two channels; a wrong name would put words into somebody's mouth."""
    if stereo is Stereo.UNTOLD:
        return (None, None)
    is_customer_first = stereo is Stereo.CALLER_FIRST and direction is Direction.INBOUND
    both = (PartyRole.CUSTOMER, PartyRole.AGENT)
    return both if is_customer_first else both[::-1]


def _playback(stored: Stored, facts: Mapping[str, object]) -> Playback:
    if not facts:
        return Playback.PREPARING
    if facts.get("is_browser_playable") is True:
        return Playback.ORIGINAL
    return Playback.RENDITION if stored.rendition else Playback.IMPOSSIBLE


def _heard(stored: Stored, view: ContactView, actor_id: str) -> tuple[tuple[float, float], ...]:
    objects = {o.id for o in (stored.stored, stored.rendition) if o is not None}
    heard = merge(
        *(
            Heard.parse(row.heard, opened_at=row.opened_at).intervals
            for row in view.openings
            if row.actor_id == actor_id and row.object_id in objects
        )
    )
    return tuple((start / _MILLISECONDS, stop / _MILLISECONDS) for start, stop in heard)


def opening_view(
    row: OpeningRow, view: ContactView, *, grant: Grant, actor_name: str, is_own: bool
) -> OpeningView:
    """Return who opened what, when and why, and how much of it was sent and heard."""
    stored = view.objects[row.object_id]
    duration = _duration_of(stored, view)
    sent = heard = None
    if duration is not None:
        intervals = parse_intervals(row.sent)
        milliseconds = duration // timedelta(milliseconds=1)
        sent_ms = sent_milliseconds(
            intervals, size_bytes=stored.plain_bytes, duration_ms=milliseconds
        )
        sent = timedelta(milliseconds=total(sent_ms))
        heard_ms = Heard.parse(row.heard, opened_at=row.opened_at).intervals
        heard = timedelta(milliseconds=total(heard_ms))
    return OpeningView(
        opened_at=from_microseconds(row.opened_at),
        actor_name=actor_name,
        is_own=is_own,
        purpose=grant.purpose,
        reference=grant.reference,
        what=stored.kind if stored.kind in _OWN_WORDS else "recording",
        sent=sent,
        heard=heard,
    )


def _duration_of(stored: ObjectRow, view: ContactView) -> timedelta | None:
    facts = [r.sealed.facts or {} for r in view.recordings if r.row.id == stored.owner_id]
    return _duration(facts[0]) if facts else None
