"""Grants: a purpose, named beforehand, for some contacts, for a while."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from service.archive.grants import MAX_CONTACTS, find_grant
from service.domain.errors import (
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    TamperedError,
    UnavailableError,
)
from service.domain.ids import new_id
from service.domain.purpose import Purpose
from service.domain.times import to_microseconds
from storage.errors import UnavailableError as StoreUnavailableError
from storage.ports import Add, Put
from storage.rows import ContactRow, GrantContactRow, GrantRow
from tests.archive.world import ADMIN, AGENT, AUDITOR, DPO, HANDLER, OTHER_HANDLER, opened_world


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as opened:
        yield opened


async def row_of(world, grant):
    return (await world.store.find(GrantRow, {"id": grant.id}))[0]


async def test_a_grant_lasts_a_working_day_and_is_in_the_log(world):
    contact_id = await world.call()
    grant = await world.grant(contact_id)
    assert grant.expires_at == world.now + timedelta(hours=8)
    (entry,) = await world.entries("grant.created")
    assert entry.actor == HANDLER.id
    assert entry.about == (grant.id, contact_id)
    assert entry.data["purpose"] == "handle_complaint"


async def test_the_reference_is_sealed_and_only_committed_to_in_the_log(world):
    grant = await world.grant(await world.call())
    assert b"R-2026-17" not in (await row_of(world, grant)).sealed
    (entry,) = await world.entries("grant.created")
    assert "R-2026-17" not in str(dict(entry.data))
    assert len(entry.data["reference_commitment"]) == 64
    assert (await find_grant(world.store, world.vault, grant.id)).reference == "R-2026-17"


@pytest.mark.parametrize("actor", [AGENT, ADMIN, AUDITOR])
async def test_who_may_not_open_may_not_be_granted(world, actor):
    with pytest.raises(NotPermittedError):
        await world.grant(await world.call(), actor=actor)
    assert not await world.entries("grant.created")


@pytest.mark.parametrize(
    ("actor", "purpose", "reference", "error"),
    [
        pytest.param(
            HANDLER, Purpose.HANDLE_COMPLAINT, None, InvalidInputError, id="no complaint"
        ),
        pytest.param(
            HANDLER, Purpose.HANDLE_COMPLAINT, " ", InvalidInputError, id="blank complaint"
        ),
        pytest.param(
            HANDLER,
            Purpose.HANDLE_COMPLAINT,
            "R\x00",
            InvalidInputError,
            id="unseen characters",
        ),
        pytest.param(
            HANDLER, Purpose.VERIFY_CONTACT, "R-1", InvalidInputError, id="a needless reference"
        ),
        pytest.param(
            HANDLER, Purpose.DATA_SUBJECT_REQUEST, "P-1", NotPermittedError, id="not theirs"
        ),
        pytest.param(
            DPO, Purpose.HANDLE_COMPLAINT, "R-1", NotPermittedError, id="not the DPO's"
        ),
        pytest.param(DPO, Purpose.AUTHORITY_REQUEST, None, InvalidInputError, id="no request"),
        pytest.param(
            HANDLER, Purpose.QUALITY_DEVELOPMENT, None, InvalidInputError, id="sample"
        ),
        pytest.param(HANDLER, Purpose.OWN_FEEDBACK, None, InvalidInputError, id="own feedback"),
    ],
)
async def test_a_purpose_needs_its_role_and_its_reference(
    world, actor, purpose, reference, error
):
    contact_id = await world.call()
    with pytest.raises(error):
        await world.grant(contact_id, actor=actor, purpose=purpose, reference=reference)
    assert not await world.store.find(GrantRow, {})


async def test_a_purpose_that_needs_a_sample_says_so(world):
    contact_id = await world.call()
    with pytest.raises(InvalidInputError, match="needs a sample") as caught:
        await world.grant(contact_id, purpose=Purpose.QUALITY_DEVELOPMENT, reference=None)
    assert "no samples yet" in caught.value.detail


async def test_a_contact_that_does_not_exist_is_not_granted(world):
    with pytest.raises(NotFoundError):
        await world.grant(await world.call(), new_id("ct"))


@pytest.mark.parametrize("count", [0, MAX_CONTACTS + 1])
async def test_a_grant_covers_some_contacts_and_not_all_of_them(world, count):
    with pytest.raises(InvalidInputError):
        await world.grant(*(new_id("ct") for _ in range(count)))


async def test_the_most_contacts_of_one_grant_fit_into_its_log_entry(world):
    contact_id = await world.call()
    (row,) = await world.store.find(ContactRow, {"id": contact_id})
    ids = [new_id("ct") for _ in range(MAX_CONTACTS)]
    copies = [dataclasses.replace(row, id=one, source_token=one.encode()) for one in ids]
    await world.store.commit([Add(copy) for copy in copies])
    grant = await world.grant(*ids)
    assert len(grant.contact_ids) == MAX_CONTACTS


async def test_no_log_no_grant(world):
    contact_id = await world.call()
    world.store.fault = StoreUnavailableError("disk")
    with pytest.raises(UnavailableError):
        await world.grant(contact_id)
    world.store.fault = None
    assert not await world.store.find(GrantRow, {})


async def test_a_withdrawn_grant_stays_withdrawn(world):
    grant = await world.grant(await world.call())
    await world.grants.withdraw(grant.id, actor=HANDLER, now=world.wait(minutes=1))
    await world.grants.withdraw(grant.id, actor=HANDLER, now=world.wait(minutes=1))
    found = await find_grant(world.store, world.vault, grant.id)
    assert found.withdrawn_at == grant.created_at + timedelta(minutes=1)
    assert len(await world.entries("grant.withdrawn")) == 1


async def test_anothers_grant_is_as_good_as_none(world):
    grant = await world.grant(await world.call())
    with pytest.raises(NotFoundError):
        await world.grants.withdraw(grant.id, actor=OTHER_HANDLER, now=world.now)
    assert (await world.grants.list(actor=OTHER_HANDLER)).grants == ()


async def test_a_list_neither_skips_nor_repeats(world):
    contact_id = await world.call()
    made = []
    for i in range(7):
        made.append((await world.grant(contact_id)).id)
        if i % 3 == 2:
            world.wait(minutes=1)
    listed, cursor = [], None
    while True:
        page = await world.grants.list(actor=HANDLER, cursor=cursor, limit=2)
        listed += [grant.id for grant in page.grants]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(listed) == sorted(made)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    "cursor", ["", "x", "1", "1.", ".gr", "-1.gr", "9" * 30 + ".gr", "\u0661.gr"]
)
async def test_other_cursors_are_refused(world, cursor):
    with pytest.raises(InvalidInputError):
        await world.grants.list(actor=HANDLER, cursor=cursor)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"actor_id": OTHER_HANDLER.id}, id="for another actor"),
        pytest.param({"purpose": "verify_contact"}, id="for another purpose"),
        pytest.param(
            {"expires_at": to_microseconds(datetime(2030, 1, 1, tzinfo=UTC))}, id="for longer"
        ),
        pytest.param({"created_at": 0}, id="from earlier"),
        pytest.param({"sealed": b"\x01" + bytes(60)}, id="sealed otherwise"),
        pytest.param({"version": 2}, id="another version"),
    ],
)
async def test_a_grant_that_somebody_changed_in_the_database_does_not_open(world, change):
    grant = await world.grant(await world.call())
    await world.store.commit([Put(dataclasses.replace(await row_of(world, grant), **change))])
    with pytest.raises(TamperedError):
        await find_grant(world.store, world.vault, grant.id)


async def test_a_grant_does_not_stretch_to_a_contact_added_in_the_database(world):
    grant = await world.grant(await world.call())
    other = await world.call(source_id="call-2")
    await world.store.commit([Add(GrantContactRow(grant_id=grant.id, contact_id=other))])
    with pytest.raises(TamperedError):
        await find_grant(world.store, world.vault, grant.id)


async def test_a_withdrawal_cannot_be_undone_in_the_database(world):
    grant = await world.grant(await world.call())
    await world.grants.withdraw(grant.id, actor=HANDLER, now=world.now)
    row = dataclasses.replace(await row_of(world, grant), withdrawn_at=None)
    await world.store.commit([Put(row)])
    with pytest.raises(TamperedError):
        await find_grant(world.store, world.vault, grant.id)
