"""Tokens where no private key is: known by the marks of their rows, and by nothing else."""

import hmac
from dataclasses import replace

import pytest

from service.access.intake_tokens import IntakeTokens
from service.access.recognised import SCHEME
from service.access.token_marks import FIELD, TokenMarker
from service.crypto.secret import IndexKey
from service.domain.actor import OPERATOR, Role
from service.domain.errors import TamperedError
from service.keys.errors import KeysUnavailableError
from storage.ports import Put
from storage.rows import TokenRow
from tests.fakes import NOW


@pytest.fixture
def intake(door):
    marker = TokenMarker(door.vault.ring.intake_keys().index_key(FIELD))
    return IntakeTokens(store=door.store, marker=marker, clock=door.clock)


def create(door, **more):
    more = {"role": Role.INTEGRATION, **more}
    return door.tokens.create("Vaihde", by=OPERATOR, now=NOW, **more)


async def test_intake_knows_the_machine_that_the_desk_knows(door, intake):
    for token in (await create(door, source="pbx"), await create(door, role=Role.ADMIN)):
        assert await intake.authenticate(token.secret) == await door.tokens.authenticate(
            token.secret
        )


async def test_what_is_no_token_is_nobody(door, intake):
    await create(door)
    for secret in ("", "x", SCHEME, SCHEME + "a" * 42, SCHEME + "a" * 43, "a" * 47):
        assert await intake.authenticate(secret) is None


async def test_a_revocation_at_the_desk_counts_within_two_seconds(door, intake):
    token = await create(door)
    assert await intake.authenticate(token.secret)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    door.clock.wait(seconds=2)
    assert await intake.authenticate(token.secret) is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"role": "admin"}, id="another role"),
        pytest.param({"source": None}, id="every source"),
        pytest.param({"id": "tk_other"}, id="another's name"),
        pytest.param({"version": 7}, id="another version"),
        pytest.param({"created_at": 1}, id="another time"),
        pytest.param({"mark": b""}, id="no mark"),
        pytest.param({"mark": bytes(32)}, id="another mark"),
    ],
)
async def test_a_row_that_somebody_changed_lets_nobody_in(door, intake, change):
    token = await create(door, source="pbx")
    (row,) = await door.store.find(TokenRow, {"id": token.id})
    if "id" in change:
        await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
        (revoked,) = await door.store.find(TokenRow, {"id": token.id})
        await door.store.commit([Put(replace(revoked, secret_hash=b"gone"))])
    await door.store.commit([Put(replace(row, **change))])
    with pytest.raises(TamperedError):
        await intake.authenticate(token.secret)


async def test_a_revocation_that_somebody_takes_back_lets_nobody_in(door, intake):
    token = await create(door)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    (row,) = await door.store.find(TokenRow, {"id": token.id})
    await door.store.commit([Put(replace(row, revoked_at=None))])
    with pytest.raises(TamperedError):
        await intake.authenticate(token.secret)


async def test_what_marks_tokens_makes_none_for_the_desk(door):
    """Whoever captures intake has the marks' key, and gets no further than to deliver."""
    token = await create(door)
    (row,) = await door.store.find(TokenRow, {"id": token.id})
    forged = replace(row, role=Role.COMPLAINT_HANDLER.value)
    marker = TokenMarker(door.vault.ring.intake_keys().index_key(FIELD))
    await door.store.commit([Put(replace(forged, mark=marker.mark_of(forged)))])
    with pytest.raises(TamperedError):
        await door.tokens.authenticate(token.secret)


async def test_with_the_keys_away_a_mark_is_enough_only_where_it_is_asked_for(door, intake):
    token = await create(door, role=Role.ADMIN)
    known = await door.tokens.authenticate(token.secret)
    door.clock.wait(seconds=2)
    door.vault.ring.put_away()
    assert await door.tokens.authenticate_by_mark(token.secret) == known
    assert await intake.authenticate_by_mark(token.secret) == known
    with pytest.raises(KeysUnavailableError):
        await door.tokens.authenticate(token.secret)
    (row,) = await door.store.find(TokenRow, {"id": token.id})
    await door.store.commit([Put(replace(row, mark=bytes(32)))])
    door.clock.wait(seconds=2)
    with pytest.raises(TamperedError):
        await door.tokens.authenticate_by_mark(token.secret)


async def test_a_token_that_is_revoked_here_counts_no_more_by_its_mark(door):
    token = await create(door, role=Role.ADMIN)
    assert await door.tokens.authenticate_by_mark(token.secret)
    await door.tokens.revoke(token.id, by=OPERATOR, now=NOW)
    assert await door.tokens.authenticate_by_mark(token.secret) is None


def test_a_mark_is_as_the_format_says():
    row = TokenRow(
        id="tk_1",
        version=1,
        secret_hash=bytes(32),
        role="integration",
        source=None,
        created_at=5,
        revoked_at=None,
        mark=b"",
        sealed=b"",
    )
    shown = f'["taltio.token_mark.v1","tk_1",1,"{"00" * 32}","integration",null,5,null]'
    expected = hmac.digest(bytes(32), shown.encode(), "sha256")
    assert TokenMarker(IndexKey(bytes(32))).mark_of(row) == expected
