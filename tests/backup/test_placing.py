"""The last step of a restore, with rows, keys and blobs outside of the archive's directory."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from service.archive.checks import Outcome
from service.backup.placing import FILE, find_placing, require_whole
from service.config import parse_config
from service.domain.errors import TamperedError, UnavailableError
from service.wiring import opened_archive
from service.wiring_backups import restore_target
from storage.errors import ConflictError
from storage.rows import ContactRow
from tests.backup.conftest import PLACES, Backups, fill, opened_new
from tests.conftest import CONFIG

STORAGE = '[storage]\ndatabase = "sqlite:a/rows.db"\nblobs = "file:b/objects"\nkeys = "sqlite:c/k.db"\n'


@pytest.fixture
async def backups(tmp_path):
    """Backups of an archive whose rows, keys and blobs lie outside of its directory."""
    for name in ("backups", "key-backups", "a", "b", "c"):
        (tmp_path / name).mkdir()
    config = parse_config(PLACES + STORAGE + CONFIG, base=tmp_path)
    async with opened_new(config) as archive:
        await fill(archive, "c-1")
    backups = Backups(config)
    await backups.make()
    return backups


def lose(backups):
    """Move everything away; return where the ledger is."""
    base = backups.config.archive.directory.parent
    for name in ("a", "b", "c"):
        (base / name).rename(base / f"{name}.lost")
        (base / name).mkdir()
    return backups.lose()


async def is_whole(backups):
    async with opened_archive(backups.config) as archive:
        (row,) = await archive.stores.store.find(ContactRow, {})
        assert set(await archive.stores.keys.get_keys([row.id])) == {row.id}
        assert len([name async for name in archive.stores.blobs.names()]) == 1
    left = list(backups.config.archive.directory.parent.rglob("*.restoring*"))
    return not left and not (backups.config.archive.directory / FILE).exists()


async def test_everything_goes_where_the_settings_say(backups):
    ledger = lose(backups)
    assert await backups.restore("--ledger", ledger) == 0
    assert await is_whole(backups)


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("place", ["a/rows.db", "c/k.db"])
async def test_what_sqlite_would_read_into_the_restored_database_is_refused(
    backups, place, end
):
    ledger = lose(backups)
    stale = backups.config.archive.directory.parent / f"{place}{end}"
    stale.write_bytes(b"of before")
    with pytest.raises(ConflictError, match=stale.name):
        await backups.restore("--ledger", ledger)
    assert stale.read_bytes() == b"of before"
    stale.unlink()
    assert await backups.restore("--ledger", ledger) == 0
    assert await is_whole(backups)


async def test_what_an_attempt_left_beside_the_staged_rows_is_not_read_into_them(
    backups, tmp_path
):
    async with opened_archive(backups.config) as archive:
        await fill(archive, *[f"n-{i}" for i in range(6)])
        shutil.copy(tmp_path / "a/rows.db-wal", tmp_path / "wal")
    ledger = lose(backups)
    shutil.copy(tmp_path / "wal", tmp_path / "a/rows.db.restoring-wal")
    assert await backups.restore("--ledger", ledger) == 0
    assert await is_whole(backups)
    db = sqlite3.connect(tmp_path / "a/rows.db")
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


class KilledError(BaseException):
    """Nobody handles it, as nobody handles ``kill -9``."""


async def killed_at(backups, monkeypatch, rename, *words):
    """Restore, and stop dead before the renaming ``rename`` of the last step, counted from 0."""
    real, left = Path.rename, [rename]

    def counted(path, target):
        if str(path).endswith(".restoring"):
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
        return real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", counted)
        with pytest.raises(KilledError):
            await backups.restore(*words)


@pytest.mark.parametrize("rename", range(4))
async def test_killed_between_the_renames_the_next_attempt_does_what_is_left(
    backups, monkeypatch, capsys, rename
):
    ledger = lose(backups)
    await killed_at(backups, monkeypatch, rename, "--ledger", ledger)
    with pytest.raises(UnavailableError, match="stopped before everything was in place"):
        require_whole(backups.config.archive.directory)
    # Whatever else is asked for now: what was begun is finished.
    assert await backups.restore("20260101T000000Z", "--without-ledger") == 0
    assert "An earlier restore was stopped" in capsys.readouterr().out
    assert await is_whole(backups)
    require_whole(backups.config.archive.directory)
    assert (await backups.verify()).outcome is Outcome.PASSED


async def test_killed_after_the_last_rename_the_next_attempt_only_says_so(backups, monkeypatch):
    ledger = lose(backups)
    with monkeypatch.context() as patched:
        patched.setattr("service.cli.backup_restore.end_placing", lambda _: None)
        await backups.restore("--ledger", ledger)
    assert (backups.config.archive.directory / FILE).exists()
    assert await backups.restore("--ledger", ledger) == 0
    assert await is_whole(backups)
    with pytest.raises(ConflictError, match="not empty"):
        await backups.restore("--ledger", ledger)


async def test_what_somebody_put_there_meanwhile_is_kept_and_named(backups, monkeypatch):
    ledger = lose(backups)
    await killed_at(backups, monkeypatch, 2, "--ledger", ledger)
    stranger = backups.config.archive.directory.parent / "c/k.db-wal"
    stranger.write_bytes(b"another's")
    with pytest.raises(ConflictError, match="move it away"):
        await backups.restore("--ledger", ledger)
    assert stranger.read_bytes() == b"another's"
    stranger.unlink()
    assert await backups.restore("--ledger", ledger) == 0
    assert await is_whole(backups)


async def test_settings_that_name_other_places_by_now_are_refused(backups, monkeypatch):
    ledger = lose(backups)
    await killed_at(backups, monkeypatch, 1, "--ledger", ledger)
    settings = PLACES + STORAGE.replace("b/objects", "b/others") + CONFIG
    other = parse_config(settings, base=backups.config.archive.directory.parent)
    with pytest.raises(ConflictError, match="other places"):
        await Backups(other).restore("--ledger", ledger)
    assert await backups.restore("--ledger", ledger) == 0


async def test_what_is_staged_and_taken_away_is_named(backups, monkeypatch):
    ledger = lose(backups)
    await killed_at(backups, monkeypatch, 1, "--ledger", ledger)
    (backups.config.archive.directory.parent / "a/rows.db.restoring").unlink()
    with pytest.raises(UnavailableError, match="is gone"):
        await backups.restore("--ledger", ledger)


async def test_a_note_that_no_restore_wrote_is_refused(backups):
    target = restore_target(backups.config)
    (target.directory / FILE).write_bytes(b"{}")
    with pytest.raises(TamperedError):
        find_placing(target)
