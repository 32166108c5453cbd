"""A database is brought forward whole or not at all, and never taken by a program that is older than it."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from storage.database.connection import connect
from storage.database.file import prepare
from storage.errors import UnavailableError
from storage.migrations import ARCHIVE, KEYS
from tests.crash.migrating import ROWS, histories
from tests.system.programs import run

ROOT = Path(__file__).resolve().parents[2]
BEFORE = [(n, f"+3584{n:07}") for n in range(ROWS)]


def revision_of(path: Path) -> str:
    with closing(connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((revision,),) = db.execute("SELECT version_num FROM calls_revision").fetchall()
        return revision


def content_of(path: Path) -> str:
    """Return a digest of every number, however it is kept."""
    with closing(connect(path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(calls)")]
        number = "country || number" if "country" in columns else "number"
        found = db.execute(f"SELECT id, {number} FROM calls ORDER BY id").fetchall()  # noqa: S608  # our own words
    return hashlib.sha256(repr(found).encode()).hexdigest()


@pytest.fixture
def filled(tmp_path):
    """A database of the older revision, with rows."""
    older, _ = histories(tmp_path)
    path = tmp_path / "filled.db"
    prepare(path, older, create=True)
    with closing(connect(path)) as db:
        db.execute("BEGIN")
        db.executemany("INSERT INTO calls VALUES (?, ?)", BEFORE)
        db.execute("COMMIT")
    return path


def test_killed_at_any_statement_it_is_as_it_was_and_the_next_start_finishes(filled, tmp_path):
    older, newer = histories(tmp_path)
    expected = content_of(filled)
    command = [sys.executable, "-m", "tests.crash.migrating", filled, tmp_path]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    last = int(done.stdout)
    assert last > 10
    seen = []
    for at in range(1, last + 1):
        path = tmp_path / f"{at}.db"
        seen.append(revision_of(path))
        assert content_of(path) == expected
        if seen[-1] == "0001":
            # The program before it can go on as well.
            prepare(path, older, create=False)
        prepare(path, newer, create=False)
        assert revision_of(path) == "0002"
        assert content_of(path) == expected
    assert seen == sorted(seen)
    assert set(seen) == {"0001", "0002"}


def test_an_older_program_refuses_a_newer_database_and_leaves_it_as_it_is(filled, tmp_path):
    older, newer = histories(tmp_path)
    prepare(filled, newer, create=False)
    before = filled.read_bytes()
    with pytest.raises(UnavailableError, match="was written by a newer program"):
        prepare(filled, older, create=False)
    assert filled.read_bytes() == before


@pytest.mark.slow
async def test_the_service_refuses_a_newer_archive_in_words_and_changes_nothing(make_site):
    site = make_site()
    async with site.serving() as service:
        assert await service.interrupt() == 0
    for name, history in (("taltio", ARCHIVE), ("keys", KEYS)):
        table = history.table
        path = site.data / f"{name}.db"
        set_revision(path, table, "9999")
        before = path.read_bytes()
        for command in ("serve", "verify"):
            said = await run(site.folder, command, code=2)
            assert f"{name}.db: was written by a newer program (revision 9999" in said
            assert "install that version or a newer one" in said
            assert "Traceback" not in said
        assert path.read_bytes() == before
        set_revision(path, table, history.head)


def set_revision(path: Path, table: str, revision: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {table} SET version_num = ?", (revision,))  # noqa: S608  # our own name
