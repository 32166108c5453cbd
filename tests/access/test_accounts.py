"""Accounts: who may manage them, what a change does at once, and what the log says."""

import itertools
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from service.access.errors import InviteRefusedError, SignInRefusedError, TicketRefusedError
from service.access.signin import LockOut, SignInRules
from service.access.users import UserState
from service.domain.actor import OPERATOR, Actor, ActorKind, Role
from service.domain.errors import (
    ContradictionError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
)
from service.domain.times import format_time
from storage.errors import UnavailableError
from storage.ports import Put
from storage.rows import InviteRow, SessionRow, UserRow
from tests.fakes import NOW, PASSWORD

ADMIN = Actor(id="us_admin", kind=ActorKind.PERSON, roles=frozenset({Role.ADMIN}))


def _add(door, login="aino", *, name="Aino Esimerkki", roles=(Role.AGENT,), by=OPERATOR):
    return door.accounts.add(login, name=name, roles=roles, by=by, now=door.clock.now)


async def test_accounts_are_managed_by_administrators_in_person_and_by_operators(door):
    added = 0
    for kind, role in itertools.product(ActorKind, Role):
        by = Actor(id="us_1", kind=kind, roles=frozenset({role}))
        is_person = kind is ActorKind.PERSON and role is Role.ADMIN
        for call in (
            lambda by=by, login=f"{kind}-{role}": _add(door, login, by=by),
            lambda by=by: door.accounts.find_all(by=by),
            lambda by=by: door.accounts.find_by_login("aino", by=by),
        ):
            if kind is ActorKind.OPERATOR or is_person:
                added += 1
                await call()
            else:
                with pytest.raises(NotPermittedError):
                    await call()
    assert len(await door.users.find_all()) == added / 3 == len(Role) + 1


async def test_nobody_changes_their_own_account(door):
    admin = await door.person("admin", Role.ADMIN)
    common = {"by": admin, "now": NOW}
    for change in (
        door.accounts.disable(admin.id, **common),
        door.accounts.enable(admin.id, **common),
        door.accounts.reset(admin.id, **common),
        door.accounts.change_roles(admin.id, [Role.DPO], **common),
    ):
        with pytest.raises(NotPermittedError):
            await change
    assert (await door.users.get(admin.id)).user.roles == {Role.ADMIN}


async def test_a_user_is_stored_sealed_and_found_by_login(door):
    invite = await _add(door, "Aino@Example.org")
    (row,) = await door.store.find(UserRow, {})
    assert (row.id, row.roles, row.state) == (invite.user_id, "agent", "invited")
    assert b"aino" not in row.sealed + row.login_token
    assert (await door.users.find_by_login("aino@example.ORG")).user.name == "Aino Esimerkki"


async def test_a_sealed_row_moved_to_another_user_or_version_does_not_open(door):
    await _add(door, "aino")
    await _add(door, "eino")
    aino, eino = await door.store.find(UserRow, {}, order=("created_at", "id"))
    for forged in (replace(aino, sealed=eino.sealed), replace(aino, version=2)):
        await door.store.commit([Put(forged)])
        with pytest.raises(TamperedError):
            await door.users.get(aino.id)


async def test_a_login_is_taken_once_however_it_is_typed(door):
    await _add(door, "aino")
    with pytest.raises(ContradictionError):
        await _add(door, " AINO ")
    assert len(await door.entries("user.created")) == 1


IMPOSSIBLE = [
    ("", "A", [Role.AGENT]),
    ("two words", "A", [Role.AGENT]),
    ("x" * 129, "A", [Role.AGENT]),
    ("zero\u200bwidth", "A", [Role.AGENT]),
    ("nul\0", "A", [Role.AGENT]),
    ("right\u202eleft", "A", [Role.AGENT]),
    ("aino", "", [Role.AGENT]),
    ("aino", "A\nB", [Role.AGENT]),
    ("aino", "A", []),
    ("aino", "A", [Role.INTEGRATION]),
    ("aino", "A", [Role.AGENT, Role.INTEGRATION]),
]


async def test_refuses_users_that_cannot_be(door, subtests):
    for login, name, roles in IMPOSSIBLE:
        with subtests.test(repr((login, name, roles))), pytest.raises(InvalidInputError):
            await _add(door, login, name=name, roles=roles)
    assert not await door.entries()


