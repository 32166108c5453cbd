"""What among the evidence of a contact the archive did not write, and what is to be believed without it."""

import asyncio

from service.archive.checks import Check, Code, failed, unknown
from service.archive.evidence import Evidence
from service.archive.log_checks import is_signed
from service.archive.marked import Marker
from service.archive.published import LogView
from service.archive.unlisted import signed_size
from service.log.entry import EntryType
from service.log.tiles import ReadTile


async def without_forged(
    evidence: Evidence, view: LogView | None, read: ReadTile, marker: Marker | None
) -> tuple[Evidence, tuple[Check, ...]]:
    """Leave out what the archive did not write, with a failed check for each; of what is signed, only erasures.

    Any other signed entry that is not the signed one fails with the proofs; an erasure would end the checks before.
    Without ``marker`` nobody can tell who wrote what is not signed: it is believed, and that is said of an erasure.
    """
    first = 0 if view is None else view.position.first
    covered = range(first, first + (0 if view is None else signed_size(view)))
    doubtful = [
        (stored, entry.type is EntryType.CONTACT_ERASED)
        for stored, entry in evidence.entries
        if stored.index not in covered or entry.type is EntryType.CONTACT_ERASED
    ]
    if not doubtful:
        return evidence, ()
    signed = await asyncio.to_thread(
        lambda: [is_signed(stored, view, read) for stored, _ in doubtful]
    )
    left_out, checks = set(), []
    for (stored, is_erasure), is_in_log in zip(doubtful, signed, strict=True):
        about = f"entry-{stored.index}"
        is_proven = is_in_log
        if is_in_log is None and marker is not None:
            is_proven = marker.bears_mark(stored)
        if is_proven is None and is_erasure:
            told = "It is not signed, and without the keys nobody can tell whether the archive wrote this erasure."
            checks.append(unknown(Code.LOG_ENTRY, about, told))
        elif is_proven is False:
            told = "The archive did not write it: it is not in the signed log, or has not its mark."
            checks.append(failed(Code.LOG_ENTRY, about, told))
            left_out.add(stored.index)
    kept = tuple(one for one in evidence.entries if one[0].index not in left_out)
    return Evidence(kept) if left_out else evidence, tuple(checks)
