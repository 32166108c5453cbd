"""Killed at any step, the last good backup is the newest that is listed, and no half of an archive is restored."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.archive.checks import Outcome
from service.backup.manifest import Kind
from service.backup.places import find_backups
from service.wiring import opened_archive
from storage.rows import ContactRow
from tests.backup.conftest import DAY, Backups, fill
from tests.backup.stopping import config_in
from tests.conftest import NOW

ROOT = Path(__file__).resolve().parents[2]
OLDER, NEWER = "20261122T120000Z", "20261228T120000Z"


def stop_everywhere(deed, template, directory, *, stride):
    """Return the folders of all attempts, the last of which went on to the end."""
    directory.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.backup.stopping",
            deed,
            template,
            directory,
            "1",
            str(stride),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(directory.iterdir(), key=lambda path: int(path.name))


def names(backups, kind):
    key = backups.ring.index_key("backup")
    listed = find_backups(backups.places, kind, key)
    assert [one.trouble for one in listed] == [None] * len(listed)
    return [one.name for one in listed]


@pytest.fixture
async def template(backups, tmp_path):
    """An archive with a backup, whose time is over at the next, and a call that is not in it yet."""
    await backups.make()
    async with opened_archive(backups.config) as archive:
        await fill(archive, "c-3")
    return shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-template")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_backup_killed_at_any_step_leaves_the_last_good_one_the_newest(
    template, tmp_path
):
    folders = stop_everywhere("create", template, tmp_path / "attempts", stride=5)
    assert len(folders) > 10
    seen = set()
    for folder in folders:
        backups = Backups(config_in(folder))
        archives, keys = names(backups, Kind.ARCHIVE), names(backups, Kind.KEYS)
        assert archives[-1] in {OLDER, NEWER}
        # Whichever it is, it is whole, and its keys are there: those of its time or newer ones.
        assert keys[-1] >= archives[-1]
        seen.add((archives[-1], keys[-1]))
        verdict = await backups.verify(archives[-1])
        assert [one.text for one in verdict.troubles] == [], folder
    assert {(OLDER, OLDER), (NEWER, NEWER)} <= seen
    for folder in folders[:: max(1, len(folders) // 8)]:
        backups = Backups(config_in(folder))
        made = await backups.make(now=NOW + 37 * DAY)
        assert names(backups, Kind.ARCHIVE)[-1] == made.manifest.name
        assert (await backups.verify()).outcome is Outcome.PASSED
        for place in (folder / "backups", folder / "key-backups"):
            assert not [one for one in place.iterdir() if one.name.startswith((".new", ".old"))]
        assert not list((folder / "data").glob(".backup-*"))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_restore_killed_at_any_step_leaves_nothing_or_everything(template, tmp_path):
    (template / "data").rename(template / "lost")
    folders = stop_everywhere("restore", template, tmp_path / "attempts", stride=7)
    assert len(folders) > 10
    for folder in folders:
        backups = Backups(config_in(folder))
        if not (folder / "data").exists():
            assert await backups.restore("--ledger", folder / "lost" / "ledger") == 0
        async with opened_archive(backups.config) as archive:
            assert await archive.stores.store.count(ContactRow, {}) == 2
            assert len([name async for name in archive.stores.blobs.names()]) == 2
