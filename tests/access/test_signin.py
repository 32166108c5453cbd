"""Signing in."""

import asyncio
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from service.access.errors import SignInRefusedError, TooManyRequestsError
from service.access.signin import LockOut, decide_refusal
from service.access.users import User, UserState
from service.domain.actor import OPERATOR, ActorKind, Role
from storage.errors import UnavailableError
from storage.rows import SessionRow
from tests.fakes import NOW, PASSWORD


async def test_the_right_password_begins_a_session_of_that_person(door):
    aino = await door.person("Aino.Esimerkki@Example.org", Role.DPO)
    new = await door.sign_in(" aino.esimerkki@example.ORG ")
    found = await door.session(new.secret)
    assert found == new.session
    assert found.actor == aino
    assert aino.kind is ActorKind.PERSON
    assert aino.roles == {Role.DPO}


async def test_what_is_wrong_is_refused_with_one_answer(door):
    await door.person()
    for login in ("aino", "nobody", "", "two words", "\ud800", "\0", "x" * 10_000):
        for password in ("", "wrong", "\ud800", "x" * 100_000):
            with pytest.raises(SignInRefusedError) as refused:
                await door.sign_in(login, password)
            assert str(refused.value) == "signing in was refused; the log says why"
            door.clock.wait(seconds=20)


async def test_unknown_locked_disabled_and_invited_are_refused_as_the_wrong_password_is(door):
    disabled, invited = await door.person("disabled"), "invited"
    await door.person("locked")
    await door.accounts.disable(disabled.id, by=OPERATOR, now=NOW)
    await door.accounts.add(invited, name="I", roles=[Role.AGENT], by=OPERATOR, now=NOW)
    door.sign_in_with(LockOut(failures=1))
    for login in ("locked", "locked", "disabled", "invited", "unknown"):
        password = "wrong" if login == "locked" else PASSWORD
        with pytest.raises(SignInRefusedError):
            await door.sign_in(login, password)
    with pytest.raises(SignInRefusedError):
        await door.sign_in("locked", PASSWORD)
    reasons = [entry.data["reason"] for entry in await door.entries("signin.failed")]
    assert reasons == [
        "wrong_password",
        "locked",
        "disabled",
        "invited",
        "unknown_login",
        "locked",
    ]


async def test_every_refusal_checks_a_password_and_asks_for_a_row_key(door, monkeypatch):
    await door.person()
    await door.passwords.is_match("", None)
    calls = []
    check, ask = door.passwords._is_same, type(door.vault).find_sealers

    async def asked(vault, ids):
        calls.append("key")
        return await ask(vault, ids)

    monkeypatch.setattr(
        door.passwords, "_is_same", lambda *args: calls.append("argon2") or check(*args)
    )
    monkeypatch.setattr(type(door.vault), "find_sealers", asked)
    for login in ("aino", "nobody", "not a login"):
        calls.clear()
        with pytest.raises(SignInRefusedError):
            await door.sign_in(login, "wrong")
        assert calls == ["key", "argon2"]


async def test_an_account_is_locked_after_so_many_failures_in_a_row_and_opens_by_itself(door):
    aino = await door.person()
    door.sign_in_with(LockOut(failures=3, duration=timedelta(minutes=15)))
    for _ in range(3):
        with pytest.raises(SignInRefusedError):
            await door.sign_in(password="wrong")
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    *_, locking, refused = await door.entries("signin.failed")
    assert locking.data == {"reason": "wrong_password", "locked_seconds": 900}
    assert locking.about == (aino.id,)
    assert refused.data == {"reason": "locked"}
    door.clock.wait(minutes=15)
    assert await door.sign_in()


async def test_a_success_forgets_the_failures_before_it(door):
    await door.person()
    door.sign_in_with(LockOut(failures=2))
    for _ in range(3):
        with pytest.raises(SignInRefusedError):
            await door.sign_in(password="wrong")
        await door.sign_in()


