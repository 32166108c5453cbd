"""Whether what lies outside of the archive, or was signed by others, vouches for the log that is shown. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.archive.checks import (
    Anchor,
    AnchorKind,
    Check,
    Code,
    Outcome,
    failed,
    unknown,
    waiting,
)
from service.archive.published import LogView
from service.archive.vouched import Stamp
from service.domain.errors import ArchiveError, InvalidInputError, UnavailableError
from service.domain.times import format_time
from service.log.checkpoint import (
    Checkpoint,
    decode_checkpoint,
    find_cosignatures,
    verify_checkpoint,
)
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.merkle import SubtreeHash
from service.log.note import VerifierKey
from service.log.timestamp import Trust, verify_timestamp

FindStamp = Callable[[str, int], Stamp | None]
"""Returns the first timestamp of a log that has so many entries or more; raises UnavailableError."""

Found = tuple[Check, Anchor | None]
"""What a check found, and what vouches when it passed."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The log as it is shown: its checkpoint, which is verified, and its tiles.

    ``continues`` returns what is wrong when ``signed`` does not continue an earlier checkpoint.
    """

    view: LogView
    signed: Checkpoint
    subtree: SubtreeHash
    continues: Callable[[Checkpoint, Checkpoint, SubtreeHash, Code], Check | None]


def check_anchors(shown: Shown, needed: int, find_stamp: FindStamp) -> Iterator[Found]:
    """Yield a check for each place outside: whether it vouches for the first ``needed`` entries.

    Each directory and witness that is configured has to. A timestamp comes only every so often and so has to alone
    where there is nothing else.
    """
    view = shown.view
    has_prompt = view.has_anchors or bool(view.cosigned)
    if not has_prompt and view.trust is None:
        yield (
            waiting(Code.ANCHORED, "log", "No place outside of the archive is configured."),
            None,
        )
    if view.has_anchors:
        yield _in_directory(shown, needed)
    for key, note in view.cosigned.items():
        yield _by_witness(shown, needed, key, note)
    if view.trust is not None:
        found = _by_timestamp(shown, needed, view.trust, find_stamp)
        if found is not None:
            yield found
        elif not has_prompt:
            told = "The last timestamp does not cover this contact yet."
            yield waiting(Code.ANCHORED, "timestamp", told), None


def read_signed(note: bytes, key: VerifierKey, code: Code, about: str) -> Checkpoint | Check:
    """Return the checkpoint that ``key`` signed, or what is wrong with it."""
    try:
        verify_checkpoint(note, key)
        return decode_checkpoint(note)
    except FormatError as error:
        return failed(code, about, error.detail)
    except SignatureError as error:
        return failed(code, about, str(error))
    except UnknownSignerError as error:
        return unknown(code, about, str(error))


def _earlier(shown: Shown, note: bytes, about: str) -> Checkpoint | Check:
    """Return the checkpoint in ``note`` which the log that is shown continues, or what is wrong."""
    then = read_signed(note, shown.view.key, Code.ANCHORED, about)
    if isinstance(then, Check):
        return then
    return shown.continues(then, shown.signed, shown.subtree, Code.ANCHORED) or then


def _in_directory(shown: Shown, needed: int) -> Found:
    best: Anchor | None = None
    strays: list[Check] = []
    for name, note in shown.view.anchors.items():
        then = _anchor(note, shown.view.key, name)
        if isinstance(then, Check):
            strays.append(then)
            continue
        against = shown.continues(then, shown.signed, shown.subtree, Code.ANCHORED)
        if against is not None:
            return against, None
        if best is None or then.size > best.size:
            best = Anchor(AnchorKind.DIRECTORY, name, then.size)
    altered = [stray for stray in strays if stray.outcome is Outcome.FAILED]
    if altered:
        return altered[0], None
    if best is not None and best.size >= needed:
        return _passed("log", f"Kept outside in the file {best.name}."), best
    if strays:
        return strays[0], None
    told = "The copy outside does not cover this contact yet."
    return waiting(Code.ANCHORED, "log", told), None


def _anchor(note: bytes, key: VerifierKey, name: str) -> Checkpoint | Check:
    """Return the anchor, or what is to be said of it: only what bears the archive's own name can speak against it."""
    found = read_signed(note, key, Code.ANCHORED, name)
    try:
        decode_checkpoint(note)
    except FormatError as error:
        told = (
            f"This file is no signed copy of the log's state and proves nothing: {error.detail}"
        )
        return unknown(Code.ANCHORED, name, told)
    return found


def _by_witness(shown: Shown, needed: int, key: VerifierKey, note: bytes | None) -> Found:
    if note is None:
        told = "The witness has not cosigned any state of the log yet."
        return waiting(Code.ANCHORED, key.name, told), None
    then = _earlier(shown, note, key.name)
    if isinstance(then, Check):
        return then, None
    try:
        cosignatures = find_cosignatures(note, [key])
    except SignatureError as error:
        return failed(Code.ANCHORED, key.name, str(error)), None
    if not cosignatures:
        told = "What is kept of this witness bears no cosignature by its key."
        return unknown(Code.ANCHORED, key.name, told), None
    if then.size < needed:
        told = f"The witness has cosigned {then.size} entries, which does not cover this contact yet."
        return waiting(Code.ANCHORED, key.name, told), None
    at = max(one.at for one in cosignatures)
    anchor = Anchor(AnchorKind.WITNESS, key.name, then.size, at)
    return _passed(
        key.name, f"Cosigned by the witness {key.name} at {format_time(at)}."
    ), anchor


def _by_timestamp(
    shown: Shown, needed: int, trust: Trust, find_stamp: FindStamp
) -> Found | None:
    try:
        stamp = find_stamp(shown.view.position.origin, needed)
    except UnavailableError as error:
        return unknown(
            Code.ANCHORED, "timestamp", f"No timestamp could be read: {error}."
        ), None
    if stamp is None:
        return None
    then = _earlier(shown, stamp.note, stamp.path)
    if isinstance(then, Check):
        return then, None
    problem = check_stamp(stamp, trust)
    if isinstance(problem, Check):
        return problem, None
    return problem


def check_stamp(stamp: Stamp, trust: Trust) -> Check | tuple[Check, Anchor]:
    """Return what is wrong with ``stamp``, or the check that passed and who stamped it when."""
    try:
        stamped = verify_timestamp(stamp.answer, stamp.note, trust)
        size = decode_checkpoint(stamp.note).size
    except UnknownSignerError as error:
        return unknown(Code.ANCHORED, stamp.path, str(error))
    except ArchiveError as error:
        why = error.detail if isinstance(error, InvalidInputError) else str(error)
        return failed(Code.ANCHORED, stamp.path, why)
    anchor = Anchor(AnchorKind.TIMESTAMP, stamped.authority, size, stamped.at, stamp.path)
    told = f"Stamped by {stamped.authority} at {format_time(stamped.at)}: {stamp.path}."
    return _passed(stamped.authority, told), anchor


def _passed(about: str, told: str) -> Check:
    return Check(Code.ANCHORED, Outcome.PASSED, about, told)
