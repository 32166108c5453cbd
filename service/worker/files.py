"""Directories in which sources leave files: what is there is kept exactly as if it had been delivered.

A file is left where it is, or moved, only after what it holds is durable. Names are anything that somebody else wrote:
no link is followed, and nothing but a regular file is read.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from service.archive.receive import Intake, Kept, keep_recording
from service.archive.receive_request import keep_request
from service.domain.errors import ArchiveError, InvalidInputError, TooLargeError
from service.domain.identifiers import require_plain
from service.sources.files import (
    HEAD_BYTES,
    FileKind,
    RecordingFile,
    RequestFile,
    is_finished_wave,
)
from service.sources.requests import ReceivedRequest, target_of

RESTED_AFTER: Final = timedelta(hours=1)
"""A recording that says of itself that it is not whole is taken when it was not written to for so long."""
_CHUNK_BYTES: Final = 1024**2

State = tuple[int, int, int]
"""Which file it is, how large, and when it was written (inode, bytes, ns): another one when anything changes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was found: where, what it is called below the directory, and its state then."""

    path: Path
    name: str
    state: State

    @property
    def written_at(self) -> float:
        """When it was written last, in seconds since 1970."""
        return self.state[2] / 1e9


class StillWrittenError(ArchiveError):
    """The file changed while it was read. Nothing of it was kept."""

    code = "file_still_written"
    public = "The file is still being written."


@dataclass(slots=True)
class Tally:
    """What became of files. ``refused`` says why, by name; ``unknown`` are not of the source's kind."""

    kept: int = 0
    there_already: int = 0
    still_written: int = 0
    unknown: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileIntake:
    """Keeps files of ``source``, which ``recognise`` tells apart."""

    intake: Intake
    source: str
    recognise: FileKind
    max_delivery_bytes: int

    async def take(
        self, found: Found, *, now: datetime, moved_to: Path | None = None
    ) -> Kept | None:
        """Keep a file; None when it is none of the source's. On return it survives a power cut.

        ``moved_to`` is where those were moved that were kept before.

        Raises:
            StillWrittenError, TooLargeError, InvalidInputError, OSError: Nothing was kept.
            storage.errors.StorageError: Nothing was kept, unless it says otherwise.
        """
        with _opened(found.path) as file:
            head = await asyncio.to_thread(os.pread, file, HEAD_BYTES, 0)
            what = self.recognise(found.name, head)
            match what:
                case RequestFile():
                    if what.is_unfinished and not _is_abandoned(found, what, now=now):
                        raise StillWrittenError("of what still goes on")
                    return await self._take_request(found, file, what, now=now)
                case RecordingFile():
                    if not _is_told_whole(found, what, moved_to):
                        _require_closed(found, head, now=now)
                    return await keep_recording(
                        self.intake,
                        _chunks(found, file),
                        source=self.source,
                        source_id=require_plain(what.source_id, what="source_id"),
                        name=require_plain(what.name, what="name"),
                        content_type=what.content_type,
                        now=now,
                    )
        return None

    async def _take_request(
        self, found: Found, file: int, what: RequestFile, *, now: datetime
    ) -> Kept:
        body = bytearray()
        async for chunk in _chunks(found, file):
            body += chunk
            if len(body) > self.max_delivery_bytes:
                raise TooLargeError(f"a file of more than {self.max_delivery_bytes} bytes")
        name = require_plain(found.name, what="the name of the file")
        request = ReceivedRequest(
            method="POST",
            target=target_of(self.source, what.query),
            headers=(("x-taltio-file", name),),
            body=bytes(body),
        )
        return await keep_request(self.intake, request, source=self.source, now=now)


