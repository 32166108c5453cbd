"""Anchors: signed checkpoints outside of the archive, one folder for each day on which any was put there.

``2026-11-22/ORIGIN-SIZE.checkpoint``: the name tells what a file should hold, so the newest is looked for by its name
and not by going through all of them. Folders never go back in time, whatever the clock does: what was put there last
lies in the last folder. Files beside the folders count as older than all of them.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from service.domain.errors import UnavailableError

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NAME: Final = re.compile(r"(.+)-([0-9]{12,20})\.checkpoint")
_STAMP: Final = re.compile(r"(.+)-([0-9]{12,20})\.tsr")
_BESIDE: Final = ""
# A verification looks into so many folders at the most, and takes so many anchors of the one where it finds any.
_MOST_FOLDERS: Final = 32
_MOST_TAKEN: Final = 3


def anchor_name(origin: str, size: int) -> str:
    """Return the name of the anchor of a checkpoint."""
    return f"{_plain(origin)}-{size:012d}.checkpoint"


def stamp_name(origin: str, size: int) -> str:
    """Return the name of the timestamp (RFC 3161) that lies beside that anchor."""
    return f"{_plain(origin)}-{size:012d}.tsr"


@dataclass(frozen=True, slots=True)
class Anchors:
    """The anchors in ``directory``, by relative path. Blocking: call from a thread. Notes are unverified bytes."""

    directory: Path

    def folder_for(self, day: date) -> str:
        """Return the folder of what is put there on ``day``: that day's, or a later one that there is already.

        Raises:
            OSError: The directory cannot be read.
        """
        return max([day.isoformat(), *self._days()])

    def has(self, name: str, note: bytes) -> bool:
        """Tell whether ``note`` lies there under ``name``, in one of the newest folders.

        Raises:
            OSError: The directory cannot be read.
        """
        return any(self._find(folder, name) == note for folder in self._folders()[:2])

    def has_log(self, name: str) -> bool:
        """Tell whether there is an anchor of the log ``name``, or of one that it went on as: ``name/2`` and so on.

        Raises:
            UnavailableError: Something cannot be read.
        """
        of_name = re.compile(rf"{re.escape(_plain(name))}(_[0-9]+)?")
        try:
            return any(
                of_name.fullmatch(log)
                for folder in self._folders()
                for log in self._by_log(folder)
            )
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnavailableError("the anchor directory cannot be read") from error

    def newest(
        self, origin: str, sizes: Collection[int], *, is_genuine: Callable[[bytes], bool]
    ) -> dict[str, bytes]:
        """Return the genuine anchor of the largest of ``sizes`` that has one; else the newest few of ``origin``.

        What is not genuine and lies there under such a name hides none that is; it is returned as well.

        Raises:
            UnavailableError: The directory cannot be read.
        """
        found: dict[str, bytes] = {}
        try:
            folders = self._folders()[:_MOST_FOLDERS]
            for size in sorted(sizes, reverse=True):
                name = anchor_name(origin, size)
                for folder in folders:
                    if (note := self._find(folder, name)) is None:
                        continue
                    if is_genuine(note):
                        return {**found, _path(folder, name): note}
                    found[_path(folder, name)] = note
            for folder in folders:
                taken = self._newest_in(folder, origin)
                found |= taken
                if any(map(is_genuine, taken.values())):
                    break
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnavailableError("the anchor directory cannot be read") from error
        return found

    def _newest_in(self, folder: str, origin: str) -> dict[str, bytes]:
        names = self._by_log(folder).get(_plain(origin), [])[:_MOST_TAKEN]
        return {_path(folder, name): self._read(folder, name) for name in names}

    def of_log(self, origin: str) -> Iterator[tuple[str, bytes]]:
        """Yield every anchor of the log ``origin``, the newest folder first, reading each when its turn comes.

        Raises:
            UnavailableError: Something cannot be read.
        """
        try:
            for folder in self._folders():
                for name in self._by_log(folder).get(_plain(origin), []):
                    yield _path(folder, name), self._read(folder, name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnavailableError("the anchor directory cannot be read") from error

    def by_folder(self) -> Iterator[Iterator[Iterator[bytes]]]:
        """Yield for each folder, the newest first, for each log in it, its anchors, the largest first.

        Raises:
            OSError: Something cannot be read, now or while going on.
        """
        for folder in self._folders():
            yield (
                (self._read(folder, name) for name in names)
                for names in self._by_log(folder).values()
            )

    def days(self) -> list[str]:
        """Return the folders of days; none where there is no directory.

        Raises:
            UnavailableError: The directory cannot be read.
        """
        try:
            return self._days()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UnavailableError("the anchor directory cannot be read") from error

    def stamps(self, folder: str, origin: str) -> list[int]:
        """Return the sizes of the log ``origin`` of which ``folder`` has a timestamp.

        Raises:
            UnavailableError: The folder cannot be read.
        """
        try:
            names = os.listdir(self.directory / folder)  # noqa: PTH208  # no Path for each of thousands
        except OSError as error:
            raise UnavailableError("the anchor directory cannot be read") from error
        found = filter(None, map(_STAMP.fullmatch, names))
        return [int(match[2]) for match in found if match[1] == _plain(origin)]

    def folder_of(self, name: str) -> str | None:
        """Return which of the newest folders has ``name``.

        Raises:
            OSError: The directory cannot be read.
        """
        folders = self._folders()[:2]
        return next((one for one in folders if (self.directory / one / name).exists()), None)

    def _days(self) -> list[str]:
        return sorted(filter(_DAY.fullmatch, os.listdir(self.directory)), reverse=True)  # noqa: PTH208  # no Path for each of thousands

    def _folders(self) -> list[str]:
        return [*self._days(), _BESIDE]

    def _by_log(self, folder: str) -> dict[str, list[str]]:
        """Return the names in ``folder`` by log, the largest size first."""
        found: dict[str, list[tuple[int, str]]] = {}
        for name in os.listdir(self.directory / folder):  # noqa: PTH208  # no Path for each of thousands
            if match := _NAME.fullmatch(name):
                found.setdefault(match[1], []).append((int(match[2]), name))
        return {
            log: [name for _, name in sorted(of, reverse=True)] for log, of in found.items()
        }

    def _find(self, folder: str, name: str) -> bytes | None:
        try:
            return self._read(folder, name)
        except FileNotFoundError:
            return None

    def _read(self, folder: str, name: str) -> bytes:
        return (self.directory / folder / name).read_bytes()


def _plain(origin: str) -> str:
    return origin.replace("/", "_")


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
