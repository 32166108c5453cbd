"""The clock jumps by three days, forwards and back, while the service runs and while it does not: nothing is lost."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from tests.crash.workload import items_of, send
from tests.system.programs import ENVIRONMENT, until

LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"


@pytest.fixture
def clock(tmp_path):
    """A clock that stands as far from the true one as its file says."""
    library = next(Path("/").glob(LIBRARIES.lstrip("/")), None)
    if library is None:
        pytest.skip("libfaketime is absent")
    return Clock(tmp_path / "clock", library)


class Clock:
    def __init__(self, path: Path, library: Path) -> None:
        self.path = path
        self.environment = {
            **ENVIRONMENT,
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            # What measures durations does not jump, in Linux as here.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.jump(0)

    def jump(self, days: int) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{days:+d}d\n")
        fresh.replace(self.path)


async def keep(client, site, *names: str) -> None:
    for name in names:
        for item in items_of(name):
            site.history.sent(item)
            await send(client, item, site.tokens)
            site.history.acknowledged(item)


def rows(site, sql: str) -> list[tuple]:
    with closing(
        sqlite3.connect(f"{(site.data / 'taltio.db').as_uri()}?mode=ro", uri=True)
    ) as db:
        return db.execute(sql).fetchall()


async def until_none(site, sql: str) -> None:
    await until(lambda: not rows(site, sql))


NOT_UNDERSTOOD = "SELECT id FROM deliveries WHERE state = 'received'"
NOT_DONE = "SELECT id FROM jobs"


@pytest.mark.slow
async def test_a_clock_that_jumps_loses_nothing_and_holds_nothing_up(make_site, clock):
    site = make_site()
    async with (
        site.serving(environment=clock.environment) as service,
        aiohttp.ClientSession(service.address) as client,
    ):
        handler = {"Authorization": f"Bearer {site.tokens.handler}"}
        await keep(client, site, "pbx/call-0", "hook/call-1")
        grant, recording = await granted(client, handler)
        assert await opened(client, handler, grant, recording) == 200
        for number, days in enumerate((3, 0, -3, 0)):
            clock.jump(days)
            await keep(client, site, f"pbx/jump-{number}", f"hook/jump-{number}")
            await until_none(site, NOT_UNDERSTOOD)
            await until_none(site, NOT_DONE)
            # A grant is for some hours; a new one can be made at any time, and works.
            status = await opened(client, handler, grant, recording)
            assert status == (403 if days == 3 else 200)
            fresh, again = await granted(client, handler)
            assert await opened(client, handler, fresh, again) == 200
            async with asyncio.timeout(90):
                while True:
                    async with client.get("/readyz") as answer:
                        if answer.status == 200:
                            break
                    await asyncio.sleep(0.2)
    times = [
        at
        for (at,) in rows(
            site, "SELECT json_extract(CAST(entry AS text), '$.at') FROM log ORDER BY position"
        )
    ]
    assert times != sorted(times), "the clock did not jump"
    late = rows(site, "SELECT id FROM attention WHERE reason = 'outside_tolerance'")
    assert len(late) == 2, "what was signed at another time is shown"
    assert await site.completed() >= 10


@pytest.mark.slow
async def test_what_a_kill_left_in_the_future_is_worked_in_at_the_next_start(make_site, clock):
    """Jobs and deliveries of a clock that was three days ahead do not wait for three days."""
    site = make_site()
    clock.jump(3)
    async with (
        site.serving(environment=clock.environment) as service,
        aiohttp.ClientSession(service.address) as client,
    ):
        # Sounds are examined one after the other, in jobs.
        await asyncio.gather(*(keep(client, site, f"pbx/late-{n}") for n in range(12)))
        await service.kill()
    assert rows(site, NOT_DONE) or rows(site, NOT_UNDERSTOOD), "the kill came too late"
    clock.jump(0)
    async with site.serving(environment=clock.environment):
        await until_none(site, NOT_UNDERSTOOD)
        await until_none(site, NOT_DONE)
    assert await site.completed() >= 1


async def granted(client, headers) -> tuple[str, str]:
    """Return a new grant and the recording of the contact for which it is."""
    async with client.get(
        "/api/v1/contacts", params={"limit": "50"}, headers=headers
    ) as answer:
        contacts = [one["id"] for one in (await answer.json())["contacts"]]
    order = {"purpose": "verify_contact", "contacts": contacts}
    async with client.post("/api/v1/grants", json=order, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        grant = (await answer.json())["id"]
    for contact in contacts:
        async with client.get(f"/api/v1/contacts/{contact}", headers=headers) as answer:
            for recording in (await answer.json())["recordings"]:
                if recording.get("sha256"):
                    return grant, recording["id"]
    raise AssertionError("no recording is there")


async def opened(client, headers, grant: str, recording: str) -> int:
    path = f"/api/v1/recordings/{recording}/content"
    async with client.get(path, headers={**headers, "Access-Grant": grant}) as answer:
        await answer.read()
        return answer.status
