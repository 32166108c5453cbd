"""A PostgreSQL database is made whole, refused when it is not fit, and asked for only by those who use it."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from storage.database.postgres.keys import PostgresKeyStore
from storage.database.postgres.schema import prepare
from storage.database.postgres.server import Server
from storage.database.postgres.store import SCHEMA, PostgresStore
from storage.errors import MissingError, UnavailableError
from storage.migrations import ARCHIVE, KEYS
from storage.ports import Append
from tests.postgres import execute, new_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def url(cluster):
    return await new_database(cluster)


async def test_a_database_is_made_only_when_that_is_allowed(url):
    assert not await PostgresStore.is_there(url)
    for opening in (PostgresStore.opened, PostgresKeyStore.opened):
        with pytest.raises(MissingError):
            await opened(opening(url, create=False))
    assert not await PostgresStore.is_there(url)
    await opened(PostgresStore.opened(url, create=True))
    assert await PostgresStore.is_there(url)
    await opened(PostgresStore.opened(url, create=False))


async def opened(opening):
    async with opening:
        pass


async def test_of_several_that_make_it_at_once_one_does(url):
    await asyncio.gather(
        *(prepare(Server(url, SCHEMA), ARCHIVE, create=True) for _ in range(5))
    )
    async with PostgresStore.opened(url, create=False) as store:
        await store.commit([Append(b"a")])
        assert await store.log_size() == 1


async def test_a_database_newer_than_the_program_is_refused(url):
    await opened(PostgresStore.opened(url, create=True))
    await execute(url, f"UPDATE {SCHEMA}.archive_revision SET version_num = '9999'")  # noqa: S608  # our own name
    for create in (True, False):
        with pytest.raises(UnavailableError, match="newer program"):
            await opened(PostgresStore.opened(url, create=create))


async def test_a_schema_that_holds_something_else_is_refused_and_left_alone(url):
    await execute(url, f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.theirs (id int)")
    with pytest.raises(UnavailableError, match="not a Taltio database"):
        await opened(PostgresStore.opened(url, create=True))
    await execute(url, f"DROP TABLE {SCHEMA}.theirs")
    # An empty schema may have been made for us, by somebody with the right to.
    await opened(PostgresStore.opened(url, create=True))


async def test_a_migration_that_fails_half_way_leaves_nothing(url, monkeypatch):
    monkeypatch.setattr(
        "storage.database.postgres.schema._script",
        lambda *_: "CREATE TABLE half (id int); SELECT 1 / 0",
    )
    with pytest.raises(UnavailableError):
        await opened(PostgresStore.opened(url, create=True))
    monkeypatch.undo()
    assert not await PostgresStore.is_there(url)
    await opened(PostgresStore.opened(url, create=True))


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_does_not_sync_is_refused(cluster, url, setting):
    async with configured(cluster, setting, "off"):
        with pytest.raises(UnavailableError, match=f"{setting} is off"):
            await opened(PostgresStore.opened(url, create=True))


async def test_a_server_that_no_longer_syncs_is_written_to_no_longer(cluster, url):
    """As after a fail-over, or a restart: the connections are made anew, and the server is another."""
    async with PostgresStore.opened(url, create=True) as store:
        await store.commit([Append(b"before")])
        async with configured(cluster, "fsync", "off"):
            await execute(
                cluster.url(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taltio'",
            )
            with pytest.raises(UnavailableError, match="fsync is off"):
                await store.commit([Append(b"not kept")])
        await store.commit([Append(b"after")])
        assert [one.entry for one in await store.log_entries(0, 3)] == [b"before", b"after"]


async def test_text_that_is_not_utf_8_is_refused_before_anything_is_made(cluster):
    await execute(
        cluster.url(),
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    with pytest.raises(UnavailableError, match="UTF8"):
        await opened(PostgresStore.opened(cluster.url("latin"), create=True))


async def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    url = f"postgresql://taltio@/taltio?host={tmp_path}"
    for history in (ARCHIVE, KEYS):
        with pytest.raises(UnavailableError):
            await prepare(Server(url, "x"), history, create=True)


async def test_commits_are_synced_whatever_the_server_says(cluster, url):
    async with configured(cluster, "synchronous_commit", "off"):
        db = await Server(url, SCHEMA).connect()
        ((found,),) = await db.fetch("SHOW synchronous_commit")
        db.terminate()
    assert found == "on"


@asynccontextmanager
async def configured(cluster, setting, value):
    """Let the server have a setting inside the block; new connections have it a moment after it was told."""
    try:
        await execute(cluster.url(), f"ALTER SYSTEM SET {setting} = {value}")
        await execute(cluster.url(), "SELECT pg_reload_conf(), pg_sleep(0.3)")
        yield
    finally:
        await execute(cluster.url(), f"ALTER SYSTEM RESET {setting}")
        await execute(cluster.url(), "SELECT pg_reload_conf(), pg_sleep(0.3)")


def test_who_uses_sqlite_loads_no_driver_of_postgresql():
    script = (
        "import sys, service.serving, service.cli.serve; "
        "print(sorted(name for name in sys.modules if 'asyncpg' in name or 'postgres' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
