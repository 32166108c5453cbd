"""Trials: what comes from a source that is not live yet is kept and can be looked at, and becomes no contact."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from service.archive.receive import SealedDelivery
from service.archive.source_book import SourceBook
from storage.errors import StaleError
from storage.ports import Change, Replace, Require, Store
from storage.rows import DeliveryRow, SourceRow

TRIAL: Final = "trial"
"""The state of a delivery of a source that is not live."""

Delivered = tuple[DeliveryRow, SealedDelivery]


async def keep_trials_back(
    store: Store, book: SourceBook | None, deliveries: Sequence[Delivered]
) -> Sequence[Delivered]:
    """Mark as trials what came from sources that are not live; return the rest.

    What came from a source that is made live at the same moment stays as received, for the next look.

    Raises:
        storage.errors.StorageError: The store is not at hand.
    """
    if book is None:
        return deliveries
    if any(book.find(row.source) is None for row, _ in deliveries):
        # It may be one that was connected a moment ago.
        await book.refresh()
    live: list[Delivered] = []
    trials: list[Change] = []
    for row, delivery in deliveries:
        known = book.find(row.source)
        if known is None or known.row is None or not known.is_connecting:
            live.append((row, delivery))
        elif row.state != TRIAL:
            trial = replace(
                row, version=row.version + 1, state=TRIAL, reason=None, await_token=None
            )
            source = Require(SourceRow, (known.row.id,), known.row.version)
            trials.append([Replace(trial), source])
    for error in await store.commit_each(trials) if trials else ():
        if error is not None and not isinstance(error, StaleError):
            raise error
    return live
