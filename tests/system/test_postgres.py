"""The whole service on PostgreSQL: the main path, several processes at once, and a server that dies."""

import asyncio
import base64
import io
import json
import random
import time
from itertools import count

import aiohttp
import pytest

import storage.database.postgres.commit
from service.archive.receive import keep_delivery
from service.config import parse_config
from service.domain.actor import Role
from service.wiring import key_provider, opened_archive
from storage.errors import DoubtfulError
from storage.rows import ContactTokenRow, DeliveryRow
from tests.conftest import CONFIG, NOW
from tests.postgres import execute, new_database, running_cluster, running_standby
from tests.system.programs import Running, run, started
from tests.system.world import AUDIO, SECRET, SOURCES, contact, opened_world

SETTINGS = '[web]\nlisten = "127.0.0.1:0"\n[log]\ncheckpoint_seconds = 1\n[storage]\n'
CUSTOMERS = "customer_number,name,phone\n1001,Maija Esimerkki,040 123 4567\n"


@pytest.fixture
def config(cluster, tmp_path):
    secret = tmp_path / "hook.secret"
    secret.write_text("whsec_" + base64.b64encode(SECRET).decode())
    secret.chmod(0o400)
    database = asyncio.run(new_database(cluster))
    keys = asyncio.run(new_database(cluster))
    settings = f'[storage]\ndatabase = "{database}"\nkeys = "{keys}"\n'
    return parse_config(settings + SOURCES, base=tmp_path)


@pytest.fixture
async def world(archive):
    async with opened_world(archive) as opened:
        yield opened


async def test_a_contact_is_kept_found_heard_and_verified(world):
    sender = await world.token(Role.INTEGRATION)
    handler = await world.token(Role.COMPLAINT_HANDLER)
    again = await world.ask(sender, "POST", "/api/v1/contacts", body=contact("c-0"))
    assert (again.status, again.json["id"]) == (200, world.ids["contact"])
    for query in ("phone=0401234567", "customer_number=1001", "agent=A-17&channel=call"):
        answer = await world.ask(handler, "GET", f"/api/v1/contacts?{query}")
        assert [one["id"] for one in answer.json["contacts"]] == [world.ids["contact"]]
    grant = await world.grant(handler)
    heard = await world.ask(
        handler,
        "GET",
        f"/api/v1/recordings/{world.ids['recording']}/content",
        Access_Grant=grant,
        Range="bytes=4-99",
    )
    assert (heard.status, heard.body) == (206, AUDIO[4:100])
    path = f"/api/v1/contacts/{world.ids['contact']}/verification"
    verdict = await world.ask(handler, "GET", path)
    assert verdict.json["state"] == "pending"
    ready = await world.ask(handler, "GET", "/readyz")
    assert not {"store", "keys", "durability"} & set(ready.json.get("not_ready", []))


async def test_a_contact_is_held_and_then_erased(world, archive):
    first, second = [await world.person(Role.DPO, login) for login in ("aino", "oiva")]
    contact_id = world.ids["contact"]
    held = {"contact": contact_id, "reason": "dispute"}
    hold = await world.ask(first, "POST", "/api/v1/holds", body=held)
    assert hold.status == 201
    order = {"contact": contact_id, "ground": "data_subject_request"}
    refused = await world.ask(first, "POST", "/api/v1/erasures", body=order)
    assert (refused.status, refused.code) == (409, "held")
    release = f"/api/v1/holds/{hold.json['id']}/release"
    assert (await world.ask(first, "POST", f"{release}-request")).status == 200
    assert (await world.ask(second, "POST", release)).status == 200
    asked = await world.ask(first, "POST", "/api/v1/erasures", body=order)
    approve = f"/api/v1/erasures/{asked.json['id']}/approve"
    done = await world.ask(second, "POST", approve)
    assert (done.status, done.json["state"]) == (200, "erased")
    gone = await world.ask(first, "GET", f"/api/v1/contacts/{contact_id}")
    assert (gone.status, gone.code) == (410, "erased")
    assert await archive.stores.keys.get_keys([contact_id]) == {}
    assert await archive.stores.store.count(ContactTokenRow, {"contact_id": contact_id}) == 0


