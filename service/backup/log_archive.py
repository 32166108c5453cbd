"""The published log in a backup: a tar archive of the log that is written, and of those that ended before. Blocking."""

import io
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, cast

LOG: Final = "log"
CHECKPOINT: Final = "log/checkpoint"
# Below the log or one that ended, and no part of it leads out: none begins with a dot.
_NAME: Final = re.compile(
    rf"{LOG}(\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+", re.ASCII
)


def read_checkpoint(archive: Path) -> bytes | None:
    """Return the newest published checkpoint of the archive in ``archive``; None before the first."""
    try:
        return (archive / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return None


def write_log(
    archive: Path, checkpoint: bytes | None, out: object, *, check: Callable[[], None]
) -> None:
    """Write the log files of ``archive`` to ``out``, with ``checkpoint`` instead of the one that is there by now.

    What belongs to ``checkpoint``, read before, is all there: a tile only goes when a fuller one holds the same.
    """
    with tarfile.open(
        fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.PAX_FORMAT
    ) as tar:
        if checkpoint is not None:
            _add(tar, CHECKPOINT, checkpoint)
        for file in _files(archive):
            check()
            name = file.relative_to(archive).as_posix()
            if name == CHECKPOINT:
                continue
            try:
                data = file.read_bytes()
            except FileNotFoundError:
                # The part of a tile that is full by now.
                continue
            _add(tar, name, data)


def read_log(packed: object, archive: Path) -> None:
    """Write the files of a tar archive of the log below ``archive``, and nothing outside of it.

    Raises:
        tarfile.TarError: It is none, or names something that is no plain file of a log.
    """
    with tarfile.open(fileobj=cast("IO[bytes]", packed), mode="r|") as tar:
        for member in tar:
            source = tar.extractfile(member) if member.isfile() else None
            if source is None or not _NAME.fullmatch(member.name):
                raise tarfile.TarError(f"{member.name!r} is no file of a log")
            path = archive / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                shutil.copyfileobj(source, file)


def _files(archive: Path) -> Iterator[Path]:
    for folder in sorted([archive / LOG, *archive.glob(f"{LOG}.*")]):
        # Names that begin with a dot are being written.
        yield from (
            file
            for file in sorted(folder.rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))
