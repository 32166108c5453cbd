"""A small archive: the real stores and keys, blobs in memory that can be damaged, and a few contacts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.archive.contact_checks import ContactChecker
from service.archive.export import Exporter
from service.archive.grants import Grants
from service.archive.interpret import Arrival, Interpreter
from service.archive.marked import Marker, MarkingStore
from service.archive.objects import seal_object
from service.archive.open import Opener
from service.archive.openings import Openings
from service.archive.published import PublishedLog
from service.archive.receive import received_recording, recording_entry
from service.archive.targets import Asked, Subject
from service.archive.vault import Vault
from service.archive.verify import Verifier
from service.databases import Alone
from service.domain.actor import Actor, ActorKind, Role
from service.domain.contact import (
    Channel,
    ContactFacts,
    Direction,
    MessageText,
    Party,
    PartyRole,
)
from service.domain.ids import new_id
from service.domain.purpose import Grant, Purpose
from service.keys.file import FileKeyProvider
from service.keys.ring import KeyRing
from service.log.entry import LogEntry, decode_entry
from service.wiring import marker_of
from service.worker.checkpoints import LogKeeper
from storage.database.keys import SqliteKeyStore
from storage.database.sqlite import SqliteStore
from storage.errors import ConflictError, MissingError
from storage.published import PublishedFiles
from storage.rows import MessageRow, RecordingRow

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HANDLER = Actor(
    id="us_handler", kind=ActorKind.PERSON, roles=frozenset({Role.COMPLAINT_HANDLER})
)
OTHER_HANDLER = Actor(
    id="us_other", kind=ActorKind.PERSON, roles=frozenset({Role.COMPLAINT_HANDLER})
)
DPO = Actor(id="us_dpo", kind=ActorKind.PERSON, roles=frozenset({Role.DPO}))
AUDITOR = Actor(id="us_auditor", kind=ActorKind.PERSON, roles=frozenset({Role.AUDITOR}))
AGENT = Actor(id="us_agent", kind=ActorKind.PERSON, roles=frozenset({Role.AGENT}))
ADMIN = Actor(id="us_admin", kind=ActorKind.PERSON, roles=frozenset({Role.ADMIN}))


class MemoryBlobs:
    """`storage.ports.BlobStore` in memory; ``broken`` makes the next operations fail."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytearray] = {}
        self.broken: BaseException | None = None
        self.open_readers = 0

    @asynccontextmanager
    async def create(self, name: str):
        yield _Writer(self, name)

    @asynccontextmanager
    async def open(self, name: str):
        if self.broken:
            raise self.broken
        if name not in self.blobs:
            raise MissingError(name)
        self.open_readers += 1
        try:
            yield _Reader(self, name)
        finally:
            self.open_readers -= 1

    async def remove(self, name: str) -> None:
        self.blobs.pop(name, None)

    async def names(self) -> AsyncIterator[str]:
        for name in list(self.blobs):
            yield name

    async def find_fault(self) -> str | None:
        return None

    async def tidy(self, **_) -> int:
        return 0


class _Writer:
    def __init__(self, store: MemoryBlobs, name: str) -> None:
        self._store, self._name, self._data = store, name, bytearray()

    async def write(self, data: bytes) -> None:
        self._data += data

    async def finish(self) -> None:
        if self._name in self._store.blobs:
            raise ConflictError(self._name)
        self._store.blobs[self._name] = self._data


class _Reader:
    def __init__(self, store: MemoryBlobs, name: str) -> None:
        self._store, self._name = store, name

    @property
    def size_bytes(self) -> int:
        return len(self._store.blobs[self._name])

    async def read(self, offset: int, length: int) -> bytes:
        if self._store.broken:
            raise self._store.broken
        await asyncio.sleep(0)
        return bytes(self._store.blobs[self._name][offset : offset + length])


class Faulty:
    """A store whose commits fail while ``fault`` is set; everything else is the store's own."""

    def __init__(self, store: SqliteStore, marker: Marker) -> None:
        self._store, self._marking = store, MarkingStore(store, marker)
        self.fault: BaseException | None = None
        self.commits = 0

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    @property
    def unmarked(self) -> SqliteStore:
        """The store as somebody without keys writes into it."""
        return self._store

    async def commit(self, change) -> None:
        if self.fault:
            raise self.fault
        self.commits += 1
        await self._marking.commit(change)

    async def commit_each(self, changes):
        return await self._marking.commit_each(changes)