def call(source_id: str) -> bytes:
    return json.dumps(
        {
            "source": "pbx",
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-20T14:02:00+02:00",
            "recording": "expected",
            "parties": [{"role": "customer", "phone": "+358401234567"}],
        }
    ).encode()


async def found(service: Running, token: str) -> dict[str, dict[str, object]]:
    """Return every contact of the archive by its source id, with its recordings; none may be there twice."""
    contacts: dict[str, dict[str, object]] = {}
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(service.address, headers=headers) as client:
        cursor = ""
        while cursor is not None:
            query = {"limit": "200", **({"cursor": cursor} if cursor else {})}
            async with client.get("/api/v1/contacts", params=query) as answer:
                page = await answer.json()
            for contact in page["contacts"]:
                async with client.get(f"/api/v1/contacts/{contact['id']}") as answer:
                    assert contact["source_id"] not in contacts, "a contact is there twice"
                    contacts[contact["source_id"]] = await answer.json()
            cursor = page["next"]
    return contacts


def settle(folder, url):
    (folder / "config.toml").write_text(f'{SETTINGS}database = "{url}"\n')
    (folder / "customers.csv").write_text(CUSTOMERS)


async def post(client, source_id):
    headers = {"Content-Type": "application/json"}
    async with client.post(
        "/api/v1/contacts", data=io.BytesIO(call(source_id)), headers=headers
    ) as answer:
        return answer.status, await answer.json()


async def ready(client, wanted):
    for _ in range(150):
        async with client.get("/readyz") as answer:
            told = await answer.text()
            if answer.status == wanted:
                return json.loads(told)
        await asyncio.sleep(0.2)
    raise AssertionError(told)


@pytest.mark.slow
async def test_two_services_share_a_database_and_outlive_its_crash(tmp_path):
    with running_cluster() as cluster:
        settle(tmp_path, await new_database(cluster))
        async with started(tmp_path, "serve") as one, started(tmp_path, "serve") as two:
            await run(tmp_path, "customers", "import", "customers.csv")
            create = ("tokens", "create", "--name", "test", "--role")
            sender = (await run(tmp_path, *create, "integration")).strip()
            handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            headers = {"Authorization": f"Bearer {sender}"}
            async with (
                aiohttp.ClientSession(one.address, headers=headers) as first,
                aiohttp.ClientSession(two.address, headers=headers) as second,
            ):
                status, kept = await post(first, "c-1")
                assert status == 201
                told = {name: kept[name] for name in ("id", "source", "source_id")}
                assert await post(second, "c-1") == (200, told)
                await ready(first, 200)
                await ready(second, 200)
                cluster.kill()
                status, problem = await post(first, "c-2")
                assert (status, problem["code"]) == (503, "unavailable")
                assert "store" in str(await ready(second, 503))
                cluster.start()
                await ready(first, 200)
                await ready(second, 200)
                assert (await post(second, "c-2"))[0] == 201
            assert set(await found(one, handler)) == {"c-1", "c-2"}
            assert await one.interrupt() == 0
            assert await two.interrupt() == 0
        assert "nothing is altered or missing" in await run(tmp_path, "verify")


MOST_SECONDS = 40
"""An answer comes within this time whatever the server does: time limits of a statement and of connecting anew."""


@pytest.mark.slow
async def test_while_the_server_stands_still_senders_are_told_to_come_again(tmp_path):
    with running_cluster() as cluster:
        settle(tmp_path, await new_database(cluster))
        async with started(tmp_path, "serve") as service:
            create = ("tokens", "create", "--name", "test", "--role")
            sender = (await run(tmp_path, *create, "integration")).strip()
            handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            headers = {"Authorization": f"Bearer {sender}"}
            async with aiohttp.ClientSession(service.address, headers=headers) as client:
                assert (await post(client, "before"))[0] == 201
                await ready(client, 200)
                begun = time.monotonic()
                with cluster.frozen():
                    told = await asyncio.gather(*(refused(client, n) for n in range(24)))
                    took = time.monotonic() - begun
                    problems = (await ready(client, 503))["problems"]
                assert {(status, bool(again)) for status, again in told} == {(503, True)}
                assert took < MOST_SECONDS
                assert {"store", "keys"} <= set(problems)
                await ready(client, 200)
                assert (await post(client, "after"))[0] == 201
            kept = set(await found(service, handler))
            assert {"before", "after"} <= kept <= {"before", "after", *map(during, range(24))}
            assert await service.interrupt() == 0
        assert "nothing is altered or missing" in await run(tmp_path, "verify")


