"""An older archive is copied before a newer program brings it forward, and the copies do not stay for ever."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.database.connection import connect
from storage.database.file import prepare
from storage.database.older import copy_older, remove_copies
from storage.errors import UnavailableError
from storage.migrations import ARCHIVE, KEYS
from tests.system.programs import ENVIRONMENT, ROOT

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
# The program as it may be one day: with one more revision of the archive's tables, and of the keys'.
NEWER = """
import os, shutil, sys
from dataclasses import replace
from pathlib import Path
import storage.migrations as migrations

here = Path(__file__).parent
for name, deadly in (("ARCHIVE", "die"), ("KEYS", "never")):
    old = getattr(migrations, name)
    folder = here / f"newer-{old.name}"
    shutil.copytree(old.folder, folder, dirs_exist_ok=True)
    newer = f"{int(old.head) + 1:04}"
    (folder / f"r{newer}_more.py").write_text(f'''
revision, down_revision = "{newer}", "{old.head}"
import os
from alembic import op
def upgrade():
    op.execute("CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT")
    if os.path.exists("{here / deadly}"):
        os._exit(9)
''')
    setattr(migrations, name, replace(old, head=newer, folder=folder))
from service.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def archive(tmp_path):
    """An archive of the program as it is."""
    (tmp_path / "config.toml").write_text('[web]\nlisten = "127.0.0.1:0"\n')
    (tmp_path / "newer.py").write_text(NEWER)
    started = serve(tmp_path, "-m", "service")
    assert "Taltio is at" in started
    create = [sys.executable, "-m", "service", "users", "add", "aino", "--role", "agent"]
    subprocess.run(create, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    return tmp_path


def serve(folder, *program, code=0):
    """Start the service, stop it when it answers, and return what it said."""
    process = subprocess.Popen(
        [sys.executable, *program, "serve"],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if "is at" in line:
                process.send_signal(signal.SIGTERM)
        assert process.wait(30) == code, "".join(said)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return "".join(said)


def revision(path, table="archive_revision"):
    with closing(connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((found,),) = db.execute(f"SELECT version_num FROM {table}").fetchall()  # noqa: S608  # our own names
    return found


def following(history):
    """Return the revision that comes after the newest."""
    return f"{int(history.head) + 1:04}"


def users_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT count(*) FROM users").fetchone()[0]


@pytest.mark.slow
def test_serve_copies_an_older_archive_brings_it_forward_and_serves(archive):
    data = archive / "data"
    assert not (data / "upgrade").exists(), "nothing is copied where nothing is older"
    said = serve(archive, "newer.py")
    (copy,) = (data / "upgrade").iterdir()
    assert f"upgrade.copied directory={copy}" in said
    assert "Taltio is at" in said
    for name, history in (("taltio", ARCHIVE), ("keys", KEYS)):
        assert revision(data / f"{name}.db", history.table) == following(history)
        assert revision(copy / f"{name}.db", history.table) == history.head
        assert (copy / f"{name}.db").stat().st_mode & 0o777 == 0o600
    assert users_in(copy / "taltio.db") == users_in(data / "taltio.db") > 0
    assert "upgrade.copied" not in serve(archive, "newer.py"), "once is enough"
    # The way back: the old program refuses what is newer, and takes the copies.
    assert "was written by a newer program" in serve(archive, "-m", "service", code=2)
    for name in ("taltio", "keys"):
        for suffix in ("", "-wal", "-shm"):
            (data / f"{name}.db{suffix}").unlink(missing_ok=True)
        os.link(copy / f"{name}.db", data / f"{name}.db")
    assert "Taltio is at" in serve(archive, "-m", "service")


@pytest.mark.slow
def test_killed_in_the_middle_it_is_as_it_was_and_the_next_start_finishes(archive):
    data = archive / "data"
    (archive / "die").touch()
    serve(archive, "newer.py", code=9)
    (first,) = (data / "upgrade").iterdir()
    assert revision(data / "taltio.db") == revision(first / "taltio.db") == ARCHIVE.head
    (archive / "die").unlink()
    assert "Taltio is at" in serve(archive, "newer.py")
    assert revision(data / "taltio.db") == following(ARCHIVE)
    assert revision(first / "taltio.db") == ARCHIVE.head, "the first copy is kept"


@pytest.fixture
def older(tmp_path):
    """Two databases of a program that is older by a revision."""
    rows, keys = tmp_path / "rows.db", tmp_path / "keys.db"
    prepare(rows, ARCHIVE, create=True)
    prepare(keys, KEYS, create=True)
    with closing(connect(rows)) as db:
        db.execute("UPDATE archive_revision SET version_num = '0000'")
    return rows, keys


def test_what_a_kill_left_of_a_copy_is_removed_by_the_next(older, tmp_path):
    into = tmp_path / "upgrade"
    (into / "20261121T000000Z.unfinished").mkdir(parents=True)
    made = copy_older(*older, into, now=NOW)
    assert list(into.iterdir()) == [made]
    assert sorted(path.name for path in made.iterdir()) == ["keys.db", "rows.db"]


def test_a_copy_that_cannot_be_made_is_refused_and_nothing_is_left_as_if_it_were_whole(
    older, tmp_path
):
    (tmp_path / "upgrade").write_text("where the folder should be")
    with pytest.raises(UnavailableError):
        copy_older(*older, tmp_path / "upgrade", now=NOW)
    damaged = bytearray(older[0].read_bytes())
    damaged[4096:8192] = bytes(4096)
    for path in tmp_path.glob("rows.db*"):
        path.unlink()
    older[0].write_bytes(damaged)
    with pytest.raises(UnavailableError):
        copy_older(*older, tmp_path / "copies", now=NOW)
    assert [one.name for one in tmp_path.glob("copies/*") if "unfinished" not in one.name] == []


def test_copies_are_removed_when_their_time_is_over(older, tmp_path):
    into = tmp_path / "upgrade"
    first = copy_older(*older, into, now=NOW)
    second = copy_older(*older, into, now=NOW + timedelta(days=1))
    assert remove_copies(into, made_before=NOW) == 0
    assert remove_copies(into, made_before=NOW + timedelta(hours=1)) == 1
    assert (first.exists(), second.exists()) == (False, True)
    assert remove_copies(tmp_path / "none", made_before=NOW) == 0
