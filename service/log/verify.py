"""Verifies a whole log from its published files alone.

Every entry is hashed again, every tile compared, the root hash computed, and the log held
against checkpoints that were saved elsewhere. Nothing here writes a log, and nothing that
the log says about itself is believed unless it leads to a signature.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from service.domain.errors import NotFoundError, UnavailableError
from service.log.checkpoint import Checkpoint, decode_checkpoint, verify_checkpoint
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.localise import name_altered
from service.log.merkle import EMPTY_ROOT
from service.log.note import VerifierKey
from service.log.report import Finding, Findings, LimitReachedError, Outcome, Report
from service.log.scan import Scan, Source, scan
from service.log.tiles import ReadTile

CHECKPOINT_PATH: Final = "checkpoint"
"""Path of the newest checkpoint, beside ``tile/``."""

MAX_FINDINGS: Final = 100
"""After so many the inspection stops."""


def inspect_log(
    read: ReadTile,
    *,
    key: VerifierKey,
    saved: Iterable[tuple[str, bytes]] = (),
    absent: Outcome = Outcome.UNCHECKED,
    on_progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Report:
    """Check everything that ``read`` returns for the log of ``key``, and say what was found.

    ``read`` returns the bytes at a path; it raises NotFoundError if there is nothing there,
    FormatError if it cannot be a file of a log, UnavailableError or OSError if it cannot
    know. ``absent`` is what a missing file means: ``UNCHECKED`` for a copy, which may be
    incomplete, ``ALTERED`` where the log itself lives. ``saved`` yields earlier checkpoints
    from elsewhere, each with its name. ``on_progress`` is told the number of entries read and the size.
    """
    findings = Findings(MAX_FINDINGS)
    checkpoint, entries, compared = None, 0, 0
    try:
        checkpoint = _read_checkpoint(read, key, absent, findings)
        # Nothing else has been looked at, so a finding here is about the checkpoint.
        is_signed = len(findings) == 0
        earlier = _read_saved(saved, key, findings)
        if checkpoint is not None:
            source = Source(read, absent, findings)
            sizes = {one.size for one in earlier.values()} | {checkpoint.size}
            result = scan(checkpoint.size, source, sizes=sizes, on_progress=on_progress)
            entries, compared = result.entries, len(earlier)
            _compare_saved(checkpoint, earlier, result, findings)
            _compare_log(checkpoint, result, source, is_signed=is_signed)
    except LimitReachedError:
        findings.stop()
    return Report(checkpoint, findings.sorted(), entries, compared)


def _read_checkpoint(
    read: ReadTile, key: VerifierKey, absent: Outcome, findings: Findings
) -> Checkpoint | None:
    try:
        data = read(CHECKPOINT_PATH)
    except FormatError as error:
        findings.altered(CHECKPOINT_PATH, error.detail)
        return None
    except NotFoundError:
        findings.add(Finding(absent, CHECKPOINT_PATH, "There is no checkpoint."))
        return None
    except (UnavailableError, OSError) as error:
        findings.unchecked(CHECKPOINT_PATH, f"It could not be read: {error}.")
        return None
    return _decode(CHECKPOINT_PATH, data, key, findings)


def _decode(name: str, data: bytes, key: VerifierKey, findings: Findings) -> Checkpoint | None:
    # What it claims is still compared when the signature is not good: that may say where
    # the alteration is.
    try:
        verify_checkpoint(data, key)
    except FormatError as error:
        findings.altered(name, error.detail)
        return None
    except SignatureError as error:
        findings.altered(name, str(error))
    except UnknownSignerError as error:
        findings.unchecked(name, str(error))
    return decode_checkpoint(data)


def _read_saved(
    saved: Iterable[tuple[str, bytes]], key: VerifierKey, findings: Findings
) -> dict[str, Checkpoint]:
    earlier = {}
    for name, data in saved:
        before = len(findings)
        try:
            decode_checkpoint(data)
        except FormatError as error:
            # Anything may lie where others keep what they saved; only a signature in the log's name speaks against it.
            findings.unchecked(name, f"It is no checkpoint: {error.detail}")
            continue
        checkpoint = _decode(name, data, key, findings)
        # A saved checkpoint that the log did not sign is no witness against the log.
        if checkpoint is not None and len(findings) == before:
            earlier[name] = checkpoint
    return earlier


def _compare_saved(
    now: Checkpoint, earlier: Mapping[str, Checkpoint], result: Scan, findings: Findings
) -> None:
    for name, then in earlier.items():
        if then.size > now.size:
            findings.altered(
                name,
                f"This checkpoint is newer than the log: it counts {then.size} entries, the log"
                f" only {now.size}. The log was rolled back or cut short.",
                now.size,
            )
        elif then.size == now.size and then.root != now.root:
            findings.altered(
                name,
                f"Two signed checkpoints of size {then.size} have different root hashes: the"
                " log has shown two histories.",
            )
        elif then.size < now.size:
            _compare_history(name, then, result, findings)


def _compare_history(name: str, then: Checkpoint, result: Scan, findings: Findings) -> None:
    roots = {EMPTY_ROOT} if then.size == 0 else result.roots_at[then.size]
    if not roots:
        findings.unchecked(name, "Too much is missing to compare this checkpoint with the log.")
    elif then.root not in roots:
        findings.altered(
            name,
            f"The first {then.size} entries are not those of this checkpoint: the log's past"
            " was rewritten.",
        )


def _compare_log(
    checkpoint: Checkpoint, result: Scan, source: Source, *, is_signed: bool
) -> None:
    if checkpoint.size:
        name_altered(result, checkpoint.root, source, is_signed=is_signed)
    elif checkpoint.root != EMPTY_ROOT:
        source.findings.altered(CHECKPOINT_PATH, "The root hash of an empty log is another.")
    source.report_absent()
