"""A recording that is fetched is the same as one that was delivered; one that cannot be had is never lost in silence."""

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from service.archive.receive import find_kept_recording, keep_delivery
from service.archive.records import recording_of
from service.domain.actor import Role
from service.domain.errors import TamperedError
from service.domain.fetching import FetchError, FetchFault
from service.domain.urls import Origin
from service.fetching import fetching_of
from service.log.entry import EntryType
from service.worker.fetching.client import Fetcher
from service.worker.fetching.job import PAUSES, is_final
from service.worker.fetching.rules import FetchRules
from service.worker.jobs import JobRunner
from storage.ports import Put
from storage.rows import AttentionRow, ContactRow, DeliveryRow, JobRow, ObjectRow, RecordingRow
from tests.answering import answering, moved, ok
from tests.archive.test_expect import entries
from tests.archive.test_spine import deliver_recording
from tests.conftest import NOW, actor
from tests.fakes import Clock

ADMIN = actor(Role.ADMIN)
HANDLER = actor(Role.COMPLAINT_HANDLER)
LOOPBACK = [ip_network("127.0.0.0/8")]
SOUND = b"RIFF-sound" * 100


def rules(*origins, **more):
    return FetchRules(
        **{
            "origins": {Origin.parse(origin): None for origin in origins},
            "networks": LOOPBACK,
            **more,
        }
    )


class Desk:
    """An archive whose source ``pbx`` names recordings by URL, and a worker that fetches them."""

    def __init__(self, archive, *origins, **more):
        self.archive, self.clock = archive, Clock()
        self.store = archive.stores.store
        self.fetching = replace(
            fetching_of(archive), fetchers={"pbx": Fetcher(rules(*origins, **more))}
        )
        self.runner = JobRunner(
            self.store,
            {"fetch": self.fetching.kind},
            lambda: self.clock.now,
            poll_every=timedelta(0),
            chance=lambda: 0.0,
        )

    async def announce(self, *recordings, source_id="c-1", ident="w-1", **changes):
        told = {
            "source_id": source_id,
            "channel": "call",
            "direction": "inbound",
            "started_at": "2026-11-22T11:00:00Z",
            "ended_at": "2026-11-22T11:05:00Z",
            "parties": [{"role": "customer", "phone": "+358401234567"}],
            "recordings": list(recordings),
            **changes,
        }
        kept = await keep_delivery(
            self.archive.intake,
            source="pbx",
            kind="contact",
            ident=ident,
            body=json.dumps(told).encode(),
            now=self.clock.now,
        )
        await self.archive.understanding.understand(
            [(kept.row, kept.delivery)], now=self.clock.now
        )

    async def work(self):
        return await self.runner.run_one("fetch")

    async def work_until_dead(self):
        """Try until nothing is due any more within two days; return how often it was tried."""
        tries = 0
        for _ in range(40):
            tries += await self.work()
            self.clock.wait(hours=2)
        return tries

    async def rows(self, table, **where):
        return list(await self.store.find(table, where))

    async def recording(self):
        (row,) = await self.rows(RecordingRow)
        return row, recording_of(row, await self.archive.vault.get_sealer(row.contact_id))

    async def contact(self):
        (row,) = await self.rows(ContactRow)
        return row

    async def reasons(self, state="open"):
        return sorted(row.reason for row in await self.rows(AttentionRow, state=state))


def named(server, target="/a.wav", **more):
    return {"name": "a.wav", "url": server.url(target), **more}


@asynccontextmanager
async def serving(archive, answer, **more):
    async with answering(answer) as server:
        yield Desk(archive, server.origin, **more), server


async def test_what_is_announced_is_expected_fetched_and_then_as_if_it_had_been_delivered(
    archive,
):
    async with serving(archive, ok(SOUND, "Content-Type: audio/wav")) as (desk, server):
        await desk.announce(named(server))
        row, sealed = await desk.recording()
        assert (row.state, sealed.name, (await desk.contact()).recording_state) == (
            "expected",
            "a.wav",
            "expected",
        )
        assert await desk.work()
        row, sealed = await desk.recording()
    assert (row.state, row.expected_until) == ("present", None)
    assert (sealed.name, sealed.content_type) == ("a.wav", "audio/wav")
    assert sealed.sha256 == hashlib.sha256(SOUND).hexdigest()
    assert (await desk.contact()).recording_state == "present"
    assert await desk.rows(JobRow, kind="fetch") == []
    assert len(await desk.rows(JobRow, kind="media")) == 1
    (delivery,) = await desk.rows(DeliveryRow, kind="recording")
    assert (delivery.state, delivery.source) == ("understood", "pbx")
    (stored,) = await desk.rows(ObjectRow)
    assert (stored.owner_id, stored.plain_bytes) == (row.id, len(SOUND))
    for kind in ("RECORDING_EXPECTED", "RECORDING_RECEIVED", "RECORDING_ATTACHED"):
        assert len(await entries(archive, EntryType[kind])) == 1
    assert await desk.reasons() == []
