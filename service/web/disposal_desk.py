"""What the pages ask about holds and erasures: shown beside a contact, and decided there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from service.access.users import Users
from service.archive.contacts import Contacts
from service.archive.erase import Erasures
from service.archive.hold import Holds
from service.archive.hold_rows import HoldOrder
from service.archive.tombstones import Tombstone, find_tombstones
from service.domain.actor import Actor
from service.domain.errors import NotFoundError
from service.domain.ids import parse_id
from service.domain.permission import Permission, is_permitted, require_permission
from service.domain.retention import ErasureState, Ground, Hold, HoldState
from service.web.views import DisposalView, ErasureView, HoldView


class Disposals(Protocol):
    """The use cases of holds and erasures behind the pages. Each decides permission itself.

    Every method may raise ``NotPermittedError``, ``NotFoundError`` and ``UnavailableError`` (nothing was changed).
    """

    async def view(self, contact_id: str, *, actor: Actor) -> DisposalView:
        """Return what keeps a contact, and whether its erasure was asked for; nothing to those who may not know."""
        ...

    async def tombstone(self, contact_id: str, *, actor: Actor) -> Tombstone:
        """Return what is shown of a contact that was erased."""
        ...

    async def tombstones(self, customer_id: str, *, actor: Actor) -> Collection[Tombstone]:
        """Return what is shown of a customer's contacts that were erased, newest first."""
        ...

    async def place_hold(
        self,
        contact_id: str,
        *,
        reason: str,
        reference: str | None,
        actor: Actor,
        now: datetime,
    ) -> None:
        """Hold a contact."""
        ...

    async def request_release(self, hold_id: str, *, actor: Actor, now: datetime) -> None:
        """Ask that a hold ends."""
        ...

    async def release(self, hold_id: str, *, actor: Actor, now: datetime) -> None:
        """Agree, as the second person, that a hold ends."""
        ...

    async def request_erasure(
        self,
        contact_id: str,
        *,
        ground: Ground,
        reference: str | None,
        actor: Actor,
        now: datetime,
    ) -> None:
        """Ask that a contact is erased."""
        ...

    async def approve_erasure(self, erasure_id: str, *, actor: Actor, now: datetime) -> str:
        """Agree, as the second person, that a contact is erased; return the contact's id."""
        ...

    async def withdraw_erasure(self, erasure_id: str, *, actor: Actor, now: datetime) -> None:
        """Take a request back."""
        ...


@dataclass(frozen=True, slots=True)
class ArchiveDisposals:
    """`Disposals` on the archive's use cases."""

    holds: Holds
    erasures: Erasures
    contacts: Contacts
    users: Users

    async def view(self, contact_id: str, *, actor: Actor) -> DisposalView:
        """As the protocol says."""
        if not is_permitted(actor, Permission.HOLD):
            return DisposalView()
        holding = await self.holds.find_covering(contact_id, actor=actor)
        asked = None
        if is_permitted(actor, Permission.ERASE):
            page = await self.erasures.find(
                actor=actor, contact_id=contact_id, state=ErasureState.REQUESTED, limit=1
            )
            asked = page.erasures[0] if page.erasures else None
        names = await self._names(
            {one for hold in holding for one in (hold.owner_id, hold.requested_by) if one}
            | ({asked.requested_by} if asked else set())
        )
        return DisposalView(
            holds=tuple(_hold_view(hold, names, actor) for hold in holding),
            erasure=None
            if asked is None
            else ErasureView(
                id=asked.id,
                ground=asked.ground,
                requested_by_name=names.get(asked.requested_by, asked.requested_by),
                requested_at=asked.requested_at,
                can_approve=asked.requested_by != actor.id,
            ),
        )

    async def tombstone(self, contact_id: str, *, actor: Actor) -> Tombstone:
        """As the protocol says."""
        require_permission(actor, Permission.READ_CONTACT)
        stones = await find_tombstones(self.contacts.store, [parse_id("ct", contact_id)])
        if not stones:
            raise NotFoundError("no such tombstone")
        return stones[0]

    async def tombstones(self, customer_id: str, *, actor: Actor) -> Collection[Tombstone]:
        """As the protocol says."""
        return await self.contacts.find_tombstones(customer_id, actor=actor)

    async def place_hold(
        self,
        contact_id: str,
        *,
        reason: str,
        reference: str | None,
        actor: Actor,
        now: datetime,
    ) -> None:
        """As the protocol says."""
        order = HoldOrder(contact_id=contact_id, reason=reason, reference=reference)
        await self.holds.place(order, actor=actor, now=now)

    async def request_release(self, hold_id: str, *, actor: Actor, now: datetime) -> None:
        """As the protocol says."""
        await self.holds.request_release(hold_id, actor=actor, now=now)

    async def release(self, hold_id: str, *, actor: Actor, now: datetime) -> None:
        """As the protocol says."""
        await self.holds.release(hold_id, actor=actor, now=now)

    async def request_erasure(
        self,
        contact_id: str,
        *,
        ground: Ground,
        reference: str | None,
        actor: Actor,
        now: datetime,
    ) -> None:
        """As the protocol says."""
        await self.erasures.request(
            contact_id, ground=ground, reference=reference, actor=actor, now=now
        )

    async def approve_erasure(self, erasure_id: str, *, actor: Actor, now: datetime) -> str:
        """As the protocol says."""
        return (await self.erasures.approve(erasure_id, actor=actor, now=now)).contact_id

    async def withdraw_erasure(self, erasure_id: str, *, actor: Actor, now: datetime) -> None:
        """As the protocol says."""
        await self.erasures.withdraw(erasure_id, actor=actor, now=now)

    async def _names(self, ids: Collection[str]) -> Mapping[str, str]:
        names = {}
        for one in sorted(ids):
            try:
                names[one] = (await self.users.get(one)).user.name
            except NotFoundError:
                # A machine, or somebody who was erased: their id says enough.
                continue
        return names


def _hold_view(hold: Hold, names: Mapping[str, str], actor: Actor) -> HoldView:
    is_requested = hold.state is HoldState.RELEASE_REQUESTED
    had_a_part = actor.id in {hold.owner_id, hold.requested_by}
    return HoldView(
        id=hold.id,
        is_of_customer=hold.customer_id is not None,
        reason=hold.reason,
        reference=hold.reference,
        owner_name=names.get(hold.owner_id, hold.owner_id),
        placed_at=hold.placed_at,
        review_on=hold.review_on,
        requested_by_name=names.get(hold.requested_by or "", hold.requested_by),
        can_request=hold.requested_by != actor.id,
        can_release=is_requested
        and not had_a_part
        and is_permitted(actor, Permission.RELEASE_HOLD),
    )
