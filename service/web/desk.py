"""What the pages ask of the archive. Every method decides permission itself and leaves the traces it must."""

from datetime import datetime
from typing import Protocol

from service.archive.lookup import Criteria
from service.domain.actor import Actor
from service.domain.purpose import Grant, Purpose
from service.web.views import (
    AttentionPage,
    ContactDetail,
    CustomerHistory,
    FoundPage,
    OpenedMail,
    OpenedMessage,
    Verification,
    Waveform,
)


class Desk(Protocol):
    """The use cases behind the pages, with ids for what they are about.

    Every method may raise ``NotPermittedError``, ``NotFoundError`` (an id that does not parse included) and
    ``UnavailableError`` (nothing was changed).
    """

    async def search(
        self, criteria: Criteria, *, actor: Actor, cursor: str | None, now: datetime
    ) -> FoundPage:
        """Return the contacts that match every criterion, newest first; the search is logged by its criteria's names.

        Raises:
            InvalidInputError: ``cursor`` is not one that this search gave.
        """
        ...

    async def customer_history(
        self, customer_id: str, *, actor: Actor, cursor: str | None, now: datetime
    ) -> CustomerHistory:
        """Return a customer and their linked contacts, newest first, whatever their recording state."""
        ...

    async def contact_detail(
        self, contact_id: str, *, actor: Actor, now: datetime
    ) -> ContactDetail:
        """Return everything about a contact but its content."""
        ...

    async def verification(
        self, contact_id: str, *, actor: Actor, now: datetime
    ) -> Verification:
        """Return whether the contact is intact, freshly computed."""
        ...

    async def create_grant(
        self,
        contact_id: str,
        *,
        actor: Actor,
        purpose: Purpose,
        reference: str | None,
        now: datetime,
    ) -> Grant:
        """Return a new grant of ``actor`` for this contact, recorded in the log.

        Raises:
            InvalidInputError: The purpose needs a reference that is missing or malformed.
        """
        ...

    async def withdraw_grant(self, grant_id: str, *, actor: Actor, now: datetime) -> None:
        """End a grant of ``actor`` now; one that has ended already stays as it is."""
        ...

    async def open_messages(
        self,
        contact_id: str,
        *,
        grant_id: str,
        actor: Actor,
        now: datetime,
        unmasked: str | None = None,
    ) -> tuple[OpenedMessage, ...]:
        """Return the messages in the clear, oldest first, after recording the opening.

        Card numbers and identity codes are hidden, but in the message that ``unmasked`` names; that they are shown
        there is recorded too. One message that cannot be opened says so in ``fault`` and does not hide its neighbours.

        Raises:
            GrantRequiredError: The grant does not cover this, has expired or was withdrawn.
            NotPermittedError: The actor may not see what is hidden.
        """
        ...

    async def open_mail(
        self, contact_id: str, message_id: str, *, grant_id: str, actor: Actor, now: datetime
    ) -> OpenedMail:
        """Return one message of the contact, of a mail with its formatted text, after recording the openings.

        Raises:
            GrantRequiredError: As for ``open_messages``.
            NotFoundError: The contact has no such message.
        """
        ...

    async def waveform(
        self, recording_id: str, *, grant_id: str, actor: Actor, now: datetime
    ) -> Waveform | None:
        """Return the recording's waveform, or None while there is none.

        Raises:
            GrantRequiredError: As for ``open_messages``.
        """
        ...

    async def decide_link(
        self,
        contact_id: str,
        customer_id: str,
        *,
        is_theirs: bool,
        actor: Actor,
        now: datetime,
    ) -> None:
        """Record by hand that the contact is, or is not, this customer's."""
        ...

    async def attention(
        self, *, actor: Actor, cursor: str | None, include_settled: bool, now: datetime
    ) -> AttentionPage:
        """Return what waits for a person, and with ``include_settled`` what did.

        Raises:
            InvalidInputError: ``cursor`` is not one that this list gave.
        """
        ...

    async def retry_attention(self, item_id: str, *, actor: Actor, now: datetime) -> bool:
        """Try again what an item is about; it is settled when that is over, and stays open otherwise."""
        ...

    async def settle_attention(self, item_id: str, *, actor: Actor, now: datetime) -> None:
        """Record that a person has looked at an item and that nothing more is to be done."""
        ...
