"""A contact that was erased on PostgreSQL is gone from the server's data files too, the write-ahead log apart."""

from dataclasses import replace

import asyncpg
import pytest

from service.config import PostgresUrl
from service.domain.retention import ErasureState
from service.wiring import key_provider, opened_archive
from tests.archive.test_erase import (
    PLAIN,
    contact_with_everything,
    erase,
    secrets_of,
    tokens_of_others,
)
from tests.archive.test_spine import call, deliver
from tests.conftest import NOW
from tests.postgres import new_database

# The planner's, which quote search tokens; only the server's administrator can vacuum them. The second has what
# does not fit into the first.
STATISTICS = ("pg_catalog.pg_statistic", "pg_toast.pg_toast_2619")


@pytest.fixture
async def databases(cluster):
    return [await new_database(cluster) for _ in range(2)]


@pytest.fixture
def on_postgres(config, databases):
    rows, keys = map(PostgresUrl, databases)
    return replace(config, storage=replace(config.storage, database=rows, keys=keys))


async def ask(url, sql):
    db = await asyncpg.connect(url)
    try:
        return await db.fetchval(sql)
    finally:
        await db.close()


async def data_files(cluster, databases):
    """Return the bytes of every data file of both databases, by file, as they are on the disk after a checkpoint."""
    await ask(databases[0], "CHECKPOINT")
    files = {}
    for url in databases:
        oid = await ask(url, "SELECT oid FROM pg_database WHERE datname = current_database()")
        folder = cluster.directory / "data" / "base" / str(oid)
        named = [
            await ask(url, f"SELECT pg_relation_filepath('{one}')") for one in STATISTICS
        ]  # our own names
        statistics = {path.rpartition("/")[2] for path in named}
        for path in folder.iterdir():
            kind = "statistics" if path.name in statistics else "rows"
            files[f"{kind} {oid}/{path.name}"] = path.read_bytes()
    return files


async def test_no_data_file_of_the_server_holds_anything_of_it_afterwards(
    cluster, databases, on_postgres
):
    key_provider(on_postgres).create(now=NOW)
    async with opened_archive(on_postgres, create=True) as archive:
        # Other contacts share its pages.
        for n in range(40):
            await deliver(archive, call(f"n-{n}"), ident=f"n-{n}", now=NOW)
        contact_id = await contact_with_everything(archive)
        sought = await secrets_of(archive, contact_id)
        stored = {
            name: value
            for name, value in sought.items()
            if not name.startswith("blob") and name != "key in the clear"
        }
        # What the server makes of rows on its own: statistics, and pages written out before.
        for url in databases:
            await ask(url, "ANALYZE")
        before = b"".join((await data_files(cluster, databases)).values())
        absent = {name for name, value in stored.items() if value not in before}
        assert not absent, "what is sought afterwards is there before"
        assert (await erase(archive, contact_id)).state is ErasureState.ERASED
        shared = {f"token {token}" for token in await tokens_of_others(archive)}
        found = [
            (file, name)
            for file, content in (await data_files(cluster, databases)).items()
            for name, value in {**sought, **PLAIN}.items()
            if value in content
            and name not in shared
            and not (file.startswith("statistics") and name.startswith("token"))
        ]
        assert found == []
