"""A silence is unusual when what is usual makes it improbable."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.silence import IMPROBABLE, is_improbable


@pytest.mark.parametrize(
    ("count", "before", "expected"),
    [
        (0, [10] * 8, True),
        (0, [9] * 8, False),
        (3, [20] * 8, True),
        (8, [20] * 8, False),
        (0, [10] * 3, False),  # learned first
        (0, [], False),
        (0, [0] * 8, False),
        (0, [10, 10, 10, 10, 10, 0, 0, 0], True),  # holidays among them
        (0, [0, 0, 0, 0, 0, 900, 900, 900], False),  # storms among them
        (140, [200] * 8, True),
        (10_000, [200] * 8, False),
    ],
)
def test_it_is_told_by_the_median_week(count, before, expected):
    assert is_improbable(count, before) is expected


@given(st.integers(0, 200), st.lists(st.integers(0, 300), min_size=4, max_size=8))
def test_the_probability_is_that_of_a_poisson_distribution(count, before):
    ordered = sorted(before)
    half = len(ordered) // 2
    usual = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    exact = sum(
        math.exp(-usual + n * math.log(usual) - math.lgamma(n + 1)) if usual else float(n == 0)
        for n in range(count + 1)
    )
    if not math.isclose(exact, IMPROBABLE, rel_tol=1e-6):
        assert is_improbable(count, before) is (exact < IMPROBABLE)
