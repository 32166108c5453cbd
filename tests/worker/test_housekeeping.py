"""Chores are done when they are due, each for itself; the archive's own chores do what they say."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from service.access.sessions import SessionRules, Sessions
from service.archive.expire import DeliveryExpiry
from service.archive.receive import keep_delivery
from service.crypto.wrap import new_key
from service.domain.errors import UnavailableError
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.keys.errors import KeysRefusedError, KeysUnavailableError
from service.keys.session import SESSION_LIFETIME
from service.wiring import key_provider
from service.worker.housekeeping import Chore, Household, Housekeeping
from service.worker.leftovers import Leftovers
from storage.errors import StorageError
from storage.ports import Add
from storage.rows import ErasureRow, KeyRow, RecordingRow, SessionRow
from tests.archive.test_erase import OTHER, contact_with_everything, request
from tests.archive.test_spine import call, deliver, deliver_recording
from tests.conftest import NOW
from tests.fakes import Clock

KEEP = timedelta(days=30)
AT_ONCE = timedelta(0)


@pytest.fixture
def household(archive):
    stores = archive.stores
    return Household(
        expectations=archive.expectations,
        sessions=Sessions(store=stores.store, users=None, rules=SessionRules()),
        expiry=DeliveryExpiry(stores.store, stores.keys, stores.blobs, KEEP),
        erasures=archive.erasures,
        leftovers=Leftovers(stores.store, stores.keys, stores.blobs),
        provider=archive.provider,
        ring=archive.vault.ring,
        intake_sessions=archive.intake.sessions,
    )


def chore(household, name):
    (found,) = [one for one in household.chores() if one.name == name]
    return found


class Times:
    """A chore that raises what is planned, and an event after so many times."""

    def __init__(self, wanted, *faults):
        self.faults, self.wanted, self.done = list(faults), wanted, 0
        self.enough = asyncio.Event()

    async def __call__(self, _now):
        self.done += 1
        if self.done == self.wanted:
            self.enough.set()
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault


async def do_until_enough(*chores):
    clock = Clock()
    keeping = Housekeeping(
        [Chore(f"chore {n}", AT_ONCE, do) for n, do in enumerate(chores)], lambda: clock.now
    )
    task = asyncio.create_task(keeping.run())
    for do in chores:
        await asyncio.wait_for(do.enough.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_chore_that_fails_stops_neither_itself_nor_another():
    failing = Times(4, *(ZeroDivisionError() for _ in range(99)))
    steady = Times(4)
    await do_until_enough(failing, steady)
    assert min(failing.done, steady.done) >= 4


async def test_a_failure_is_told_once_until_it_changes_and_the_recovery_too(caplog):
    faults = [*[StorageError("x")] * 3, UnavailableError("y"), None, ZeroDivisionError()]
    with caplog.at_level(logging.INFO):
        await do_until_enough(Times(8, *faults))
    told = [(r.message, getattr(r, "code", None)) for r in caplog.records]
    assert told == [
        ("housekeeping.failed", "storage"),
        ("housekeeping.failed", "unavailable"),
        ("housekeeping.recovered", None),
        ("housekeeping.failed", "internal_error"),
        ("housekeeping.recovered", None),
    ]
    assert [bool(r.exc_info) for r in caplog.records if r.levelno > logging.INFO] == [
        *[False] * 2,
        True,
    ]


async def test_a_recording_that_never_comes_is_given_up(archive, household):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await chore(household, "expectations").do(NOW + timedelta(hours=2))
    (row,) = await archive.stores.store.find(RecordingRow, {})
    assert row.state == "lost"


async def test_sessions_that_are_over_are_removed(archive, household):
    over = SessionRow(
        id="0" * 64,
        user_id="us_x",
        csrf="c",
        created_at=0,
        seen_at=to_microseconds(NOW),
        expires_at=to_microseconds(NOW),
    )
    await archive.stores.store.commit([Add(over)])
    await chore(household, "sessions").do(NOW + timedelta(seconds=1))
    assert await archive.stores.store.find(SessionRow, {}) == []


async def test_old_deliveries_are_erased(archive, household):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await chore(household, "deliveries").do(NOW + KEEP)
    assert household.expiry.keep_for == KEEP
    assert await archive.stores.keys.find_keys("epoch:1", after="dl_", limit=1) is not None


async def test_an_interrupted_erasure_is_finished(archive, household):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)

    class Busy:
        async def scrub(self):
            raise StorageError("somebody keeps reading")

    busy = replace(archive.erasures.disposal, scrub=Busy())
    await replace(archive.erasures, disposal=busy).approve(asked.id, actor=OTHER, now=NOW)
    await chore(household, "erasures").do(NOW)
    (row,) = await archive.stores.store.find(ErasureRow, {"id": asked.id})
    assert row.state == "erased"


# -- keys


async def test_an_epoch_made_by_another_process_is_taken_up(archive, household, config):
    key_provider(config).add_epoch(now=NOW)
    assert archive.vault.ring.current_epoch == 1
    await household.refresh_keys(NOW)
    assert archive.vault.ring.current_epoch == 2


async def test_keys_that_became_unfit_are_dropped_until_they_are_back(
    archive, household, config
):
    ring = archive.vault.ring
    epoch, wrapped = ring.wrap(new_key())
    config.keys.directory.chmod(0o755)
    for _ in range(2):
        with pytest.raises(KeysRefusedError):
            await household.refresh_keys(NOW)
    assert not ring.is_at_hand
    with pytest.raises(KeysUnavailableError):
        ring.unwrap(epoch, wrapped)
    with pytest.raises(KeysUnavailableError):
        ring.wrap(new_key())
    assert not any(one.keys for one in ring.epochs)
    # What comes in is kept all the same.
    await keep(archive, "w-1")
    config.keys.directory.chmod(0o700)
    await household.refresh_keys(NOW)
    assert ring.is_at_hand
    ring.unwrap(epoch, wrapped)


async def keep(archive, ident, *, now=NOW):
    return await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident=ident, body=call(ident), now=now
    )


async def test_the_intake_session_is_forgotten_at_its_end_though_nothing_is_delivered(
    archive, household
):
    await keep(archive, "w-1")
    _, session, _ = archive.intake.sessions.current(NOW)
    await household.refresh_keys(NOW + SESSION_LIFETIME - timedelta(seconds=1))
    assert session._key is not None
    await household.refresh_keys(NOW + SESSION_LIFETIME)
    assert session._key is None
    await keep(archive, "w-2", now=NOW + SESSION_LIFETIME)


async def test_a_new_epoch_begins_a_new_intake_session(archive, household, config):
    await keep(archive, "w-1")
    key_provider(config).add_epoch(now=NOW)
    await household.refresh_keys(NOW)
    await keep(archive, "w-2")
    sessions = await archive.stores.keys.find_keys("epoch:2", after="is_")
    assert [row.kind for row in sessions] == ["session"]


# -- leftovers


async def test_a_session_whose_deliveries_are_gone_is_destroyed_with_its_unused_keys(
    archive, household
):
    kept = await keep(archive, "w-1")
    (key,) = (await archive.stores.keys.get_keys([kept.row.id])).values()
    unused = KeyRow(
        id=new_id("dl"), kind="delivery", wrapped_by=key.wrapped_by, wrapped=b"x", made_at=1
    )
    await archive.stores.keys.put_keys([unused])
    destroy = chore(household, "unused keys").do
    await destroy(NOW + KEEP)
    assert len(await archive.stores.keys.get_keys([unused.id, kept.row.id])) == 2
    late = NOW + KEEP + timedelta(days=2)
    await destroy(late)
    assert list(await archive.stores.keys.get_keys([unused.id, kept.row.id])) == [kept.row.id]
    assert await archive.stores.keys.get_keys([key.wrapped_by]), "what is not erased needs it"
    await archive.understanding.catch_up(now=late, received_before=to_microseconds(late))
    await chore(household, "deliveries").do(late)
    await destroy(late)
    assert await archive.stores.keys.get_keys([key.wrapped_by, kept.row.id]) == {}


async def test_sessions_are_found_among_other_keys_page_by_page(
    archive, household, monkeypatch
):
    monkeypatch.setattr("service.worker.leftovers._BATCH", 3)
    old = [
        KeyRow(id=new_id("is"), kind="session", wrapped_by="epoch:1", wrapped=b"s", made_at=1)
        for _ in range(7)
    ]
    others = [
        KeyRow(id=new_id(kind), kind="row", wrapped_by="epoch:1", wrapped=b"r", made_at=1)
        for kind in ("ct", "gr", "ob", "us")
        for _ in range(4)
    ]
    await archive.stores.keys.put_keys([*old, *others])
    await chore(household, "unused keys").do(NOW)
    left = await archive.stores.keys.get_keys([row.id for row in (*old, *others)])
    assert set(left) == {row.id for row in others}


async def test_an_orphaned_blob_is_reported_at_the_second_look_and_not_removed(
    archive, household, caplog
):
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver_recording(archive, b"sound", now=NOW)
    orphan = new_id("ob")
    async with archive.stores.blobs.create(orphan) as writer:
        await writer.write(b"left")
        await writer.finish()
    first = await household.leftovers.report(now=NOW)
    assert first.blobs == ()
    second = await household.leftovers.report(now=NOW)
    assert second.blobs == (orphan,)
    assert "leftovers.blobs" in caplog.text
    assert orphan in {name async for name in archive.stores.blobs.names()}


async def test_a_recording_that_belongs_to_nothing_for_a_day_is_reported(archive, household):
    await deliver_recording(archive, b"sound", now=NOW)
    assert (await household.leftovers.report(now=NOW + timedelta(days=1))).objects == ()
    after = NOW + timedelta(days=1, seconds=1)
    (found,) = (await household.leftovers.report(now=after)).objects
    assert found.startswith("ob_")


def test_every_chore_has_a_name_of_its_own(household):
    names = [one.name for one in household.chores()]
    assert len(names) == len(set(names)) == 9
