"""What was moved from where to where: a file in the archive's directory, so that no two places are written to.

While a move is under way nobody opens the archive. Once it is done, nobody opens what was left: whoever wrote there
would begin a second history of the same log.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from service.domain.errors import UnavailableError
from storage.errors import MissingError
from storage.published import PublishedFiles

FILE: Final = "moved.json"


class State(StrEnum):
    """How far a move is."""

    MOVING = "moving"
    MOVED = "moved"
    GIVEN_UP = "given_up"


class Move(msgspec.Struct, frozen=True):
    """One move: ``left`` are the places that are no longer the archive's once it is done.

    ``storage`` is what the settings say under [storage] for the new place, those that changed alone; no secrets.
    """

    id: str
    state: State
    left: tuple[str, ...]
    storage: Mapping[str, str]


class MoveRecord:
    """The moves of the archive in ``directory``, oldest first. Blocking."""

    def __init__(self, directory: Path) -> None:
        self._files = PublishedFiles(directory)

    def read(self) -> Sequence[Move]:
        """Return all of them.

        Raises:
            UnavailableError: The file cannot be read or understood.
        """
        try:
            return msgspec.json.decode(self._files.read(FILE), type=tuple[Move, ...])
        except MissingError:
            return ()
        except (OSError, msgspec.DecodeError) as error:
            raise UnavailableError(f"{self._files.directory / FILE} cannot be read") from error

    def find(self, left: Collection[str], storage: Mapping[str, str]) -> Move:
        """Return the move from these places to those; a new one where none was begun.

        Raises:
            UnavailableError: Another move is under way.
        """
        same = None
        for move in self.read():
            if set(move.left) == set(left) and move.storage == storage:
                same = move
            elif move.state is State.MOVING:
                raise UnavailableError(
                    f"a move to {' and '.join(destinations(move))} is under way; go on with that one, or give it up: "
                    "taltio migrate --back"
                )
        return same or Move(secrets.token_hex(16), State.GIVEN_UP, tuple(left), storage)

    def find_left(self, places: Collection[str]) -> Move | None:
        """Return the move that is under way, or the last that left any of ``places``."""
        moves = [one for one in self.read() if one.state is not State.GIVEN_UP]
        left = [one for one in moves if set(one.left) & set(places)]
        return left[-1] if left else None

    def put(self, move: Move) -> None:
        """Keep ``move``, in place of what was known of it. On return that survives a power cut.

        Raises:
            UnavailableError: It could not be written.
        """
        moves = [one for one in self.read() if one.id != move.id]
        try:
            self._files.write(FILE, msgspec.json.encode([*moves, move]))
        except OSError as error:
            raise UnavailableError(
                f"{self._files.directory / FILE} cannot be written: {error.strerror}"
            ) from error

    def require_here(self, places: Collection[str]) -> None:
        """Refuse to open an archive at ``places`` that is being moved, or was moved away from one of them.

        Raises:
            UnavailableError: It must not be opened there.
        """
        for move in self.read():
            to = " and ".join(destinations(move))
            if move.state is State.MOVING:
                raise UnavailableError(
                    f"the archive is being moved to {to}, and nothing may use it meanwhile; go on with the same taltio "
                    "migrate as before, or give the move up with taltio migrate --back"
                )
            left = sorted(set(move.left) & set(places))
            if move.state is State.MOVED and left:
                raise UnavailableError(
                    f"the archive was moved from {left[0]} to {to}: change [storage] as taltio migrate printed it "
                    "(the same command prints it again). Two places written to would be two histories of one log. "
                    "As long as nothing was written at the new place: taltio migrate --back"
                )


def destinations(move: Move) -> list[str]:
    """Return where a move goes."""
    return [move.storage[name] for name in ("database", "blobs") if move.storage.get(name)]
