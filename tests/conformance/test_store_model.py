"""The store behaves as the simplest thing that could keep the promises of its port."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from storage.database.postgres.store import PostgresStore
from storage.database.sqlite import SqliteStore
from storage.errors import ConflictError, StaleError
from storage.ports import Add, Append, Put, Remove, Replace
from storage.rows import ContactRow, GrantContactRow, JobRow
from tests.conformance.conftest import empty_now

UNIQUE = {
    ContactRow: ("source", "source_token"),
    JobRow: ("kind", "subject"),
    GrantContactRow: (),
}


class Model:
    """Rows in dictionaries and entries in a list."""

    def __init__(self):
        self.rows = {table: {} for table in UNIQUE}
        self.log = []

    def commit(self, change):
        rows = {table: dict(held) for table, held in self.rows.items()}
        log = list(self.log)
        for write in change:
            error = self._write(write, rows, log)
            if error is not None:
                return error
        self.rows, self.log = rows, log
        return None

    def _write(self, write, rows, log):
        if isinstance(write, Append):
            log.append(write.entry)
            return None
        if isinstance(write, Remove):
            rows[write.table].pop(write.key, None)
            return None
        row, held = write.row, rows[type(write.row)]
        key = tuple(getattr(row, name) for name in row.KEY)
        if isinstance(write, Add) and key in held:
            return ConflictError
        if isinstance(write, Replace) and (
            key not in held or held[key].version != row.version - 1
        ):
            return StaleError
        unique = UNIQUE[type(row)]
        if unique and any(
            other != key and all(getattr(there, n) == getattr(row, n) for n in unique)
            for other, there in held.items()
        ):
            return ConflictError
        held[key] = row
        return None


def contact(number, version, token):
    return ContactRow(
        id=f"ct_{number}",
        version=version,
        source="pbx",
        source_token=b"%d" % token,
        channel="call",
        direction="inbound",
        started_at=number,
        ended_at=None,
        created_at=0,
        recording_state=None,
        state="open",
        sealed=b"",
    )


def job(number, subject):
    base = JobRow(
        id="",
        kind="k",
        subject="",
        state="queued",
        run_at=0,
        attempts=0,
        claimed_until=0,
        last_error=None,
    )
    return replace(base, id=f"jb_{number}", subject=f"{subject}")


FEW = st.integers(0, 3)
ROWS = st.one_of(
    st.builds(contact, FEW, st.integers(1, 4), FEW),
    st.builds(job, FEW, FEW),
    st.builds(lambda g, c: GrantContactRow(grant_id=f"{g}", contact_id=f"{c}"), FEW, FEW),
)
WRITES = st.one_of(
    st.builds(Add, ROWS),
    st.builds(Put, ROWS),
    st.builds(Replace, st.builds(contact, FEW, st.integers(1, 4), FEW)),
    st.builds(Append, st.binary(max_size=3)),
    st.builds(lambda n: Remove(ContactRow, (f"ct_{n}",)), FEW),
    st.builds(lambda n: Remove(JobRow, (f"jb_{n}",)), FEW),
    st.builds(lambda g, c: Remove(GrantContactRow, (f"{g}", f"{c}")), FEW, FEW),
)
CHANGES = st.lists(st.lists(WRITES, max_size=4), max_size=5)


class Machine(RuleBasedStateMachine):
    """``places`` makes, for each run, a function that opens the same store again and again."""

    places: ClassVar

    @initialize()
    def open(self):
        self.model = Model()
        self.opening = self.places()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store = self.run(self.opened())

    def opened(self):
        return self.stack.enter_async_context(self.opening())

    def run(self, work):
        return self.runner.run(self._awaited(work))

    @staticmethod
    async def _awaited(work):
        return await work

    @rule(changes=CHANGES)
    def commit_each(self, changes):
        expected = [self.model.commit(change) for change in changes]
        outcomes = self.run(self.store.commit_each(changes))
        # Of several things that are wrong with a change, any may be told.
        assert [outcome is None for outcome in outcomes] == [one is None for one in expected]
        assert all(isinstance(one, ConflictError | StaleError | None) for one in outcomes)

    @rule()
    def reopen(self):
        self.run(self.stack.aclose())
        self.store = self.run(self.opened())

    @invariant()
    def rows_and_log_are_the_same(self):
        for table, held in self.model.rows.items():
            found = self.run(self.store.find(table, {}))
            assert {tuple(getattr(row, n) for n in row.KEY): row for row in found} == held
        entries = self.run(self.store.log_entries(0, 10_000))
        assert [one.entry for one in entries] == self.model.log
        assert [one.index for one in entries] == list(range(len(self.model.log)))

    def teardown(self):
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
            self.runner.close()


@pytest.fixture
def sqlite(fresh):
    def place():
        path = fresh("taltio.db")
        return lambda: SqliteStore.opened(path, create=False)

    return place


@pytest.fixture
def postgres(database):
    def place():
        empty_now(database)
        return lambda: PostgresStore.opened(database, create=False)

    return place


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_store_and_a_dictionary_go_the_same_way(request, engine):
    machine = type(
        "Machine", (Machine,), {"places": staticmethod(request.getfixturevalue(engine))}
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
