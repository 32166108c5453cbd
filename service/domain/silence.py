"""Silence: whether it is unusual that so little came in an hour. Pure."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

WEEKS: Final = 8
"""So many weeks before are looked at, the same hour of the week in each."""
IMPROBABLE: Final = 1e-4
"""An hour so improbable comes once in fourteen months, of a source that works."""
_LEAST_WEEKS: Final = 4


def is_improbable(count: int, before: Sequence[int]) -> bool:
    """Tell whether at most ``count`` contacts in an hour are improbable, by the counts of that hour in weeks before.

    Contacts are taken to come independently of each other (a Poisson distribution), as many as in the median week; so
    a holiday among those weeks, or one storm, does not change what is usual. With fewer than four weeks nothing is
    said: a new source is learned first.
    """
    if len(before) < _LEAST_WEEKS:
        return False
    usual = float(median(before))
    term = total = math.exp(-usual)
    for number in range(1, count + 1):
        term *= usual / number
        total += term
        if total >= IMPROBABLE:
            return False
    return total < IMPROBABLE
