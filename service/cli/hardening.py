"""What every process of the program asks of the kernel: that its memory and its files are nobody else's."""

import ctypes
import logging
import os
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_UMASK: Final = 0o077

log = logging.getLogger("taltio")


def _open_standard_streams() -> None:
    """Open nothing in place of standard streams that are closed, or the next file would take their numbers."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  # standard error's
        os.set_inheritable(opened, True)  # noqa: FBT003  # the call has no other form
    os.close(opened)


def harden() -> None:
    """Keep this process's memory from core dumps and debuggers, and what it writes from other accounts.

    It may have as many files open as it is allowed. Core dumps are off for its children too. Without dumping, no
    process of the same user may attach to it or read its memory (prctl(2), PR_SET_DUMPABLE; ptrace(2)). Where the
    kernel is not Linux, only core dumps are turned off. Files are made for this account alone (umask(2)).
    """
    _open_standard_streams()
    os.umask(_UMASK)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        # Each connection and each recording that is listened to needs one; the usual limit of 1024 is for select().
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("program.not_hardened")
