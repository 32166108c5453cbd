"""A process that only takes in: it keeps, announces, forgets, and says what it lacks."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest

from service.api.system import HEALTH
from service.archive.receive import keep_delivery
from service.http.server import listening
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.file import FileKeyProvider
from service.keys.intake_files import write_intake_files
from service.serving_intake import build_intake_service, taking_in
from service.wiring import authentic_log
from service.wiring_intake import opened_receiving_archive
from storage.errors import UnavailableError
from storage.rows import CLOSED, DeliveryRow, KeyRow
from tests.archive.test_spine import call
from tests.conftest import NOW


@pytest.fixture
def outside(archive, config, tmp_path):
    """The settings of a machine that has intake's keys alone."""
    write_intake_files(
        archive.provider.load(), tmp_path / "outside", archive=config.archive.directory
    )
    return replace(
        config,
        keys=replace(config.keys, directory=tmp_path / "outside"),
        intake=replace(config.intake, session_key_seconds=1),
    )


@pytest.fixture
async def receiving(outside):
    async with opened_receiving_archive(outside) as opened:
        yield opened


def keep(receiving, ident="w-1", *, now=None):
    return keep_delivery(
        receiving.intake,
        source="pbx",
        kind="contact",
        ident=ident,
        body=call(ident),
        now=now or datetime.now(UTC),
    )


async def test_what_it_keeps_is_understood_where_the_keys_are(receiving, archive):
    kept = await keep(receiving)
    await archive.understanding.catch_up(now=NOW, received_before=None)
    (row,) = await archive.stores.store.find(DeliveryRow, {"id": kept.row.id})
    assert row.state == "understood"


async def test_its_entries_count_as_the_archive_s_own(receiving, archive):
    kept = await keep(receiving)
    log = authentic_log(archive.stores, archive.vault.ring)
    assert len(await log.log_about(kept.row.id)) == 1


async def test_a_session_key_is_forgotten_at_its_end_though_nothing_is_delivered(receiving):
    service = build_intake_service(receiving)
    async with taking_in(service):
        await keep(receiving)
        session = receiving.intake.sessions._session
        assert session._key is not None
        await asyncio.sleep(2.5)
        assert session._key is None
        assert receiving.intake.sessions._session is None


@pytest.mark.usefixtures("archive")
async def test_private_keys_beside_are_told_of_and_not_read(config, caplog):
    async with (
        opened_receiving_archive(config) as receiving,
        taking_in(build_intake_service(receiving)),
    ):
        pass
    assert "intake.private_keys" in caplog.text
    assert not hasattr(receiving.keys(), "identity")


async def test_without_its_file_it_says_how_to_make_it(outside):
    for file in outside.keys.directory.iterdir():
        file.unlink()
    with pytest.raises(KeysMissingError, match="taltio keys intake"):
        async with opened_receiving_archive(outside):
            pass


async def test_keys_of_another_archive_are_refused_before_anything_is_sealed_with_them(
    archive, outside, receiving, tmp_path
):
    await keep(receiving)
    stranger = FileKeyProvider(tmp_path / "strange", archive=tmp_path / "strange-data")
    stranger.create(now=NOW)
    theirs = tmp_path / "theirs"
    write_intake_files(stranger.load(), theirs, archive=tmp_path / "strange-data")
    wrong = replace(outside, keys=replace(outside.keys, directory=theirs))
    with pytest.raises(KeysRefusedError, match="another archive"):
        async with opened_receiving_archive(wrong):
            pass
    assert await archive.stores.store.count(DeliveryRow, {}) == 1


async def test_once_its_epoch_is_destroyed_it_takes_nothing_and_says_so(receiving, archive):
    health = build_intake_service(receiving).app[HEALTH]
    assert health.role == "intake"
    assert "log" not in health.checks
    assert await health.checks["epoch"]() is None
    closed = KeyRow(id="epoch:1", kind=CLOSED, wrapped_by="", wrapped=b"", made_at=0)
    await archive.stores.keys.put_keys([closed])
    assert "taltio keys intake" in await health.checks["epoch"]()
    with pytest.raises(UnavailableError, match="destroyed"):
        await keep(receiving)
    assert await archive.stores.store.count(DeliveryRow, {}) == 0


async def test_what_it_measures_concerns_it(receiving):
    service = build_intake_service(receiving)
    measured = {one.name: one for one in await service.app[HEALTH].measure()}
    assert measured["process"].samples == [("", [("role", "intake")], 1)]
    assert measured.keys() >= {"deliveries_waiting", "deliveries_total", "disk_free_bytes"}
    assert not measured.keys() & {
        "contacts",
        "jobs_queued",
        "log_entries",
        "backup_age_seconds",
    }
    async with (
        listening(service.app, "127.0.0.1", 0) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as client,
    ):
        async with client.get("/healthz") as answer:
            assert answer.status == 200
        async with client.get("/sign-in", headers={"Accept": "text/html"}) as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["code"]) == (404, "served_elsewhere")
