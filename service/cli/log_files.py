"""Checks logs and proofs that lie on disk as exported; the archive itself is not needed.

An exported directory holds ``checkpoint``, ``vkey`` (the verifier key), ``tile/`` with hash
tiles and entry bundles, and perhaps ``anchors/`` with checkpoints that were saved earlier.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.domain.errors import InvalidInputError, NotFoundError, UnavailableError
from service.log.checkpoint import decode_checkpoint, verify_checkpoint
from service.log.errors import FormatError, ProofError, SignatureError, UnknownSignerError
from service.log.merkle import leaf_hash, prove_inclusion, verify_inclusion
from service.log.note import VerifierKey
from service.log.proof import (
    PROOF_HEADER,
    LogProof,
    decode_proof,
    encode_proof,
    verify_proof,
)
from service.log.report import Outcome, Report
from service.log.tiles import ENTRIES, TILE_WIDTH, Tile, read_bundle, subtree_from_tiles
from service.log.verify import CHECKPOINT_PATH, inspect_log

KEY_FILE: Final = "vkey"
ANCHORS_DIRECTORY: Final = "anchors"

# A full bundle of the longest entries; nothing in a log is larger.
_MAX_FILE_BYTES: Final = TILE_WIDTH * (2 + 65535)

_FAULTS: Final = (FormatError, NotFoundError, UnavailableError, OSError)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and the answer, whose number is the exit code."""

    outcome: Outcome
    lines: tuple[str, ...]


def verify_log_directory(
    directory: Path,
    *,
    key_file: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Verdict:
    """Check the log exported to ``directory``, with its own verifier key or a better one."""
    try:
        key = _read_key(key_file or directory / KEY_FILE)
        saved = list(_anchors(directory))
    except _FAULTS as error:
        return _unchecked(_say(error))
    report = inspect_log(_reader(directory), key=key, saved=saved, on_progress=on_progress)
    return Verdict(report.outcome, tuple(_report_lines(report, key, is_own=key_file is None)))


def verify_proof_files(entry_file: Path, proof_file: Path, key_file: Path) -> Verdict:
    """Check by ``proof_file`` that the entry in ``entry_file`` is in the log of the key."""
    try:
        entry, data = _read_file(entry_file), _read_file(proof_file)
        key = _read_key(key_file)
    except _FAULTS as error:
        return _unchecked(_say(error))
    if not data.startswith(PROOF_HEADER.encode()):
        return _unchecked(f"{proof_file} is not a proof.")
    try:
        proof = decode_proof(data)
        verify_proof(proof, entry=entry, key=key)
    except UnknownSignerError as error:
        return _unchecked(_say(error))
    except (FormatError, SignatureError) as error:
        return Verdict(Outcome.ALTERED, (f"ALTERED: the proof. {_say(error)}",))
    except ProofError as error:
        why = "The checkpoint is genuine, but the entry or the proof was changed."
        return Verdict(Outcome.ALTERED, (f"ALTERED: the entry or its proof. {error}", why))
    size = decode_checkpoint(proof.checkpoint).size
    first = f"Verified: this is entry {proof.index} of {key.name},"
    second = f"in the tree of {size} entries that the key {key.key_id.hex()} signed."
    return Verdict(Outcome.VERIFIED, (first, second))


def prove_from_directory(directory: Path, index: int) -> tuple[bytes, bytes]:
    """Return entry ``index`` of the exported log and the ``.tlog-proof`` file for it.

    The proof has been checked, the signature included.

    Raises:
        InvalidInputError: The log has no such entry, or a file is not in its form.
        NotFoundError: A file is missing.
        TamperedError: What is there does not lead to what was signed.
        UnknownSignerError: The checkpoint is not signed by the key beside it.
        UnavailableError: A file cannot be read.
    """
    read = _reader(directory)
    key = _read_key(directory / KEY_FILE)
    note = read(CHECKPOINT_PATH)
    verify_checkpoint(note, key)
    checkpoint = decode_checkpoint(note)
    if not 0 <= index < checkpoint.size:
        raise InvalidInputError(
            f"There is no entry {index}; the log has {checkpoint.size} entries."
        )
    number, offset = divmod(index, TILE_WIDTH)
    width = min(checkpoint.size - number * TILE_WIDTH, TILE_WIDTH)
    entry = read_bundle(Tile(ENTRIES, number, width), read)[offset]
    subtree = subtree_from_tiles(checkpoint.size, read)
    hashes = prove_inclusion(index, checkpoint.size, subtree)
    verify_inclusion(
        leaf_hash(entry),
        index=index,
        size=checkpoint.size,
        proof=hashes,
        root=checkpoint.root,
    )
    return entry, encode_proof(LogProof(index, hashes, note))


def _reader(directory: Path) -> Callable[[str], bytes]:
    def read(path: str) -> bytes:
        try:
            return _read_file(directory / path)
        except OSError as error:
            raise UnavailableError(error.strerror or str(error)) from error

    return read


def _read_file(path: Path) -> bytes:
    # Opening a device or a pipe by a hostile name could block for ever.
    if path.exists() and not path.is_file():
        raise UnavailableError(f"{path} is not a file.")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} does not exist.") from error
    if len(data) > _MAX_FILE_BYTES:
        raise FormatError(f"{path} is larger than any file of a log.")
    return data


def _read_key(path: Path) -> VerifierKey:
    try:
        text = _read_file(path).decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not a verifier key.") from error
    return VerifierKey.parse(text.removesuffix("\n"))


def _anchors(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every checkpoint that was saved, however deep its folder; its name is the path."""
    for path in sorted((directory / ANCHORS_DIRECTORY).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(directory).as_posix(), _read_file(path)


def _report_lines(report: Report, key: VerifierKey, *, is_own: bool) -> Iterator[str]:
    for finding in report.findings:
        word = "ALTERED" if finding.outcome is Outcome.ALTERED else "Could not be checked"
        yield f"{word}: {finding.what}. {finding.why}"
    checkpoint = report.checkpoint
    size = 0 if checkpoint is None else checkpoint.size
    if report.outcome is Outcome.VERIFIED:
        yield (
            f"Verified: all {size} entries of {key.name} are as they were logged and signed"
            f" with the key {key.key_id.hex()}."
        )
    else:
        yield f"{report.entries} of {size} entries of {key.name} were read and hashed."
    if report.saved:
        yield f"Compared with checkpoints that were saved earlier: {report.saved}."
    if is_own:
        yield (
            "The verifier key came with the files. Compare it with the one that you were"
            f" given by another way: {key.format()}"
        )


def _unchecked(why: str) -> Verdict:
    return Verdict(Outcome.UNCHECKED, (f"Could not be checked: {why}",))


def _say(error: Exception) -> str:
    return error.detail if isinstance(error, InvalidInputError) else str(error)
