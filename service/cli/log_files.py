"""Checks logs and proofs that lie on disk as exported; the archive itself is not needed.

An exported directory holds ``checkpoint``, ``vkey`` (the verifier key), ``tile/`` with hash
tiles and entry bundles, and perhaps ``anchors/`` with checkpoints that were saved earlier.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from service.log.report import Finding, Findings, LimitReachedError, Outcome, Report
from service.log.tiles import ENTRIES, TILE_WIDTH, Tile, read_bundle, subtree_from_tiles
from service.log.timestamp import Trust
from service.log.verify import CHECKPOINT_PATH, MAX_FINDINGS, inspect_log
from service.log.vouching import Vouching

KEY_FILE: Final = "vkey"
ANCHORS_DIRECTORY: Final = "anchors"
STAMP_SUFFIX: Final = ".tsr"
"""What a timestamp (RFC 3161) of a checkpoint is called that lies beside it."""

# A full bundle of the longest entries; nothing in a log is larger.
_MAX_FILE_BYTES: Final = TILE_WIDTH * (2 + 65535)

_FAULTS: Final = (FormatError, NotFoundError, UnavailableError, OSError)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and the answer, whose number is the exit code."""

    outcome: Outcome
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trusted:
    """Files that somebody trusts: the log's verifier key, those of witnesses, the certificates of authorities.

    Without ``key`` the one beside the log serves.
    """

    key: Path | None = None
    witnesses: Sequence[Path] = ()
    authorities: Path | None = None


def verify_log_directory(
    directory: Path,
    *,
    trusted: Trusted = Trusted(),  # a frozen value
    on_progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Verdict:
    """Check the log exported to ``directory``, and what is trusted of what others vouch for in it."""
    try:
        key = _read_key(trusted.key or directory / KEY_FILE)
        witnesses = [_read_key(path) for path in trusted.witnesses]
        trust = (
            None
            if trusted.authorities is None
            else Trust.parse(_read_file(trusted.authorities))
        )
        saved = list(_anchors(directory))
        stamps = list(_stamps(directory)) if trust is not None else []
    except _FAULTS as error:
        return _unchecked(_say(error))
    read = _reader(directory)
    report = inspect_log(read, key=key, saved=saved, on_progress=on_progress)
    vouching = Vouching(Findings(MAX_FINDINGS))
    with suppress(LimitReachedError):
        notes = [*_newest(read), *saved]
        for witness in witnesses:
            vouching.by_witness(witness, notes)
        if trust is not None:
            vouching.by_authority(trust, stamps)
    whole = replace(report, findings=(*report.findings, *vouching.findings.sorted()))
    lines = _report_lines(whole, key, is_own=trusted.key is None)
    return Verdict(
        whole.outcome, (*lines, *vouching.lines, *_by_hand(directory, trusted, vouching))
    )


def _by_hand(directory: Path, trusted: Trusted, vouching: Vouching) -> Iterator[str]:
    """Yield how to check the last timestamp without this program, at the time when its certificates were valid."""
    if trusted.authorities is not None and vouching.last_stamp is not None:
        name, stamped = vouching.last_stamp
        answer = directory / name
        data, at = answer.with_suffix(".checkpoint"), int(stamped.at.timestamp())
        yield "The same with OpenSSL:"
        files = ("-data", str(data), "-in", str(answer), "-CAfile", str(trusted.authorities))
        yield shlex.join(("openssl", "ts", "-verify", "-attime", str(at), *files))


def _newest(read: Callable[[str], bytes]) -> list[tuple[str, bytes]]:
    try:
        return [(CHECKPOINT_PATH, read(CHECKPOINT_PATH))]
    except _FAULTS:
        # That it is missing or unreadable was found already.
        return []


def _stamps(directory: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield the name of every timestamp, the bytes that it should stamp, and the timestamp."""
    for path in sorted((directory / ANCHORS_DIRECTORY).rglob(f"*{STAMP_SUFFIX}")):
        if path.is_file():
            name = path.relative_to(directory).as_posix()
            yield name, _read_file(path.with_suffix(".checkpoint")), _read_file(path)


def verify_proof_files(
    entry_file: Path, proof_file: Path, key_file: Path, *, witnesses: Sequence[Path] = ()
) -> Verdict:
    """Check by ``proof_file`` that the entry in ``entry_file`` is in the log of the key, as ``witnesses`` saw it."""
    try:
        entry, data = _read_file(entry_file), _read_file(proof_file)
        key = _read_key(key_file)
        trusted = [_read_key(path) for path in witnesses]
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
    vouching = Vouching(Findings(MAX_FINDINGS))
    for witness in trusted:
        vouching.by_witness(witness, [(str(proof_file), proof.checkpoint)])
    told = (_finding_line(finding) for finding in vouching.findings.sorted())
    return Verdict(vouching.findings.outcome, (*told, first, second, *vouching.lines))


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
        if path.is_file() and not path.name.startswith(".") and path.suffix != STAMP_SUFFIX:
            yield path.relative_to(directory).as_posix(), _read_file(path)


def _report_lines(report: Report, key: VerifierKey, *, is_own: bool) -> Iterator[str]:
    yield from map(_finding_line, report.findings)
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


def _finding_line(finding: Finding) -> str:
    word = "ALTERED" if finding.outcome is Outcome.ALTERED else "Could not be checked"
    return f"{word}: {finding.what}. {finding.why}"


def _unchecked(why: str) -> Verdict:
    return Verdict(Outcome.UNCHECKED, (f"Could not be checked: {why}",))


def _say(error: Exception) -> str:
    return error.detail if isinstance(error, InvalidInputError) else str(error)
