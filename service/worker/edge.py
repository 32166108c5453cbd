"""The right edge of the published log's tree, as the store alone has it."""

import asyncio
from typing import Final

from service.log.frontier import Frontier
from service.log.merkle import leaf_hash
from storage.ports import LogStore

_STEP: Final = 4096


async def frontier_of(log: LogStore, first: int, size: int) -> Frontier:
    """Return the right edge of the tree of ``size`` entries from ``first`` on; of fewer, if the store has no more."""
    frontier = Frontier()
    while frontier.size < size:
        start = first + frontier.size
        stored = await log.log_entries(start, min(start + _STEP, first + size))
        if not stored:
            break
        frontier = await asyncio.to_thread(
            frontier.extended, [leaf_hash(one.entry) for one in stored]
        )
    return frontier
