"""Nothing is missing in silence: what a source says it handled is here, or is said to be missing."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from service.archive.gaps import Gaps
from service.archive.silence import Silence
from service.domain.actor import Role
from service.domain.contact import Channel, ContactFacts, Direction, Party, PartyRole
from service.domain.errors import NotFoundError, NotPermittedError
from service.domain.times import from_microseconds
from service.log.entry import EntryType
from service.sources.statements import read_statement
from storage.ports import Replace
from storage.rows import AttentionRow, ContactRow, GapRow, MissingRow, RecordingRow
from tests.archive.test_expect import entries
from tests.archive.test_spine import call, deliver, deliver_recording
from tests.conftest import NOW, actor

ADMIN, HANDLER = actor(Role.ADMIN), actor(Role.COMPLAINT_HANDLER)
HEAD = "source_id,channel,direction,started_at,phone,recorded\n"
DAY = date(2026, 11, 20)


def row(source_id, *, at="2026-11-20 14:02:00", phone="+358401234567", recorded=""):
    return f"{source_id},call,inbound,{at},{phone},{recorded}\n"


async def reconcile(archive, *rows, source="pbx", by=ADMIN, now=NOW, is_trial=False):
    rule = archive.interpreter.rules[source]
    statement = read_statement((HEAD + "".join(rows)).encode(), rule=rule)
    return await archive.reconciling.reconcile(
        source, statement, actor=by, now=now, is_trial=is_trial
    )


async def contact_of(archive, source_id):
    token = archive.interpreter.token_of("pbx", source_id)
    (found,) = await archive.stores.store.find(ContactRow, {"source_token": token})
    return (await archive.contacts.get(found.id, actor=HANDLER)).contact


async def month(archive, now=NOW):
    months = await archive.completeness.find(actor=ADMIN, now=now)
    (found,) = [m for m in months if m.source == "pbx" and m.first == date(2026, 11, 1)]
    return found


async def test_what_is_missing_becomes_a_contact_in_the_history_and_what_comes_late_heals_it(
    archive,
):
    await deliver(
        archive, call("c-1", started_at="2026-11-20T14:00:00+02:00"), ident="1", now=NOW
    )
    (day,) = await reconcile(archive, row("c-1"), row("c-2"))
    assert (day.day, day.said, day.missing, day.unknown) == (DAY, 2, 1, 0)
    missing = await contact_of(archive, "c-2")
    assert missing.is_stated
    assert missing.parties[0].phone == "+358401234567"
    assert not (await contact_of(archive, "c-1")).is_stated
    made = await entries(archive, EntryType.CONTACT_CREATED)
    (created,) = [entry for entry in made if missing.id in entry.about]
    assert created.data["stated"] == 1
    found = await month(archive)
    assert (found.said, found.here, found.missing, found.late, found.share) == (2, 1, 1, 0, 0.5)

    # The clocks of the list and of what was delivered differ: what was delivered stands.
    late = call("c-2", started_at="2026-11-20T14:02:07+02:00", subject="Lasku")
    await deliver(archive, late, ident="2", now=NOW)
    healed = await contact_of(archive, "c-2")
    assert (healed.id, healed.is_stated, healed.subject) == (missing.id, False, "Lasku")
    assert healed.started_at - missing.started_at == timedelta(seconds=7)
    found = await month(archive)
    assert (found.here, found.missing, found.late, found.share) == (2, 0, 1, 1.0)
    (amended,) = await entries(archive, EntryType.CONTACT_AMENDED)
    assert "is_stated" in amended.data["fields"]
    assert await archive.attention.find(actor=HANDLER) == []


async def test_the_same_statement_again_changes_nothing(archive):
    first = await reconcile(archive, row("c-1"), row("c-2", recorded="yes"))
    before = await archive.stores.store.find(ContactRow, {})
    again = await reconcile(archive, row("c-1"), row("c-2", recorded="yes"))
    assert await archive.stores.store.find(ContactRow, {}) == before
    assert [d.missing for d in first] == [2]
    # What was missing is known now, and still missing a recording.
    assert [(d.missing, d.without_recording) for d in again] == [(0, 1)]
    assert len(await archive.stores.store.find(MissingRow, {"state": "missing"})) == 2


async def test_a_trial_only_says_what_would_come_of_it(archive):
    (day,) = await reconcile(archive, row("c-1"), is_trial=True)
    assert day.missing == 1
    assert await archive.stores.store.find(ContactRow, {}) == []
    assert (await month(archive)).said == 0


async def test_a_recording_that_should_be_there_is_expected_then_lost_and_heals(archive):
    told = call("c-1", started_at="2026-11-20T14:00:00+02:00", recording=None)
    await deliver(archive, told, ident="1", now=NOW)
    (day,) = await reconcile(archive, row("c-1", recorded="yes"))
    assert (day.missing, day.without_recording) == (0, 1)
    (recording,) = await archive.stores.store.find(RecordingRow, {})
    assert recording.state == "expected"
    later = NOW + timedelta(days=1)
    await archive.expectations.give_up(now=later)
    assert (await month(archive, later)).recordings_lost == 1
    await deliver_recording(archive, b"RIFF-late", now=later)
    (recording,) = await archive.stores.store.find(RecordingRow, {})
    assert recording.state == "present"
    (day,) = await reconcile(archive, row("c-1", recorded="yes"), now=later)
    assert day.without_recording == 0


async def test_what_the_source_does_not_say_is_counted(archive):
    for n in range(3):
        at = "2026-11-20T23:30:00+02:00"
        told = call(f"c-{n}", started_at=at, ended_at=at)
        await deliver(archive, told, ident=str(n), now=NOW)
    (day,) = await reconcile(archive, row("c-0", at="2026-11-20 23:30"))
    assert (day.day, day.missing, day.unknown) == (DAY, 0, 2)


async def test_a_statement_contradicts_nothing_that_was_delivered(archive):
    told = call("c-1", started_at="2026-11-20T14:00:00+02:00", queue="Viat")
    await deliver(archive, told, ident="1", now=NOW)
    before = await contact_of(archive, "c-1")
    await reconcile(archive, row("c-1", at="2026-11-20 15:00", phone="+358409999999"))
    assert await contact_of(archive, "c-1") == before
    assert await archive.attention.find(actor=HANDLER) == []


async def test_an_erased_contact_is_not_brought_back(archive):
    await deliver(
        archive, call("c-1", started_at="2026-11-20T14:00:00+02:00"), ident="1", now=NOW
    )
    (found,) = await archive.stores.store.find(ContactRow, {})
    erased = replace(found, version=found.version + 1, state="erased")
    await archive.stores.store.commit([Replace(erased)])
    (day,) = await reconcile(archive, row("c-1"))
    assert day.missing == 0
    assert len(await archive.stores.store.find(ContactRow, {})) == 1


@pytest.mark.parametrize("role", [r for r in Role if r not in {Role.ADMIN, Role.INTEGRATION}])
async def test_others_may_not_compare(archive, role):
    with pytest.raises(NotPermittedError):
        await reconcile(archive, row("c-1"), by=actor(role))


async def test_a_machine_speaks_for_its_own_source_alone(archive):
    with pytest.raises(NotFoundError):
        await reconcile(archive, row("c-1"), by=actor(Role.INTEGRATION, source="chat"))
    own = actor(Role.INTEGRATION, source="pbx")
    assert len(await reconcile(archive, row("c-1"), by=own)) == 1


async def test_many_are_compared_in_batches(archive):
    rows = [row(f"c-{n}", at=f"2026-11-{n % 20 + 1:02} 12:00") for n in range(1_100)]
    days = await reconcile(archive, *rows)
    assert (len(days), sum(day.missing for day in days)) == (20, 1_100)


# -- gaps


async def gap(archive, since, until, cause="connection_lost"):
    gaps = Gaps(archive.stores.store)
    at = [datetime.fromisoformat(one) for one in (since, until)]
    return await gaps.note("pbx", since=at[0], until=at[1], cause=cause, now=NOW)


@pytest.mark.parametrize(
    ("since", "until", "is_closed"),
    [
        ("2026-11-20T10:00:00+02:00", "2026-11-20T10:05:00+02:00", True),
        ("2026-11-20T23:00:00+02:00", "2026-11-21T01:00:00+02:00", True),
        ("2026-11-21T23:00:00+02:00", "2026-11-22T01:00:00+02:00", False),
        ("2026-11-19T23:59:00+02:00", "2026-11-20T01:00:00+02:00", False),
    ],
)
async def test_a_gap_needs_attention_until_all_of_it_was_compared(
    archive, since, until, is_closed
):
    await gap(archive, since, until)
    (item,) = await archive.attention.find(actor=HANDLER)
    assert (item.reason, item.source) == ("source_gap", "pbx")
    await reconcile(archive, row("c-1"), row("c-2", at="2026-11-21 09:00"))
    open_rows = await archive.stores.store.find(GapRow, {"state": "open"})
    assert bool(open_rows) is not is_closed
    items = await archive.stores.store.find(
        AttentionRow, {"state": "open", "reason": "source_gap"}
    )
    assert bool(items) is not is_closed


async def test_what_happens_all_day_long_is_looked_at_once(archive):
    gaps = Gaps(archive.stores.store)
    day = datetime(2026, 11, 20, tzinfo=UTC)

    async def note(hours, cause="mail_removed"):
        since = day + timedelta(hours=hours)
        until = since + timedelta(hours=1)
        await gaps.note_again("pbx", since=since, until=until, cause=cause, now=NOW)

    for hours in (3, 0, 10):
        await note(hours)
    (row,) = await gaps.find_open("pbx")
    assert from_microseconds(row.since) == day
    assert from_microseconds(row.until) == day + timedelta(hours=11)
    await note(10, cause="mail_too_large")
    await note(36)
    causes = [row.cause for row in await gaps.find_open("pbx")]
    assert causes == ["mail_removed", "mail_too_large", "mail_removed"]
    assert len(await archive.stores.store.find(AttentionRow, {})) == 3


async def test_a_gap_that_lasts_is_not_closed_until_it_ended(archive):
    gaps = Gaps(archive.stores.store)
    since = datetime.fromisoformat("2026-11-20T10:00:00+02:00")
    gap_id = await gaps.note("pbx", since=since, until=None, cause="connection_lost", now=NOW)
    await reconcile(archive, row("c-1"))
    assert await gaps.find_open("pbx")
    await gaps.end(gap_id, at=since + timedelta(hours=1))
    await reconcile(archive, row("c-1"))
    assert await gaps.find_open("pbx") == []


# -- silence


async def heard(archive, counts, *, until=NOW):
    """Let so many contacts have been in the same hour of the weeks before ``until``."""
    for week, count in enumerate(counts, start=1):
        at = until - timedelta(weeks=week, minutes=30)
        told = [
            ContactFacts(
                source_id=f"{at:%m%d}-{n}",
                channel=Channel.CALL,
                direction=Direction.INBOUND,
                started_at=at,
                parties=(Party(role=PartyRole.AGENT, agent_id="a"),),
            )
            for n in range(count)
        ]
        await archive.reconciling._work_in("pbx", told, actor=ADMIN, now=at)


async def test_an_unusual_silence_is_raised_once_and_ends_when_the_source_is_heard(archive):
    silence = Silence(archive.stores.store, ["pbx", "chat"])
    now = NOW + timedelta(minutes=20)
    await heard(archive, [11] * 5)
    assert await silence.look(now=now) == ["pbx"]
    assert await silence.look(now=now) == ["pbx"]
    (item,) = await archive.attention.find(actor=HANDLER)
    assert (item.reason, item.about) == ("source_silent", "pbx")
    await heard(archive, [11], until=NOW + timedelta(weeks=1))
    assert await silence.look(now=now) == []
    assert await archive.attention.find(actor=HANDLER) == []


async def test_a_new_source_and_a_quiet_hour_are_no_silence(archive):
    silence = Silence(archive.stores.store, ["pbx"])
    assert await silence.look(now=NOW) == []
    await heard(archive, [11] * 3)
    assert await silence.look(now=NOW + timedelta(minutes=20)) == []