async def bring_in(
    files: Sequence[Found],
    intake: FileIntake,
    *,
    move_to: Path | None,
    clock: Callable[[], datetime],
    offer: Callable[[Kept], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Keep ``files``, and move each that is kept below ``move_to``; return what became of them.

    A file that cannot be kept holds up no other. Stopped anywhere, it has lost nothing and can be begun again: what is
    kept already is moved then.

    Raises:
        storage.errors.StorageError: The archive takes nothing now. What was kept before is moved.
    """
    tally = Tally()
    for done, found in enumerate(files, start=1):
        try:
            kept = await intake.take(found, now=clock(), moved_to=move_to)
            if kept is not None and move_to is not None:
                await asyncio.to_thread(_move, found, move_to)
        except StillWrittenError:
            tally.still_written += 1
        except InvalidInputError as error:
            tally.refused[found.name] = error.detail
        except TooLargeError as error:
            tally.refused[found.name] = str(error)
        except OSError as error:
            tally.refused[found.name] = error.strerror or type(error).__name__
        else:
            _count(tally, found, kept)
            if kept is not None and offer is not None:
                offer(kept)
        if progress is not None:
            progress(done, len(files))
    return tally


def _is_told_whole(found: Found, what: RecordingFile, moved_to: Path | None) -> bool:
    """Tell whether the file is there that says that the recording is whole, or was there and was kept."""
    if what.whole_with is None:
        return False
    places = [_directory(found)] if moved_to is None else [_directory(found), moved_to]
    return any((place / what.whole_with).is_file() for place in places)


def _is_abandoned(found: Found, what: RequestFile, *, now: datetime) -> bool:
    """Tell whether nobody writes to the file, nor to the one that grows with it, where that is there."""
    if what.grows_with is not None:
        with suppress(FileNotFoundError):
            beside = _directory(found) / what.grows_with
            if not _is_long_ago(beside.lstat().st_mtime, now=now):
                return False
    return _has_rested(found, now=now)


def _directory(found: Found) -> Path:
    """Return the directory below which the file was found."""
    return found.path.parents[found.name.count("/")]


def _has_rested(found: Found, *, now: datetime) -> bool:
    return _is_long_ago(found.written_at, now=now)


def _is_long_ago(written_at: float, *, now: datetime) -> bool:
    return written_at <= (now - RESTED_AFTER).timestamp()


def _require_closed(found: Found, head: bytes, *, now: datetime) -> None:
    """Return when the recording is closed, or has rested: a call that waits in a queue writes nothing for long.

    Raises:
        StillWrittenError: It may be open still. Moved now, what is recorded later would be in a file that nobody reads.
    """
    if not _has_rested(found, now=now) and not is_finished_wave(head, found.state[1]):
        raise StillWrittenError("a recording that may still be open")


def _count(tally: Tally, found: Found, kept: Kept | None) -> None:
    if kept is None:
        tally.unknown.append(found.name)
    elif kept.is_duplicate:
        tally.there_already += 1
    else:
        tally.kept += 1


def find_files(directory: Path, *, without: Path | None = None) -> list[Found]:
    """Return the regular files below ``directory``, in the order of their names, but none below ``without``.

    Hidden ones are left out: programs that copy files call them so until they are whole.

    Raises:
        OSError: The directory, or one in it, cannot be read.
    """
    return sorted(_walk(directory, "", without), key=lambda found: found.name)


def _walk(directory: Path, above: str, without: Path | None) -> Iterator[Found]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path, name = Path(entry.path), above + entry.name
            if entry.is_dir(follow_symlinks=False):
                if path != without:
                    yield from _walk(path, f"{name}/", without)
            elif entry.is_file(follow_symlinks=False):
                yield Found(path, name, _state(entry.stat(follow_symlinks=False)))


def _state(status: os.stat_result) -> State:
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a regular file to be read; it may have become something else since it was found."""
    # A named pipe would be waited for.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise InvalidInputError("it is no regular file")
        yield file
    finally:
        os.close(file)


async def _chunks(found: Found, file: int) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, if it stays what it was when it was found.

    Raises:
        StillWrittenError: It does not; told before the last of them counts as read.
    """
    place = 0
    while chunk := await asyncio.to_thread(os.pread, file, _CHUNK_BYTES, place):
        place += len(chunk)
        yield chunk
    if _state(os.fstat(file)) != found.state:
        raise StillWrittenError(f"a file of {place} bytes changed while it was read")


def _move(found: Found, to: Path) -> None:
    """Move a file that is kept below ``to``, beside one of its name that is there.

    Raises:
        StillWrittenError: It is another file than was kept. It stays.
    """
    target = to / found.name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _state(found.path.lstat()) != found.state:
        raise StillWrittenError("a file changed after it was kept")
    number = 1
    while os.path.lexists(target):
        target = to / f"{found.name}.{number}"
        number += 1
    found.path.rename(target)
