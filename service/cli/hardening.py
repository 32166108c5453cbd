"""What a process that holds keys asks of the kernel: that its memory is nobody else's."""

import ctypes
import logging
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4

log = logging.getLogger("taltio")


def harden() -> None:
    """Keep this process's memory from core dumps and debuggers, and let it have as many files open as it may.

    Core dumps are off for its children too. Without dumping, no process of the same user may attach to it or read its
    memory (prctl(2), PR_SET_DUMPABLE; ptrace(2)). Where the kernel is not Linux, only core dumps are turned off.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        # Each connection and each recording that is listened to needs one; the usual limit of 1024 is for select().
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("the kernel does not keep debuggers away from this process")
