"""The running service backs up by itself, tries the backup out, and tells when one is late."""

import errno
from dataclasses import replace
from datetime import timedelta
from math import isnan

import pytest

from service.api.system import HEALTH
from service.backup.drill import Drill
from service.serving import build_service
from service.wiring import opened_archive
from service.worker.backups import LATE, UNFIT
from storage.errors import UnavailableError
from storage.rows import AttentionRow
from tests.backup.conftest import flip
from tests.conftest import NOW

DAY = timedelta(days=1)


@pytest.fixture
async def daily(backups):
    async with opened_archive(backups.config) as archive:
        daily = build_service(archive).daily
        daily.begun_at = NOW
        yield daily


async def open_items(daily):
    rows = await daily.store.find(AttentionRow, {"state": "open"})
    return {row.reason for row in rows}


async def test_a_backup_is_made_when_it_is_due_and_not_again_that_day(daily, backups):
    await daily.run(NOW)
    await daily.run(NOW + timedelta(hours=1))
    assert backups.places.archive.names() == ["20261122T120000Z"]
    await daily.run(NOW + DAY)
    assert len(backups.places.archive.names()) == 2
    assert await open_items(daily) == set()
    assert not daily.is_running


async def test_a_late_backup_needs_attention_until_one_is_made(daily, backups):
    away = backups.config.backup.directory.rename(
        backups.config.backup.directory.with_name("away")
    )
    for hours in (1, 27, 28):
        with pytest.raises(UnavailableError, match="mounted"):
            await daily.run(NOW + timedelta(hours=hours))
        assert await open_items(daily) == ({LATE} if hours > 26 else set())
    assert await daily.late(NOW + timedelta(hours=28)) == "there is no backup"
    away.rename(backups.config.backup.directory)
    await daily.run(NOW + timedelta(hours=29))
    assert await open_items(daily) == set()
    assert await daily.late(NOW + timedelta(hours=56)) == "the newest backup is 27 hours old"


async def test_a_backup_that_does_not_pass_its_drill_needs_attention(daily, backups):
    await daily.run(NOW)
    for blob in backups.places.pool.rglob("ob_*"):
        flip(blob)
    await daily.run(NOW + DAY)
    assert await open_items(daily) == {UNFIT}
    for blob in backups.places.pool.rglob("ob_*"):
        blob.unlink()
    await daily.run(NOW + 2 * DAY)
    assert await open_items(daily) == set()


async def test_a_backup_that_cannot_be_brought_up_needs_attention(daily, backups, monkeypatch):
    run = Drill.run

    async def altered(drill, manifest, *, now):
        path = backups.places.archive.file(manifest.name, "taltio.db.age")
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-40] + bytes(40))
        return await run(drill, manifest, now=now)

    with monkeypatch.context() as patched:
        patched.setattr(Drill, "run", altered)
        await daily.run(NOW)
    assert await open_items(daily) == {UNFIT}
    await daily.run(NOW + DAY)
    assert await open_items(daily) == set()


async def test_a_drill_without_room_needs_attention(daily, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("service.backup.bringing_up.scratch", full)
        await daily.run(NOW)
    assert await open_items(daily) == {UNFIT}


async def test_a_backup_from_the_future_keeps_none_from_being_made_or_kept(daily, backups):
    """The clock was wrong when the machine came up, and was set then."""
    await daily.run(NOW)
    await daily.run(NOW + 400 * DAY)
    for day in range(1, 5):
        await daily.run(NOW + day * DAY)
        assert await daily.late(NOW + day * DAY) is None
    names = backups.places.archive.names()
    assert names[-1] == "20271227T120000Z"
    assert [name[:8] for name in names[:-1]] == [f"202611{day}" for day in range(23, 27)]
    # Which keys are the newest cannot be told: somebody has to move that backup away.
    assert await open_items(daily) == {UNFIT}
    for place in (backups.places.archive, backups.places.keys):
        place.remove(names[-1])
    await daily.run(NOW + 5 * DAY)
    assert await open_items(daily) == set()


async def measured(health):
    """Return the metrics of one number each."""
    return {one.name: one.samples[0][2] for one in await health.measure() if one.samples}


async def test_readiness_warns_of_a_late_backup_and_metrics_tell_its_age(backups):
    async with opened_archive(backups.config) as archive:
        service = build_service(archive)
        health = service.app[HEALTH]
        assert await health.warnings["backup"]() is None
        service.daily.begun_at -= 2 * DAY
        assert await health.warnings["backup"]() == "there is no backup"
        assert (await measured(health))["backup_running"] == 0
        await backups.make_of(archive, now=service.daily.begun_at)
        assert (await measured(health))["backup_age_seconds"] > 86_400


async def test_without_a_place_none_is_made_and_nothing_is_warned_of(backups):
    config = replace(backups.config, backup=replace(backups.config.backup, directory=None))
    async with opened_archive(config) as archive:
        service = build_service(archive)
        assert service.daily is None
        assert await service.app[HEALTH].warnings["backup"]() is None
        assert isnan((await measured(service.app[HEALTH]))["backup_age_seconds"])
