from dataclasses import dataclass, field

import pytest

from service.archive.receive import Kept, keep_delivery
from service.config import Config, parse_config
from service.connecting.settings import parse_details
from service.connections import Connections, connections_of
from service.domain.actor import Role
from service.intake.listening import Listeners
from service.log.entry import LogEntry, decode_entry
from service.wiring import Archive
from storage.rows import DeliveryRow
from tests.archive.test_spine import call
from tests.conftest import NOW, actor

ADMIN = actor(Role.ADMIN)
SETTINGS = """
[access]
second_factor = "offered"
undertaking_version = ""

[notice]
covers = ["call inbound", "call outbound"]
version = "2026-10"

[[sources]]
name = "pbx"
kind = "api"
carries = ["call inbound"]
"""
CARRIES = ("call inbound",)


@pytest.fixture
def config(tmp_path) -> Config:
    return parse_config(SETTINGS, base=tmp_path)


@dataclass
class Site:
    """An archive with what connects sources to it."""

    archive: Archive
    connections: Connections = field(init=False)

    def __post_init__(self):
        self.connections = connections_of(self.archive)
        self.sources = self.connections.sources
        self.replays = self.connections.replays
        self.store = self.archive.stores.store

    async def add(
        self, name="phones", kind="standard-webhooks", carries=CARRIES, **details
    ) -> str:
        """Add a source; return its secret."""
        made = await self.sources.add(
            name,
            kind,
            parse_details(kind, default_region="FI", carries=carries, **details),
            actor=ADMIN,
            now=NOW,
        )
        return made.secret

    async def live(self, name="phones"):
        await self.sources.go_live(name, actor=ADMIN, now=NOW)

    async def deliver(self, body=None, **named) -> Kept:
        """Keep a delivery as intake does, and understand it."""
        kept = await self.keep(body, **named)
        await self.archive.understanding.understand([(kept.row, kept.delivery)], now=NOW)
        return kept

    async def keep(self, body=None, *, source="phones", ident="w-1", remarks=()) -> Kept:
        """Keep a delivery as intake does."""
        return await keep_delivery(
            self.archive.intake,
            source=source,
            kind="contact",
            ident=ident,
            body=call() if body is None else body,
            now=NOW,
            remarks=remarks,
        )

    async def row(self, kept: Kept) -> DeliveryRow:
        (row,) = await self.store.find(DeliveryRow, {"id": kept.row.id})
        return row

    async def listeners(self, now=NOW) -> Listeners:
        """Return the listeners of a process that has intake's keys alone."""
        listeners = Listeners(
            {},
            store=self.store,
            keys=self.archive.vault.ring.intake_keys,
            tolerance=NOW - NOW,
        )
        await listeners.refresh(now)
        return listeners

    async def logged(self, subject: str) -> list[LogEntry]:
        return [
            decode_entry(one.entry) for one in await self.archive.stores.log.log_about(subject)
        ]


@pytest.fixture
async def site(archive) -> Site:
    return Site(archive)
