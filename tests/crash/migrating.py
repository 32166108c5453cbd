"""Run as a program: brings a database forward, each time stopping dead one statement later, until it is done."""

import os
import shutil
import sys
from pathlib import Path

import storage.database.file
from storage.database.file import prepare
from storage.migrations import History
from tests.attempts import STOPPED, stop_later_each_time
from tests.crash.keeping import Steps

FIRST = """
revision, down_revision = "0001", None
from alembic import op
def upgrade():
    op.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, number text) STRICT")
"""
SECOND = """
revision, down_revision = "0002", "0001"
from alembic import op
def upgrade():
    op.execute("ALTER TABLE calls ADD COLUMN country text")
    op.execute("CREATE TABLE moved (id INTEGER PRIMARY KEY, number text, country text) STRICT")
    op.execute("INSERT INTO moved SELECT id, substr(number, 4), substr(number, 1, 3) FROM calls")
    op.execute("DROP TABLE calls")
    op.execute("ALTER TABLE moved RENAME TO calls")
    op.execute("CREATE INDEX calls_country ON calls (country)")
"""
ROWS = 2_000


def histories(folder: Path) -> tuple[History, History]:
    """Return a history of one revision, and the same with a second."""
    made = []
    for head, texts in (("0001", [FIRST]), ("0002", [FIRST, SECOND])):
        revisions = folder / f"revisions-{head}"
        revisions.mkdir(exist_ok=True)
        for number, text in enumerate(texts, 1):
            (revisions / f"r{number:04}.py").write_text(text)
        made.append(History("calls", head, revisions))
    return made[0], made[1]


def main(database: Path, directory: Path) -> None:
    """Stop at statement 1, 2, … of bringing copies of ``database`` forward; print at which it was done."""
    connect = storage.database.file.connect
    _, newer = histories(directory)

    def attempt(at: int) -> None:
        copy = Path(shutil.copy(database, directory / f"{at}.db"))
        steps = Steps(at, happens=lambda: os._exit(STOPPED))

        def traced(*args):
            db = connect(*args)
            db.set_trace_callback(lambda _: steps.around(lambda: None))
            return db

        storage.database.file.connect = traced
        prepare(copy, newer, create=False)

    stop_later_each_time(attempt)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
