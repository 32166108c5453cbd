"""No room, and files that cannot be written: refused in words, and the last good backup stays the newest."""

import errno
import os

import pytest

from service.backup.manifest import Kind
from service.backup.places import find_backups
from service.wiring import opened_archive
from storage.errors import StorageError
from tests.backup.conftest import DAY, fill
from tests.conftest import NOW


def listed(backups):
    return [one.name for one in find_backups(backups.places, Kind.ARCHIVE, None)]


@pytest.mark.parametrize("at", range(0, 12, 2))
async def test_a_full_disk_leaves_the_last_good_backup_the_newest(backups, monkeypatch, at):
    await backups.make()
    async with opened_archive(backups.config) as archive:
        await fill(archive, "c-3")
    left, sync = [at], os.fsync

    def full(file):
        left[0] -= 1
        if left[0] == -1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    async with opened_archive(backups.config) as archive:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            try:
                await backups.make_of(archive, now=NOW + DAY)
            except StorageError as error:
                assert "No space" in str(error)  # noqa: PT017  # at one place it need not fail
                assert listed(backups) == ["20261122T120000Z"]
            else:
                # It failed while what was in the clear was overwritten, which is done as well as can be.
                assert at == 8
        assert not list(backups.config.backup.directory.glob(".new-*"))
        made = await backups.make_of(archive, now=NOW + 2 * DAY)
    assert listed(backups)[-1] == made.manifest.name
