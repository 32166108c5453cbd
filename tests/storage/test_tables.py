"""Rows, tables and migrations describe the same columns."""

import sqlite3
from contextlib import closing
from dataclasses import fields

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

from storage import migrations, rows
from storage.database.file import prepare
from storage.database.postgres.schema import prepare as prepare_schema
from storage.database.postgres.server import Server
from storage.migrations import ARCHIVE, KEYS
from storage.rows import KeyRow, Row
from storage.tables import ARCHIVE as ARCHIVE_TABLES
from storage.tables import KEY_SLOTS, TABLES
from storage.tables import KEYS as KEY_TABLES
from tests.postgres import execute, new_database

ROW_CLASSES = [row for row in vars(rows).values() if isinstance(row, type) and row is not Row]
HISTORIES = [
    pytest.param(ARCHIVE, ARCHIVE_TABLES, id="archive"),
    pytest.param(KEYS, KEY_TABLES, id="keys"),
]


@pytest.mark.parametrize("row", [row for row in ROW_CLASSES if issubclass(row, Row)])
def test_every_row_class_has_a_table_with_its_columns_and_key(row):
    table = KEY_SLOTS if row is KeyRow else TABLES[row]
    columns = [column.name for column in table.columns if column.name not in {"slot", "room"}]
    assert columns == [field.name for field in fields(row)]
    if row is not KeyRow:
        assert tuple(column.name for column in table.primary_key.columns) == row.KEY


def test_what_is_a_token_or_has_versions_is_known_by_its_name():
    for table in TABLES.values():
        for column in table.columns:
            if column.name.endswith("token"):
                assert isinstance(column.type, sa.LargeBinary)
            if column.name.endswith("_at"):
                assert isinstance(column.type, sa.BigInteger)


@pytest.mark.parametrize(("history", "metadata"), HISTORIES)
def test_the_migrations_make_the_tables_that_are_described(tmp_path, history, metadata):
    path = tmp_path / "made.db"
    prepare(path, history, create=True)
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": history.table, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


@pytest.mark.parametrize(("history", "metadata"), HISTORIES)
async def test_the_migrations_make_the_same_on_postgresql(cluster, history, metadata):
    url = await new_database(cluster)
    server = Server(url, "migrated")
    await prepare_schema(server, history, create=True)
    described = statements_for(metadata)
    await execute(url, f"CREATE SCHEMA described; SET search_path TO described; {described}")
    made, wanted = [await shapes(url, schema) for schema in ("migrated", "described")]
    assert {shape for shape in made if history.table not in shape[1]} == wanted


def statements_for(metadata):
    """Return what SQLAlchemy would run to make the tables; it cannot run it on our driver itself."""
    statements = []

    def note(statement, *_, **__):
        statements.append(str(statement.compile(dialect=postgresql.dialect())))

    engine = sa.create_mock_engine("postgresql+asyncpg://", note)
    metadata.create_all(engine, checkfirst=False)
    return ";".join(statements)


async def shapes(url, schema):
    """Return columns and indexes with everything that was said of them."""
    db = await asyncpg.connect(url)
    try:
        columns = await db.fetch(
            "SELECT 'column', table_name, column_name, data_type, is_nullable, collation_name "
            "FROM information_schema.columns WHERE table_schema = $1",
            schema,
        )
        indexes = await db.fetch(
            "SELECT 'index', tablename, replace(indexdef, schemaname || '.', '') "
            "FROM pg_indexes WHERE schemaname = $1",
            schema,
        )
    finally:
        await db.close()
    return {tuple(found) for found in (*columns, *indexes)}


@pytest.mark.parametrize(("history", "metadata"), HISTORIES)
def test_the_migrations_make_them_word_for_word(tmp_path, history, metadata):
    """Also what Alembic does not compare: strictness, clustering, conditions of indexes."""
    prepare(tmp_path / "migrated.db", history, create=True)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'described.db'}")
    metadata.create_all(engine)
    engine.dispose()
    migrated, described = (
        schema_of(tmp_path / name) for name in ("migrated.db", "described.db")
    )
    assert {item for item in migrated if history.table not in item[0]} == described


def schema_of(path):
    with closing(sqlite3.connect(path)) as db:
        found = db.execute(
            "SELECT tbl_name, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        )
        return {(table, name, " ".join(sql.split())) for table, name, sql in found}


@pytest.mark.parametrize("history", [ARCHIVE, KEYS], ids=lambda history: history.name)
def test_the_program_knows_the_head_of_each_history(history):
    here = migrations.__path__[0]
    script = ScriptDirectory(here, version_locations=[f"{here}/{history.name}"])
    assert script.get_heads() == [history.head]
    assert all(
        len(one.revision) == 4 and one.revision.isdigit() for one in script.walk_revisions()
    )
