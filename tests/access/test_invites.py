"""One-time links."""

import asyncio

import pytest

from service.access.errors import InviteRefusedError
from service.domain.actor import OPERATOR, Role
from service.domain.errors import InvalidInputError
from storage.ports import Put
from storage.rows import InviteRow
from tests.fakes import NOW, PASSWORD


@pytest.fixture
async def invite(door):
    return await door.accounts.add(
        "aino.esimerkki", name="Aino", roles=[Role.AGENT], by=OPERATOR, now=NOW
    )


async def test_a_link_works_once(door, invite):
    user_id = await door.invites.accept(invite.secret, PASSWORD, now=NOW)
    assert user_id == invite.user_id
    with pytest.raises(InviteRefusedError):
        await door.invites.accept(invite.secret, PASSWORD, now=NOW)
    with pytest.raises(InviteRefusedError):
        await door.invites.get_login(invite.secret, now=NOW)
    assert (await door.sign_in("aino.esimerkki")).session.actor.id == user_id


async def test_of_two_who_use_one_link_one_wins(door, invite):
    passwords = ["the password of one of them", "the password of the other"]
    accepted = [door.invites.accept(invite.secret, text, now=NOW) for text in passwords]
    results = await asyncio.gather(*accepted, return_exceptions=True)
    assert sorted(isinstance(result, InviteRefusedError) for result in results) == [False, True]


async def test_a_link_lasts_an_hour(door, invite):
    door.clock.wait(minutes=59, seconds=59)
    assert await door.invites.get_login(invite.secret, now=door.clock.now) == "aino.esimerkki"
    door.clock.wait(seconds=1)
    with pytest.raises(InviteRefusedError):
        await door.invites.accept(invite.secret, PASSWORD, now=door.clock.now)


@pytest.mark.usefixtures("invite")
async def test_what_is_no_link_is_refused(door):
    for secret in ("", "x", "A" * 43, "../../etc/passwd", "\ud800" * 43):
        with pytest.raises(InviteRefusedError):
            await door.invites.accept(secret, PASSWORD, now=NOW)


async def test_only_the_hash_of_a_link_is_stored(door, invite):
    (row,) = await door.store.find(InviteRow, {})
    assert len(row.id) == 32
    assert invite.secret not in repr(row)


async def test_links_of_a_disabled_user_are_dead(door, invite):
    door.store.faults = [
        lambda: door.accounts.disable(invite.user_id, by=OPERATOR, now=NOW),
    ]
    with pytest.raises(InviteRefusedError):
        await door.invites.accept(invite.secret, PASSWORD, now=NOW)


UNACCEPTABLE = [
    ("empty", ""),
    ("14 characters", "fourteen chars"),
    ("one character", "a" * 20),
    ("four characters", "abcd" * 5),
    ("the login", "Aino.Esimerkki1"),
    ("the login twice", "aino.esimerkki aino.esimerkki"),
    ("too long", "x1y2z3" * 200),
    ("14 characters once composed", "e\u0301" * 10 + "abcd"),
]


async def test_an_unacceptable_password_leaves_the_link_usable(door, invite, subtests):
    for what, password in UNACCEPTABLE:
        with subtests.test(what), pytest.raises(InvalidInputError):
            await door.invites.accept(invite.secret, password, now=NOW)
    assert await door.invites.accept(invite.secret, PASSWORD, now=NOW)


async def test_one_password_from_two_keyboards_is_one_password(door, invite):
    await door.invites.accept(invite.secret, "hyvä salasana äänettä", now=NOW)
    decomposed = "hyva\u0308 salasana a\u0308a\u0308netta\u0308"
    assert await door.sign_in("aino.esimerkki", decomposed)


async def test_a_link_left_behind_by_a_disabled_user_is_worth_nothing(door, invite):
    (row,) = await door.store.find(InviteRow, {})
    await door.accounts.disable(invite.user_id, by=OPERATOR, now=NOW)
    await door.store.commit([Put(row)])
    with pytest.raises(InviteRefusedError):
        await door.invites.accept(invite.secret, PASSWORD, now=NOW)
