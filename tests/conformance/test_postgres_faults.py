"""A server that is lost or contended: each change is stored once or not at all, and the store recovers by itself."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest

import storage.database.postgres.commit
import storage.database.postgres.scrubbing
import storage.database.postgres.turn
from storage.database.group import GroupCommit
from storage.database.postgres.keys import PostgresKeyStore
from storage.database.postgres.locks import Lock
from storage.database.postgres.server import Server
from storage.database.postgres.store import SCHEMA, PostgresStore
from storage.database.postgres.turn import Turn
from storage.errors import DoubtfulError, StaleError, StorageError, UnavailableError
from storage.ports import Add, Append, Lookup, Put, Remove, Replace, Require
from storage.rows import CLOSED, ContactRow, DeliveryRow, JobRow, KeyRow
from tests.postgres import execute, new_database, running_cluster, running_standby, wired

COMMIT = b"COMMIT\0"


@pytest.fixture
async def wire(cluster):
    async with wired(cluster) as made:
        yield made


@pytest.fixture
def wired_url(emptied, wire):
    database = emptied.partition("@/")[2].partition("?")[0]
    return f"postgresql://taltio@127.0.0.1:{wire.port}/{database}?sslmode=disable"


@pytest.fixture
async def store(wired_url):
    async with PostgresStore.opened(wired_url, create=False) as opened:
        yield opened


@pytest.fixture
async def other(emptied):
    """A second process on the same database, whose connections nobody cuts."""
    async with PostgresStore.opened(emptied, create=False) as opened:
        yield opened


async def entries(store):
    stored = await store.log_entries(0, 10_000)
    assert [one.index for one in stored] == list(range(len(stored)))
    return [one.entry for one in stored]


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
async def test_a_connection_cut_at_the_commit_stores_the_change_once(store, wire, rows, when):
    await store.commit([Append(b"before")])
    row = rows(DeliveryRow)
    setattr(wire, when, COMMIT)
    await store.commit([Add(row), Append(b"once", ("dl_1",))])
    assert wire.cuts == 1
    assert await store.find(DeliveryRow, {}) == [row]
    assert await entries(store) == [b"before", b"once"]
    assert len(await store.log_about("dl_1")) == 1


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
async def test_the_very_first_commit_may_be_cut_too(store, wire, when):
    setattr(wire, when, COMMIT)
    await store.commit([Append(b"once")])
    assert (wire.cuts, await entries(store)) == (1, [b"once"])


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
async def test_each_outcome_of_a_group_survives_a_cut(store, wire, rows, when):
    there = rows(DeliveryRow)
    await store.commit([Add(there)])
    setattr(wire, when, COMMIT)
    outcomes = await store.commit_each(
        [[Append(b"a")], [Add(there), Append(b"no")], [Append(b"b")]]
    )
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert await entries(store) == [b"a", b"b"]


async def test_cut_again_and_again_nothing_is_lost_or_stored_twice(store, wire):
    acknowledged = []

    async def deliver(name):
        for number in range(12):
            entry = b"%s-%d" % (name, number)
            while True:
                try:
                    await group.commit([Append(entry)])
                except UnavailableError:
                    # Nothing was stored, or the next attempt would be the second entry.
                    continue
                break
            acknowledged.append(entry)

    async def cut():
        for n in range(40):
            await asyncio.sleep(0.01)
            if n % 2:
                wire.cut_after = COMMIT
            else:
                wire.cut_before = COMMIT

    async with GroupCommit.opened(store) as group:
        await asyncio.gather(*(deliver(b"%d" % n) for n in range(8)), cut())
    wire.cut_before = wire.cut_after = b""
    assert wire.cuts > 5
    stored = await entries(store)
    assert sorted(stored) == sorted(acknowledged)
    assert len(set(stored)) == len(stored) == 96


async def test_nobody_is_told_that_nothing_was_stored_when_nobody_knows(
    store, wire, monkeypatch
):
    monkeypatch.setattr(storage.database.postgres.commit, "DOUBT_SECONDS", 0.3)
    await store.commit([Append(b"before")])

    async def go_down():
        while wire.cuts == 0:  # noqa: ASYNC110  # at once, not a moment later
            await asyncio.sleep(0)
        wire.is_down = True
        wire.cut_all()

    wire.cut_after = COMMIT
    down = asyncio.create_task(go_down())
    with pytest.raises(DoubtfulError):
        await store.commit([Append(b"doubtful")])
    await down
    wire.is_down = False
    await store.commit([Append(b"after")])
    assert await entries(store) == [b"before", b"doubtful", b"after"]


@pytest.fixture(scope="module")
def replicated():
    """A server that waits for its standby, and the standby."""
    with running_cluster() as primary, running_standby(primary) as follower:
        asyncio.run(execute(primary.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'"))
        asyncio.run(execute(primary.url(), "SELECT pg_reload_conf(), pg_sleep(0.3)"))
        yield primary, follower


CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


async def test_what_no_standby_has_is_not_stored_even_if_somebody_ends_the_wait(
    replicated, monkeypatch
):
    monkeypatch.setattr(storage.database.postgres.commit, "DOUBT_SECONDS", 0.5)
    primary, follower = replicated
    url = await new_database(primary)

    async def cancel():
        while True:
            await asyncio.sleep(0.1)
            await execute(url, CANCEL)

    async with (
        PostgresStore.opened(url, create=True) as store,
        PostgresKeyStore.opened(url, create=True) as keys,
    ):
        await store.commit([Append(b"before")])
        await keys.put_keys([key(0)])
        with follower.frozen():
            cancelling = asyncio.create_task(cancel())
            with pytest.raises(DoubtfulError):
                await store.commit([Append(b"doubtful")])
            with pytest.raises(UnavailableError):
                await keys.put_keys([key(1)])
            with pytest.raises(UnavailableError):
                await keys.destroy_keys(["key-0"])
            cancelling.cancel()
        await store.commit([Append(b"after")])
        assert await entries(store) == [b"before", b"doubtful", b"after"]
        await keys.put_keys([key(1)])


async def test_a_lost_server_is_unavailable_and_found_again(store, wire, rows):
    await store.commit([Add(rows(DeliveryRow))])
    wire.is_down = True
    wire.cut_all()
    asked = [
        lambda: store.commit([Append(b"no")]),
        lambda: store.commit([]),
        store.log_size,
        lambda: store.count(DeliveryRow, {}),
        lambda: store.lookup(Lookup(tokens=[[b"a"], [b"b"]])),
        lambda: store.claim_jobs(["k"], now=1, lease=1, limit=1),
    ]
    for ask in asked:
        with pytest.raises(UnavailableError) as caught:
            await ask()
        assert "127.0.0.1" not in str(caught.value)
    wire.is_down = False
    for ask in asked:
        await ask()
    assert await entries(store) == [b"no"]
    assert await store.count(DeliveryRow, {}) == 1


async def test_of_many_who_wait_for_a_server_that_hangs_nobody_waits_for_each_other(
    store, wire, monkeypatch
):
    monkeypatch.setattr(storage.database.postgres.server, "CONNECT_SECONDS", 0.5)
    await store.commit([Append(b"before")])
    wire.is_hanging = True
    # So that the connections there are hang as well, as their statements would for longer.
    for session in (*store._readers, store._commits.session):
        await session.drop()
    begun = time.monotonic()
    asked = [store.log_size() for _ in range(40)] + [store.commit([]) for _ in range(40)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    assert time.monotonic() - begun < 5
    wire.is_hanging = False
    assert await store.log_size() == 1


async def test_connections_that_were_cut_while_idle_cost_nobody_an_error(store, wire):
    await store.commit([Append(b"a")])
    assert await store.log_size() == 1
    for _ in range(3):
        wire.cut_all()
        await store.commit([Append(b"b")])
        wire.cut_all()
        assert await store.log_size() > 1
        wire.cut_all()
        assert await store.claim_jobs(["k"], now=1, lease=1, limit=1) == []
    assert len(await entries(store)) == 4


async def test_of_two_processes_entries_have_one_order_without_gaps(store, other):
    async def append(where, name):
        for number in range(40):
            await where.commit([Append(b"%s%d" % (name, number))])

    await asyncio.gather(append(store, b"a"), append(other, b"b"))
    stored = await entries(store)
    assert await entries(other) == stored
    for name in (b"a", b"b"):
        own = [entry for entry in stored if entry.startswith(name)]
        assert own == [b"%s%d" % (name, number) for number in range(40)]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_server_with_another_isolation_by_default_loses_nothing(emptied, rows, level):
    """Under the log's lock a writer must see what others have committed while it waited."""
    name = emptied.partition("@/")[2].partition("?")[0]
    await execute(
        emptied, f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'"
    )
    given = [rows(DeliveryRow, id=f"dl_{n}", dedupe=b"%d" % n) for n in range(60)]
    try:
        async with (
            PostgresStore.opened(emptied, create=False) as one,
            PostgresStore.opened(emptied, create=False) as two,
        ):
            kept = [
                (one, two)[n % 2].commit([Add(row), Append(b"%d" % n)])
                for n, row in enumerate(given)
            ]
            await asyncio.gather(*kept)
            assert len(await entries(one)) == len(given)
            assert await two.count(DeliveryRow, {}) == len(given)
    finally:
        await execute(emptied, f"ALTER DATABASE {name} RESET default_transaction_isolation")


