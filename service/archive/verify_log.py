"""Verifying the whole log: as it is published, as the store has it, and the two against each other."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final

from service.archive.checks import Check, Code, Outcome, failed, unknown
from service.archive.log_checks import LOG
from service.archive.marked import Marker, find_copies
from service.archive.published import LogView, PublishedLog
from service.archive.vouched import Stamp
from service.domain.errors import ArchiveError, UnavailableError
from service.log.checkpoint import decode_checkpoint
from service.log.entry import EntryType, LogEntry, decode_entry
from service.log.errors import FormatError
from service.log.merkle import leaf_hash
from service.log.report import Findings, LimitReachedError
from service.log.report import Outcome as LogOutcome
from service.log.tiles import TILE_WIDTH, ReadTile, Tile, read_hashes
from service.log.verify import CHECKPOINT_PATH, MAX_FINDINGS, inspect_log
from service.log.vouching import Vouching
from storage.ports import LogStore, Store, StoredEntry
from storage.rows import ContactRow

_OUTCOMES: Final = {LogOutcome.ALTERED: Outcome.FAILED, LogOutcome.UNCHECKED: Outcome.UNKNOWN}


def inspect_published(
    published: PublishedLog,
    *,
    on_entries: Callable[[int, int], None],
    on_vouched: Callable[[str], None] = lambda _: None,
) -> tuple[LogView | None, list[Check]]:
    """Read the whole published log; return what it shows, and a check for all that is wrong with it. Blocking.

    ``on_entries`` is told how far it came, ``on_vouched`` in a sentence who vouches for which state of it.
    """
    try:
        view = published.view()
    except UnavailableError as error:
        return None, [
            unknown(Code.CHECKPOINT, LOG, f"The published log could not be read: {error}.")
        ]
    if view is None or (view.checkpoint is None and view.last is None):
        return None, [unknown(Code.CHECKPOINT, LOG, "No state of the log has been signed yet.")]
    signed = [("ledger/last-checkpoint", view.last), ("log/checkpoint", view.checkpoint)]
    own = [(name, note) for name, note in signed if note not in {None, view.newest}]
    cosigned = [(key.name, note) for key, note in view.cosigned.items() if note is not None]
    try:
        stamps = list(published.every_stamp(view.position.origin))
        stamped = [(stamp.path, stamp.note) for stamp in stamps]
        report = inspect_log(
            partial(_read_at, view.newest, published.read),
            key=view.key,
            saved=chain(published.every_anchor(view.position.origin), own, cosigned, stamped),
            absent=LogOutcome.ALTERED,
            on_progress=on_entries,
        )
    except UnavailableError as error:
        return view, [unknown(Code.CONSISTENT, LOG, f"The log could not be compared: {error}.")]
    checks = [
        Check(Code.CONSISTENT, _OUTCOMES[finding.outcome], finding.what, finding.why)
        for finding in report.findings
    ]
    return view, checks + _vouched(view, stamps, on_vouched)


def _read_at(newest: bytes | None, read: ReadTile, path: str) -> bytes:
    """Read a published file; the checkpoint is the one that was signed last, whether everybody sees it or not."""
    return newest if newest is not None and path == CHECKPOINT_PATH else read(path)


def _vouched(
    view: LogView, stamps: Sequence[Stamp], on_vouched: Callable[[str], None]
) -> list[Check]:
    """Check what witnesses and authorities said; what has not come yet is no fault."""
    vouching = Vouching(Findings(MAX_FINDINGS))
    with suppress(LimitReachedError):
        for key, note in view.cosigned.items():
            if note is not None:
                vouching.by_witness(key, [(key.name, note)])
        if view.trust is not None and stamps:
            vouching.by_authority(
                view.trust, [(one.path, one.note, one.answer) for one in stamps]
            )
    for line in vouching.lines:
        on_vouched(line)
    return [
        Check(Code.ANCHORED, _OUTCOMES[finding.outcome], finding.what, finding.why)
        for finding in vouching.findings.sorted()
    ]


@dataclass(frozen=True, slots=True)
class StoredLog:
    """The log in the store, held against the published one, and against the contacts it tells of."""

    store: Store
    log: LogStore
    published: PublishedLog
    marker: Marker | None = None

    async def check(self, view: LogView | None) -> AsyncIterator[Check]:
        """Go through every entry; yield a check for each that is wrong, or whose contact is missing."""
        size = await self.log.log_size()
        first = view.position.first if view else 0
        signed = _signed_size(view)
        if size - first < signed:
            told = f"{signed} entries were signed, and only {size - first} are left. The log was cut or rolled back."
            yield failed(Code.CONSISTENT, LOG, told)
        for start in range(0, size, TILE_WIDTH):
            stop = min(start + TILE_WIDTH, size)
            stored = await self.log.log_entries(start, stop)
            for check in self._entries(stored, start, stop, first, signed):
                yield check
            for check in await self._marks(stored):
                yield check
            for check in await self._contacts(stored):
                yield check

    def _entries(
        self, stored: Sequence[StoredEntry], start: int, stop: int, first: int, signed: int
    ) -> list[Check]:
        checks = []
        by_index = {one.index: one for one in stored}
        for index in range(start, stop):
            one = by_index.get(index)
            if one is None:
                checks.append(failed(Code.LOG_ENTRY, f"entry-{index}", "The entry is missing."))
            elif leaf_hash(one.entry) != one.leaf:
                told = "The entry is not the one that was hashed when it was written."
                checks.append(failed(Code.LOG_ENTRY, f"entry-{index}", told))
            elif 0 <= index - first < signed and not self._is_published(
                one, index - first, signed
            ):
                told = "The entry in the archive is not the one in the published log."
                checks.append(failed(Code.LOG_ENTRY, f"entry-{index}", told))
        return checks

    async def _marks(self, stored: Sequence[StoredEntry]) -> list[Check]:
        """Check that the archive wrote each entry, once; without keys only that none was put in again."""
        copies = await find_copies(self.log, stored)
        checks = [
            failed(Code.LOG_ENTRY, f"entry-{index}", f"It is entry {original}, put in again.")
            for index, original in copies.items()
        ]
        if self.marker is not None:
            checks += [
                failed(Code.LOG_ENTRY, f"entry-{one.index}", "The archive did not write it.")
                for one in stored
                if not self.marker.bears_mark(one)
            ]
        return checks

    def _is_published(self, stored: StoredEntry, index: int, signed: int) -> bool:
        number, offset = divmod(index, TILE_WIDTH)
        tile = Tile(0, number, min(TILE_WIDTH, signed - number * TILE_WIDTH))
        try:
            return read_hashes(tile, self.published.read)[offset] == stored.leaf
        except (ArchiveError, IndexError):
            # A tile that cannot be used was reported when the published log was read.
            return True

    async def _contacts(self, stored: Sequence[StoredEntry]) -> list[Check]:
        """Check that every contact that these entries tell of has its record: the erased keep theirs as a tombstone."""
        made = {
            entry.about[0]
            for entry in _readable(stored)
            if entry.type is EntryType.CONTACT_CREATED and entry.about
        }
        if not made:
            return []
        kept = {row.id for row in await self.store.find(ContactRow, {"id": sorted(made)})}
        told = "The log tells of this contact, and its record is missing."
        return [failed(Code.COMPLETE, contact_id, told) for contact_id in sorted(made - kept)]


def _readable(stored: Sequence[StoredEntry]) -> list[LogEntry]:
    entries = []
    for one in stored:
        try:
            entries.append(decode_entry(one.entry))
        except FormatError:
            # That its hash does not fit is reported already.
            continue
    return entries


def _signed_size(view: LogView | None) -> int:
    newest = None if view is None else view.newest
    if newest is None:
        return 0
    try:
        return decode_checkpoint(newest).size
    except FormatError:
        return 0
