"""A message is read with card numbers and identity codes hidden; to see them is asked for, permitted and on record."""

import pytest

from service.archive.targets import Asked, Subject
from service.archive.unmask import read_masked, read_unmasked, unmask
from service.domain.actor import Actor, ActorKind, Role
from service.domain.errors import GrantRequiredError, NotPermittedError, UnavailableError
from service.domain.permission import Permission, is_permitted
from service.domain.purpose import Purpose
from storage.errors import UnavailableError as StoreUnavailableError
from tests.archive.world import AGENT, AUDITOR, DPO, HANDLER, opened_world

TEXT = "Korttini on 4111 1111 1111 1111 ja hetu 131052-928T."
PURPOSES = {DPO.id: Purpose.DATA_SUBJECT_REQUEST}
SHOWN = "Korttini on •••• 1111 ja hetu ••••••-••••."


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


@pytest.fixture
async def contact_id(world):
    return await world.chat(TEXT)


async def asked_of(world, contact_id):
    (message,) = await world.messages_of(contact_id)
    return Asked(Subject.MESSAGE, message.id)


async def unmasked(world, contact_id, *, actor=HANDLER, grant=True):
    purpose = PURPOSES.get(actor.id, Purpose.HANDLE_COMPLAINT)
    granted = await world.grant(contact_id, actor=actor, purpose=purpose) if grant else None
    asked = await asked_of(world, contact_id)
    grant_id = granted.id if granted else None
    return await unmask(world.opener, asked, actor=actor, grant_id=grant_id, now=world.now)


async def test_a_message_is_read_with_what_nobody_needs_hidden(world, contact_id):
    grant, asked = await world.grant(contact_id), await asked_of(world, contact_id)
    content = await world.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=world.now)
    shown = await read_masked(content)
    assert (shown.text, shown.hidden) == (SHOWN, 2)
    assert await world.entries("message.unmasked") == []


async def test_the_archived_text_is_untouched(world, contact_id):
    shown = await read_unmasked(await unmasked(world, contact_id))
    assert (shown.text, shown.hidden) == (TEXT, 0)


async def test_an_empty_message_is_read(world):
    contact_id = await world.chat("")
    assert await read_masked(await unmasked(world, contact_id)) == await read_unmasked(
        await unmasked(world, contact_id)
    )


@pytest.mark.parametrize("actor", [HANDLER, DPO], ids=["handler", "dpo"])
async def test_who_has_all_of_it_shown_is_on_record_each_time(world, contact_id, actor):
    content = await unmasked(world, contact_id, actor=actor)
    row = content.track.row
    await unmask(
        world.opener, content.key[2], actor=actor, grant_id=row.grant_id, now=world.now
    )
    entries = await world.entries("message.unmasked")
    assert len(entries) == 2
    for entry in entries:
        assert entry.actor == actor.id
        assert entry.about == (
            row.id,
            row.grant_id,
            content.key[2].id,
            contact_id,
            row.object_id,
        )
        assert entry.data == {"purpose": content.grant.purpose.value}


ADMINISTRATOR_TOO = Actor(
    id="us_both",
    kind=ActorKind.PERSON,
    roles=frozenset({Role.ADMIN, Role.COMPLAINT_HANDLER}),
)


@pytest.mark.parametrize(
    "actor", [AGENT, AUDITOR, ADMINISTRATOR_TOO], ids=["agent", "auditor", "administrator"]
)
async def test_who_may_not_is_refused_on_record(world, contact_id, actor):
    with pytest.raises(NotPermittedError):
        await unmasked(world, contact_id, actor=actor, grant=False)
    (refusal,) = await world.entries("opening.refused")
    assert (refusal.actor, refusal.data["reason"]) == (actor.id, "not_permitted")
    assert await world.entries("message.unmasked") == []
    assert not is_permitted(actor, Permission.UNMASK)


async def test_without_a_grant_nothing_is_shown(world, contact_id):
    with pytest.raises(GrantRequiredError):
        await unmasked(world, contact_id, grant=False)
    assert await world.entries("message.unmasked") == []


async def test_no_log_no_text(world, contact_id):
    grant, asked = await world.grant(contact_id), await asked_of(world, contact_id)
    await world.opener.open(asked, actor=HANDLER, grant_id=grant.id, now=world.now)
    world.store.fault = StoreUnavailableError("the disk is full")
    with pytest.raises(UnavailableError):
        await unmask(world.opener, asked, actor=HANDLER, grant_id=grant.id, now=world.now)
    world.store.fault = None
