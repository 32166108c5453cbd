"""What is not as it was is named, and such a move never ends as verified."""

import sqlite3
from contextlib import closing

import pytest

from service.domain.errors import UnavailableError
from service.moving.move import Mover
from service.wiring import opened_archive, opened_stores
from storage.errors import StorageError
from tests.postgres import execute


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def largest(directory):
    return max(directory.glob("??/*"), key=lambda path: path.stat().st_size)


def change(file, statement):
    with closing(sqlite3.connect(file)) as db, db:
        assert db.execute(statement).rowcount > 0


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "new"


@pytest.fixture
def words(database, elsewhere):
    return ("--to", database, f"--blobs={elsewhere.as_uri()}")


@pytest.fixture
def in_between(monkeypatch):
    """Let something happen after everything was copied and before it is compared."""
    copy = Mover._copy

    def happen(deed):
        async def copied(self, plan):
            await copy(self, plan)
            result = deed()
            if result is not None:
                await result

        monkeypatch.setattr(Mover, "_copy", copied)

    yield happen
    monkeypatch.undo()


async def require_refused(place, words, elsewhere):
    """Neither place can be used."""
    with pytest.raises(UnavailableError, match="is being moved to"):
        async with opened_stores(place.config, create=False):
            pass
    place.settle(f'database = "{words[1]}"', f'blobs = "{elsewhere.as_uri()}"')
    (place.data / "moved.json").rename(place.folder / "aside")
    with pytest.raises(StorageError, match="being moved there"):
        async with opened_stores(place.config, create=False):
            pass
    (place.folder / "aside").rename(place.data / "moved.json")
    place.settle()


ROWS = {
    "taltio.db": {
        "contacts": "UPDATE contacts SET sealed = zeroblob(64) WHERE id = (SELECT max(id) FROM contacts)",
        "contact_tokens": "DELETE FROM contact_tokens WHERE token = (SELECT max(token) FROM contact_tokens)",
        "log 5": "UPDATE log SET entry = x'00' WHERE position = 5",
        "log 3": "UPDATE log SET mark = x'00' WHERE position = 3",
        "grants": "INSERT INTO grants VALUES ('gr_new', 1, 'us_x', 'p', 1, 1, NULL, x'00')",
    },
    "keys.db": {
        "keys": "UPDATE keys SET wrapped = x'00' WHERE id = (SELECT max(id) FROM keys)"
    },
}


@pytest.mark.parametrize(
    ("file", "named"), [(file, named) for file, several in ROWS.items() for named in several]
)
async def test_a_row_that_changes_at_the_old_place(
    place, words, elsewhere, in_between, capsys, file, named
):
    in_between(lambda: change(place.data / file, ROWS[file][named]))
    assert await place.migrate(*words) == 1
    told = capsys.readouterr().out
    assert f"DIFFERS: {named}" in told
    assert "Verified" not in told
    await require_refused(place, words, elsewhere)


@pytest.mark.parametrize(
    ("named", "statement"),
    [
        ("contacts", "UPDATE taltio.contacts SET sealed = '\\x00'"),
        ("contacts", "DELETE FROM taltio.contacts"),
        ("log 4", "UPDATE taltio.log SET leaf = sha256('x') WHERE position = 4"),
        ("keys", "UPDATE taltio_keys.keys SET made_at = made_at + 1"),
        ("sessions", "INSERT INTO taltio.sessions VALUES ('~', 'us_x', 'c', 1, 1, 1)"),
    ],
)
async def test_a_row_that_changes_at_the_new_place(
    place, words, elsewhere, in_between, capsys, named, statement
):
    in_between(lambda: execute(words[1], statement))
    assert await place.migrate(*words) == 1
    assert f"DIFFERS: {named}" in capsys.readouterr().out
    await require_refused(place, words, elsewhere)


async def test_a_log_that_is_not_the_signed_one(place, words, capsys):
    # Consistent with itself and the same at both places: the signature alone tells.
    change(
        place.data / "taltio.db",
        "UPDATE log SET entry = (SELECT entry FROM log WHERE position = 6), "
        "leaf = (SELECT leaf FROM log WHERE position = 6) WHERE position = 7",
    )
    assert await place.migrate(*words) == 1
    assert "entries are not those that were signed" in capsys.readouterr().out


async def test_a_log_that_was_cut(place, words, capsys):
    change(place.data / "taltio.db", "DELETE FROM log WHERE position > 9")
    assert await place.migrate(*words) == 1
    assert "were signed, and there are fewer" in capsys.readouterr().out


async def test_a_checkpoint_that_is_not_the_archives_own(place, words, capsys):
    path = place.data / "ledger" / "last-checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n5", b"\n4").replace(b"\n6", b"\n4"))
    assert await place.migrate(*words) == 1
    assert "ledger/last-checkpoint: is not signed by this archive" in capsys.readouterr().out


async def test_a_blob_that_is_altered_at_the_old_place(place, words, elsewhere, capsys):
    blob = largest(place.data / "blobs")
    sound = blob.read_bytes()
    flip(blob)
    assert await place.migrate(*words) == 1
    assert f"DIFFERS: blob {blob.name}: is altered at the old place" in capsys.readouterr().out
    await require_refused(place, words, elsewhere)
    # Mended, the move goes on.
    blob.write_bytes(sound)
    assert await place.migrate(*words) == 0


async def test_a_blob_that_is_missing_at_the_old_place(place, words, capsys):
    blob = largest(place.data / "blobs")
    blob.unlink()
    assert await place.migrate(*words) == 1
    assert f"DIFFERS: blob {blob.name}: is missing at the old place" in capsys.readouterr().out


async def test_a_blob_that_is_altered_at_the_new_place(
    place, words, elsewhere, in_between, capsys
):
    in_between(lambda: flip(largest(elsewhere)))
    assert await place.migrate(*words) == 1
    assert "is not the same at the new place" in capsys.readouterr().out
    in_between(lambda: None)
    assert await place.migrate(*words) == 0


async def test_a_blob_that_is_lost_at_the_new_place(
    place, words, elsewhere, in_between, capsys
):
    in_between(lambda: largest(elsewhere).unlink())
    assert await place.migrate(*words) == 1
    assert "is missing at the new place" in capsys.readouterr().out
    in_between(lambda: None)
    assert await place.migrate(*words) == 0


async def test_a_row_that_was_mended_goes_over_after_giving_up(place, words, in_between):
    in_between(lambda: change(place.data / "taltio.db", "UPDATE tokens SET role = 'auditor'"))
    assert await place.migrate(*words) == 1
    in_between(lambda: None)
    assert await place.migrate(*words) == 1
    assert await place.migrate("--back") == 0
    async with opened_archive(place.config):
        pass
    assert await place.migrate(*words) == 0


async def test_rows_that_are_at_the_new_place_alone_make_no_others_missing(
    place, words, in_between, capsys
):
    several = ", ".join(f"('+{number}', 'us_x', 'c', 1, 1, 1)" for number in range(50))
    in_between(lambda: execute(words[1], f"INSERT INTO taltio.sessions VALUES {several}"))  # noqa: S608  # our own
    assert await place.migrate(*words) == 1
    told = capsys.readouterr().out
    assert "sessions +0: is at the new place alone" in told
    assert "missing" not in told
