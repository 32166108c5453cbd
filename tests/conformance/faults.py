"""Collaborators that fail, stop or wait on command, at the n-th step of whatever runs."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Fault:
    """Lets something happen instead of step ``at`` or, when ``is_after``, once that is done; counts all steps."""

    happens: Callable[[], None]
    at: int
    is_after: bool = False
    steps: int = 0

    def around(self, step):
        self.steps += 1
        if self.steps != self.at:
            return step()
        result = step() if self.is_after else None
        self.happens()
        return result if self.is_after else step()

    @property
    def has_happened(self) -> bool:
        return self.steps >= self.at


class FaultyConnection:
    """A driver connection whose every statement is a step."""

    def __init__(self, db: sqlite3.Connection, fault: Fault) -> None:
        self._db = db
        self._fault = fault

    def __getattr__(self, name):
        return getattr(self._db, name)

    def execute(self, *args):
        return self._fault.around(lambda: self._db.execute(*args))

    def executemany(self, sql, values):
        values = list(values)
        return self._fault.around(lambda: self._db.executemany(sql, values))


def sqlite_error(name: str) -> sqlite3.OperationalError:
    """Make the error that SQLite raises under ``name``."""
    error = sqlite3.OperationalError(name)
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


def make_faulty(store, fault: Fault) -> Callable[[], None]:
    """Give the writer of an SQLite store a faulty connection; returns what mends it."""
    driver = store._writer._driver
    whole = driver._connection
    driver._connection = FaultyConnection(whole, fault)

    def mend() -> None:
        driver._connection = whole

    return mend


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
