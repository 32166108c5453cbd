"""Stopped at any step and begun again, a move goes on; there are never two places that can be used."""

import asyncio
import os
import shutil
import signal
import sqlite3
from contextlib import contextmanager

import asyncpg
import pytest

from service.domain.errors import ArchiveError
from service.moving.record import MoveRecord
from service.wiring import opened_stores
from storage.database.postgres.receiving import PostgresReceiving
from storage.errors import StorageError
from storage.files import FileBlobs, FileBlobWriter
from storage.moving import KEYS, ROWS
from tests.moving.conftest import Place, new_databases
from tests.system.programs import COMMAND, ENVIRONMENT

STEPS = (
    (PostgresReceiving, "claim"),
    (PostgresReceiving, "empty"),
    (PostgresReceiving, "add"),
    (PostgresReceiving, "release"),
    (MoveRecord, "put"),
    (FileBlobWriter, "finish"),
    (FileBlobs, "remove"),
)
MOST = 200


class StoppedError(BaseException):
    """The process is killed here."""


@contextmanager
def stopping(monkeypatch, step, *, is_after):
    """Let the process end before its ``step``-th deed that leaves something behind, or right after it."""
    left = [step]

    def is_now():
        left[0] -= 1
        return left[0] == 0

    def counted(original):
        async def call(*arguments):
            stop = is_now()
            if stop and not is_after:
                raise StoppedError
            await original(*arguments)
            if stop:
                raise StoppedError

        return call

    def put(self, move, original=MoveRecord.put):
        stop = is_now()
        if stop and not is_after:
            raise StoppedError
        original(self, move)
        if stop:
            raise StoppedError

    with monkeypatch.context() as patched:
        for owner, name in STEPS:
            patched.setattr(
                owner, name, put if owner is MoveRecord else counted(getattr(owner, name))
            )
        yield left


def is_stop(error):
    return isinstance(error, StoppedError) or (
        isinstance(error, BaseExceptionGroup) and any(map(is_stop, error.exceptions))
    )


async def attempt(place, *words):
    """Return whether the move came to its end."""
    try:
        assert await place.migrate(*words) == 0
    except BaseException as error:
        if is_stop(error):
            return False
        raise
    return True


async def is_usable(config):
    try:
        async with opened_stores(config, create=False):
            return True
    except (ArchiveError, StorageError):
        return False


async def require_one_place(place, new):
    """At the most one of the places can be used."""
    old = place.config
    place.settle(*new)
    usable = [await is_usable(place.config)]
    place.settle()
    usable.append(await is_usable(old))
    assert sum(usable) <= 1, "both places can be used"


async def rows_at(url, directory):
    """Return what the tables hold at both places, to be compared."""
    db = await asyncpg.connect(url)
    try:
        for schema, file, listed in (
            ("taltio", "taltio.db", ROWS),
            ("taltio_keys", "keys.db", KEYS),
        ):
            old = sqlite3.connect(directory / file)
            for table in listed:
                columns = ", ".join(f'"{name}"' for name in table.columns)
                there = " WHERE id IS NOT NULL" if table.present else ""
                before = old.execute(f"SELECT {columns} FROM {table.name}{there}").fetchall()  # noqa: S608  # our own names
                after = await db.fetch(f"SELECT {columns} FROM {schema}.{table.name}")  # noqa: S608  # as above
                yield (
                    table.name,
                    sorted(map(repr, before)),
                    sorted(repr(tuple(row)) for row in after),
                )
            old.close()
    finally:
        await db.close()


async def stop_at(step, *, is_after, template, tmp_path, cluster, monkeypatch):
    """Stop a fresh move at ``step`` and go on; tell whether there was such a step."""
    folder = tmp_path / f"{step}-{is_after}"
    shutil.copytree(template.folder, folder / "archive")
    place = Place(folder / "archive", template.ids)
    elsewhere = (folder / "new").as_uri()
    async with new_databases(cluster) as make:
        database = await make()
        words = ("--to", database, f"--blobs={elsewhere}")
        with stopping(monkeypatch, step, is_after=is_after):
            is_done = await attempt(place, *words)
        new = (f'database = "{database}"', f'blobs = "{elsewhere}"')
        await require_one_place(place, new)
        assert await attempt(place, *words)
        async for name, before, after in rows_at(database, place.data):
            assert after == before, name
        old = {path.name: path.read_bytes() for path in (place.data / "blobs").rglob("*_*")}
        assert {path.name: path.read_bytes() for path in (folder / "new").rglob("*_*")} == old
        place.settle(*new)
        assert await is_usable(place.config)
        shutil.rmtree(folder)
        return not is_done


# Short: every eleventh step. The long one takes each.
@pytest.mark.slow
@pytest.mark.parametrize("is_after", [False, True])
async def test_it_goes_on_from_any_step(is_after, template, tmp_path, cluster, monkeypatch):
    steps = range(1, MOST, 11)
    given = {
        "template": template,
        "tmp_path": tmp_path,
        "cluster": cluster,
        "monkeypatch": monkeypatch,
    }
    for step in steps:
        if not await stop_at(step, is_after=is_after, **given):
            assert step > 30
            return
    raise AssertionError("no end in sight")


@pytest.mark.long
@pytest.mark.parametrize("is_after", [False, True])
async def test_it_goes_on_from_every_step(is_after, template, tmp_path, cluster, monkeypatch):
    given = {
        "template": template,
        "tmp_path": tmp_path,
        "cluster": cluster,
        "monkeypatch": monkeypatch,
    }
    for step in range(1, MOST):
        if not await stop_at(step, is_after=is_after, **given):
            return
    raise AssertionError("no end in sight")


async def test_one_move_goes_on_again_and_again(place, database, tmp_path, monkeypatch):
    words = ("--to", database, f"--blobs={(tmp_path / 'new').as_uri()}")
    stops = 0
    for step in range(1, MOST):
        with stopping(monkeypatch, step, is_after=step % 2 == 0):
            if await attempt(place, *words):
                break
            stops += 1
    assert stops > 5
    async for name, before, after in rows_at(database, place.data):
        assert after == before, name


async def test_taking_a_move_back_can_be_stopped_too(place, database, tmp_path, monkeypatch):
    elsewhere = (tmp_path / "new").as_uri()
    words = ("--to", database, f"--blobs={elsewhere}")
    new = (f'database = "{database}"', f'blobs = "{elsewhere}"')
    assert await attempt(place, *words)
    for step in range(1, MOST):
        with stopping(monkeypatch, step, is_after=True):
            is_done = await attempt(place, "--back")
        await require_one_place(place, new)
        if is_done:
            break
    assert await is_usable(place.config)
    assert await attempt(place, *words)


@pytest.mark.slow
async def test_killed_again_and_again_it_arrives(place, database, bucket):
    kills = 0
    for pause in (0.9, 1.1, 1.3, 1.5, 1.8, 2.1, 60):
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("migrate", "--to", database, *bucket),
            cwd=place.folder,
            env=ENVIRONMENT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(pause):
                assert await process.wait() == 0
                break
        except TimeoutError:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            kills += 1
    assert kills
    async for name, before, after in rows_at(database, place.data):
        assert after == before, name
