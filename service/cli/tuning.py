"""How the interpreter shares itself out in a process that serves."""

import gc
import sys
from typing import Final

_SWITCH_SECONDS: Final = 0.0005
_YOUNG, _MIDDLE, _OLD = 10_000, 20, 50


def tune() -> None:
    """Let the threads of the databases have their turn soon, and look for garbage less often.

    A thread that comes back from the database waits until the one that answers requests gives way: with the usual
    5 ms, commits took five times as long under load. What was loaded at start never becomes garbage, and nearly all
    that a request leaves behind is freed without being looked for.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
