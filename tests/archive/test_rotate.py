"""Rotation never loses a key: stopped anywhere and run again, everything still opens; what was destroyed stays so."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from service.archive.deliveries import DeliveryOpener
from service.archive.payload import get_file_key
from service.archive.receive import keep_delivery
from service.archive.rotate import SETTLE, TAKE_UP, EpochInUseError, Rotation
from service.archive.vault import Vault
from service.domain.actor import OPERATOR, Role
from service.domain.errors import NotFoundError, TamperedError
from service.domain.ids import new_id
from service.keys.epoch import EpochState
from service.keys.ring import KeyRing
from service.log.entry import EntryType, decode_entry
from service.wiring import key_provider, opened_archive
from service.worker.housekeeping import KEYS_EVERY
from storage.errors import StaleError, UnavailableError
from storage.rows import AttentionRow, DeliveryRow, ObjectRow
from tests.archive.test_spine import call, deliver, deliver_recording, find
from tests.conftest import NOW, actor

HANDLER = actor(Role.COMPLAINT_HANDLER)
LATER = NOW + SETTLE + timedelta(seconds=1)
BODY = call("c-kept")


def silent(_done, _total):
    """Report no progress."""


def rotation(archive, **parts):
    stores = archive.stores
    whole = {
        "store": stores.store,
        "keys": stores.keys,
        "provider": archive.provider,
        "ring": archive.vault.ring,
        "log": stores.log,
        "take_up": timedelta(0),
        **parts,
    }
    return Rotation(**whole)


async def rotate(archive, **parts):
    return await rotation(archive, **parts).rotate(actor=OPERATOR, now=NOW, progress=silent)


async def destroy(archive, number, *, now=LATER, **parts):
    return await rotation(archive, **parts).destroy(number, actor=OPERATOR, now=now)


@pytest.fixture
async def filled(archive):
    """An archive with a call, its recording, a delivery that nobody has read, and keys of every kind."""
    await deliver(archive, call(), ident="w-1", now=NOW)
    await deliver_recording(archive, b"sound", now=NOW)
    await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident="w-2", body=BODY, now=NOW
    )
    return archive


async def require_everything_opens(archive):
    """Open every kind of key with keys loaded anew, as another process would."""
    ring = KeyRing(archive.provider.load())
    keys, store = archive.stores.keys, archive.stores.store
    (found,) = await find(archive, NOW, phone="+358401234567")
    vault = Vault(ring, keys, archive.vault.index)
    await vault.get_sealer(found.contact.id)
    (stored,) = await store.find(ObjectRow, {"kind": "recording"})
    await get_file_key(vault, stored.id)
    rows = await store.find(DeliveryRow, {})
    opened = await DeliveryOpener(ring, keys).open(rows)
    assert len(opened) == len(rows) == 3
    assert BODY in {delivery.body for delivery in opened.values()}


async def entries(archive, *kinds):
    log = archive.stores.log
    found = [decode_entry(one.entry) for one in await log.log_entries(0, await log.log_size())]
    return [(entry.type, entry.data.get("epoch")) for entry in found if entry.type in kinds]


async def is_unfinished(archive, epoch):
    """Tell whether the log does not say yet that everything has moved to ``epoch``."""
    retired = (EntryType.KEY_EPOCH_RETIRED, epoch - 1)
    return retired not in await entries(archive, EntryType.KEY_EPOCH_RETIRED)


def of_epoch(counts):
    return {name: n for name, n in counts.items() if name.startswith("epoch:")}


EPOCHS = (
    EntryType.KEY_EPOCH_CREATED,
    EntryType.KEY_EPOCH_RETIRED,
    EntryType.KEY_EPOCH_DESTROYED,
)


async def test_everything_moves_to_the_new_epoch_and_still_opens(filled):
    before = of_epoch(await filled.stores.keys.count_keys())
    told = []
    done = await rotation(filled).rotate(
        actor=OPERATOR, now=NOW, progress=lambda *numbers: told.append(numbers)
    )
    assert before == {"epoch:1": done}
    assert told[-1] == (done, done)
    assert of_epoch(await filled.stores.keys.count_keys()) == {"epoch:2": done}
    await require_everything_opens(filled)
    assert await entries(filled, *EPOCHS) == [
        (EntryType.KEY_EPOCH_CREATED, 2),
        (EntryType.KEY_EPOCH_RETIRED, 1),
    ]


async def test_sessions_are_rewrapped_so_that_deliveries_can_still_be_understood(filled):
    await rotate(filled)
    await destroy(filled, 1)
    assert await filled.understanding.catch_up(now=NOW, received_before=10**18) == 1
    assert len(await find(filled, NOW, phone="+358401234567")) == 2


async def test_epochs_are_listed_with_how_many_keys_they_open(filled):
    await rotate(filled)
    first, second = await rotation(filled).find_epochs()
    assert (first.epoch.state, first.keys, first.is_current) == (EpochState.RETIRED, 0, False)
    assert (second.epoch.state, second.is_current) == (EpochState.ACTIVE, True)
    assert second.keys == sum(of_epoch(await filled.stores.keys.count_keys()).values())


async def test_each_finished_rotation_begins_the_next_epoch(filled):
    await rotate(filled)
    await rotate(filled)
    assert filled.vault.ring.current_epoch == 3
    await require_everything_opens(filled)


class Breaking:
    """A collaborator of which the n-th changing call fails, after it has happened where ``is_late``."""

    METHODS = frozenset(
        {"add_epoch", "destroy_epoch", "put_keys", "replace_keys", "commit", "find_keys"}
    )

    def __init__(self, part, state):
        self._part, self._state = part, state

    def __getattr__(self, name):
        method = getattr(self._part, name)
        if name not in self.METHODS:
            return method
        return self._sync(method) if name.endswith("_epoch") else self._async(method)

    def _count(self):
        self._state["calls"] += 1
        return self._state["calls"] == self._state["fail_at"]

    def _sync(self, method):
        def called(*args, **kwargs):
            fails = self._count()
            if fails and not self._state["is_late"]:
                raise UnavailableError("stopped")
            result = method(*args, **kwargs)
            if fails:
                raise UnavailableError("stopped")
            return result

        return called

    def _async(self, method):
        async def called(*args, **kwargs):
            fails = self._count()
            if fails and not self._state["is_late"]:
                raise UnavailableError("stopped")
            result = await method(*args, **kwargs)
            if fails:
                raise UnavailableError("stopped")
            return result

        return called


def breaking(archive, state):
    parts = {
        "store": archive.stores.store,
        "keys": archive.stores.keys,
        "provider": archive.provider,
    }
    # A killed command takes its ring with it.
    ring = KeyRing(archive.provider.load())
    return {**{name: Breaking(part, state) for name, part in parts.items()}, "ring": ring}


@pytest.mark.parametrize("is_late", [False, True], ids=["before it", "after it"])
async def test_a_rotation_stopped_at_any_step_is_finished_by_the_next(
    filled, monkeypatch, is_late
):
    monkeypatch.setattr("service.archive.rotate.BATCH", 2)
    epoch = 1
    for step in range(1, 100):
        state = {"calls": 0, "fail_at": step, "is_late": is_late}
        epoch += 1
        try:
            await rotate(filled, **breaking(filled, state))
        except UnavailableError:
            filled.vault.ring.adopt(filled.provider.load())
            await require_everything_opens(filled)
            if epoch > filled.vault.ring.current_epoch or await is_unfinished(filled, epoch):
                await rotate(filled)
        else:
            break
        assert filled.vault.ring.current_epoch == epoch, "no epoch too many"
        assert list(of_epoch(await filled.stores.keys.count_keys())) == [f"epoch:{epoch}"]
        await require_everything_opens(filled)
    assert 8 < step < 99, "every step was tried"
    filled.vault.ring.adopt(filled.provider.load())
    created = await entries(filled, EntryType.KEY_EPOCH_CREATED)
    assert [number for _, number in created] == list(range(2, epoch + 1))
    retired = await entries(filled, EntryType.KEY_EPOCH_RETIRED)
    assert sorted(number for _, number in retired) == list(range(1, epoch))


@pytest.mark.parametrize("is_late", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("step", range(1, 4))
async def test_a_destruction_stopped_at_any_step_is_finished_by_the_next(filled, step, is_late):
    await rotate(filled)
    state = {"calls": 0, "fail_at": step, "is_late": is_late}
    with pytest.raises(UnavailableError):
        await destroy(filled, 1, **breaking(filled, state))
    await require_everything_opens(filled)
    filled.vault.ring.adopt(filled.provider.load())
    copies = await destroy(filled, 1)
    assert len(copies) == 3
    await require_everything_opens(filled)
    assert await entries(filled, EntryType.KEY_EPOCH_DESTROYED) == [
        (EntryType.KEY_EPOCH_DESTROYED, 1)
    ]
    assert not (filled.config.keys.directory / "epoch-000001.key").exists()


async def test_an_epoch_that_is_needed_is_not_destroyed(filled):
    with pytest.raises(EpochInUseError, match="current"):
        await destroy(filled, 1)
    filled.provider.add_epoch(now=NOW)
    with pytest.raises(EpochInUseError, match="still opens"):
        await destroy(filled, 1)
    await rotate(filled)
    with pytest.raises(EpochInUseError, match="minute"):
        await destroy(filled, 1, now=NOW + SETTLE)
    with pytest.raises(NotFoundError):
        await destroy(filled, 7)
    assert await entries(filled, EntryType.KEY_EPOCH_DESTROYED) == []


async def test_an_epoch_that_came_into_use_at_the_last_moment_is_not_destroyed(filled):
    await rotate(filled)
    stale = KeyRing(replace(filled.provider.load(), epochs=filled.provider.load().epochs[:1]))
    slow = Vault(stale, filled.stores.keys, filled.vault.index)

    class Late:
        def __getattr__(self, name):
            return getattr(filled.stores.keys, name)

        async def put_keys(self, rows):
            await slow.put([slow.new_key(new_id("ct"), now=NOW)])
            await filled.stores.keys.put_keys(rows)

    with pytest.raises(EpochInUseError, match="still opens 1 keys"):
        await destroy(filled, 1, keys=Late())
    await rotate(filled)
    await destroy(filled, 1)


async def test_a_process_that_has_not_heard_of_it_cannot_seal_under_a_destroyed_epoch(filled):
    stale = KeyRing(filled.provider.load())
    await rotate(filled)
    await destroy(filled, 1)
    slow = Vault(stale, filled.stores.keys, filled.vault.index)
    key = slow.new_key(new_id("ct"), now=NOW)
    with pytest.raises(StaleError):
        await slow.put([key])
    stale.adopt(filled.provider.load())
    await slow.put([slow.new_key(key.id, now=NOW)])


async def test_a_running_service_opens_at_once_what_was_rewrapped_beside_it(filled):
    """Without waiting for its own look at the keys: rows, recordings and what it seals from then on."""
    (found,) = await find(filled, NOW, phone="+358401234567")
    (stored,) = await filled.stores.store.find(ObjectRow, {"kind": "recording"})
    async with opened_archive(filled.config) as running:
        await rotate(filled)
        assert running.vault.ring.current_epoch == 1
        await running.vault.get_sealer(found.contact.id)
        await get_file_key(running.vault, stored.id)
        assert running.vault.ring.current_epoch == 2


async def test_what_is_destroyed_meanwhile_stays_destroyed(filled):
    (stored,) = await filled.stores.store.find(ObjectRow, {"kind": "recording"})

    class Meanwhile:
        def __getattr__(self, name):
            return getattr(filled.stores.keys, name)

        async def replace_keys(self, rows):
            await filled.stores.keys.destroy_keys([stored.id])
            await filled.stores.keys.replace_keys(rows)

    await rotate(filled, keys=Meanwhile())
    assert await filled.stores.keys.get_keys([stored.id]) == {}


async def test_what_was_sealed_to_the_old_epoch_meanwhile_is_moved_as_well(filled):
    old = KeyRing(filled.provider.load())
    late = Vault(old, filled.stores.keys, filled.vault.index).new_key("ct_0", now=NOW)

    class Meanwhile:
        def __init__(self):
            self.is_done = False

        def __getattr__(self, name):
            return getattr(filled.stores.keys, name)

        async def replace_keys(self, rows):
            await filled.stores.keys.replace_keys(rows)
            if not self.is_done:
                self.is_done = True
                await filled.stores.keys.put_keys([late.row])

    await rotate(filled, keys=Meanwhile())
    assert list(of_epoch(await filled.stores.keys.count_keys())) == ["epoch:2"]


async def test_a_key_that_was_altered_stays_and_is_named_and_the_others_move(filled):
    (stored,) = await filled.stores.store.find(ObjectRow, {"kind": "recording"})
    (row,) = (await filled.stores.keys.get_keys([stored.id])).values()
    altered = replace(row, wrapped=row.wrapped[:-2] + b"x\n")
    await filled.stores.keys.put_keys([altered])
    with pytest.raises(TamperedError, match=stored.id):
        await rotate(filled)
    counts = of_epoch(await filled.stores.keys.count_keys())
    assert counts["epoch:1"] == 1
    assert await filled.stores.keys.get_keys([stored.id]) == {stored.id: altered}
    (item,) = await filled.stores.store.find(AttentionRow, {"reason": "integrity"})
    assert item.about == stored.id
    assert (EntryType.KEY_EPOCH_RETIRED, 1) not in await entries(filled, *EPOCHS)
    with pytest.raises(EpochInUseError):
        await destroy(filled, 1)


async def test_two_rotations_at_once_lose_nothing(filled):
    both = [rotation(filled, ring=KeyRing(filled.provider.load())) for _ in range(2)]
    await asyncio.gather(
        *(one.rotate(actor=OPERATOR, now=NOW, progress=silent) for one in both),
        return_exceptions=True,
    )
    filled.vault.ring.adopt(filled.provider.load())
    await require_everything_opens(filled)
    await rotate(filled)
    await require_everything_opens(filled)
    assert list(of_epoch(await filled.stores.keys.count_keys())) == [
        f"epoch:{filled.vault.ring.current_epoch}"
    ]


async def test_rewrapping_waits_until_others_know_the_new_epoch(filled, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("service.archive.rotate.asyncio.sleep", sleep)
    await rotate(filled, take_up=TAKE_UP)
    assert slept == [TAKE_UP.total_seconds()]
    assert TAKE_UP > KEYS_EVERY, "a running service looks more often than that"
    slept.clear()
    key_provider(filled.config).add_epoch(now=NOW - timedelta(hours=1))
    await rotate(filled, take_up=TAKE_UP)
    assert slept == [0.0], "an interrupted rotation has waited already"
