"""Contacts that their source says it handled, and did not deliver."""

from typing import Final

from service.domain.contact import Contact
from service.domain.times import to_microseconds
from storage.rows import MissingRow

MISSING: Final = "missing"
LATE: Final = "late"
"""It was missing, and came."""


def missing_row(contact: Contact, *, state: str) -> MissingRow:
    """Return the row that says so of ``contact``."""
    return MissingRow(
        contact_id=contact.id,
        source=contact.source,
        started_at=to_microseconds(contact.started_at),
        state=state,
    )
