"""What a child process gives up before it reads the first byte of what strangers made. There is no way back."""

import ctypes
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


def confine(*, memory_bytes: int, cpu_seconds: int, most_cpu_seconds: int) -> None:
    """Open no file and no socket any more, start nothing, write nothing to disk, leave no core dump.

    Beyond ``cpu_seconds`` of processor time the kernel ends the process; the process may allow itself more, up to
    ``most_cpu_seconds``.
    """
    with suppress(OSError):
        # Should memory run out on the machine, this process goes before the archive does.
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    os.nice(5)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        # A core dump would be plaintext on disk; RLIMIT_CORE alone does not stop a core handler.
        for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
            if prctl(option, value, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
    for limit, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds, most_cpu_seconds),
        (resource.RLIMIT_NPROC, 0, 0),
        # Last: with no descriptor left to give out, no file and no socket can be opened.
        (resource.RLIMIT_NOFILE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
