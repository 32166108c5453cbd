"""Times of senders: kept as UTC and as sent, flagged where they cannot be right; the log is not ordered by them."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.actor import Role
from service.log.entry import decode_entry
from tests.system.world import contact

FLAG = "time_out_of_window"
IN_A_YEAR = (datetime.now(UTC) + timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%SZ")
TAKEN = [
    pytest.param("1601-01-01T00:00:00Z", "1601-01-01T00:00:00Z", True, id="1601"),
    pytest.param("1989-12-31T23:59:59Z", "1989-12-31T23:59:59Z", True, id="before 1990"),
    pytest.param("1990-01-01T00:00:00Z", "1990-01-01T00:00:00Z", False, id="1990"),
    pytest.param(IN_A_YEAR, IN_A_YEAR, True, id="in a year"),
    pytest.param("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", True, id="the last second"),
    pytest.param("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z", False, id="a leap second"),
    pytest.param("2025-10-26T03:30:00+03:00", "2025-10-26T00:30:00Z", False, id="in the fold"),
    pytest.param("2025-10-26T03:30:00+02:00", "2025-10-26T01:30:00Z", False, id="and again"),
    pytest.param("2026-03-29T03:30:00+02:00", "2026-03-29T01:30:00Z", False, id="in the gap"),
]
REFUSED = [
    pytest.param("2025-10-26T03:30:00", id="without zone"),
    pytest.param("2025-10-26 03:30:00+02:00", id="another separator"),
    pytest.param("10000-01-01T00:00:00Z", id="year 10000"),
    pytest.param("+10000-01-01T00:00:00Z", id="year 10000 as ISO has it"),
    pytest.param("0000-01-01T00:00:00Z", id="year 0"),
    pytest.param("2026-02-30T00:00:00Z", id="30 February"),
    pytest.param("2026-01-01T24:00:00Z", id="24 o'clock"),
    pytest.param("2026-01-01T00:00:61Z", id="second 61"),
    pytest.param("9999-12-31T23:59:59-02:00", id="after the last second"),
    pytest.param("1795269600", id="a number"),
    pytest.param("", id="nothing"),
]


@pytest.fixture
async def machine(world):
    return await world.token(Role.INTEGRATION)


async def send(world, machine, ident, started_at):
    body = contact(ident, started_at=started_at, ended_at=None, messages=[])
    return await world.ask(machine, "POST", "/api/v1/contacts", body=body)


@pytest.mark.parametrize(("sent", "utc", "is_flagged"), TAKEN)
async def test_a_time_is_kept_as_utc_and_as_it_was_sent_and_flagged_out_of_its_window(
    world, machine, sent, utc, is_flagged
):
    answer = await send(world, machine, "t-1", sent)
    assert answer.status == 201, answer.body
    assert answer.json["started_at"] == utc
    # Told where it is another text than the one above.
    assert answer.json.get("started_at_as_sent", utc) == sent
    handler = await world.token(Role.COMPLAINT_HANDLER)
    items = (await world.ask(handler, "GET", "/api/v1/attention")).json["items"]
    flagged = [one for one in items if one["about"] == answer.json["id"]]
    assert [one["reason"] for one in flagged] == ([FLAG] if is_flagged else [])


@pytest.mark.parametrize("sent", REFUSED)
async def test_a_time_that_has_two_meanings_or_none_is_refused(world, machine, sent):
    before = await world.archive.stores.log.log_size()
    answer = await send(world, machine, "t-2", sent)
    assert (answer.status, answer.code) == (400, "invalid_input")
    assert await world.archive.stores.log.log_size() == before


async def test_no_time_of_a_sender_orders_the_log(world, machine):
    start, begun = await world.archive.stores.log.log_size(), datetime.now(UTC)
    made = [
        (await send(world, machine, f"t-{number}", sent)).json["id"]
        for number, sent in enumerate(
            [IN_A_YEAR, "1601-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]
        )
    ]
    stop = await world.archive.stores.log.log_size()
    entries = [
        decode_entry(one.entry)
        for one in await world.archive.stores.log.log_entries(start, stop)
    ]
    assert all(begun - timedelta(seconds=1) <= one.at <= datetime.now(UTC) for one in entries)
    found = [str(one.data) for one in entries]
    places = [next(at for at, text in enumerate(found) if ident in text) for ident in made]
    assert places == sorted(places)
