"""What a source's adapter makes of a delivery."""

from dataclasses import dataclass

from service.domain.contact import ContactFacts


@dataclass(frozen=True, slots=True)
class Understood:
    """What one delivery tells: facts of contacts, and what should be looked at (stable codes)."""

    contacts: tuple[ContactFacts, ...]
    remarks: tuple[str, ...] = ()