@dataclass
class World:
    """The archive under test."""

    directory: Path
    store: Faulty
    keys: SqliteKeyStore
    ring: KeyRing
    vault: Vault
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    now: datetime = NOW

    def __post_init__(self) -> None:
        (self.directory / "anchors").mkdir(exist_ok=True)
        self.interpreter = Interpreter(
            store=self.store, blobs=self.blobs, vault=self.vault, rules={}
        )
        self.openings = Openings(self.store)
        self.opener = Opener(
            store=self.store,
            log=self.store,
            blobs=self.blobs,
            vault=self.vault,
            openings=self.openings,
        )
        self.keeper = LogKeeper(
            store=self.store,
            log=self.store,
            published=PublishedFiles(self.directory / "data" / "log"),
            ledger=PublishedFiles(self.directory / "data" / "ledger"),
            anchors=self.directory / "anchors",
            name="archive.example.org",
            signing_key=lambda: self.ring.log_signing_key,
            turn=Alone(),
            is_able=lambda: True,
        )
        self.published = PublishedLog(
            published=self.keeper.published,
            ledger=self.keeper.ledger,
            anchors=self.keeper.anchors,
            signing_key=lambda: self.ring.log_signing_key,
        )
        self.checker = ContactChecker(self.store, self.store, self.blobs, self.vault)
        self.marker = marker_of(self.ring)
        self.verifier = Verifier(self.checker, self.published, self.marker)
        self.grants = Grants(
            store=self.store, vault=self.vault, on_withdrawn=self.openings.forget
        )
        self.exporter = Exporter(self.store, self.blobs, self.vault, self.verifier, self.grants)

    async def publish(self) -> None:
        """Sign and anchor the log as it is."""
        await self.keeper.publish(now=self.now)

    def wait(self, **duration: float) -> datetime:
        self.now += timedelta(**duration)
        return self.now

    async def call(
        self, audio: bytes | None = b"hello", *, source_id: str = "call-1", **facts: object
    ) -> str:
        """Archive a call, with its recording unless ``audio`` is None; return the contact's id."""
        told = {
            "channel": Channel.CALL,
            "direction": Direction.INBOUND,
            "started_at": NOW - timedelta(days=1),
            "ended_at": NOW - timedelta(days=1) + timedelta(minutes=3),
            "parties": (
                Party(role=PartyRole.CUSTOMER, phone="+358401234567", name="Ines Esimerkki"),
                Party(role=PartyRole.AGENT, agent_id="agent-7"),
            ),
            **facts,
        }
        arrivals = [
            Arrival(
                source="pbx",
                source_id=source_id,
                facts=ContactFacts(source_id=source_id, **told),
            )
        ]
        if audio is not None:
            arrivals.append(await self.recording(audio, source_id=source_id))
        outcomes = await self.interpreter.interpret(arrivals, now=self.now)
        return outcomes[0].contact.id

    async def recording(self, audio: bytes, *, source_id: str) -> Arrival:
        """Seal a recording, ready to be worked into its contact."""

        async def chunks():
            yield audio

        sealed = await seal_object(
            new_id("ob"),
            chunks(),
            kind="recording",
            blobs=self.blobs,
            seal_header=self.ring.seal_header,
            limit_bytes=1 << 40,
            now=self.now,
        )
        received = received_recording(
            sealed, source_id=source_id, name="call.wav", content_type="audio/wav"
        )
        entry = recording_entry(sealed, received, source="pbx", now=self.now)
        return Arrival(
            source="pbx",
            source_id=source_id,
            recording=(received, sealed.row),
            also=(entry,),
            also_keys=(sealed.header,),
        )

    async def chat(self, *texts: str | MessageText, source_id: str = "chat-1") -> str:
        """Archive a chat; return the contact's id."""
        messages = tuple(
            text
            if isinstance(text, MessageText)
            else MessageText(
                sender="Ines Esimerkki", sent_at=NOW - timedelta(hours=5 - i), text=text
            )
            for i, text in enumerate(texts)
        )
        facts = ContactFacts(
            source_id=source_id,
            channel=Channel.CHAT,
            direction=Direction.INBOUND,
            started_at=NOW - timedelta(hours=6),
            messages=messages,
        )
        arrival = Arrival(source="chat", source_id=source_id, facts=facts)
        outcomes = await self.interpreter.interpret([arrival], now=self.now)
        return outcomes[0].contact.id

    async def recording_of(self, contact_id: str) -> RecordingRow:
        return (await self.store.find(RecordingRow, {"contact_id": contact_id}))[0]

    async def asked(self, contact_id: str) -> Asked:
        return Asked(Subject.RECORDING, (await self.recording_of(contact_id)).id)

    async def messages_of(self, contact_id: str) -> list[MessageRow]:
        where = {"contact_id": contact_id}
        return list(await self.store.find(MessageRow, where, order=("sent_at",)))

    async def grant(self, *contact_ids: str, actor: Actor = HANDLER, **more: object) -> Grant:
        asked = {"purpose": Purpose.HANDLE_COMPLAINT, "reference": "R-2026-17", **more}
        return await self.grants.create(
            actor=actor, contact_ids=contact_ids, now=self.now, **asked
        )

    async def entries(self, kind: str | None = None) -> list[LogEntry]:
        stored = await self.store.log_entries(0, await self.store.log_size())
        entries = [decode_entry(one.entry) for one in stored]
        return [entry for entry in entries if kind in {None, entry.type.value}]


@asynccontextmanager
async def opened_world(directory: Path) -> AsyncIterator[World]:
    """Make an archive below ``directory`` and open it."""
    provider = FileKeyProvider(directory / "keys", archive=directory / "data")
    provider.create(now=NOW)
    ring = KeyRing(provider.load())
    (directory / "data").mkdir()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            SqliteStore.opened(directory / "data" / "taltio.db", create=True)
        )
        keys = await stack.enter_async_context(
            SqliteKeyStore.opened(directory / "data" / "keys.db", create=True)
        )
        vault = Vault(ring=ring, keys=keys, index=ring.blind_index())
        world = World(directory, Faulty(store, marker_of(ring)), keys, ring, vault)
        yield world
        await world.openings.aclose(now=world.now)
