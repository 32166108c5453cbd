"""Rows that somebody wrote into the database without the keys: they let nobody in."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from service.access.errors import InviteRefusedError
from service.access.secrets import hash_secret, new_secret
from service.domain.actor import OPERATOR, Role
from service.domain.errors import TamperedError
from service.domain.times import to_microseconds
from storage.ports import Put
from storage.rows import InviteRow, SessionRow, TokenRow, UserRow

PASSWORD = "a password that is long enough"


async def user(archive, now: datetime) -> str:
    access = archive.access
    invite = await access.accounts.add(
        "liisa", name="Liisa", roles=[Role.AGENT], by=OPERATOR, now=now
    )
    return await access.invites.accept(invite.secret, PASSWORD, now=now)


async def test_a_token_of_another_role_or_secret_is_refused(archive, now):
    tokens, store = archive.access.tokens, archive.stores.store
    made = await tokens.create("pbx", role=Role.AGENT, by=OPERATOR, now=now)
    (row,) = await store.find(TokenRow, {"id": made.id})
    await store.commit([Put(replace(row, role=Role.DPO.value))])
    with pytest.raises(TamperedError):
        await tokens.authenticate(made.secret)


async def test_a_token_without_a_key_is_nobodys(archive, now):
    tokens, store = archive.access.tokens, archive.stores.store
    made = await tokens.create("pbx", role=Role.AGENT, by=OPERATOR, now=now)
    (row,) = await store.find(TokenRow, {"id": made.id})
    secret = "tlt_" + new_secret()
    forged = replace(row, id="tk_" + "a" * 26, secret_hash=hash_secret(secret), role="dpo")
    await store.commit([Put(forged)])
    assert await tokens.authenticate(secret) is None


async def test_a_user_with_a_role_that_was_written_in_is_refused(archive, now):
    user_id = await user(archive, now)
    store = archive.stores.store
    (row,) = await store.find(UserRow, {"id": user_id})
    await store.commit([Put(replace(row, roles=Role.DPO.value))])
    with pytest.raises(TamperedError):
        await archive.access.sign_in.sign_in("liisa", PASSWORD, address="127.0.0.1", now=now)


async def test_a_session_that_was_written_in_is_none(archive, now):
    user_id = await user(archive, now)
    secret = new_secret()
    at = to_microseconds(now)
    forged = SessionRow(
        id=hash_secret(secret).hex(),
        user_id=user_id,
        csrf="00" * 16,
        created_at=at,
        seen_at=at,
        expires_at=at + 10**10,
    )
    await archive.stores.store.commit([Put(forged)])
    assert await archive.access.sessions.find(secret, now=now) is None
    real = await archive.access.sign_in.sign_in("liisa", PASSWORD, address="127.0.0.1", now=now)
    assert await archive.access.sessions.find(real.secret, now=now) is not None


async def test_an_invite_that_was_written_in_invites_nobody(archive, now):
    user_id = await user(archive, now)
    secret = new_secret()
    forged = InviteRow(
        id=hash_secret(secret).hex(),
        user_id=user_id,
        created_at=to_microseconds(now),
        expires_at=to_microseconds(now + timedelta(hours=1)),
    )
    await archive.stores.store.commit([Put(forged)])
    with pytest.raises(InviteRefusedError):
        await archive.access.invites.accept(secret, PASSWORD, now=now)
