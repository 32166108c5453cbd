"""What is stopped dead, one step later each time, until it is done."""

import os
from collections.abc import Callable

STOPPED, MOST_STEPS = 9, 400


def stop_later_each_time(attempt: Callable[[int], None], stride: int = 1) -> None:
    """Make attempt 1, then ``stride`` later each time, each a process of its own; print the first that is not stopped.

    An attempt ends with ``STOPPED`` at the step that it is given, or comes to its end.
    """
    for at in range(1, MOST_STEPS, stride):
        child = os.fork()
        if not child:
            try:
                attempt(at)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            print(at)  # noqa: T201  # the answer
            return
        if code != STOPPED:
            raise SystemExit(f"attempt {at} ended with {code}")
    raise SystemExit("no end in sight")
