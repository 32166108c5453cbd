"""Verifying by what entries are found, and the key beside the published log."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from service.archive.checks import Check, Code, failed, unknown
from service.archive.published import KEY, LogView, PublishedLog
from service.domain.errors import NotFoundError, UnavailableError
from service.log.entry import decode_entry
from service.log.errors import FormatError
from service.log.tiles import TILE_WIDTH
from storage.ports import LogStore

_REMEMBERED: Final = 2048
"""Of how many ids it is remembered which entries are about them: those that come again and again are read once."""


def check_key(published: PublishedLog, view: LogView) -> list[Check]:
    """Check that the verifier key that is published is the one that signs. Blocking."""
    about = f"log/{KEY}"
    try:
        is_same = published.read(KEY) == f"{view.key.format()}\n".encode()
    except NotFoundError:
        return [failed(Code.CHECKPOINT, about, "The verifier key is missing.")]
    except UnavailableError as error:
        return [unknown(Code.CHECKPOINT, about, f"It could not be read: {error}.")]
    if is_same:
        return []
    return [failed(Code.CHECKPOINT, about, "It is not the key that signs the log.")]


@dataclass(frozen=True, slots=True)
class LogIndex:
    """What is written down of which entry is about what, held against the entries themselves."""

    log: LogStore

    async def check(self) -> AsyncIterator[Check]:
        """Yield a failed check for each entry that is not found by an id that it is about, or by one that it is not."""
        size = await self.log.log_size()
        known: OrderedDict[str, frozenset[int]] = OrderedDict()
        for start in range(0, size, TILE_WIDTH):
            for stored in await self.log.log_entries(start, min(start + TILE_WIDTH, size)):
                about = _about(stored.entry)
                for subject in sorted(about):
                    if subject not in known:
                        known[subject], strangers = await self._positions(subject)
                        for index in sorted(strangers):
                            told = f"It is listed under {subject}, which it is not about."
                            yield failed(Code.LOG_ENTRY, f"entry-{index}", told)
                    known.move_to_end(subject)
                    if stored.index not in known[subject]:
                        told = f"It is not listed under {subject}, which it is about."
                        yield failed(Code.LOG_ENTRY, f"entry-{stored.index}", told)
                while len(known) > _REMEMBERED:
                    known.popitem(last=False)

    async def _positions(self, subject: str) -> tuple[frozenset[int], frozenset[int]]:
        """Return the indexes that are listed under ``subject``, and those of them that are not about it."""
        listed, strangers = set(), set()
        for stored in await self.log.log_about(subject):
            listed.add(stored.index)
            # An entry that cannot be read is reported as such.
            if subject not in (_about(stored.entry) or {subject}):
                strangers.add(stored.index)
        return frozenset(listed), frozenset(strangers)


def _about(encoded: bytes) -> frozenset[str]:
    try:
        return frozenset(decode_entry(encoded).about)
    except FormatError:
        return frozenset()
