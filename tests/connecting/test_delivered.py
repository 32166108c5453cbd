"""Each delivery with its checks: states and codes, and nobody's data."""

import json
from dataclasses import replace

import msgspec
import pytest

from service.archive.receive import keep_recording
from service.archive.records import recording_of
from service.archive.vault import seal_value
from service.connecting.delivered import Verdict
from service.web.i18n import LANGUAGES, load_words
from storage.ports import Replace
from storage.rows import RecordingRow
from tests.archive.test_spine import call, chunks, import_customers
from tests.conftest import NOW
from tests.connecting.conftest import ADMIN


@pytest.fixture
async def live(site):
    await site.add()
    await site.live()
    return site


async def checks(site):
    """Return the checks of the newest delivery, by name."""
    (newest, *_) = await site.connections.deliveries.find("phones", actor=ADMIN, now=NOW)
    for language in LANGUAGES:
        words = load_words(language).messages
        for check in newest.checks:
            key = f"delivery.{check.name}.{check.code}"
            assert key in words or f"attention.reason.{check.code}" in words, key
            if check.verdict is Verdict.BAD and check.name != "recording":
                assert f"{key}.mend" in words or f"attention.advice.{check.code}" in words, key
    return {check.name: (check.verdict.value, check.code) for check in newest.checks}


async def test_a_good_call_passes_its_checks(live):
    await import_customers(live.archive, NOW)
    await live.deliver(call(customer_number="1001"))
    assert await checks(live) == {
        "sender": ("good", "signed"),
        "clock": ("good", "near"),
        "parsed": ("good", "understood"),
        "linked": ("good", "linked"),
        "recording": ("waiting", "expected"),
        "notice": ("untold", "covered"),
    }


async def test_a_clock_that_is_wrong_is_told(live):
    await live.deliver(remarks=("outside_tolerance",))
    assert (await checks(live))["clock"] == ("bad", "skewed")


@pytest.mark.parametrize(
    ("changes", "name", "told"),
    [
        ({"recording": "none"}, "recording", ("untold", "not_recorded")),
        ({"parties": []}, "linked", ("untold", "no_customer")),
        ({"channel": "chat"}, "notice", ("bad", "not_covered")),
        ({"notice": "played"}, "notice", ("good", "played")),
        ({"notice": "not_played"}, "notice", ("bad", "not_played")),
    ],
)
async def test_what_is_not_as_hoped_is_told_with_its_code(live, changes, name, told):
    await live.deliver(call(**changes))
    assert (await checks(live))[name] == told


async def test_a_number_of_two_customers_is_perhaps_one_of_them(live):
    await import_customers(live.archive, NOW)
    await live.deliver(call())
    assert (await checks(live))["linked"] == ("waiting", "candidate")


async def test_what_cannot_be_read_says_why_without_what_was_sent(live):
    await live.deliver(json.dumps({"Maija Esimerkki": 1, "source_id": "040 123 4567"}).encode())
    (one,) = await live.connections.deliveries.find("phones", actor=ADMIN, now=NOW)
    (parsed,) = [check for check in one.checks if check.name == "parsed"]
    assert (parsed.verdict, parsed.code) == (Verdict.BAD, "not_understood")
    assert parsed.detail
    assert "Maija" not in repr(one)
    assert "123" not in repr(one)


async def test_before_it_is_live_a_delivery_is_checked_all_the_same(site):
    await site.add()
    await site.deliver()
    told = await checks(site)
    assert told["parsed"] == ("good", "would_be_understood")
    assert told["notice"] == ("untold", "covered")
    await site.deliver(b"{}", ident="w-2")
    found = await site.connections.deliveries.find("phones", actor=ADMIN, now=NOW)
    codes = {check.code for one in found for check in one.checks if check.name == "parsed"}
    assert codes == {"would_be_understood", "not_understood"}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (None, ("waiting", "not_examined")),
        ({"channels": 2}, ("good", "two")),
        ({"channels": 1}, ("bad", "mixed")),
    ],
)
async def test_a_recording_that_came_is_told_with_its_channels(live, facts, told):
    await live.deliver()
    kept = await keep_recording(
        live.archive.intake,
        chunks(b"RIFF"),
        source="phones",
        source_id="c-1",
        name="a.wav",
        content_type="audio/wav",
        now=NOW,
    )
    await live.archive.understanding.understand([(kept.row, kept.delivery)], now=NOW)
    if facts is not None:
        await examined(live, facts)
    found = await live.connections.deliveries.find("phones", actor=ADMIN, now=NOW)
    for one in found:
        shown = {check.name: (check.verdict.value, check.code) for check in one.checks}
        assert shown["recording"] == ("good", "present")
        assert shown["channels"] == told


async def examined(site, facts):
    """Let the recording have been examined."""
    (row,) = await site.store.find(RecordingRow, {"state": "present"})
    sealer = await site.archive.vault.get_sealer(row.contact_id)
    value = msgspec.structs.replace(recording_of(row, sealer), facts=facts)
    version = row.version + 1
    sealed = seal_value(sealer, value, table="recordings", row=row.id, version=version)
    await site.store.commit([Replace(replace(row, version=version, sealed=sealed))])


async def test_a_recording_without_its_call_waits(live):
    kept = await keep_recording(
        live.archive.intake,
        chunks(b"RIFF"),
        source="phones",
        source_id="c-7",
        name="a.wav",
        content_type="audio/wav",
        now=NOW,
    )
    await live.archive.understanding.understand([(kept.row, kept.delivery)], now=NOW)
    told = await checks(live)
    assert told["parsed"] == ("waiting", "waits_for_contact")
    assert "clock" not in told


async def test_there_is_news_when_something_comes_or_becomes_of_it(live):
    deliveries = live.connections.deliveries
    seen = [await deliveries.fingerprint("phones", actor=ADMIN)]
    kept = await live.keep()
    seen.append(await deliveries.fingerprint("phones", actor=ADMIN))
    await live.archive.understanding.understand([(kept.row, kept.delivery)], now=NOW)
    seen.append(await deliveries.fingerprint("phones", actor=ADMIN))
    assert len(set(seen)) == 3
    await live.deliver(source="pbx", ident="w-2")
    assert await deliveries.fingerprint("phones", actor=ADMIN) == seen[-1]


async def test_what_came_is_counted_by_source(live):
    deliveries = live.connections.deliveries
    assert await deliveries.last_at("phones") is None
    await live.deliver()
    await live.deliver(b"{}", ident="w-2")
    await live.deliver(source="pbx", ident="w-3")
    assert await deliveries.last_at("phones") == NOW
    assert await deliveries.count("phones") == 2
    assert await deliveries.count("phones", states=("failed",)) == 1
    assert await deliveries.count("phones", since=NOW.replace(hour=23)) == 0