async def test_of_two_processes_that_replace_a_row_one_is_stale(store, other, rows):
    contact = rows(ContactRow)
    await store.commit([Add(contact)])
    for version in range(2, 12):
        outcomes = await asyncio.gather(
            *(
                where.commit([Replace(replace(contact, version=version, state=name))])
                for where, name in ((store, "a"), (other, "b"))
            ),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [
            "NoneType",
            "StaleError",
        ]


async def test_two_that_lock_each_other_out_both_succeed(store, other, rows):
    """Rows put in opposite orders make a deadlock, of which the server ends one."""
    contacts = [rows(ContactRow) for _ in range(2)]
    sessions = [rows(JobRow, kind="k") for _ in range(2)]
    await store.commit([Add(row) for row in (*contacts, *sessions)])
    ours = [Put(contacts[0]), Put(sessions[0]), Append(b"ours")]
    theirs = [Put(sessions[0]), Put(contacts[0]), Append(b"theirs")]
    for _ in range(15):
        await asyncio.gather(store.commit(ours), other.commit(theirs))
    assert len(await entries(store)) == 30


async def test_what_a_change_requires_stays_until_it_is_committed(store, other, emptied, rows):
    row = rows(ContactRow)
    await store.commit([Add(row)])
    holding = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        # The log is numbered last: until then what is required is read, and not committed.
        await holding.execute("BEGIN")
        await holding.execute(storage.database.postgres.commit._LOCK_LOG)
        required = [Require(ContactRow, (row.id,), 1), Append(b"as it was")]
        requiring = asyncio.create_task(store.commit(required))
        await asyncio.sleep(0.3)
        changing = asyncio.create_task(other.commit([Replace(replace(row, version=2))]))
        await asyncio.sleep(0.3)
        assert not requiring.done()
        assert not changing.done()
    finally:
        await holding.close()
    await requiring
    await changing
    with pytest.raises(StaleError):
        await store.commit(required)
    assert await entries(store) == [b"as it was"]


async def test_who_requires_what_is_being_changed_is_stale(store, emptied, rows):
    row = rows(ContactRow)
    await store.commit([Add(row)])
    changing = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        await changing.execute("BEGIN; UPDATE contacts SET version = 2")
        required = [Require(ContactRow, (row.id,), 1), Append(b"as it was")]
        requiring = asyncio.create_task(store.commit(required))
        await asyncio.sleep(0.3)
        assert not requiring.done()
        await changing.execute("COMMIT")
    finally:
        await changing.close()
    with pytest.raises(StaleError):
        await requiring
    assert await entries(store) == []


async def test_scrubbing_cuts_off_what_was_removed(store, emptied, rows):
    contacts = [rows(ContactRow) for _ in range(500)]
    await store.commit([Add(row) for row in contacts])
    await store.commit([Remove(ContactRow, (row.id,)) for row in contacts])
    await store.scrub()
    asking = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        assert await asking.fetchval("SELECT pg_relation_size('contacts')") == 0
    finally:
        await asking.close()


async def test_nothing_is_scrubbed_while_somebody_reads_what_was(
    store, emptied, rows, monkeypatch
):
    monkeypatch.setattr(storage.database.postgres.scrubbing, "READERS_SECONDS", 0.2)
    row = rows(ContactRow)
    await store.commit([Add(row)])
    reading = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        await reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert await reading.fetchval("SELECT count(*) FROM contacts") == 1
        await store.commit([Remove(ContactRow, (row.id,))])
        with pytest.raises(UnavailableError):
            await store.scrub()
        assert await reading.fetchval("SELECT count(*) FROM contacts") == 1
        await reading.execute("ROLLBACK")
        await store.scrub()
    finally:
        await reading.close()


async def test_a_table_that_somebody_holds_is_scrubbed_later(store, emptied):
    holding = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        await holding.execute("BEGIN; LOCK TABLE contacts IN ACCESS SHARE MODE")
        with pytest.raises(UnavailableError):
            await store.scrub()
        # Whoever came after the scrub was kept waiting for a moment only.
        assert await store.count(ContactRow, {}) == 0
    finally:
        await holding.close()
    await store.scrub()


async def test_a_large_table_is_scrubbed_where_it_is_while_others_use_it(
    store, emptied, rows, monkeypatch
):
    monkeypatch.setattr(storage.database.postgres.scrubbing, "REMADE_BYTES", -1)
    contacts = [rows(ContactRow) for _ in range(500)]
    await store.commit([Add(row) for row in contacts])
    await store.commit([Remove(ContactRow, (row.id,)) for row in contacts])
    using = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        await using.execute("BEGIN; LOCK TABLE jobs IN ACCESS SHARE MODE")
        await store.scrub()
        assert await using.fetchval("SELECT pg_relation_size('contacts')") == 0
    finally:
        await using.close()


async def test_two_that_scrub_at_once_take_turns(store, other):
    await asyncio.gather(store.scrub(), other.scrub(), store.scrub())


@pytest.mark.parametrize("lock", list(Lock), ids=str)
async def test_only_another_scrub_is_waited_for(store, emptied, monkeypatch, lock):
    """A worker on duty, or a publisher, has its turn for as long as it lives."""
    monkeypatch.setattr(storage.database.postgres.scrubbing, "READERS_SECONDS", 0.5)
    async with Turn.opened(emptied, schema=SCHEMA, lock=lock) as turn:
        assert await turn.is_mine()
        if lock is Lock.SCRUBBING:
            with pytest.raises(UnavailableError):
                await store.scrub()
        else:
            await store.scrub()


async def test_scrubbing_the_key_store_leaves_no_byte_of_a_destroyed_key(cluster, emptied):
    async with PostgresKeyStore.opened(emptied, create=False) as keys:
        await keys.put_keys([key(n, wrapped=b"wrapped key %04d" % n) for n in range(40)])
        asking = await asyncpg.connect(emptied)
        try:
            await asking.execute("CHECKPOINT")
            where = "SELECT pg_relation_filepath('taltio_keys.keys')"
            data = cluster.directory / "data"
            assert b"wrapped key 0007" in (data / await asking.fetchval(where)).read_bytes()
            await keys.destroy_keys(["key-7"])
            await keys.scrub()
            await asking.execute("CHECKPOINT")
            left = (data / await asking.fetchval(where)).read_bytes()
        finally:
            await asking.close()
        assert b"wrapped key 0007" not in left
        assert b"wrapped key 0008" in left


async def test_a_writer_that_hangs_holds_nobody_up_for_ever(store, emptied):
    await store.commit([Append(b"before")])
    hanging = await asyncpg.connect(emptied, server_settings={"search_path": SCHEMA})
    try:
        await hanging.execute("BEGIN; LOCK TABLE log IN EXCLUSIVE MODE")
        db = await store._commits.session.connection()
        await db.execute("SET lock_timeout = '200ms'")
        with pytest.raises(UnavailableError):
            await store.commit([Append(b"held up")])
    finally:
        await hanging.close()
    await store.commit([Append(b"after")])
    assert await entries(store) == [b"before", b"after"]


async def test_a_change_cancelled_at_any_moment_is_whole_and_the_next_goes_on(store, rows):
    for step in range(12):
        row = rows(DeliveryRow)
        committing = asyncio.create_task(store.commit([Add(row), Append(row.id.encode())]))
        await asyncio.sleep(step * 0.0004)
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)
        await store.commit([Append(b"next")])
        is_there = await store.count(DeliveryRow, {"id": row.id}) == 1
        assert (row.id.encode() in await entries(store)) == is_there


