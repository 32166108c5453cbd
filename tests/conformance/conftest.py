"""The ports on every backend there is, and rows to put into them."""

import asyncio
import itertools
import os
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from storage.database.file import prepare
from storage.database.keys import SqliteKeyStore
from storage.database.postgres.keys import PostgresKeyStore
from storage.database.postgres.store import PostgresStore
from storage.database.sqlite import SqliteStore
from storage.files import FileBlobs
from storage.migrations import ARCHIVE, KEYS
from storage.rows import KeyRow
from storage.s3.blobs import S3Blobs
from storage.tables import ARCHIVE as ARCHIVE_TABLES
from storage.tables import KEYS as KEY_TABLES
from storage.tables import TABLES
from tests.postgres import execute, new_database

_VALUES = {str: "x", int: 1, bytes: b"x"}


@dataclass
class Rows:
    """Rows of every table, each different from the one before in whatever must be unique."""

    counter: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def __call__(self, table, **given):
        number = next(self.counter)
        unique = {
            column.name
            for constraint in TABLES[table].constraints
            for column in getattr(constraint, "columns", ())
        }
        values = {}
        for one in fields(table):
            if one.name == "version":
                values[one.name] = 1
            elif one.type not in _VALUES:
                values[one.name] = None
            elif one.name in unique and one.type is not int:
                text = f"{one.name}-{number:06}"
                values[one.name] = text if one.type is str else text.encode()
            else:
                values[one.name] = _VALUES[one.type]
        return table(**{**values, **given})

    def key(self, **given):
        number = next(self.counter)
        return KeyRow(
            **{
                "id": f"key-{number:06}",
                "kind": "row",
                "wrapped_by": "epoch:1",
                "wrapped": f"wrapped {number:06} ".encode() * 3,
                "made_at": 1_700_000_000_000_000 + number,
                **given,
            }
        )


@pytest.fixture
def rows():
    return Rows()


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """An empty archive and an empty key store; copying them is faster than making them."""
    directory = tmp_path_factory.mktemp("template")
    prepare(directory / "taltio.db", ARCHIVE, create=True)
    prepare(directory / "keys.db", KEYS, create=True)
    return directory


@pytest.fixture
def fresh(template, tmp_path):
    """Make paths to fresh copies of an empty database."""
    numbers = itertools.count()

    def copy(name):
        directory = tmp_path / f"{next(numbers)}"
        directory.mkdir()
        return Path(shutil.copy(template / name, directory / name))

    return copy


@pytest.fixture(scope="session")
def database(cluster):
    """A database with an archive and a key store that its user empties."""

    async def made():
        url = await new_database(cluster)
        async with PostgresStore.opened(url, create=True):
            pass
        async with PostgresKeyStore.opened(url, create=True):
            pass
        return url

    return asyncio.run(made())


def empty_now(database):
    """Leave nothing in a database but its tables."""
    tables = [f"taltio.{name}" for name in ARCHIVE_TABLES.tables]
    tables += [f"taltio_keys.{name}" for name in KEY_TABLES.tables]
    statements = "; ".join(f"DELETE FROM {name}" for name in tables)  # noqa: S608  # our own names
    asyncio.run(execute(database, statements))


@pytest.fixture
def emptied(database):
    empty_now(database)
    return database


BACKENDS = ["sqlite", "postgres"]


@pytest.fixture(params=BACKENDS)
def opening(request, fresh):
    """Open a fresh store, of either engine."""
    if request.param == "sqlite":
        return lambda: SqliteStore.opened(fresh("taltio.db"), create=False)
    url = request.getfixturevalue("emptied")
    return lambda: PostgresStore.opened(url, create=False)


@pytest.fixture
async def store(opening):
    async with opening() as opened:
        yield opened


@pytest.fixture
async def sqlite_store(fresh):
    async with SqliteStore.opened(fresh("taltio.db"), create=False) as opened:
        yield opened


@pytest.fixture(params=BACKENDS)
def opening_keys(request, template, tmp_path):
    if request.param == "sqlite":
        path = Path(shutil.copy(template / "keys.db", tmp_path / "keys.db"))
        return lambda: SqliteKeyStore.opened(path, create=False)
    url = request.getfixturevalue("emptied")
    return lambda: PostgresKeyStore.opened(url, create=False)


@pytest.fixture
async def keys(opening_keys):
    async with opening_keys() as opened:
        yield opened


@pytest.fixture
async def sqlite_keys(template, tmp_path):
    path = Path(shutil.copy(template / "keys.db", tmp_path / "keys.db"))
    async with SqliteKeyStore.opened(path, create=False) as opened:
        yield opened


@pytest.fixture(params=["files", "s3"])
async def blobs(request, tmp_path):
    if request.param == "files":
        opening = FileBlobs.opened(tmp_path / "blobs", create=True)
    else:
        seaweed = request.getfixturevalue("seaweed")
        opening = S3Blobs.opened(seaweed.place(f"test/{os.urandom(8).hex()}"))
    async with opening as opened:
        yield opened