async def test_disabling_ends_sessions_and_invites_at_once(door):
    aino = await door.person()
    secret = (await door.sign_in()).secret
    invite = await door.accounts.reset(aino.id, by=ADMIN, now=NOW)
    await door.invites.accept(invite.secret, PASSWORD, now=NOW)
    second = (await door.sign_in()).secret
    await door.accounts.disable(aino.id, by=ADMIN, now=NOW)
    assert await door.session(secret) is None
    assert await door.session(second) is None
    assert not await door.store.find(SessionRow, {})
    assert not await door.store.find(InviteRow, {})
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    with pytest.raises(ContradictionError):
        await door.accounts.reset(aino.id, by=ADMIN, now=NOW)
    await door.accounts.enable(aino.id, by=ADMIN, now=NOW)
    assert await door.sign_in()


async def test_a_reset_forgets_the_password_and_unlocks(door):
    aino = await door.person()
    secret = (await door.sign_in()).secret
    for _ in range(10):
        with pytest.raises(SignInRefusedError):
            await door.sign_in(password="wrong")
    invite = await door.accounts.reset(aino.id, by=ADMIN, now=NOW)
    assert await door.session(secret) is None
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    await door.invites.accept(invite.secret, "another long password", now=NOW)
    assert await door.sign_in(password="another long password")


async def test_an_unknown_user_cannot_be_changed(door):
    for change in (door.accounts.disable, door.accounts.enable, door.accounts.reset):
        with pytest.raises(NotFoundError):
            await change("us_nobody", by=ADMIN, now=NOW)
    with pytest.raises(NotFoundError):
        await door.accounts.change_roles("us_nobody", [Role.AGENT], by=ADMIN, now=NOW)


async def test_every_change_commits_with_its_entry_which_names_ids_only(door):
    aino = await door.person("aino@example.org", Role.AGENT)
    user_id = aino.id
    await door.accounts.change_roles(user_id, [Role.DPO, Role.AGENT], by=ADMIN, now=NOW)
    await door.accounts.reset(user_id, by=ADMIN, now=NOW)
    await door.accounts.disable(user_id, by=ADMIN, now=NOW)
    await door.accounts.enable(user_id, by=ADMIN, now=NOW)
    entries = await door.entries()
    assert [(entry.type.value, entry.actor, dict(entry.data)) for entry in entries] == [
        ("user.created", "operator", {"roles": ("agent",)}),
        ("user.changed", user_id, {"change": "password"}),
        ("user.changed", "us_admin", {"change": "roles", "roles": ("agent", "dpo")}),
        ("user.changed", "us_admin", {"change": "reset"}),
        ("user.changed", "us_admin", {"change": "disabled"}),
        ("user.changed", "us_admin", {"change": "enabled"}),
    ]
    assert all(entry.about == (user_id,) for entry in entries)
    assert len(await door.store.log_about(user_id)) == len(entries)
    for change in door.store.changes:
        kinds = [type(write).__name__ for write in change]
        assert kinds.count("Append") == 1


async def test_a_change_whose_entry_cannot_be_stored_did_not_happen(door):
    aino = await door.person()
    secret = (await door.sign_in()).secret
    for change in (
        lambda: door.accounts.disable(aino.id, by=ADMIN, now=NOW),
        lambda: door.accounts.reset(aino.id, by=ADMIN, now=NOW),
        lambda: door.accounts.change_roles(aino.id, [Role.DPO], by=ADMIN, now=NOW),
    ):
        door.store.faults = [UnavailableError("the disk is away")]
        with pytest.raises(UnavailableError):
            await change()
    assert (await door.session(secret)).actor == aino
    assert (await door.users.get(aino.id)).user.state is UserState.ACTIVE


async def test_two_changes_at_once_both_hold(door):
    aino = await door.person("aino", Role.AGENT)
    door.store.faults = [lambda: door.accounts.disable(aino.id, by=ADMIN, now=NOW)]
    await door.accounts.change_roles(aino.id, [Role.DPO], by=ADMIN, now=NOW)
    user = (await door.users.get(aino.id)).user
    assert (user.state, user.roles) == (UserState.DISABLED, {Role.DPO})


async def test_the_first_administrator_is_invited_until_there_is_one(door):
    first = await door.accounts.invite_first_administrator(now=NOW)
    second = await door.accounts.invite_first_administrator(now=NOW)
    assert first.user_id == second.user_id
    with pytest.raises(InviteRefusedError):
        await door.invites.accept(first.secret, PASSWORD, now=NOW)
    assert await door.invites.get_login(second.secret, now=NOW) == "admin"
    await door.invites.accept(second.secret, PASSWORD, now=NOW)
    assert await door.accounts.invite_first_administrator(now=NOW) is None
    assert (await door.sign_in("admin")).session.actor.roles == {Role.ADMIN}


