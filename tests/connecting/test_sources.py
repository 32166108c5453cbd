"""Sources that are connected while the service runs: who may, what is shown once, what a stolen database tells."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service.cli.verify_command import opened_verifier
from service.config import parse_config
from service.connecting.errors import NotCoveredError
from service.connecting.settings import parse_details
from service.domain.actor import OPERATOR, Actor, ActorKind, Role
from service.domain.errors import (
    ContradictionError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
)
from service.domain.times import to_microseconds
from service.log.entry import EntryType
from service.wiring import opened_archive, rotation_of
from storage.ports import Put
from storage.rows import ContactRow, KeyRow, SourceRow
from tests.archive.test_spine import call
from tests.conftest import NOW, actor
from tests.connecting.conftest import ADMIN, SETTINGS


async def stored(site, name="phones"):
    (row,) = await site.store.find(SourceRow, {"name": name})
    return row


async def test_a_new_source_is_known_at_once_and_is_not_live(site):
    secret = await site.add()
    assert secret.startswith("whsec_")
    known = await site.sources.get("phones", actor=ADMIN)
    assert (known.kind, known.is_connecting) == ("standard-webhooks", True)
    assert [one.name for one in await site.sources.find_all(actor=ADMIN)] == ["pbx", "phones"]
    listener = (await site.listeners())["phones"]
    assert len(listener.secrets) == 1


async def test_other_processes_take_it_up_by_looking(site, config):
    async with opened_archive(config) as other:
        assert other.book.find("phones") is None
        await site.add(country="SE", company_numbers=["08-123 456"])
        await other.book.refresh()
        known = other.book.find("phones")
        assert (known.rule.region, known.rule.company_numbers) == ("SE", {"+468123456"})
        await site.sources.remove("phones", actor=ADMIN, now=NOW)
        await other.book.refresh()
        assert other.book.find("phones") is None


async def test_nothing_that_is_stored_in_the_clear_or_logged_has_the_secret(site, config):
    secret = await site.add("switch", "freeswitch")
    row = await stored(site, "switch")
    hook = await site.add("hook")
    for path in config.archive.directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data, path
            assert hook.removeprefix("whsec_").encode() not in data, path
    assert secret not in repr(row)
    (added,) = await site.logged(row.id)
    assert (added.type, added.actor) == (EntryType.SOURCE_ADDED, ADMIN.id)
    assert dict(added.data) == {
        "source": "switch",
        "kind": "freeswitch",
        "carries": ("call inbound",),
    }


@pytest.mark.parametrize(
    "whose",
    [
        *(actor(role) for role in Role if role is not Role.ADMIN),
        Actor(id="tk_1", kind=ActorKind.MACHINE, roles=frozenset({Role.ADMIN})),
    ],
    ids=lambda one: f"{one.kind}-{next(iter(one.roles))}",
)
async def test_only_an_administrator_in_person_manages_sources(site, whose):
    details = parse_details("standard-webhooks", default_region="FI", carries=["call inbound"])
    await site.add()
    for attempt in (
        site.sources.add("other", "standard-webhooks", details, actor=whose, now=NOW),
        site.sources.find_all(actor=whose),
        site.sources.get("phones", actor=whose),
        site.sources.change_secret("phones", actor=whose, now=NOW),
        site.sources.change_map("phones", {}, actor=whose, now=NOW),
        site.sources.go_live("phones", actor=whose, now=NOW),
        site.sources.remove("phones", actor=whose, now=NOW),
        site.connections.deliveries.find("phones", actor=whose, now=NOW),
        site.connections.deliveries.fingerprint("phones", actor=whose),
        site.connections.previews.preview("phones", {}, delivery_id=None, actor=whose, now=NOW),
        site.replays.replay_one("phones", "dl_x", actor=whose, now=NOW),
    ):
        with pytest.raises(NotPermittedError):
            await attempt


async def test_an_operator_at_the_machine_manages_them_too(site):
    await site.add()
    assert await site.sources.get("phones", actor=OPERATOR)


@pytest.mark.parametrize(
    ("kind", "said", "error"),
    [
        ({"name": "pbx"}, "there is a source called pbx", ContradictionError),
        ({"name": "phones"}, "there is a source called phones", ContradictionError),
        ({"name": "Phones"}, "small letters", InvalidInputError),
        ({"kind": "api"}, "a kind that can be connected so", InvalidInputError),
        ({"kind": "none"}, "a kind that can be connected so", InvalidInputError),
        ({"carries": ()}, "say what the source carries", InvalidInputError),
        ({"carries": ("call",)}, "call inbound", InvalidInputError),
        ({"country": "fi"}, "two capital letters", InvalidInputError),
        ({"timezone": "Turku"}, "a time zone is one such as", InvalidInputError),
        ({"timezone": "../etc"}, "a time zone is one such as", InvalidInputError),
        ({"grace_minutes": -1}, "the grace time is", InvalidInputError),
        ({"company_numbers": ["x"]}, "telephone number", InvalidInputError),
        ({"company_numbers": ["+358401234567"] * 1001}, "at most 1000", InvalidInputError),
    ],
)
async def test_what_cannot_be_a_source_is_refused_and_leaves_no_key(site, kind, said, error):
    await site.add()
    before = await site.archive.stores.keys.count_keys()
    with pytest.raises(error, match=said):
        await site.add(**{"name": "new", **kind})
    assert await site.archive.stores.keys.count_keys() == before


async def test_a_kind_says_what_it_usually_carries(site):
    await site.add("switch", "freeswitch", carries=())
    known = await site.sources.get("switch", actor=ADMIN)
    assert list(map(str, known.carries)) == ["call inbound", "call outbound"]


async def test_the_secret_before_counts_while_the_sender_changes_over(site):
    before = await site.add()
    after = (await site.sources.change_secret("phones", actor=ADMIN, now=NOW)).secret
    assert before != after
    listeners = await site.listeners()
    assert len(listeners["phones"].secrets) == 2
    await listeners.refresh(NOW + timedelta(hours=23, minutes=59))
    assert len(listeners["phones"].secrets) == 2
    await listeners.refresh(NOW + timedelta(days=1))
    assert len(listeners["phones"].secrets) == 1
    changed = (await site.logged((await stored(site)).id))[-1]
    assert dict(changed.data) == {"source": "phones", "change": "secret"}


async def test_without_an_overlap_the_secret_before_is_void_at_once(site):
    await site.add()
    await site.sources.change_secret("phones", actor=ADMIN, now=NOW, overlap=timedelta())
    assert len((await site.listeners())["phones"].secrets) == 1


async def test_a_source_goes_live_only_when_the_notice_covers_all_that_it_carries(site):
    await site.add("chats", carries=("chat inbound", "call inbound"))
    with pytest.raises(NotCoveredError, match="chat inbound") as refused:
        await site.live("chats")
    assert list(map(str, refused.value.uncovered)) == ["chat inbound"]
    assert (await site.sources.get("chats", actor=ADMIN)).is_connecting
    await site.add()
    await site.live()
    await site.live()
    live = [e for e in await site.logged((await stored(site)).id) if "notice" in e.data]
    assert [dict(entry.data) for entry in live] == [
        {
            "source": "phones",
            "change": "live",
            "notice": "2026-10",
            "carries": ("call inbound",),
        }
    ]


async def test_what_comes_before_is_kept_and_becomes_no_contact(site):
    await site.add()
    kept = await site.deliver()
    assert (await site.row(kept)).state == "trial"
    assert await site.store.count(ContactRow, {}) == 0
    await site.live()
    await site.deliver(call("c-2"), ident="w-2")
    assert await site.store.count(ContactRow, {}) == 1
    assert (await site.row(kept)).state == "trial", (
        "it becomes a contact only if somebody says so"
    )


async def test_what_comes_as_a_source_goes_live_is_understood_in_the_end(site, config):
    await site.add()
    async with opened_archive(config) as other:
        await other.book.refresh()
        await site.live()
        kept = await site.keep()
        # The other process does not know yet; its mark is refused.
        await other.understanding.understand([(kept.row, kept.delivery)], now=NOW)
        assert (await site.row(kept)).state == "received"
        await other.book.refresh()
        await other.understanding.catch_up(now=NOW, received_before=None)
        assert (await site.row(kept)).state == "understood"


async def test_a_token_makes_no_contact_of_a_source_that_is_not_live(site, archive):
    await site.add()
    facts = (await archive.understanding.read((await site.deliver()).row, now=NOW)).arrivals
    sender = actor(Role.INTEGRATION)
    with pytest.raises(ContradictionError, match="not live"):
        await archive.contacts.add(facts[0].facts, source="phones", actor=sender, now=NOW)


async def test_a_removed_source_is_forgotten_with_its_key_and_its_contacts_stay(site):
    await site.add()
    await site.live()
    await site.deliver()
    row = await stored(site)
    await site.sources.remove("phones", actor=ADMIN, now=NOW)
    assert "phones" not in await site.listeners()
    assert await site.archive.stores.keys.get_keys([row.id]) == {}
    assert await site.store.count(ContactRow, {}) == 1
    with pytest.raises(NotFoundError):
        await site.sources.remove("phones", actor=ADMIN, now=NOW)
    assert (await site.logged(row.id))[-1].type is EntryType.SOURCE_REMOVED
    assert await site.add() != "", "the name is free again"


@pytest.mark.parametrize("name", ["change_secret", "go_live", "remove"])
async def test_a_source_of_the_settings_is_changed_there(site, name):
    with pytest.raises(ContradictionError, match="of the settings"):
        await getattr(site.sources, name)("pbx", actor=ADMIN, now=NOW)


async def test_where_both_name_a_source_the_settings_win(site, tmp_path, caplog):
    await site.add("late")
    both = SETTINGS + '\n[[sources]]\nname = "late"\nkind = "api"\n'
    async with opened_archive(parse_config(both, base=tmp_path)) as other:
        for _ in range(2):
            await other.book.refresh()
        assert other.book.find("late").kind == "api"
    assert [r.msg for r in caplog.records].count("sources.hidden") == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"state": "live", "live_at": 1}, id="made live"),
        pytest.param({"name": "pbx2"}, id="renamed"),
        pytest.param({"kind": "freeswitch"}, id="of another kind"),
        pytest.param({"version": 2}, id="a version on"),
    ],
)
async def test_a_row_that_somebody_without_keys_changed_is_not_believed(site, config, change):
    await site.add()
    row = replace(await stored(site), **change)
    await site.store.commit([Put(row)])
    await site.archive.book.refresh()
    assert site.archive.book.find(row.name) is None
    if change.keys() & {"name", "kind", "version"}:
        assert row.name not in await site.listeners()
    async with opened_verifier(config) as verifier:
        report = await verifier.verify()
    if "version" not in change:
        assert row.id in {finding.check.about for finding in report.findings}


async def test_a_row_that_was_written_in_lets_nobody_in(site):
    row = SourceRow(
        id="so_" + "a" * 26,
        version=1,
        name="evil",
        kind="standard-webhooks",
        state="live",
        created_at=to_microseconds(NOW),
        live_at=1,
        for_intake=b"\x01" + bytes(60),
        sealed=b"\x01" + bytes(60),
    )
    await site.store.commit([Put(row)])
    await site.archive.book.refresh()
    assert site.archive.book.find("evil") is None
    assert "evil" not in await site.listeners()


async def test_a_sound_archive_with_sources_verifies(site, config):
    await site.add()
    await site.live()
    await site.sources.change_secret("phones", actor=ADMIN, now=NOW)
    await site.add("other")
    async with opened_verifier(config) as verifier:
        report = await verifier.verify()
    assert not [finding for finding in report.findings if finding.check.about.startswith("so_")]


async def test_intake_has_the_secret_by_a_key_that_opens_nothing_else(site):
    await site.add()
    ring = site.archive.vault.ring
    row = await stored(site)
    ring.put_away()
    assert "phones" in await site.listeners()
    # What is sealed beside it takes the keys of the epoch.
    assert isinstance((await site.archive.stores.keys.get_keys([row.id]))[row.id], KeyRow)
    await site.archive.book.refresh()
    assert site.archive.book.find("phones") is not None, "what was known stays"


async def test_sources_open_after_a_rotation_of_the_keys(site, config):
    await site.add()
    await rotation_of(site.archive).rotate(
        actor=OPERATOR, now=NOW, progress=lambda _done, _all: None
    )
    async with opened_archive(config) as other:
        await other.book.refresh()
        assert other.book.find("phones") is not None


async def test_what_was_connected_is_told_of_where_it_is_complete_and_where_it_is_silent(site):
    await site.add()
    assert {"phones", "pbx"} <= set(site.archive.completeness.sources)
    assert {"phones", "pbx"} <= set(site.archive.silence.sources)
    months = await site.archive.completeness.find(actor=ADMIN, now=NOW, months=1)
    assert [month.source for month in months] == ["pbx", "phones"]
