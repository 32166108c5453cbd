"""Entries about a contact that the database does not list as such: what the published log knows is not forgotten.

Which entry is about what stands in the database beside the log, to be found quickly. Whoever writes there can take a
line out, and with the newest entry out of sight an older state of a contact would look whole. So the entry bundles of
the published log are gone through as well, and held to the signed root; what is not published yet is read from the
store.
"""

from collections.abc import Collection, Sequence
from typing import Final

from service.archive.checks import Check, Code, failed, unknown
from service.archive.evidence import EVIDENCE, Evidence, read_entry
from service.archive.log_checks import LOG
from service.archive.published import LogView
from service.archive.published_index import PublishedIndex
from service.domain.errors import ArchiveError, NotFoundError, TamperedError
from service.log.checkpoint import Checkpoint, decode_checkpoint
from service.log.entry import EntryType
from service.log.errors import FormatError
from service.log.merkle import leaf_hash
from service.log.tiles import TILE_WIDTH, ReadTile
from storage.ports import LogStore, StoredEntry

_STEP: Final = 16 * TILE_WIDTH


async def find_unlisted(
    contact_id: str,
    evidence: Evidence,
    view: LogView | None,
    read: ReadTile,
    *,
    log: LogStore,
    index: PublishedIndex,
) -> tuple[list[StoredEntry], list[Check]]:
    """Return the entries that make the contact what it is and are not in ``evidence``, and a check for what is wrong.

    Raises:
        storage.errors.StorageError: The log in the store cannot be read.
    """
    known = {one.index for one, _ in evidence.entries}
    first, signed = 0 if view is None else view.position.first, _signed(view)
    size = await log.log_size()
    stop = first + (0 if signed is None else signed.size)
    checks: list[Check] = []
    found: list[tuple[int, bytes]] = []
    try:
        if signed is not None:
            found = await index.find(
                contact_id, signed, read, known={one - first for one in known}
            )
    except ArchiveError as error:
        checks = [_unread(error)]
    stored = [StoredEntry(first + index, entry, leaf_hash(entry)) for index, entry in found]
    for begin in range(max(_made_at(contact_id, evidence), stop), size, _STEP):
        entries = await log.log_entries(begin, min(begin + _STEP, size))
        stored += [one for one in entries if contact_id.encode() in one.entry]
    missed = [one for one in stored if one.index not in known and _is_evidence(one, contact_id)]
    if missed:
        missed = await _without_later(missed, contact_id, log)
    checks += [
        failed(
            Code.LOG_ENTRY,
            f"entry-{one.index}",
            f"It is not listed under {contact_id}, which it is about.",
        )
        for one in missed
    ]
    return missed, checks


async def _without_later(
    missed: Sequence[StoredEntry], contact_id: str, log: LogStore
) -> list[StoredEntry]:
    """Leave out what came, and was listed, after the evidence was read."""
    listed: Collection[int] = {one.index for one in await log.log_about(contact_id)}
    return [one for one in missed if one.index not in listed]


def _is_evidence(stored: StoredEntry, contact_id: str) -> bool:
    try:
        entry = read_entry(stored)
    except FormatError:
        # Shown as altered where it is listed, and with the whole log.
        return False
    return entry.type in EVIDENCE and contact_id in entry.about


def _made_at(contact_id: str, evidence: Evidence) -> int:
    """Return the index of the entry that made the contact; nothing is about it before."""
    made = (
        stored.index
        for stored, entry in evidence.entries
        if entry.type is EntryType.CONTACT_CREATED and contact_id in entry.about
    )
    return min(made, default=0)


def signed_size(view: LogView) -> int:
    """Return how many entries the published checkpoint says that it covers; 0 where there is none to read."""
    signed = _signed(view)
    return 0 if signed is None else signed.size


def _signed(view: LogView | None) -> Checkpoint | None:
    """Return the published checkpoint, unverified: the check of the checkpoint tells what is wrong with it."""
    if view is None or view.checkpoint is None:
        return None
    try:
        return decode_checkpoint(view.checkpoint)
    except FormatError:
        return None


def _unread(error: ArchiveError) -> Check:
    if isinstance(error, FormatError):
        return failed(Code.LOG_ENTRY, LOG, error.detail)
    if isinstance(error, NotFoundError):
        return failed(Code.LOG_ENTRY, LOG, f"A part of the published log is missing: {error}.")
    if isinstance(error, TamperedError):
        return failed(Code.LOG_ENTRY, LOG, str(error))
    return unknown(Code.LOG_ENTRY, LOG, f"The published log could not be read: {error}.")