def during(number):
    return f"during-{number}"


async def refused(client, number):
    headers = {"Content-Type": "application/json"}
    body = io.BytesIO(call(during(number)))
    async with client.post("/api/v1/contacts", data=body, headers=headers) as answer:
        return answer.status, answer.headers.get("Retry-After")


@pytest.mark.slow
async def test_a_frozen_primary_is_left_for_the_standby_that_took_over(tmp_path):
    """A partition as a service sees it: its server answers nothing and hangs up on nobody."""
    with running_cluster() as primary, running_standby(primary) as follower:
        database = await new_database(primary)
        name = database.partition("@/")[2].partition("?")[0]
        await execute(primary.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await execute(primary.url(), "SELECT pg_reload_conf()")
        hosts = f"{primary.directory},{follower.directory}"
        settle(tmp_path, f"postgresql://taltio@/{name}?host={hosts}")
        acknowledged, numbers, over = set(), count(), asyncio.Event()
        async with started(tmp_path, "serve") as one:
            create = ("tokens", "create", "--name", "test", "--role")
            sender = (await run(tmp_path, *create, "integration")).strip()
            handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            async with asyncio.TaskGroup() as senders:
                for _ in range(6):
                    senders.create_task(
                        deliver([one.address], sender, numbers, acknowledged, until=over)
                    )
                await asyncio.sleep(1)
                with primary.frozen():
                    before = len(acknowledged)
                    await execute(follower.url(), "SELECT pg_promote()")
                    begun = time.monotonic()
                    while len(acknowledged) < before + 20:
                        assert time.monotonic() - begun < 2 * MOST_SECONDS
                        await asyncio.sleep(0.1)
                    # Whoever manages the cluster ends the old one before it can come back.
                    over.set()
                    await asyncio.sleep(0.5)
                    primary.kill()
            assert before > 0
            assert acknowledged <= set(await found(one, handler))
            assert await one.interrupt() == 0
        assert "nothing is altered or missing" in await run(tmp_path, "verify")


async def deliver(addresses, token, numbers, acknowledged, *, until):
    """Deliver calls to whichever service answers, each until it is acknowledged."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        while not until.is_set():
            source_id = f"call-{next(numbers)}"
            status = 0
            while status not in {200, 201} and not until.is_set():
                address = random.choice(addresses)  # noqa: S311  # any
                try:
                    async with client.post(
                        f"{address}/api/v1/contacts",
                        data=io.BytesIO(call(source_id)),
                        headers={"Content-Type": "application/json"},
                    ) as answer:
                        status = answer.status
                        assert status in {200, 201, 503}, await answer.text()
                except aiohttp.ClientError:
                    status = 0
                await asyncio.sleep(0 if status in {200, 201} else 0.05)
            if status in {200, 201}:
                acknowledged.add(source_id)


async def test_a_primary_whose_standby_left_it_acknowledges_nothing_and_no_repeat_of_it(
    cluster, tmp_path, monkeypatch
):
    """Two halves that both live: the old primary shows what it could not replicate, and it is not believed."""
    monkeypatch.setattr(storage.database.postgres.commit, "DOUBT_SECONDS", 0.5)
    with running_cluster() as primary, running_standby(primary) as follower:
        url = await new_database(primary)
        name = url.partition("@/")[2].partition("?")[0]
        await execute(primary.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await execute(primary.url(), "SELECT pg_reload_conf(), pg_sleep(0.3)")
        keys = await new_database(cluster)
        settings = f'[storage]\ndatabase = "{url}"\nkeys = "{keys}"\n'
        config = parse_config(settings + CONFIG, base=tmp_path)
        key_provider(config).create(now=NOW)
        async with opened_archive(config, create=True) as archive:
            await put(archive, "before")
            await execute(follower.url(), "SELECT pg_promote()")
            cancelling = asyncio.create_task(end_waits(url))
            for _ in range(2):
                with pytest.raises(DoubtfulError):
                    await put(archive, "lost")
            assert await archive.stores.store.count(DeliveryRow, {}) == 2, (
                "it can be seen there"
            )
            with pytest.raises(DoubtfulError):
                await put(archive, "before")
            cancelling.cancel()
        moved = parse_config(settings.replace(url, follower.url(name)) + CONFIG, base=tmp_path)
        async with opened_archive(moved) as archive:
            assert await archive.stores.store.count(DeliveryRow, {}) == 1
            assert (await put(archive, "before")).is_duplicate
            assert not (await put(archive, "lost")).is_duplicate


async def put(archive, ident):
    return await keep_delivery(
        archive.intake, source="pbx", kind="contact", ident=ident, body=call(ident), now=NOW
    )


async def end_waits(url):
    """Do as an administrator does with commits that hang."""
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while True:
        await asyncio.sleep(0.1)
        await execute(url, cancel)


@pytest.mark.slow
async def test_what_was_acknowledged_survives_a_server_that_is_killed_again_and_again(tmp_path):
    with running_cluster() as cluster:
        settle(tmp_path, await new_database(cluster))
        acknowledged, numbers, over = set(), count(), asyncio.Event()
        async with started(tmp_path, "serve") as one, started(tmp_path, "serve") as two:
            create = ("tokens", "create", "--name", "test", "--role")
            sender = (await run(tmp_path, *create, "integration")).strip()
            handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            addresses = [one.address, two.address]
            async with asyncio.TaskGroup() as senders:
                for _ in range(6):
                    senders.create_task(
                        deliver(addresses, sender, numbers, acknowledged, until=over)
                    )
                for kill in range(4):
                    await asyncio.sleep(0.5 + kill * 0.2)
                    cluster.kill()
                    await asyncio.sleep(0.3)
                    cluster.start()
                await asyncio.sleep(1)
                over.set()
            contacts = await found(one, handler)
            assert len(acknowledged) > 100
            assert acknowledged <= set(contacts)
            assert await one.interrupt() == 0
            assert await two.interrupt() == 0
        assert "nothing is altered or missing" in await run(tmp_path, "verify")


@pytest.mark.slow
async def test_a_standby_takes_over_in_the_middle_of_deliveries(tmp_path):
    with running_cluster() as primary, running_standby(primary) as follower:
        database = await new_database(primary)
        name = database.partition("@/")[2].partition("?")[0]
        await execute(primary.url(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await execute(primary.url(), "SELECT pg_reload_conf()")
        hosts = f"{primary.directory},{follower.directory}"
        settle(tmp_path, f"postgresql://taltio@/{name}?host={hosts}")
        acknowledged, numbers, over = set(), count(), asyncio.Event()
        async with started(tmp_path, "serve") as one:
            create = ("tokens", "create", "--name", "test", "--role")
            sender = (await run(tmp_path, *create, "integration")).strip()
            handler = (await run(tmp_path, *create, "complaint_handler")).strip()
            async with asyncio.TaskGroup() as senders:
                for _ in range(6):
                    senders.create_task(
                        deliver([one.address], sender, numbers, acknowledged, until=over)
                    )
                await asyncio.sleep(1)
                primary.kill()
                before = len(acknowledged)
                await execute(follower.url(), "SELECT pg_promote()")
                await asyncio.sleep(2)
                over.set()
            assert 0 < before < len(acknowledged)
            contacts = await found(one, handler)
            assert acknowledged <= set(contacts)
            assert await one.interrupt() == 0
        assert "nothing is altered or missing" in await run(tmp_path, "verify")
