"""Arrivals: what is to be worked into a contact, by which rules, and what became of it."""

from dataclasses import dataclass
from datetime import timedelta

from service.archive.receive import ReceivedRecording
from service.domain.contact import Contact, ContactFacts
from service.domain.fetching import FETCH
from storage.ports import Write
from storage.rows import DeliveryRow, KeyRow, ObjectRow

ERASED = "contact_erased"
"""Why an arrival was refused: its contact was erased, and stays so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """What interpreting needs to know of a source. ``fetched_as`` is the kind of the jobs that fetch its recordings."""

    region: str = "FI"
    grace: timedelta = timedelta(hours=1)
    company_numbers: frozenset[str] = frozenset()
    fetched_as: str = FETCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One thing to work into the contact that ``source`` calls ``source_id``: facts, a recording, or both.

    ``is_strict`` refuses a contradiction whole, for callers that are told; otherwise what fits is taken and the rest is
    put on the list of what needs attention.
    """

    source: str
    source_id: str
    facts: ContactFacts | None = None
    recording: tuple[ReceivedRecording, ObjectRow] | None = None
    delivery: DeliveryRow | None = None
    remarks: tuple[str, ...] = ()
    also: tuple[Write, ...] = ()
    also_keys: tuple[KeyRow, ...] = ()
    actor: str = "system"
    is_strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an arrival. Without a ``contact`` it waits for one, or was refused (``refusal`` says why)."""

    contact: Contact | None
    is_new: bool = False
    is_duplicate: bool = False
    contradictions: tuple[str, ...] = ()
    recording_id: str | None = None
    refusal: str | None = None
