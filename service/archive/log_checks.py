"""Whether entries are in the signed log, whether the log has only grown, and whether a copy lies outside. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from service.archive.anchor_checks import FindStamp, Shown, check_anchors, read_signed
from service.archive.checks import (
    Anchor,
    Check,
    Code,
    Outcome,
    failed,
    passed,
    unknown,
    waiting,
)
from service.archive.published import LogView
from service.domain.errors import ArchiveError, NotFoundError, TamperedError
from service.log.checkpoint import Checkpoint
from service.log.errors import FormatError
from service.log.merkle import SubtreeHash, leaf_hash, prove_inclusion, verify_inclusion
from service.log.proof import LogProof, encode_proof
from service.log.tiles import ReadTile, subtree_from_tiles
from storage.ports import StoredEntry

LOG: Final = "log"
"""What checks of the log as a whole are about."""


@dataclass(frozen=True, slots=True)
class EntryProof:
    """An entry, its index in the log, and the text that proves it there (C2SP tlog-proof)."""

    index: int
    entry: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class LogFindings:
    """The checks, a proof for each entry that the checkpoint covers, and what outside vouches for all of them."""

    checks: tuple[Check, ...]
    proofs: tuple[EntryProof, ...]
    checkpoint: Checkpoint | None
    anchors: tuple[Anchor, ...] = ()


def check_log(
    entries: Sequence[StoredEntry],
    view: LogView | None,
    read: ReadTile,
    *,
    log_size: int,
    find_stamp: FindStamp = lambda _origin, _size: None,
) -> LogFindings:
    """Check that ``entries`` are in the log that ``view`` shows, of which the store has ``log_size`` entries."""
    if view is None or (view.checkpoint is None and view.last is None):
        told = "No state of the log has been signed yet; that happens within seconds."
        return LogFindings((waiting(Code.LOG_ENTRY, LOG, told),), (), None)
    if view.checkpoint is None:
        told = "The newest state of the log is missing where it is published."
        return LogFindings((failed(Code.CHECKPOINT, LOG, told),), (), None)
    signed = read_signed(view.checkpoint, view.key, Code.CHECKPOINT, LOG)
    if isinstance(signed, Check):
        return LogFindings((signed,), (), None)
    # Proofs of one log share most of their hashes.
    subtree = cache(subtree_from_tiles(signed.size, read))
    inclusion, proofs = _included(entries, view, signed, subtree)
    newest = max((stored.index for stored in entries), default=view.position.first)
    shown = Shown(view, signed, subtree, _continues)
    outside = list(check_anchors(shown, newest - view.position.first + 1, find_stamp))
    checks = (
        passed(Code.CHECKPOINT, LOG),
        _consistent(view, signed, subtree, log_size=log_size),
        *inclusion,
        *(check for check, _ in outside),
    )
    anchors = tuple(anchor for _, anchor in outside if anchor is not None)
    return LogFindings(checks, proofs, signed, anchors)


def is_signed(stored: StoredEntry, view: LogView | None, read: ReadTile) -> bool | None:
    """Tell whether the signed log has ``stored`` in its place; None where it does not reach so far, or cannot tell."""
    if view is None or view.checkpoint is None:
        return None
    signed = read_signed(view.checkpoint, view.key, Code.CHECKPOINT, LOG)
    index = stored.index - view.position.first
    if isinstance(signed, Check) or not 0 <= index < signed.size:
        return None
    subtree = subtree_from_tiles(signed.size, read)
    problem = _prove(stored, index, view, signed, subtree, [])
    if problem is None:
        return True
    return False if problem.outcome is Outcome.FAILED else None


def _included(
    entries: Sequence[StoredEntry], view: LogView, signed: Checkpoint, subtree: SubtreeHash
) -> tuple[list[Check], tuple[EntryProof, ...]]:
    proofs: list[EntryProof] = []
    pending, earlier = 0, 0
    for stored in entries:
        index = stored.index - view.position.first
        if index < 0:
            earlier += 1
        elif index >= signed.size:
            pending += 1
        else:
            problem = _prove(stored, index, view, signed, subtree, proofs)
            if problem is not None:
                return [problem], tuple(proofs)
    checks = []
    if earlier:
        told = "Entries stand in an earlier log, which ended when a backup was restored. It is kept and checked apart."
        checks.append(unknown(Code.LOG_ENTRY, LOG, told))
    if pending:
        told = "The newest entries are not signed yet; that happens within seconds."
        checks.append(waiting(Code.LOG_ENTRY, LOG, told))
    return checks or [passed(Code.LOG_ENTRY, LOG)], tuple(proofs)


def _prove(
    stored: StoredEntry,
    index: int,
    view: LogView,
    signed: Checkpoint,
    subtree: SubtreeHash,
    proofs: list[EntryProof],
) -> Check | None:
    about = f"entry-{index}"
    try:
        hashes = prove_inclusion(index, signed.size, subtree)
        verify_inclusion(
            leaf_hash(stored.entry),
            index=index,
            size=signed.size,
            proof=hashes,
            root=signed.root,
        )
    except TamperedError as error:
        return failed(
            Code.LOG_ENTRY, about, f"{error} The entry or a tile of the log was changed."
        )
    except ArchiveError as error:
        return _unread(Code.LOG_ENTRY, about, error)
    proof = encode_proof(LogProof(index, hashes, view.checkpoint or b""))
    proofs.append(EntryProof(index, stored.entry, proof))
    return None


def _unread(code: Code, about: str, error: ArchiveError) -> Check:
    """Return what it means when a tile could not be used: malformed is altered, unreadable is unknown."""
    if isinstance(error, FormatError):
        return failed(code, about, error.detail)
    if isinstance(error, NotFoundError):
        return failed(code, about, f"A tile of the log is missing: {error}.")
    return unknown(code, about, f"A tile of the log could not be read: {error}.")


def _consistent(
    view: LogView, signed: Checkpoint, subtree: SubtreeHash, *, log_size: int
) -> Check:
    kept = log_size - view.position.first
    if kept < signed.size:
        told = f"{signed.size} entries were signed, and only {kept} are left. The log was cut or rolled back."
        return failed(Code.CONSISTENT, LOG, told)
    if view.last is None:
        return unknown(Code.CONSISTENT, LOG, "The note of what was signed last is missing.")
    last = read_signed(view.last, view.key, Code.CONSISTENT, "last-checkpoint")
    if isinstance(last, Check):
        return last
    if kept < last.size:
        told = f"{last.size} entries were signed, and only {kept} are left. The log was cut or rolled back."
        return failed(Code.CONSISTENT, LOG, told)
    return _continues(last, signed, subtree, Code.CONSISTENT) or passed(Code.CONSISTENT, LOG)


def _continues(
    then: Checkpoint, now: Checkpoint, subtree: SubtreeHash, code: Code
) -> Check | None:
    """Return what is wrong when ``now`` does not continue ``then``; a newer ``then`` is no contradiction by itself."""
    if then.size > now.size or then.size == 0:
        return None
    try:
        root = subtree(0, then.size)
    except ArchiveError as error:
        return _unread(code, LOG, error)
    if root != then.root:
        told = f"The first {then.size} entries are not those that were signed then. The log's past was rewritten."
        return failed(code, LOG, told)
    return None
