"""How passwords are kept."""

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from service.access.passwords import Passwords


async def test_kept_as_argon2id_as_rfc_9106_recommends():
    kept = await Passwords().hash("correct horse battery staple")
    parameters = extract_parameters(kept)
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        64 * 1024,
        3,
        4,
    )
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)
    assert await Passwords().is_match("correct horse battery staple", kept)
    assert not await Passwords().is_match("correct horse battery stapl", kept)


async def test_two_of_the_same_password_differ():
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    assert await passwords.hash("same") != await passwords.hash("same")


async def test_nothing_matches_nobody_not_even_what_nobody_is_compared_with():
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    assert not await passwords.is_match("nobody's password", None)


async def test_a_kept_password_that_is_no_hash_is_a_bug_and_no_refusal():
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    with pytest.raises(ValueError, match="no Argon2 hash"):
        await passwords.is_match("x", "plain")