async def test_a_reading_that_is_cancelled_leaves_the_connection_fit(store):
    await store.commit([Append(b"a")])
    for step in range(10):
        readings = [
            asyncio.create_task(store.lookup(Lookup(tokens=[[b"a"], [b"b"]]))) for _ in range(9)
        ]
        await asyncio.sleep(step * 0.0003)
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        assert await store.log_size() == 1


async def test_of_two_processes_each_job_goes_to_one(store, other, rows):
    jobs = [rows(JobRow, kind="k", state="queued", run_at=1) for _ in range(60)]
    await store.commit([Add(job) for job in jobs])
    claims = await asyncio.gather(
        *(
            where.claim_jobs(["k"], now=9, lease=60, limit=4)
            for _ in range(10)
            for where in (store, other)
        )
    )
    ids = [job.id for claimed in claims for job in claimed]
    assert len(ids) == len(set(ids)) == 60


async def test_a_job_that_one_process_adds_wakes_the_other(store, other, rows):
    # The listener connects a moment after the store is opened.
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    waiting = asyncio.create_task(other.wait_for_jobs(30))
    await asyncio.sleep(0)
    await store.commit([Add(rows(JobRow, kind="k", state="queued"))])
    await waiting
    assert time.monotonic() - begun < 5


async def test_deliveries_that_one_process_announces_wake_the_other(store, other):
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    waiting = asyncio.create_task(other.wait_for_deliveries(30))
    jobs = asyncio.create_task(other.wait_for_jobs(1))
    await asyncio.sleep(0)
    await store.announce_deliveries()
    await waiting
    assert time.monotonic() - begun < 5
    assert not jobs.done()
    await jobs


