"""Overwriting what is freed, so that the memory of a process that takes deliveries in does not remember them.

A key or a plaintext that Python frees stays in memory until something else is written there. The interpreter's own
allocator cannot be told otherwise, so the program begins itself again on that of the C library, which can.
"""

import os
import platform
import sys
from collections.abc import Mapping
from typing import Final

_LIBC: Final = "glibc"
# PYTHONMALLOC: the library's allocator for everything (Python documentation, "Command line and environment"). perturb:
# what is freed is overwritten; it passes over what tcache keeps, so there is none (glibc manual, "Memory Allocation
# Tunables").
_TUNABLES: Final = "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"


def overwriting_environment(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the environment in which what is freed is overwritten; None when it is that already."""
    set_before = environment.get("GLIBC_TUNABLES", "")
    if environment.get("PYTHONMALLOC") == "malloc" and _TUNABLES in set_before:
        return None
    kept = [set_before] if set_before else []
    tunables = ":".join([*kept, _TUNABLES])
    return {**environment, "PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": tunables}


def overwrite_what_is_freed() -> bool:
    """Begin this program anew, in the same process, so that it overwrites what it frees; return when it does.

    Returns False where the C library, or the interpreter, cannot be told to.
    """
    if platform.libc_ver()[0] != _LIBC or sys.flags.ignore_environment:
        return False
    environment = overwriting_environment(os.environ)
    if environment is not None:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  # itself, with its own arguments
    return True
