"""Sessions: how they begin, last and end."""

import pytest

from service.domain.actor import OPERATOR, Role
from storage.errors import UnavailableError
from storage.ports import Put
from storage.rows import InviteRow, SessionRow
from tests.fakes import NOW


@pytest.fixture
async def aino(door):
    return await door.person()


async def test_a_session_is_stored_as_the_hash_of_its_cookie(door, aino):
    new = await door.sign_in()
    (row,) = await door.store.find(SessionRow, {"user_id": aino.id})
    assert len(new.secret) == 43
    assert new.secret not in repr(row)
    assert row.csrf != new.secret


async def test_each_sign_in_is_a_new_session_and_ends_the_one_of_that_browser(door, aino):
    first, other = await door.sign_in(), await door.sign_in()
    second = await door.sign_in(replaces=first.secret)
    assert await door.session(first.secret) is None
    assert (await door.session(other.secret)).actor == aino
    assert len({new.secret for new in (first, other, second)}) == 3
    assert len({new.session.csrf for new in (first, other, second)}) == 3


async def test_a_cookie_that_somebody_planted_is_never_adopted(door, aino):
    planted = "A" * 43
    new = await door.sign_in(replaces=planted)
    assert new.secret != planted
    assert await door.session(planted) is None
    assert new.session.actor == aino


@pytest.mark.usefixtures("aino")
async def test_what_is_no_cookie_of_ours_is_no_session(door):
    await door.sign_in()
    for secret in ("", "x", "A" * 43, "A" * 10_000, "é" * 43, "\ud800"):
        assert await door.session(secret) is None


@pytest.mark.usefixtures("aino")
async def test_the_stored_hash_is_no_cookie(door):
    new = await door.sign_in()
    assert await door.session(new.session.id) is None


@pytest.mark.usefixtures("aino")
async def test_a_session_ends_after_half_an_hour_without_requests(door):
    idle, used = (await door.sign_in()).secret, (await door.sign_in()).secret
    for _ in range(3):
        door.clock.wait(minutes=10)
        assert await door.session(used)
    assert await door.session(idle) is None
    door.clock.wait(minutes=29)
    assert await door.session(used)


@pytest.mark.usefixtures("aino")
async def test_a_session_ends_after_twelve_hours_whatever_happens(door):
    secret = (await door.sign_in()).secret
    for _ in range(12 * 6 - 1):
        door.clock.wait(minutes=10)
        assert await door.session(secret)
    door.clock.wait(minutes=10)
    assert await door.session(secret) is None


@pytest.mark.usefixtures("aino")
async def test_requests_within_a_minute_write_nothing(door):
    secret = (await door.sign_in()).secret
    written = len(door.store.changes)
    for _ in range(5):
        door.clock.wait(seconds=10)
        await door.session(secret)
    assert len(door.store.changes) == written


async def test_signing_out_ends_this_session_and_is_in_the_log(door, aino):
    here, there = await door.sign_in(), await door.sign_in()
    await door.sessions.end(here.session, now=NOW)
    assert await door.session(here.secret) is None
    assert await door.session(there.secret)
    (entry,) = await door.entries("signout")
    assert (entry.actor, entry.about, entry.data) == (aino.id, (aino.id,), {"where": "here"})


@pytest.mark.parametrize("what", ["end", "disable", "roles"])
async def test_a_request_in_flight_does_not_bring_back_a_session_that_was_ended(
    door, aino, what
):
    new = await door.sign_in()
    ends = {
        "end": lambda: door.sessions.end(new.session, now=door.clock.now),
        "disable": lambda: door.accounts.disable(aino.id, by=OPERATOR, now=NOW),
        "roles": lambda: door.accounts.change_roles(
            aino.id, [Role.AGENT], by=OPERATOR, now=NOW
        ),
    }
    door.clock.wait(minutes=5)
    door.store.faults = [ends[what]]
    await door.session(new.secret)
    assert not await door.store.find(SessionRow, {})
    assert await door.session(new.secret) is None


async def test_a_clock_set_back_ends_nothing(door, aino):
    secret = (await door.sign_in()).secret
    door.clock.wait(minutes=-10)
    assert (await door.session(secret)).actor == aino


@pytest.mark.usefixtures("aino")
async def test_a_request_that_cannot_be_remembered_fails_rather_than_prolong(door):
    secret = (await door.sign_in()).secret
    door.clock.wait(minutes=5)
    door.store.faults = [UnavailableError("the disk is away")]
    with pytest.raises(UnavailableError):
        await door.session(secret)


async def test_the_newest_ten_sessions_of_a_user_are_kept(door, aino):
    secrets = []
    for _ in range(12):
        secrets.append((await door.sign_in()).secret)
        door.clock.wait(seconds=1)
    assert len(await door.store.find(SessionRow, {"user_id": aino.id})) == 10
    assert [bool(await door.session(secret)) for secret in secrets] == [False] * 2 + [True] * 10


async def test_what_is_over_is_removed_and_nothing_else(door, aino):
    await door.sign_in()
    await door.accounts.reset((await door.person("eino")).id, by=OPERATOR, now=NOW)
    door.clock.wait(minutes=29)
    kept = await door.sign_in()
    door.clock.wait(minutes=1)
    await door.sessions.remove_expired(now=door.clock.now)
    (row,) = await door.store.find(SessionRow, {"user_id": aino.id})
    assert row.id == kept.session.id
    assert await door.store.find(InviteRow, {})
    door.clock.wait(minutes=31)
    await door.sessions.remove_expired(now=door.clock.now)
    assert not await door.store.find(SessionRow, {})
    assert not await door.store.find(InviteRow, {})


async def test_a_session_left_behind_by_a_disabled_user_is_worth_nothing(door, aino):
    secret = (await door.sign_in()).secret
    (row,) = await door.store.find(SessionRow, {})
    await door.accounts.disable(aino.id, by=OPERATOR, now=NOW)
    await door.store.commit([Put(row)])
    assert await door.session(secret) is None
