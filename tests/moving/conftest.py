"""A small archive of one machine with everything in it that an archive may hold, to be moved."""

import asyncio
import io
import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from service.cli.commands import build_parser
from service.cli.migrate import migrate
from service.config import load_config
from service.domain.actor import Role
from service.http.server import listening
from service.serving import build_service
from service.wiring import key_provider, opened_archive
from tests.postgres import execute, new_database
from tests.system.world import SOURCES, World, contact, opened_world, write_secret

SETTINGS = (
    """
[archive]
name = "archive.example.org"
[storage]
{storage}
[web]
listen = "127.0.0.1:0"
"""
    + SOURCES
)
LONG = os.urandom(700_000)


@dataclass
class Place:
    """An archive's folder with its settings; ``ids`` are those of what is in it."""

    folder: Path
    ids: dict[str, str]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def config(self):
        return load_config(self.folder / "config.toml")

    def settle(self, *lines: str) -> None:
        """Write the settings with these lines of [storage]."""
        text = SETTINGS.format(storage="\n".join(lines))
        (self.folder / "config.toml").write_text(text)

    async def migrate(self, *words: object) -> int:
        options = build_parser().parse_args(["migrate", *map(str, words)])
        return await migrate(self.config, options)

    def settle_as_told(self, told: str) -> None:
        """Change the settings as the move said."""
        listed = told.split("\n[storage]\n")[1].split("\n\n", maxsplit=1)[0]
        self.settle(*[line for line in listed.splitlines() if " = " in line])

    @asynccontextmanager
    async def opened(self):
        """Run the service on the archive, and yield the world of those who ask it."""
        async with opened_archive(self.config) as archive:
            service = build_service(archive)
            async with (
                listening(service.app, "127.0.0.1", 0) as (host, port),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            ):
                yield World(archive, service, f"http://{host}:{port}", http, self.ids)

    def files(self) -> dict[str, bytes]:
        """Return every file that the move leaves alone, by its path."""
        own = {"moved.json", "serve.lock"}
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            and path.name not in own
            and path.suffix not in {".db-wal", ".db-shm"}
            if not path.name.endswith(("-wal", "-shm"))
        }


async def fill(folder: Path) -> dict[str, str]:
    """Make an archive in ``folder``; return the ids of what is in it."""
    config = load_config(folder / "config.toml")
    key_provider(config).create(now=datetime.now(UTC))
    async with opened_archive(config, create=True) as archive, opened_world(archive) as world:
        sender = await world.token(Role.INTEGRATION)
        world.ids["held"] = await world.new_contact()
        world.ids["hold"] = await world.hold()
        world.ids["asked"] = await world.erasure()
        first, second = [await world.person(Role.DPO, login) for login in ("aino", "oiva")]
        world.ids["erased"] = await world.new_contact()
        await world.ask(
            sender,
            "PUT",
            f"/api/v1/contacts/{world.ids['erased']}/recordings/a.wav",
            body=os.urandom(5000),
            Content_Type="audio/wav",
        )
        order = {"contact": world.ids["erased"], "ground": "data_subject_request"}
        asked = await world.ask(first, "POST", "/api/v1/erasures", body=order)
        await world.ask(second, "POST", f"/api/v1/erasures/{asked.json['id']}/approve")
        for number in range(3):
            told = contact(f"c-long-{number}", messages=[])
            made = await world.ask(sender, "POST", "/api/v1/contacts", body=told)
            await world.ask(
                sender,
                "PUT",
                f"/api/v1/contacts/{made.json['id']}/recordings/a.bin",
                body=io.BytesIO(LONG),
                Content_Type="application/octet-stream",
            )
        # Bytes that came before their contact, and a blob of which no row tells any more.
        await world.ask(
            sender,
            "PUT",
            "/intake/pbx/c-later/recordings/a.wav",
            body=LONG[:70_000],
            Content_Type="audio/wav",
        )
        async with archive.stores.blobs.create("ob_nobody") as writer:
            await writer.write(b"left by a crash")
            await writer.finish()
        await world.service.keeper.publish(now=world.now)
        # An entry that is not signed yet.
        await world.new_contact()
        return world.ids


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    write_secret(folder)
    place = Place(folder, {})
    place.settle()
    place.ids.update(asyncio.run(fill(folder)))
    return place


@pytest.fixture
def place(template, tmp_path):
    """A copy of the archive, closed."""
    folder = tmp_path / "archive"
    shutil.copytree(template.folder, folder)
    return Place(folder, dict(template.ids))


@pytest.fixture
async def database(cluster):
    async with new_databases(cluster) as make:
        yield await make()


@asynccontextmanager
async def new_databases(cluster):
    """Make databases that are gone afterwards: a server that stops syncs every file of those that are left."""
    made = []

    async def make():
        made.append(await new_database(cluster))
        return made[-1]

    try:
        yield make
    finally:
        for url in made:
            name = url.partition("@/")[2].partition("?")[0]
            await execute(cluster.url(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def bucket(seaweed):
    """The words that name a part of the bucket that is empty."""
    return (
        f"--blobs=s3://archive/moving/{os.urandom(8).hex()}",
        "--region=eu-test-1",
        f"--endpoint={seaweed.endpoint}",
        "--country=FI",
        f"--credentials-file={seaweed.credentials_file}",
        f"--filer={seaweed.filer}",
    )
