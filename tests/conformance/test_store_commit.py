"""What `storage.ports.Store` promises of changes."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from storage.errors import ConflictError, StaleError, StorageError
from storage.ports import Add, Append, Put, Remove, Replace, Require
from storage.rows import (
    ContactRow,
    ContactTokenRow,
    CustomerRow,
    DeliveryRow,
    GrantContactRow,
    JobRow,
    LinkRow,
    RecordingRow,
    SessionRow,
)
from storage.tables import TABLES

EVERY_TABLE = [pytest.param(table, id=table.__name__) for table in TABLES]


def key_of(row):
    return tuple(getattr(row, name) for name in row.KEY)


def by_key(row):
    return {name: getattr(row, name) for name in row.KEY}


@pytest.mark.parametrize("table", EVERY_TABLE)
async def test_a_row_comes_back_as_it_was_added(store, rows, table):
    row = rows(table)
    await store.commit([Add(row)])
    assert await store.find(table, by_key(row)) == [row]


@pytest.mark.parametrize("table", EVERY_TABLE)
async def test_a_taken_place_is_a_conflict_and_what_is_there_stays(store, rows, table):
    row = rows(table)
    await store.commit([Add(row)])
    with pytest.raises(ConflictError):
        await store.commit([Add(replace(rows(table), **by_key(row)))])
    assert await store.find(table, {}) == [row]


UNIQUE = [
    pytest.param(table, tuple(column.name for column in constraint.columns), id=table.__name__)
    for table, described in TABLES.items()
    for constraint in described.constraints
    if type(constraint).__name__ == "UniqueConstraint"
]


@pytest.mark.parametrize(("table", "columns"), UNIQUE)
@pytest.mark.parametrize("write", [Add, Put])
async def test_a_taken_unique_value_is_a_conflict(store, rows, table, columns, write):
    row = rows(table)
    await store.commit([Add(row)])
    twin = replace(rows(table), **{name: getattr(row, name) for name in columns})
    with pytest.raises(ConflictError):
        await store.commit([write(twin)])
    assert await store.find(table, {}) == [row]


@pytest.mark.parametrize("table", EVERY_TABLE)
async def test_put_adds_a_row_or_replaces_it(store, rows, table):
    row = rows(table)
    other = replace(rows(table), **by_key(row))
    await store.commit([Put(row)])
    await store.commit([Put(other)])
    assert await store.find(table, {}) == [other]


async def test_a_row_replaces_the_version_before_it(store, rows):
    contact = rows(ContactRow)
    await store.commit([Add(contact)])
    await store.commit([Replace(replace(contact, version=2, state="amended"))])
    assert await store.find(ContactRow, {}) == [replace(contact, version=2, state="amended")]


@pytest.mark.parametrize("version", [1, 3, 0])
async def test_a_row_of_another_version_is_stale(store, rows, version):
    contact = rows(ContactRow)
    await store.commit([Add(contact)])
    with pytest.raises(StaleError, match=contact.id):
        await store.commit([Replace(replace(contact, version=version, state="lost"))])
    assert await store.find(ContactRow, {}) == [contact]


async def test_a_row_that_is_gone_is_stale(store, rows):
    with pytest.raises(StaleError):
        await store.commit([Replace(rows(ContactRow, version=2))])
    assert await store.count(ContactRow, {}) == 0


async def test_replacing_into_a_taken_unique_value_is_a_conflict(store, rows):
    one, other = rows(CustomerRow), rows(CustomerRow)
    await store.commit([Add(one), Add(other)])
    with pytest.raises(ConflictError):
        await store.commit([Replace(replace(one, version=2, number_token=other.number_token))])


@pytest.mark.parametrize("table", EVERY_TABLE)
async def test_remove_removes_the_row_with_the_key_alone(store, rows, table):
    row, other = rows(table), rows(table)
    await store.commit([Add(row), Add(other)])
    await store.commit([Remove(table, key_of(row))])
    assert await store.find(table, {}) == [other]


async def test_removing_what_is_not_there_is_not_an_error(store):
    await store.commit([Remove(LinkRow, ("ct_1", "cu_1"))])


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(Add, id="a taken place"),
        pytest.param(lambda row: Replace(replace(row, version=7)), id="another version"),
        pytest.param(lambda row: Add(replace(row, id=b"7")), id="a value of another type"),
        pytest.param(lambda row: Add(replace(row, id=None)), id="a value missing"),
        pytest.param(lambda row: Add(replace(row, id="\ud800")), id="half a character"),
        pytest.param(lambda row: Add(replace(row, started_at=2**63)), id="a number too large"),
        pytest.param(lambda _: Append("text"), id="an entry that is not bytes"),
        pytest.param(lambda _: Add("text"), id="something that is no row"),
    ],
)
async def test_a_change_is_stored_whole_or_not_at_all(store, rows, last):
    there = rows(ContactRow)
    await store.commit([Add(there)])
    change = [Add(rows(ContactTokenRow)), Append(b"entry", ("ct_1",)), last(there)]
    with pytest.raises(StorageError):
        await store.commit(change)
    assert await store.count(ContactTokenRow, {}) == 0
    assert await store.log_size() == 0
    assert await store.log_about("ct_1") == []
    await store.commit(change[:-1])
    assert await store.log_size() == 1


async def test_an_error_names_no_contents(store, rows):
    with pytest.raises(StorageError) as caught:
        await store.commit([Add(rows(ContactRow, sealed="040 123 4567"))])
    assert "040" not in str(caught.value)


async def test_the_writes_of_a_change_happen_in_the_order_given(store, rows):
    contact = rows(ContactRow)
    await store.commit(
        [
            Add(contact),
            Replace(replace(contact, version=2)),
            Remove(ContactRow, (contact.id,)),
            Add(replace(contact, state="again")),
            Put(replace(contact, state="and again")),
        ]
    )
    assert [found.state for found in await store.find(ContactRow, {})] == ["and again"]


async def test_an_empty_change_is_stored(store):
    await store.commit([])
    assert await store.commit_each([]) == []


async def test_each_change_stands_for_itself(store, rows):
    there, stale = rows(DeliveryRow), rows(ContactRow)
    await store.commit([Add(there)])
    good = [[Add(rows(DeliveryRow)), Append(b"%d" % n, (f"dl_{n}",))] for n in range(3)]
    outcomes = await store.commit_each(
        [
            good[0],
            [Append(b"not to be"), Add(there)],
            good[1],
            [Replace(stale)],
            [Add(replace(there, id=b"7"))],
            good[2],
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [
        type(None),
        ConflictError,
        type(None),
        StaleError,
        StorageError,
        type(None),
    ]
    assert [stored.entry for stored in await store.log_entries(0, 9)] == [b"0", b"1", b"2"]
    assert await store.count(DeliveryRow, {}) == 4


async def test_later_changes_see_earlier_ones(store, rows):
    contact = rows(ContactRow)
    outcomes = await store.commit_each(
        [
            [Add(contact)],
            [Replace(replace(contact, version=2))],
            [Replace(replace(contact, version=2, state="too late"))],
            [Add(replace(contact, id="other"))],
            [Remove(ContactRow, (contact.id,))],
            [Add(contact)],
        ]
    )
    assert [outcome is None for outcome in outcomes] == [True, True, False, False, True, True]
    assert await store.find(ContactRow, {}) == [contact]


async def test_entries_are_numbered_without_gaps_in_the_order_of_changes(store):
    await store.commit([Append(b"a"), Append(b"b")])
    await store.commit_each([[Append(b"c")], [Append(b"d"), Append(b"e")]])
    stored = await store.log_entries(0, 100)
    assert [one.index for one in stored] == [0, 1, 2, 3, 4]
    assert b"".join(one.entry for one in stored) == b"abcde"
    assert await store.log_size() == 5


async def test_a_leaf_hash_is_that_of_rfc_6962(store):
    await store.commit([Append(b"entry")])
    (stored,) = await store.log_entries(0, 1)
    assert stored.leaf == hashlib.sha256(b"\x00entry").digest()


async def test_entries_are_found_by_what_they_are_about(store):
    await store.commit(
        [Append(b"a", ("ct_1", "ct_2")), Append(b"b", ("ct_2", "ct_2")), Append(b"c")]
    )
    assert [one.entry for one in await store.log_about("ct_2")] == [b"a", b"b"]
    assert [one.entry for one in await store.log_about("ct_1")] == [b"a"]
    assert await store.log_about("ct") == []


async def test_entries_are_read_by_range(store):
    await store.commit([Append(b"%d" % n) for n in range(5)])
    assert [one.entry for one in await store.log_entries(1, 3)] == [b"1", b"2"]
    assert [one.entry for one in await store.log_entries(3, 100)] == [b"3", b"4"]
    assert await store.log_entries(5, 9) == []
    assert await store.log_entries(3, 3) == []


async def test_many_callers_at_once_leave_no_gap(store, rows):
    await asyncio.gather(
        *(store.commit([Add(rows(JobRow)), Append(b"%d" % n)]) for n in range(50))
    )
    stored = await store.log_entries(0, 100)
    assert [one.index for one in stored] == list(range(50))
    assert {one.entry for one in stored} == {b"%d" % n for n in range(50)}


async def test_a_table_of_many_kinds_of_writes_keeps_their_order(store, rows):
    pairs = [rows(GrantContactRow) for _ in range(3)]
    await store.commit([Put(pairs[0]), Put(pairs[0]), Add(pairs[1])])
    await store.commit(
        [Remove(GrantContactRow, key_of(pairs[0])), Add(pairs[0]), Add(pairs[2])]
    )
    assert await store.count(GrantContactRow, {}) == 3


async def test_a_job_takes_the_place_of_one_that_is_done(store, rows):
    first, second = (
        rows(JobRow, subject="dl_1", kind="k"),
        rows(JobRow, subject="dl_1", kind="k"),
    )
    await store.commit([Add(first)])
    await store.commit([Remove(JobRow, (first.id,)), Add(second)])
    assert await store.find(JobRow, {}) == [second]


async def test_a_table_without_versions_cannot_be_replaced_into(store, rows):
    with pytest.raises(StorageError):
        await store.commit([Replace(rows(SessionRow))])


async def test_absent_values_come_back_absent(store, rows):
    recording = rows(RecordingRow, expected_until=None, object_id=None)
    await store.commit([Add(recording)])
    assert await store.find(RecordingRow, {"expected_until": None}) == [recording]


async def test_the_mark_of_an_entry_is_kept_beside_it(store):
    await store.commit([Append(b"entry", ("ct_1",), b"mark"), Append(b"without")])
    assert [stored.mark for stored in await store.log_entries(0, 9)] == [b"mark", b""]
    assert [stored.mark for stored in await store.log_about("ct_1")] == [b"mark"]


VERSIONED = [
    pytest.param(table, id=table.__name__) for table in TABLES if "version" in TABLES[table].c
]


@pytest.mark.parametrize("table", VERSIONED)
async def test_a_change_may_require_a_row_as_it_is(store, rows, table):
    row = rows(table)
    await store.commit([Add(row)])
    required = Require(table, key_of(row), 1)
    await store.commit([required, Append(b"as it is"), required])
    assert await store.find(table, {}) == [row]
    assert await store.log_size() == 1


@pytest.mark.parametrize("table", VERSIONED)
async def test_nothing_is_stored_where_a_required_row_has_another_version(store, rows, table):
    row = rows(table)
    await store.commit([Add(row)])
    await store.commit([Replace(replace(row, version=2))])
    for version in (1, 3):
        with pytest.raises(StaleError):
            await store.commit(
                [Append(b"x"), Add(rows(SessionRow)), Require(table, key_of(row), version)]
            )
    assert await store.count(SessionRow, {}) == await store.log_size() == 0


async def test_nothing_is_stored_where_a_required_row_is_gone(store, rows):
    with pytest.raises(StaleError):
        await store.commit([Append(b"x"), Require(ContactRow, ("ct_none",), 1)])
    row = rows(ContactRow)
    await store.commit([Add(row)])
    with pytest.raises(StaleError):
        await store.commit(
            [Remove(ContactRow, key_of(row)), Require(ContactRow, key_of(row), 1)]
        )
    assert await store.find(ContactRow, {}) == [row]
    assert await store.log_size() == 0


async def test_a_change_that_requires_sees_the_changes_before_it(store, rows):
    row = rows(ContactRow)
    required = [Require(ContactRow, key_of(row), n) for n in (1, 2)]
    outcomes = await store.commit_each(
        [
            [required[0], Append(b"too early")],
            [Add(row)],
            [required[0], Append(b"first")],
            [Replace(replace(row, version=2))],
            [required[0], Append(b"too late")],
            [required[1], Append(b"second")],
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [
        StaleError,
        *[type(None)] * 3,
        StaleError,
        type(None),
    ]
    assert [one.entry for one in await store.log_entries(0, 9)] == [b"first", b"second"]


async def test_a_table_without_versions_cannot_be_required(store, rows):
    row = rows(SessionRow)
    await store.commit([Add(row)])
    with pytest.raises(StorageError):
        await store.commit([Require(SessionRow, key_of(row), 1)])


async def test_scrubbing_leaves_what_was_not_removed(store, rows):
    kept, gone = rows(ContactRow), rows(ContactRow)
    await store.commit([Add(kept), Add(gone), Append(b"entry", ("ct_1",))])
    await store.commit([Remove(ContactRow, key_of(gone))])
    await store.scrub()
    assert await store.find(ContactRow, {}) == [kept]
    assert [one.entry for one in await store.log_about("ct_1")] == [b"entry"]
    await store.commit([Add(gone)])
    assert await store.count(ContactRow, {}) == 2


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
async def test_a_mark_is_found_where_it_stands_first(store, count):
    entries = [Append(b"%d" % n, (), b"mark %d" % n) for n in range(count)]
    await store.commit([*entries, *entries[:3], Append(b"without")])
    wanted = {one.mark: n for n, one in enumerate(entries)}
    assert await store.log_first([*wanted, b"elsewhere"]) == wanted
    assert await store.log_first([]) == {}