async def test_a_turn_that_is_given_back_is_another_s_and_turns_do_not_mix(emptied):
    async with (
        Turn.opened(emptied, schema=SCHEMA, lock=Lock.WORKING) as first,
        Turn.opened(emptied, schema=SCHEMA, lock=Lock.WORKING) as second,
        Turn.opened(emptied, schema=SCHEMA, lock=Lock.PUBLISHING) as publishing,
    ):
        assert await first.is_mine()
        assert not await second.is_mine()
        assert await publishing.is_mine()
        await first.give_back()
        assert await taken_over(second)
        assert not await first.is_mine()


async def test_nobody_waits_for_jobs_longer_than_asked_for(store):
    await asyncio.wait_for(store.wait_for_jobs(0.05), 5)


async def test_one_process_publishes_and_another_takes_over_when_it_ends(
    wired_url, emptied, wire
):
    async with (
        Turn.opened(emptied, schema=SCHEMA, lock=Lock.PUBLISHING) as second,
        Turn.opened(wired_url, schema=SCHEMA, lock=Lock.PUBLISHING) as first,
    ):
        assert await first.is_mine()
        assert await first.is_mine()
        assert not await second.is_mine()
        wire.is_down = True
        wire.cut_all()
        with pytest.raises(UnavailableError):
            await first.is_mine()
        assert await taken_over(second)
        wire.is_down = False
        assert not await first.is_mine()


