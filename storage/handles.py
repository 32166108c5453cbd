"""Files that are kept open between reads, because opening one costs more than reading from it."""

import os
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

MOST_OPEN: Final = 128
"""So many files stay open while nobody reads them."""


@dataclass(slots=True)
class Handle:
    """An open file and how many are reading it."""

    path: str
    file: int
    size_bytes: int
    readers: int = 0
    is_kept: bool = True


class Handles:
    """Open files by path, the least recently used closed first; as a context manager, closes all."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Handle] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path in list(self._kept):
            self.forget(path)

    def take(self, path: str) -> Handle:
        """Return an open file, to be given back.

        Raises:
            OSError: It cannot be opened.
        """
        handle = self._kept.get(path)
        # Another process may have removed the file; what was erased is not read from a handle left over.
        if handle is not None and not os.fstat(handle.file).st_nlink:
            self.forget(path)
            handle = None
        if handle is None:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            handle = self._kept[path] = Handle(path, file, os.fstat(file).st_size)
        self._kept.move_to_end(path)
        handle.readers += 1
        self._shrink()
        return handle

    def give_back(self, handle: Handle) -> None:
        """Note that one reader is done."""
        handle.readers -= 1
        if not handle.readers and not handle.is_kept:
            os.close(handle.file)

    def forget(self, path: str) -> None:
        """Open ``path`` anew the next time; who reads it now reads on."""
        handle = self._kept.pop(path, None)
        if handle is not None:
            handle.is_kept = False
            if not handle.readers:
                os.close(handle.file)

    def _shrink(self) -> None:
        if len(self._kept) > MOST_OPEN:
            idle = next((p for p, handle in self._kept.items() if not handle.readers), None)
            if idle is not None:
                self.forget(idle)
