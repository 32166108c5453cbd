"""Putting a restored archive where it belongs, by renaming: written down first, and finished by the next when stopped.

What is renamed lies on several file systems perhaps, so no single step does it all. The archive's own directory comes
last, and what was written down goes with it and is removed at the end. Blocking.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from service.backup.restore import STAGED, Target, with_beside
from service.backup.working import create_private
from service.domain.errors import TamperedError, UnavailableError
from storage.errors import ConflictError
from storage.syncing import sync_directory

FILE: Final = ".placing"
_NEW: Final = ".placing.new"


class Placing(msgspec.Struct, frozen=True):
    """What is being put in place: the backup's ``name``, blobs that did not come back, and what becomes what.

    ``servers`` are those that have the rows and keys already, and let nobody open them yet.
    ``has_older_keys`` where an older key store than the newest was asked for.
    """

    name: str
    missing: list[str]
    has_older_keys: bool
    moves: list[tuple[str, str]]
    servers: list[str]


def find_placing(target: Target) -> Placing | None:
    """Return what an earlier restore was putting in place when it was stopped; None when there is nothing of it.

    Raises:
        ConflictError: It was for other places than the settings name now.
        TamperedError: What was written down cannot be read.
    """
    for directory in (target.staged().directory, target.directory):
        try:
            found = msgspec.json.decode((directory / FILE).read_bytes(), type=Placing)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except msgspec.DecodeError as error:
            raise TamperedError(f"{directory / FILE} is not what a restore wrote") from error
        if (found.moves, found.servers) != (_moves(target), list(target.servers)):
            raise ConflictError(
                f"a restore of {found.name} was stopped while it put things in place, and the settings named other "
                f"places then: {', '.join([*(final for _, final in found.moves), *found.servers])}. Let them name "
                "those, and restore again"
            )
        return found
    return None


def require_whole(archive: Path) -> None:
    """Refuse to work on an archive of which a part is not in place yet.

    Raises:
        UnavailableError: A restore was stopped in its last step.
    """
    if (archive.with_name(f"{archive.name}{STAGED}") / FILE).exists():
        raise UnavailableError(
            f"a restore to {archive} was stopped before everything was in place: taltio backup restore goes on with it"
        )


def begin_placing(
    target: Target, *, name: str, missing: list[str], has_older_keys: bool
) -> Placing:
    """Write down, and return, that everything is staged and only needs its names. On return that survives a power cut.

    Raises:
        ConflictError: Something is at one of the places by now. It was kept.
    """
    target.require_empty()
    # Whatever wrote the files, they are on the disk before they get their names.
    os.sync()
    directory = target.staged().directory
    placing = Placing(name, missing, has_older_keys, _moves(target), list(target.servers))
    with create_private(directory / _NEW) as out:
        out.write(msgspec.json.encode(placing))
        out.flush()
        os.fsync(out.fileno())
    (directory / _NEW).rename(directory / FILE)
    sync_directory(directory)
    return placing


def place(target: Target) -> None:
    """Give everything that still lies staged its name. On return that survives a power cut.

    Raises:
        ConflictError: Something else is there. It was kept.
        UnavailableError: Something was taken away.
        OSError: It cannot be renamed.
    """
    for staged, final in target.moves():
        if not staged.exists():
            if not final.exists():
                raise UnavailableError(
                    f"{staged} is gone: remove what is staged, and restore anew"
                )
            # An earlier attempt came so far.
            continue
        if final.is_dir():
            with suppress(OSError):
                final.rmdir()
        if any(os.path.lexists(path) for path in with_beside(final)):
            raise ConflictError(f"{final} is there already: move it away, and restore again")
        staged.rename(final)
        sync_directory(final.parent)


def end_placing(target: Target) -> None:
    """Forget what was written down: everything is in place."""
    (target.directory / FILE).unlink(missing_ok=True)
    sync_directory(target.directory)


def _moves(target: Target) -> list[tuple[str, str]]:
    return [(str(staged), str(final)) for staged, final in target.moves()]
