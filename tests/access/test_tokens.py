"""Tokens of machines."""

import itertools
import logging

import pytest

from service.access.persons import require_person
from service.access.tokens import Tokens
from service.domain.actor import OPERATOR, SYSTEM, Actor, ActorKind, Role
from service.domain.errors import InvalidInputError, NotFoundError, NotPermittedError
from storage.errors import UnavailableError
from storage.rows import TokenRow
from tests.fakes import NOW


def _create(door, *, role=Role.INTEGRATION, by=OPERATOR, name="Vaihde", source=None):
    return door.tokens.create(name, role=role, source=source, by=by, now=NOW)


async def test_a_token_is_its_machine_with_one_role(door):
    for role in Role:
        token = await _create(door, role=role)
        actor = await door.tokens.authenticate(token.secret)
        assert actor == Actor(id=token.id, kind=ActorKind.MACHINE, roles=frozenset({role}))
        with pytest.raises(NotPermittedError):
            require_person(actor)


def test_only_people_are_people():
    for kind in ActorKind:
        actor = Actor(id="x", kind=kind, roles=frozenset(Role))
        if kind is ActorKind.PERSON:
            require_person(actor)
        else:
            with pytest.raises(NotPermittedError):
                require_person(actor)


async def test_a_token_is_recognisable_and_stored_as_a_hash(door):
    token = await _create(door)
    assert token.secret.startswith("tlt_")
    assert len(token.secret) == 47
    (row,) = await door.store.find(TokenRow, {})
    assert len(row.secret_hash) == 32
    assert token.secret not in repr(row)
    assert b"Vaihde" not in row.sealed


NO_TOKENS = [
    "",
    "tlt_",
    "tlt_" + "A" * 43,
    "tlt_" + "A" * 42,
    "TLT_" + "A" * 43,
    "A" * 47,
    "tlt_" + "é" * 43,
    "tlt_" + "A" * 43 + "\n",
    "tlt_\ud800",
]


async def test_what_is_no_token_of_ours_is_nobody(door):
    await _create(door)
    for secret in NO_TOKENS:
        assert await door.tokens.authenticate(secret) is None, secret


async def test_only_an_integration_is_bound_to_a_source(door):
    token = await _create(door, source="pbx")
    assert (await door.tokens.authenticate(token.secret)).source == "pbx"
    with pytest.raises(InvalidInputError):
        await _create(door, role=Role.AGENT, source="pbx")


async def test_a_revoked_token_is_nobody_at_once(door):
    token = await _create(door)
    assert await door.tokens.authenticate(token.secret)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    assert await door.tokens.authenticate(token.secret) is None


async def test_another_process_notices_a_revocation_within_two_seconds(door):
    token = await _create(door)
    elsewhere = Tokens(store=door.store, vault=door.vault, clock=door.clock)
    assert await elsewhere.authenticate(token.secret)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    door.clock.wait(seconds=2)
    assert await elsewhere.authenticate(token.secret) is None


async def test_a_token_in_use_does_not_keep_itself_known(door):
    token = await _create(door)
    elsewhere = Tokens(store=door.store, vault=door.vault, clock=door.clock)
    await elsewhere.authenticate(token.secret)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    for _ in range(20):
        door.clock.wait(seconds=0.1)
        known = await elsewhere.authenticate(token.secret)
    assert known is None


async def test_a_token_revoked_while_it_is_looked_up_is_not_remembered(door, monkeypatch):
    token = await _create(door)
    find = door.store._store.find

    async def revoked_meanwhile(table, where, **more):
        rows = await find(table, where, **more)
        monkeypatch.undo()
        await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
        return rows

    monkeypatch.setattr(door.store._store, "find", revoked_meanwhile)
    await door.tokens.authenticate(token.secret)
    assert await door.tokens.authenticate(token.secret) is None


async def test_what_is_remembered_is_bounded_and_needs_no_store(door):
    token = await _create(door)
    await door.tokens.authenticate(token.secret)
    door.tokens._store = None
    assert await door.tokens.authenticate(token.secret)
    for number in range(2000):
        recognised = door.tokens._recognised
        recognised.remember(b"%d" % number, SYSTEM, asked=recognised.asking())
    assert len(door.tokens._recognised._known) == 1000


async def test_revoking_again_changes_nothing(door):
    token = await _create(door)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    await door.tokens.revoke(token.id, by=OPERATOR, now=door.clock.wait(hours=1))
    (listed,) = await door.tokens.find_all(by=OPERATOR)
    assert listed.revoked_at == NOW
    assert len(await door.entries("token.revoked")) == 1
    with pytest.raises(NotFoundError):
        await door.tokens.revoke("tk_nobody", by=OPERATOR, now=NOW)


async def test_the_list_shows_names_and_no_secrets(door):
    token = await _create(door, source="pbx")
    (listed,) = await door.tokens.find_all(by=OPERATOR)
    assert (listed.id, listed.name, listed.role, listed.source) == (
        token.id,
        "Vaihde",
        Role.INTEGRATION,
        "pbx",
    )
    assert "Vaihde" not in repr(listed)


async def test_tokens_are_made_by_administrators_in_person_never_by_tokens(door):
    kinds = (ActorKind.PERSON, ActorKind.MACHINE)
    for kind, role in itertools.product(kinds, Role):
        by = Actor(id="xx_1", kind=kind, roles=frozenset({role}))
        calls = [
            lambda by=by: _create(door, by=by),
            lambda by=by: door.tokens.find_all(by=by),
            lambda by=by: door.tokens.revoke("tk_nobody", by=by, now=NOW),
        ]
        if kind is ActorKind.PERSON and role is Role.ADMIN:
            await calls[0]()
            continue
        for call in calls:
            with pytest.raises(NotPermittedError):
                await call()


async def test_each_change_commits_with_its_entry(door):
    token = await _create(door, source="pbx")
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    created, revoked = await door.entries()
    assert (created.type, created.about) == ("token.created", (token.id,))
    assert created.data == {"role": "integration", "source": "pbx"}
    assert (revoked.type, revoked.actor) == ("token.revoked", "operator")
    for change in door.store.changes:
        assert [type(write).__name__ for write in change][-1] == "Append"
    door.store.faults = [UnavailableError("the disk is away")]
    with pytest.raises(UnavailableError):
        await _create(door)
    assert len(await door.tokens.find_all(by=OPERATOR)) == 1


async def test_a_token_does_not_show_itself(door, caplog):
    with caplog.at_level(logging.DEBUG):
        token = await _create(door)
        await door.tokens.authenticate(token.secret)
        await door.tokens.authenticate("tlt_" + "A" * 43)
    shown = repr([token, door.tokens, await door.entries()]) + caplog.text
    assert token.secret not in shown
    assert "tlt_" not in shown
