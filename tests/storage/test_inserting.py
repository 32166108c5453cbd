"""Many rows with few statements: the same rows, in order, however many."""

import sqlite3

import pytest

from storage.database.inserting import insert_all

STATEMENT = "INSERT INTO t (a, b) VALUES (?, ?)"


@pytest.fixture
def db():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (place INTEGER PRIMARY KEY, a UNIQUE, b)")
    yield db
    db.close()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 15, 16, 21, 64, 85, 200])
def test_all_rows_are_there_in_order(db, count):
    rows = [(n, f"row {n}") for n in range(count)]
    insert_all(db, STATEMENT, iter(rows))
    assert db.execute("SELECT a, b FROM t ORDER BY place").fetchall() == rows


def test_few_statements_do(db):
    ran = []
    db.set_trace_callback(ran.append)
    insert_all(db, STATEMENT, [(n, "") for n in range(85)])
    assert sum(sql.startswith("INSERT") for sql in ran) == 4


def test_a_row_that_is_taken_is_told(db):
    insert_all(db, STATEMENT, [(20, "")])
    with pytest.raises(sqlite3.IntegrityError):
        insert_all(db, STATEMENT, [(n, "") for n in range(30)])


def test_a_statement_of_another_kind_is_refused(db):
    with pytest.raises(ValueError, match="does not end"):
        insert_all(db, "DELETE FROM t", [(1, 2)])