async def test_with_another_user_nobody_is_invited_as_first(door):
    await _add(door, "eino", roles=[Role.ADMIN])
    assert await door.accounts.invite_first_administrator(now=NOW) is None


async def test_an_erased_user_is_not_found(door):
    aino = await door.person()
    await door.vault.keys.destroy_keys([aino.id])
    assert await door.users.find_by_login("aino") is None
    assert await door.users.find_all() == []
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    with pytest.raises(NotFoundError):
        await door.users.get(aino.id)


async def test_nothing_that_is_secret_or_personal_shows_itself(door, caplog):
    with caplog.at_level(logging.DEBUG):
        invite = await _add(door, "aino@example.org")
        await door.invites.accept(invite.secret, PASSWORD, now=NOW)
        stored = await door.users.find_by_login("aino@example.org")
        new = await door.sign_in("aino@example.org")
    shown = repr([invite, stored, stored.user, new, new.session]) + caplog.text
    for hidden in (
        invite.secret,
        new.secret,
        new.session.csrf,
        new.session.id,
        "aino@example.org",
        "Aino",
        PASSWORD,
        stored.user.password_hash,
    ):
        assert hidden not in shown


async def test_an_account_that_ended_is_out_at_once_and_whatever_is_shown(door):
    aino = await door.person()
    began = await door.sign_in()
    end = NOW + timedelta(minutes=10)
    await door.accounts.change_end(aino.id, end, by=OPERATOR, now=NOW)
    door.clock.wait(minutes=9)
    assert await door.session(began.secret) is not None
    door.clock.wait(minutes=1)
    assert await door.session(began.secret) is None
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    assert (await door.entries("signin.failed"))[-1].data["reason"] == "ended"
    with pytest.raises(InvalidInputError):
        await door.accounts.change_end(aino.id, end, by=OPERATOR, now=door.clock.now)
    await door.accounts.change_end(aino.id, None, by=OPERATOR, now=door.clock.now)
    assert await door.sign_in()
    untils = [entry.data.get("until") for entry in await door.entries("user.changed")]
    assert untils[-2:] == [format_time(end), ""]


async def test_a_step_is_not_taken_by_whose_account_ended_meanwhile(door):
    aino = await door.person()
    door.rules = SignInRules(undertaking="1")
    door.sign_in_with(LockOut())
    onwards = await door.sign_in()
    end = NOW + timedelta(minutes=1)
    await door.accounts.change_end(aino.id, end, by=OPERATOR, now=NOW)
    door.clock.wait(minutes=1)
    with pytest.raises(TicketRefusedError):
        await door.signing.undertake(onwards.ticket, "1", read={}, now=door.clock.now)


async def test_people_of_another_organisation_have_an_end(door):
    with pytest.raises(InvalidInputError, match="has to end"):
        await door.accounts.add(
            "kimmo",
            name="Kimmo Kumppani",
            roles=[Role.AGENT],
            by=OPERATOR,
            now=NOW,
            organisation="Kumppani Oy",
        )
    aino = await door.person()
    assert (await door.users.get(aino.id)).user.organisation == ""


async def test_rights_that_nobody_confirms_count_no_longer(door):
    aino = await door.person()
    door.users.recertify = timedelta(days=183)
    door.clock.wait(days=182)
    began = await door.sign_in()
    door.clock.wait(days=1)
    assert await door.session(began.secret) is None
    with pytest.raises(SignInRefusedError):
        await door.sign_in()
    assert (await door.entries("signin.failed"))[-1].data["reason"] == "unconfirmed"
    await door.accounts.confirm(aino.id, by=OPERATOR, now=door.clock.now)
    assert await door.sign_in()
    door.clock.wait(days=100)
    await door.accounts.change_roles(aino.id, [Role.DPO], by=OPERATOR, now=door.clock.now)
    door.clock.wait(days=100)
    assert await door.sign_in()
    confirmed = [entry.data for entry in await door.entries("user.changed")]
    assert [data["change"] for data in confirmed[-2:]] == ["confirmed", "roles"]
    with pytest.raises(NotPermittedError):
        await door.accounts.confirm(aino.id, by=replace(ADMIN, id=aino.id), now=NOW)