async def test_who_has_the_turn_and_stands_still_loses_it(emptied, monkeypatch):
    monkeypatch.setattr(storage.database.postgres.turn, "PATIENCE_SECONDS", 0.2)
    async with (
        Turn.opened(emptied, schema=SCHEMA, lock=Lock.PUBLISHING) as frozen,
        Turn.opened(emptied, schema=SCHEMA, lock=Lock.PUBLISHING) as second,
    ):
        assert await frozen.is_mine()
        monkeypatch.undo()
        assert await taken_over(second)
        # It may learn that its connection is gone only by asking.
        with suppress(UnavailableError):
            assert not await frozen.is_mine()
        assert not await frozen.is_mine()


async def taken_over(turn):
    """The server notices a moment later that a process is gone."""
    for _ in range(100):
        if await turn.is_mine():
            return True
        await asyncio.sleep(0.02)
    return False


def key(number, **given):
    values = {"kind": "row", "wrapped_by": "is_1", "wrapped": b"w", "made_at": 1}
    return KeyRow(id=f"key-{number}", **{**values, **given})


async def test_of_those_who_race_with_the_closing_of_a_wrapper_none_is_stored_after_it(emptied):
    async with (
        PostgresKeyStore.opened(emptied, create=False) as ours,
        PostgresKeyStore.opened(emptied, create=False) as theirs,
    ):
        stored_at_closing = None

        async def put():
            for number in range(200):
                try:
                    await ours.put_keys([key(number)])
                except StaleError:
                    return number
            return 200

        async def close():
            nonlocal stored_at_closing
            await asyncio.sleep(0.03)
            await theirs.put_keys(
                [KeyRow(id="is_1", kind=CLOSED, wrapped_by="", wrapped=b"", made_at=1)]
            )
            stored_at_closing = (await theirs.count_keys()).get("is_1", 0)

        stored, _ = await asyncio.gather(put(), close())
        assert stored == stored_at_closing
        assert (await ours.count_keys()).get("is_1", 0) == stored


