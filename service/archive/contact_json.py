"""A contact as JSON, wherever it is shown or handed out. Pure."""

from service.domain.contact import Contact, Party
from service.domain.pauses import RecordingPause
from service.domain.times import format_time

Json = dict[str, object]


def contact_json(contact: Contact) -> Json:
    """Return the details of a contact, personal ones too; null is what is not known."""
    return {
        "id": contact.id,
        "source": contact.source,
        "source_id": contact.source_id,
        "channel": contact.channel,
        "direction": contact.direction,
        "started_at": format_time(contact.started_at),
        "started_at_as_sent": contact.started_at_as_sent,
        "ended_at": contact.ended_at and format_time(contact.ended_at),
        "ended_at_as_sent": contact.ended_at_as_sent,
        "answered_at": contact.answered_at and format_time(contact.answered_at),
        "outcome": contact.outcome,
        "notice": contact.notice,
        "notice_version": contact.notice_version,
        "queue": contact.queue,
        "subject": contact.subject,
        "customer_number": contact.customer_number,
        "metering_point": contact.metering_point,
        "parties": [party_json(party) for party in contact.parties],
        "recording": contact.recording_state,
        "not_recorded_reason": contact.why_not_recorded,
        "recording_pauses": [pause_json(one) for one in contact.recording_pauses] or None,
        "not_delivered": contact.is_stated or None,
    }


def party_json(party: Party) -> Json:
    """Return a party; a telephone that is none is shown as it was sent, and what is not known is left out."""
    shown: Json = {
        "role": party.role,
        "phone": party.phone or party.phone_as_sent,
        "email": party.email,
        "name": party.name,
        "agent_id": party.agent_id,
    }
    return known(shown)


def pause_json(pause: RecordingPause) -> Json:
    """Return a pause of a recording as it is sent too; what is not known is left out."""
    return known(
        {
            "recording": pause.recording,
            "start": format_time(pause.started_at),
            "end": pause.ended_at and format_time(pause.ended_at),
            "reason": pause.reason,
            "who": pause.who,
            "start_seconds": pause.start_seconds,
            "end_seconds": pause.end_seconds,
        }
    )


def known(values: Json) -> Json:
    """Return ``values`` without what is not known."""
    return {name: value for name, value in values.items() if value is not None}
