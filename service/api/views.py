"""What the interface shows of contacts and customers, as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from service.archive.contact_json import Json, known
from service.archive.contact_json import contact_json as contact_details
from service.archive.contacts import ContactView, RecordingView
from service.archive.lookup import Criteria, Found, Page, Reason
from service.archive.message_versions import MessageView
from service.archive.tombstones import Tombstone
from service.domain.contact import Contact
from service.domain.customer import Customer, Link
from service.domain.masking import mask_contact
from service.domain.times import format_time, from_microseconds

_PARAMETERS: Final = {"started_from": "from", "started_to": "to"}


def contact_json(contact: Contact, links: Sequence[Link] = ()) -> Json:
    """Return a contact without its contents, masked; what is not known is left out."""
    details = known(contact_details(mask_contact(contact)))
    return {**details, "links": [link_json(link) for link in links]}


def link_json(link: Link) -> Json:
    """Return a link: whose, why, and how sure."""
    return {
        "customer": link.customer_id,
        "state": link.state,
        "certainty": link.certainty,
        "reasons": list(link.reasons),
        "made_by": link.made_by,
        "made_at": format_time(link.made_at),
    }


def page_json(page: Page, criteria: Criteria) -> Json:
    """Return a page of a lookup, each contact with why it matched, and the ids of those that cannot be opened.

    With it the customers who are registered with what was looked for, and, when nothing was found, what that was.
    """
    is_empty = not page.contacts and not page.unreadable
    return {
        "contacts": [_found_json(found) for found in page.contacts],
        "unreadable": list(page.unreadable),
        "customers": [_named_json(customer) for customer in page.customers],
        "more_customers": page.has_more_customers,
        **({"searched": searched_json(criteria)} if is_empty else {}),
        "next": page.next,
    }


def searched_json(criteria: Criteria) -> Json:
    """Return what was looked for, as it was understood, by the names of the parameters."""
    return {
        _PARAMETERS.get(name, name): format_time(value)
        if isinstance(value, datetime)
        else value
        for name in criteria.names()
        for value in [getattr(criteria, name)]
    }


def _named_json(customer: Customer) -> Json:
    """Return enough of a customer to name them."""
    return known(
        {
            "id": customer.id,
            "customer_number": customer.number,
            "name": customer.name,
            "protected": customer.is_protected,
        }
    )


def _found_json(found: Found) -> Json:
    return {
        **contact_json(found.contact, found.links),
        "matched_by": [_reason_json(reason) for reason in found.matched_by],
    }


def _reason_json(reason: Reason) -> Json:
    return {"criterion": reason.criterion, "met_by": reason.met_by}


def view_json(view: ContactView) -> Json:
    """Return a contact with what is known of its recordings and messages."""
    return {
        **contact_json(view.contact, view.links),
        "recordings": [recording_json(recording) for recording in view.recordings],
        "messages": [message_json(message) for message in view.messages],
        "openings": [
            {
                "id": opening.id,
                "object": opening.object_id,
                "opened_at": format_time(from_microseconds(opening.opened_at)),
                "actor": opening.actor_id,
            }
            for opening in view.openings
        ],
    }


def recording_json(recording: RecordingView) -> Json:
    """Return what is known of a recording without opening it."""
    row, stored = recording.row, recording.stored
    return known(
        {
            "id": row.id,
            "state": row.state,
            "name": recording.sealed.name or None,
            "content_type": recording.sealed.content_type or None,
            "size_bytes": stored.plain_bytes if stored else None,
            "sha256": recording.sealed.sha256 or None,
            "received_at": row.received_at and format_time(from_microseconds(row.received_at)),
            "expected_until": row.expected_until
            and format_time(from_microseconds(row.expected_until)),
            "cause": recording.sealed.cause or None,
            "facts": recording.sealed.facts,
            "renditions": ["playable"] if recording.rendition else [],
        }
    )


def message_json(message: MessageView) -> Json:
    """Return what is known of a message without opening it."""
    shown: Json = {
        "id": message.id,
        "from": message.sender,
        "at": format_time(message.sent_at),
        "size_bytes": message.size_bytes,
    }
    if message.ident:
        shown["source_id"] = message.ident
    if message.change is not None:
        shown["change"] = message.change
        shown["of"] = message.of
    if message.changed_at is not None:
        shown["changed_at"] = format_time(message.changed_at)
    if message.is_internal:
        shown["internal"] = True
    if message.mail is not None:
        shown["flags"] = [flag.value for flag in message.mail.flags]
        shown["attachments"] = [
            {
                "number": number,
                "content_type": part.content_type,
                "size_bytes": part.size_bytes,
            }
            for number, part in enumerate(message.mail.attachments, 1)
        ]
    return shown


def customer_json(customer: Customer) -> Json:
    """Return a customer; an identity code is never part of it."""
    return known(
        {
            "id": customer.id,
            "customer_number": customer.number,
            "name": customer.name,
            "business_id": customer.business_id,
            "phones": list(customer.phones),
            "emails": list(customer.emails),
            "language": customer.language,
            "protected": customer.is_protected,
            "metering_points": [
                known(
                    {
                        "metering_point": occupancy.metering_point,
                        "occupied_from": occupancy.occupied_from
                        and occupancy.occupied_from.isoformat(),
                        "occupied_to": occupancy.occupied_to
                        and occupancy.occupied_to.isoformat(),
                    }
                )
                for occupancy in customer.occupancies
            ],
        }
    )


def tombstone_json(stone: Tombstone) -> Json:
    """Return what is shown of a contact that was erased."""
    return {
        "id": stone.id,
        "channel": stone.channel,
        "direction": stone.direction,
        "started_at": format_time(stone.started_at),
        "ground": stone.ground,
        "erased_at": format_time(stone.erased_at),
        "finished": stone.is_finished,
    }