async def test_a_wrapper_is_not_closed_while_keys_under_it_are_on_their_way(
    wired_url, emptied, wire
):
    closing = KeyRow(id="is_1", kind=CLOSED, wrapped_by="", wrapped=b"", made_at=1)
    async with (
        PostgresKeyStore.opened(wired_url, create=False) as ours,
        PostgresKeyStore.opened(emptied, create=False) as theirs,
    ):
        wire.hold_before = COMMIT
        putting = asyncio.create_task(ours.put_keys([key(1)]))
        await wire.holding.wait()
        close = asyncio.create_task(theirs.put_keys([closing]))
        await asyncio.sleep(0.2)
        assert not close.done()
        wire.go_on.set()
        await asyncio.gather(putting, close)
        with pytest.raises(StaleError):
            await ours.put_keys([key(2)])
        assert await theirs.count_keys() == {"is_1": 1}


@pytest.mark.parametrize("when", ["cut_before", "cut_after"])
async def test_keys_are_put_whatever_happens_to_the_connection(wired_url, wire, when):
    async with PostgresKeyStore.opened(wired_url, create=False) as keys:
        setattr(wire, when, COMMIT)
        await keys.put_keys([key(1), key(2)])
        assert wire.cuts == 1
        wire.cut_all()
        assert len(await keys.get_keys(["key-1", "key-2"])) == 2
        wire.cut_all()
        await keys.destroy_keys(["key-1"])
        assert await keys.count_keys() == {"is_1": 1}


async def test_an_error_of_the_server_repeats_no_value(store, rows):
    secret = "040 123 4567"
    there = rows(ContactRow, id=secret)
    await store.commit([Add(there)])
    changes = [[Add(there)], [Add(rows(ContactRow, state=None, source=secret))]]
    for change in changes:
        with pytest.raises(StorageError) as caught:
            await store.commit(change)
        error = caught.value
        assert secret not in repr(error)
        assert (error.__cause__, error.__suppress_context__ or error.__context__ is None) == (
            None,
            True,
        )


async def test_the_marks_of_writers_do_not_pile_up(emptied):
    async with PostgresStore.opened(emptied, create=False) as other:
        await other.commit([Append(b"a")])
    await execute(
        emptied,
        "INSERT INTO taltio.commit_marks (writer, number, marked_at) VALUES ('x', 1, 1)",
    )
    async with PostgresStore.opened(emptied, create=False):
        db = await Server(emptied, SCHEMA).connect()
        try:
            assert await db.fetch("SELECT * FROM commit_marks") == []
        finally:
            db.terminate()