async def test_guessing_all_at_once_gives_no_more_guesses(door):
    await door.person()
    door.sign_in_with(LockOut(failures=3))
    guesses = [door.sign_in(password=guess) for guess in [*"abcdefgh", PASSWORD]]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert all(isinstance(result, SignInRefusedError) for result in results[:8])
    reasons = [entry.data["reason"] for entry in await door.entries("signin.failed")]
    # Whoever is in makes the count begin again.
    is_in = not isinstance(results[8], SignInRefusedError)
    assert reasons.count("wrong_password") <= (5 if is_in else 3)


async def test_tries_from_one_address_are_braked_whatever_the_login(door):
    await door.person()
    for number in range(30):
        with pytest.raises(SignInRefusedError):
            await door.sign_in(f"guess{number}", "wrong", address=f"2001:db8::{number:x}")
    with pytest.raises(TooManyRequestsError) as braked:
        await door.sign_in(address="2001:db8::beef")
    assert braked.value.retry_after == 20
    assert await door.sign_in(address="2001:db8:0:1::1")
    door.clock.wait(seconds=20)
    assert await door.sign_in(address="2001:db8::beef")


async def test_successes_do_not_brake_an_office_behind_one_address(door):
    await door.person()
    for _ in range(40):
        await door.sign_in()


async def test_sign_ins_are_in_the_log_by_random_ids_only(door):
    aino = await door.person("aino@example.org")
    await door.sign_in("aino@example.org")
    with pytest.raises(SignInRefusedError):
        await door.sign_in("aino@example.org", "wrong")
    with pytest.raises(SignInRefusedError):
        await door.sign_in("someone.else@example.org")
    succeeded, wrong, unknown = (await door.entries())[-3:]
    assert (succeeded.type, succeeded.actor, succeeded.about) == (
        "signin.succeeded",
        aino.id,
        (aino.id,),
    )
    assert (wrong.type, wrong.actor, wrong.about) == ("signin.failed", "system", (aino.id,))
    assert (unknown.about, unknown.data) == ((), {"reason": "unknown_login"})
    assert "example.org" not in repr(await door.entries())


async def test_without_the_log_nobody_signs_in_and_no_session_is_left(door):
    aino = await door.person()
    door.store.faults = [UnavailableError("the disk is away")]
    with pytest.raises(UnavailableError):
        await door.sign_in()
    assert not await door.store.find(SessionRow, {"user_id": aino.id})


async def test_a_password_hashed_with_older_parameters_is_hashed_anew(door):
    aino = await door.person()
    before = (await door.users.get(aino.id)).user.password_hash
    door.passwords._hasher = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    await door.sign_in()
    after = (await door.users.get(aino.id)).user.password_hash
    assert "t=1" in before
    assert "t=2" in after
    assert await door.sign_in()


async def test_a_user_disabled_between_reading_and_writing_does_not_get_in(door):
    aino = await door.person()
    door.store.faults = [lambda: door.accounts.disable(aino.id, by=OPERATOR, now=NOW)]
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    assert not await door.store.find(SessionRow, {"user_id": aino.id})


@pytest.mark.parametrize(
    ("changes", "is_match", "refusal"),
    [
        ({}, True, None),
        ({}, False, "wrong_password"),
        ({"state": UserState.DISABLED}, True, "disabled"),
        ({"state": UserState.INVITED}, True, "invited"),
        ({"locked_until": NOW + timedelta(seconds=1)}, True, "locked"),
        ({"locked_until": NOW + timedelta(seconds=1)}, False, "locked"),
        ({"locked_until": NOW}, True, None),
        ({"state": UserState.DISABLED, "locked_until": NOW + timedelta(1)}, True, "disabled"),
    ],
)
def test_why_a_known_user_is_refused(changes, is_match, refusal):
    user = User(
        **{
            "id": "us_1",
            "version": 1,
            "login": "aino",
            "name": "Aino",
            "roles": frozenset({Role.AGENT}),
            "state": UserState.ACTIVE,
            "created_at": NOW,
            **changes,
        }
    )
    assert decide_refusal(user, is_match=is_match, now=NOW) == refusal
