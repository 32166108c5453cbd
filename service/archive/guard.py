"""The guard of holds: one row that every erasure requires, and that moves when more is held than before.

More is held when a hold is placed, and when a contact is linked to a customer of whom something is held. What is held
is read after the guard, by those who erase and by those who link: whichever of them is committed last finds the guard
moved, and decides again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from service.domain.customer import LinkState
from service.domain.retention import HoldState
from storage.ports import Add, Replace, Require, Store, Write
from storage.rows import GuardRow, HoldRow, LinkRow

GUARD: Final = "holds"


async def find_guard(store: Store) -> GuardRow | None:
    """Return the guard; None before the first hold or erasure."""
    return next(iter(await store.find(GuardRow, {"id": GUARD})), None)


def guarded(guard: GuardRow | None) -> Write:
    """Return the write that fails a change if more is held than when ``guard`` was read."""
    if guard is None:
        return Add(_next(None))
    return Require(GuardRow, (GUARD,), guard.version)


def moved(guard: GuardRow | None) -> Write:
    """Return the write that fails every erasure that read ``guard``, or one before it."""
    return Add(_next(None)) if guard is None else Replace(_next(guard))


async def guard_links(
    store: Store, changes: Mapping[str, Sequence[Write]]
) -> dict[str, Sequence[Write]]:
    """Return the changes, by contact id, so that no link to a held customer escapes an erasure of its contact.

    They are to be committed in the order in which they are returned: of those that move the guard, each moves it on
    from where the one before it left it. Where nobody is linked, nothing is read.
    """
    linked = {contact_id: _linked_to(writes) for contact_id, writes in changes.items()}
    customers = frozenset[str]().union(*linked.values())
    if not customers:
        return dict(changes)
    guard = await find_guard(store)
    held = await _find_held(store, customers)
    ordered: dict[str, Sequence[Write]] = {}
    # A guard that has moved is no longer what the others require.
    for contact_id in sorted(changes, key=lambda one: not linked[one].isdisjoint(held)):
        if not linked[contact_id]:
            ordered[contact_id] = changes[contact_id]
            continue
        if linked[contact_id].isdisjoint(held):
            ordered[contact_id] = [*changes[contact_id], guarded(guard)]
            guard = guard or _next(None)
        else:
            ordered[contact_id] = [*changes[contact_id], moved(guard)]
            guard = _next(guard)
    return ordered


def _next(guard: GuardRow | None) -> GuardRow:
    return GuardRow(id=GUARD, version=1 if guard is None else guard.version + 1)


def _linked_to(writes: Sequence[Write]) -> frozenset[str]:
    """Return the customers to whom ``writes`` link, or may link."""
    rows = [write.row for write in writes if isinstance(write, Add | Replace)]
    return frozenset(
        row.customer_id
        for row in rows
        if isinstance(row, LinkRow) and row.state != LinkState.UNLINKED
    )


async def _find_held(store: Store, customer_ids: Collection[str]) -> frozenset[str]:
    """Return those of the customers of whom anything is held."""
    states = [HoldState.PLACED.value, HoldState.RELEASE_REQUESTED.value]
    where = {"customer_id": sorted(customer_ids), "state": states}
    return frozenset(row.customer_id or "" for row in await store.find(HoldRow, where))
