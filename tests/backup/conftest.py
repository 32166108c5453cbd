import hashlib
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from service.backup.bringing_up import BringingUp
from service.backup.check import BackupVerifier
from service.backup.places import BackupKeys
from service.backup.records import find_records
from service.backup.unpack import Unpacker
from service.backup.working import no_progress
from service.backup_sites import temporary_sites
from service.cli import backup_restore
from service.cli.commands import build_parser
from service.config import parse_config
from service.keys.ring import KeyRing
from service.serving import log_keeper
from service.wiring import key_provider, opened_archive
from service.wiring_backups import (
    backup_places,
    drill_of,
    opened_maker,
    opened_pool,
)
from tests.archive.test_spine import call, deliver, deliver_recording
from tests.conftest import CONFIG, NOW

PLACES = '[backup]\ndirectory = "backups"\nkeys_directory = "key-backups"\n'
DAY = timedelta(days=1)


class Backups:
    """Backups of a small archive, as the commands work with them."""

    def __init__(self, config):
        self.config = config

    @property
    def places(self):
        return backup_places(self.config)

    @property
    def ring(self):
        return KeyRing(key_provider(self.config).load())

    def bringing_up(self, ring=None, identities=()):
        keys = BackupKeys.of_ring(ring or self.ring, identities)
        return BringingUp(Unpacker(self.places, keys), temporary_sites(self.config))

    async def make(self, *, now=NOW, is_first=False):
        async with opened_archive(self.config) as archive:
            return await self.make_of(archive, now=now, is_first=is_first)

    async def make_of(self, archive, *, now=NOW, is_first=False):
        async with opened_maker(archive) as maker:
            return await maker.create(
                actor="operator", now=now, progress=no_progress, is_first=is_first
            )

    async def verify(self, *names, bringing_up=None, now=NOW + 40 * DAY):
        async with opened_archive(self.config) as archive, opened_pool(self.places) as pool:
            verifier = BackupVerifier(
                bringing_up or self.bringing_up(), pool, self.config.archive.directory
            )
            return await verifier.verify(
                names=names,
                records=await find_records(archive.stores.log),
                progress=no_progress,
                now=now,
            )

    async def drill(self, manifest, *, now=NOW + 40 * DAY):
        async with opened_pool(self.places) as pool:
            drill = drill_of(self.config.archive.directory, self.ring, self.bringing_up(), pool)
            return await drill.run(manifest, now=now)

    def lose(self) -> Path:
        """Let the archive be moved away; return where its ledger is now."""
        directory = self.config.archive.directory
        lost = directory.with_name("lost")
        directory.rename(lost)
        return lost / "ledger"

    async def restore(self, *words, now=NOW + 40 * DAY):
        options = build_parser().parse_args(["backup", "restore", *map(str, words)])
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(backup_restore, "clock", lambda: now)
            return await backup_restore.restore(self.config, options)


async def fill(archive, *source_ids, now=NOW, keeper=None):
    """Put calls with recordings in, and publish the log; who fills side by side shares a ``keeper``."""
    for source_id in source_ids:
        await deliver(archive, call(source_id), ident=f"w-{source_id}", now=now)
        await deliver_recording(archive, sound(source_id), source_id=source_id, now=now)
    await (keeper or log_keeper(archive)).publish(now=now)


def sound(source_id):
    return hashlib.sha256(source_id.encode()).digest() * 5000


def flip(path, at=-1):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture
def config(tmp_path):
    for name in ("backups", "key-backups"):
        (tmp_path / name).mkdir()
    return parse_config(PLACES + CONFIG, base=tmp_path)


@asynccontextmanager
async def opened_new(config):
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        yield archive


@pytest.fixture
async def backups(config):
    """An archive of two calls, closed, and its backups, of which there are none yet."""
    async with opened_new(config) as archive:
        await fill(archive, "c-1", "c-2")
    return Backups(config)
