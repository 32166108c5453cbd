"""One running service for each data directory."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from storage.errors import UnavailableError

LOCK_NAME: Final = "serve.lock"


@contextmanager
def instance_lock(directory: Path) -> Iterator[None]:
    """Hold ``directory`` for this process alone; other programs than the service need not ask.

    The lock ends with the process, however that ends. The file stays, for removing it would let two in.

    Raises:
        UnavailableError: Another process holds it; the text says which.
    """
    path = directory / LOCK_NAME
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            raise UnavailableError(
                f"{directory}: another service already runs on it (process {holder or 'unknown'}); "
                "stop that one first, or choose another directory. Only on PostgreSQL do several share an archive"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)
