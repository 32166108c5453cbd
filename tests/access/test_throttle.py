"""The brake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.errors import TooManyRequestsError
from service.access.throttle import Throttle, address_key


class _Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return _Clock()


def test_so_many_at_once_and_then_one_after_another(clock):
    throttle = Throttle(3, seconds_each=0.1, clock=clock)
    for _ in range(3):
        throttle.take("a")
    for _ in range(5):
        with pytest.raises(TooManyRequestsError) as braked:
            throttle.take("a")
        assert braked.value.retry_after == 1
        clock.now += 0.1
        throttle.take("a")


def test_one_does_not_brake_another(clock):
    throttle = Throttle(1, seconds_each=10, clock=clock)
    throttle.take("a")
    throttle.take("b")
    with pytest.raises(TooManyRequestsError) as braked:
        throttle.take("a")
    assert braked.value.retry_after == 10


def test_what_is_given_back_can_be_taken_again_but_nothing_is_saved_up(clock):
    throttle = Throttle(2, seconds_each=10, clock=clock)
    for _ in range(20):
        throttle.take("a")
        throttle.give_back("a")
    throttle.give_back("a")
    throttle.give_back("never taken")
    throttle.take("a")
    throttle.take("a")
    with pytest.raises(TooManyRequestsError):
        throttle.take("a")


def test_memory_is_bounded_and_the_longest_unused_is_forgotten(clock):
    throttle = Throttle(1, seconds_each=10, max_keys=100, clock=clock)
    for number in range(1000):
        throttle.take(str(number))
    assert len(throttle._full_at) == 100
    with pytest.raises(TooManyRequestsError):
        throttle.take("999")


@given(st.lists(st.floats(0, 5), max_size=40))
def test_never_more_than_the_capacity_and_the_time_allow(waits):
    clock, taken = _Clock(), 0
    throttle = Throttle(3, seconds_each=1, clock=clock)
    start = clock.now
    for wait in waits:
        clock.now += wait
        try:
            throttle.take("a")
        except TooManyRequestsError:
            continue
        taken += 1
    assert taken <= 3 + (clock.now - start) + 1e-5


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_what_counts_as_one_sender(address, key):
    assert address_key(address) == key
