"""Only a whole, local database of ours that this program understands is opened."""

import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from storage.database.file import prepare, require_local
from storage.errors import MissingError, StorageError, UnavailableError
from storage.migrations import ARCHIVE, KEYS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "taltio.db"
    prepare(path, ARCHIVE, create=True)
    return path


def test_a_new_database_is_ours_alone_and_nothing_else_is_left(made):
    assert made.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in made.parent.iterdir()] == ["taltio.db"]


@pytest.mark.parametrize("create", [False, True])
def test_a_database_that_is_up_to_date_is_left_as_it_is(made, create):
    before = made.read_bytes()
    prepare(made, ARCHIVE, create=create)
    assert made.read_bytes() == before


def test_a_database_that_is_up_to_date_opens_without_importing_what_makes_one(made):
    code = (
        "import sys; from pathlib import Path; from storage.database.file import prepare; "
        "from storage.migrations import ARCHIVE; prepare(Path(sys.argv[1]), ARCHIVE, create=True); "
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, made], cwd=ROOT, check=True)


def test_a_missing_database_is_an_error(tmp_path):
    with pytest.raises(MissingError, match="no such database"):
        prepare(tmp_path / "taltio.db", ARCHIVE, create=False)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UnavailableError):
        prepare(tmp_path / "none" / "taltio.db", ARCHIVE, create=True)


def change(path, statement):
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE archive_revision SET version_num = '9999'", "newer program"),
        ("DELETE FROM archive_revision", "0 revisions"),
        ("INSERT INTO archive_revision VALUES ('0000')", "2 revisions"),
        ("DROP TABLE archive_revision", "not a Taltio database"),
    ],
)
def test_a_database_that_is_not_understood_is_refused_and_left_as_it_is(made, statement, text):
    change(made, statement)
    before = made.read_bytes()
    with pytest.raises(UnavailableError, match=text):
        prepare(made, ARCHIVE, create=True)
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"not a database" * 1000, id="something else"),
    ],
)
def test_a_file_that_is_no_database_of_ours_is_refused(tmp_path, content):
    path = tmp_path / "taltio.db"
    path.write_bytes(content)
    with pytest.raises(UnavailableError):
        prepare(path, ARCHIVE, create=True)


def test_the_key_store_is_not_taken_for_the_archive(made):
    with pytest.raises(UnavailableError, match="keys"):
        prepare(made, KEYS, create=True)


def test_what_cannot_be_read_as_a_file_is_refused(made):
    made.unlink()
    made.mkdir()
    with pytest.raises(StorageError):
        prepare(made, ARCHIVE, create=True)


def test_what_a_stopped_start_left_is_no_hindrance(tmp_path):
    for name in (".taltio.db.new", ".taltio.db.new-wal", ".taltio.db.new-shm"):
        (tmp_path / name).write_bytes(b"half")
    prepare(tmp_path / "taltio.db", ARCHIVE, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["taltio.db"]


def test_of_many_that_start_at_once_one_makes_the_database(tmp_path):
    path = tmp_path / "taltio.db"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: prepare(path, ARCHIVE, create=True), range(8)))
    prepare(path, ARCHIVE, create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["taltio.db"]


def test_a_copy_that_lost_its_write_ahead_log_mode_gets_it_back(made, tmp_path):
    copy = Path(shutil.copy(made, tmp_path / "copy.db"))
    change(copy, "PRAGMA journal_mode=DELETE")
    prepare(copy, ARCHIVE, create=False)
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


MOUNTS = r"""
22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /srv/far rw - nfs4 nas:/far rw
31 27 0:41 / /srv/with\040space rw master:3 - cifs //nas/share rw
32 30 254:1 / /srv/far/near rw - xfs /dev/vdb rw
33 27 0:42 / /over rw - ext4 /dev/vdc rw
34 27 0:43 / /over rw - fuse.sshfs host:/ rw
"""


@pytest.mark.parametrize(
    "path",
    ["/srv/far/taltio.db", "/srv/far/deep/taltio.db", "/srv/with space/t.db", "/over/t.db"],
)
def test_a_network_file_system_is_refused(tmp_path, path):
    (tmp_path / "mounts").write_text(MOUNTS.strip())
    with pytest.raises(UnavailableError, match="network file system"):
        require_local(Path(path), tmp_path / "mounts")


@pytest.mark.parametrize("path", ["/taltio.db", "/srv/far/near/taltio.db", "/srv/farther/t.db"])
def test_a_local_file_system_is_not(tmp_path, path):
    (tmp_path / "mounts").write_text(MOUNTS.strip())
    require_local(Path(path), tmp_path / "mounts")


def test_where_mounts_are_not_told_of_the_path_is_taken(tmp_path):
    require_local(tmp_path, tmp_path / "none")
