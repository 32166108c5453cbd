"""What others vouch for, kept beside the published log: checkpoints as witnesses cosigned them, and timestamps.

``anchors/witness-ID.checkpoint`` is the newest checkpoint that the witness with this key id cosigned.
``anchors/DAY/ORIGIN-SIZE.checkpoint`` was stamped, and ``ORIGIN-SIZE.tsr`` beside it is the answer of the authority,
byte for byte. An exported log has them where ``taltio log verify`` looks for them.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from service.archive.anchors import Anchors, anchor_name, stamp_name
from service.domain.errors import ArchiveError, UnavailableError
from service.log.checkpoint import Checkpoint, decode_checkpoint
from service.log.note import VerifierKey
from service.log.witness import cosignature_lines, merge_cosignatures
from storage.errors import MissingError, StorageError
from storage.published import PublishedFiles

ANCHORS: Final = "anchors"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A checkpoint and the answer of an authority that stamped it, both unverified; ``path`` is the answer's."""

    path: str
    note: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Vouched:
    """What is kept below the published log. Blocking: call from a thread."""

    published: PublishedFiles
    witnesses: tuple[VerifierKey, ...] = ()

    def cosigned(self, key: VerifierKey) -> bytes | None:
        """Return the newest checkpoint that ``key`` cosigned, unverified; None where there is none.

        Raises:
            UnavailableError: It cannot be read.
        """
        return self._find(_path_of(key))

    def keep_cosigned(self, key: VerifierKey, note: bytes) -> None:
        """Replace what ``key`` cosigned last. On return it survives a power cut."""
        self.published.write(_path_of(key), note)

    def lines_for(self, note: bytes) -> bytes:
        """Return the cosignatures, each verified, that exactly the checkpoint ``note`` has by now."""
        lines = b""
        for key in self.witnesses:
            kept = self.cosigned(key)
            if kept is not None and kept.startswith(note):
                try:
                    added = cosignature_lines(kept, key)
                    merge_cosignatures(note, added, [key])
                except ArchiveError:
                    # Verification tells of it; what is shown to everybody is what can be verified.
                    continue
                lines += added
        return lines

    def keep_stamp(self, note: bytes, answer: bytes, day: date) -> str:
        """Keep a stamped checkpoint; return the path of the answer. The answer comes last, so it is never alone."""
        checkpoint = decode_checkpoint(note)
        directory = self.published.directory / ANCHORS
        directory.mkdir(parents=True, exist_ok=True)
        folder = f"{ANCHORS}/{Anchors(directory).folder_for(day)}"
        path = f"{folder}/{stamp_name(checkpoint.origin, checkpoint.size)}"
        self.published.write(
            f"{folder}/{anchor_name(checkpoint.origin, checkpoint.size)}", note
        )
        self.published.write(path, answer)
        return path

    def first_stamp(self, origin: str, size: int) -> Stamp | None:
        """Return the stamp of the smallest state of the log ``origin`` that has ``size`` entries at least.

        Raises:
            UnavailableError: Something cannot be read.
        """
        anchors = self._anchors()
        folders = sorted(anchors.days())

        def largest(folder: str) -> int:
            return max(anchors.stamps(folder, origin), default=0)

        # Sizes only grow from day to day, so a few folders are looked into and not those of ten years.
        found = bisect_left(folders, size, key=largest)
        for folder in folders[found:]:
            sizes = [one for one in anchors.stamps(folder, origin) if one >= size]
            if sizes:
                return self._stamp(folder, origin, min(sizes))
        return None

    def last_stamp(self, origin: str) -> Stamp | None:
        """Return the stamp of the largest state of the log ``origin``; raises as ``first_stamp`` does."""
        anchors = self._anchors()
        for folder in sorted(anchors.days(), reverse=True):
            sizes = anchors.stamps(folder, origin)
            if sizes:
                return self._stamp(folder, origin, max(sizes))
        return None

    def every_stamp(self, origin: str) -> Iterator[Stamp]:
        """Yield every stamp of the log ``origin``, the oldest first; raises as ``first_stamp`` does."""
        anchors = self._anchors()
        for folder in sorted(anchors.days()):
            for size in sorted(anchors.stamps(folder, origin)):
                stamp = self._stamp(folder, origin, size)
                if stamp is not None:
                    yield stamp

    def _stamp(self, folder: str, origin: str, size: int) -> Stamp | None:
        path = f"{ANCHORS}/{folder}/{stamp_name(origin, size)}"
        note = self._find(f"{ANCHORS}/{folder}/{anchor_name(origin, size)}")
        answer = self._find(path)
        return None if note is None or answer is None else Stamp(path, note, answer)

    def _anchors(self) -> Anchors:
        return Anchors(self.published.directory / ANCHORS)

    def _find(self, path: str) -> bytes | None:
        try:
            return self.published.read(path)
        except MissingError:
            return None
        except (OSError, StorageError) as error:
            raise UnavailableError(f"{path} cannot be read") from error


def keep_stamp_outside(directory: Path, note: bytes, answer: bytes, day: date) -> None:
    """Put a timestamp beside the anchor of its checkpoint, or both where there is none.

    Raises:
        OSError, storage.errors.StorageError: It cannot be written, or ``directory`` is missing.
    """
    checkpoint: Checkpoint = decode_checkpoint(note)
    anchors, files = Anchors(directory), PublishedFiles(directory)
    folder = anchors.folder_for(day)
    name = anchor_name(checkpoint.origin, checkpoint.size)
    if not anchors.has(name, note):
        files.write(f"{folder}/{name}", note)
    files.write(
        f"{anchors.folder_of(name) or folder}/{stamp_name(checkpoint.origin, checkpoint.size)}",
        answer,
    )


def _path_of(key: VerifierKey) -> str:
    return f"{ANCHORS}/witness-{key.key_id.hex()}.checkpoint"
