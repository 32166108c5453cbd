"""What the running service measures of itself, for ``/metrics``: each number with what it means."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from service.archive.fetch_faults import FETCH_REASONS
from service.archive.intake_memory import Sessions
from service.backup.due import age_of
from service.config import Config, StorageUrl
from service.config.roles import ProcessRole
from service.domain.fetching import FETCH, fetch_kind
from service.domain.times import to_microseconds
from service.http.limits import Room
from service.http.meters import Meters, Metric, counter, gauge
from service.wiring import Archive, Stores
from service.worker.backups import ABOUT, UNFIT, DailyBackup
from service.worker.checkpoints import LogKeeper
from service.worker.interpretation import Interpretation
from service.worker.outside import Asking
from service.worker.readiness import Readiness, resident_bytes
from service.worker.supervisor import Watch
from storage.ports import Store
from storage.rows import AttentionRow, ContactRow, DeliveryRow, JobRow

_NONE: Final = float("nan")
_WAITING: Final = ("received", "waiting")
_DIRECTORY: Final = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """Measures when asked, and only what concerns the ``role`` of the process.

    Counting rows costs a query each; everything else is at hand.
    """

    archive: Archive
    role: ProcessRole
    interpretation: Interpretation
    keeper: LogKeeper
    readiness: Readiness
    watch: Watch
    outside: Sequence[Asking]
    mailboxes: Sequence[Asking]
    mails: Mapping[str, int]
    listings: Sequence[Asking]
    listed: Mapping[str, int]
    daily: DailyBackup | None
    fetches: Mapping[str, int]
    meters: Meters
    deliveries: Room
    uploads: Room
    clock: Callable[[], datetime]

    async def __call__(self) -> Sequence[Metric]:
        """Return every metric of the role."""
        now, archive, role = self.clock(), self.archive, self.role
        sessions = archive.intake.sessions
        return [
            *_of_process(role, self.watch),
            *(await self._of_work(now) if role.works else ()),
            *(await self._of_desk() if role.serves_desk else ()),
            *(_of_sessions(sessions, now) if role.takes_in else ()),
            # The desk takes contacts and recordings of programs in.
            *(
                _of_senders(self.deliveries, self.uploads)
                if role.takes_in or role.serves_desk
                else ()
            ),
            *await asyncio.to_thread(lambda: list(_of_disks(archive.config))),
            gauge(
                "keys_at_hand",
                "0: what holds the keys is away, and nothing is opened.",
                archive.vault.ring.is_at_hand,
            ),
            *_of_stores(archive.stores),
            *self.meters.metrics(),
        ]

    async def _of_work(self, now: datetime) -> Sequence[Metric]:
        store = self.archive.stores.store
        dead = await store.count(JobRow, {"state": "dead"})
        queued = await store.count(JobRow, {"state": "queued"})
        return [
            *await _of_waiting(store, now),
            gauge("jobs_dead", "Jobs that failed for good.", dead),
            gauge("jobs_queued", "Jobs that wait or run.", queued),
            *await self._of_fetching(),
            *self._of_mailboxes(),
            *self._of_listings(),
            *await self._of_log(now),
            *await self._of_backups(now),
            gauge(
                "interpretation_backlog",
                "Deliveries that wait in memory.",
                self.interpretation.backlog,
            ),
        ]

    def _of_mailboxes(self) -> Sequence[Metric]:
        troubles = [((("place", one.name),), one.trouble_seconds) for one in self.mailboxes]
        return [
            Metric(
                "mailbox_trouble_seconds",
                "gauge",
                "For how long a mailbox could not be read; 0: all is well.",
                [("", labels, seconds) for labels, seconds in troubles],
            ),
            counter(
                "mailbox_mails_total",
                "Mails of mailboxes, by what became of them.",
                [((("outcome", name),), number) for name, number in sorted(self.mails.items())],
            ),
        ]

    def _of_listings(self) -> Sequence[Metric]:
        troubles = [((("place", one.name),), one.trouble_seconds) for one in self.listings]
        return [
            Metric(
                "listing_trouble_seconds",
                "gauge",
                "For how long a listing could not be read; 0: all is well.",
                [("", labels, seconds) for labels, seconds in troubles],
            ),
            counter(
                "listing_outcomes_total",
                "What was read of listings, by what became of it.",
                [
                    ((("outcome", name),), number)
                    for name, number in sorted(self.listed.items())
                ],
            ),
        ]

    async def _of_fetching(self) -> Sequence[Metric]:
        store = self.archive.stores.store
        kinds = [FETCH, *(fetch_kind(source.name) for source in self.archive.config.sources)]
        waiting = await store.count(JobRow, {"kind": kinds})
        open_items = {"reason": list(FETCH_REASONS), "state": "open"}
        return [
            gauge(
                "fetches_waiting",
                "Recordings that wait to be fetched, or are being fetched.",
                waiting,
            ),
            gauge(
                "fetches_failed",
                "Contacts that need attention for a recording that could not be fetched.",
                await store.count(AttentionRow, open_items),
            ),
            counter(
                "fetches_total",
                "Attempts to fetch a recording, by what became of them.",
                [
                    ((("outcome", name),), number)
                    for name, number in sorted(self.fetches.items())
                ],
            ),
        ]

    async def _of_desk(self) -> Sequence[Metric]:
        store = self.archive.stores.store
        attention = await store.count(AttentionRow, {"state": "open"})
        return [
            gauge("contacts", "Contacts in the archive.", await store.count(ContactRow, {})),
            gauge("attention_open", "Open items of needs attention.", attention),
            gauge("openings_open", "Contents being opened.", self.archive.openings.count),
        ]

    async def _of_log(self, now: datetime) -> Sequence[Metric]:
        standing = self.keeper.standing
        age = _NONE if standing is None else (now - standing.at).total_seconds()
        anchors = [((("place", one.name),), one.trouble_seconds) for one in self.outside]
        if self.keeper.anchors is not None:
            anchors.append(((("place", _DIRECTORY),), self.keeper.anchor_trouble_seconds))
        return [
            gauge(
                "log_entries", "Entries of the log.", await self.archive.stores.log.log_size()
            ),
            gauge(
                "log_unpublished_entries",
                "Entries that no published checkpoint covers.",
                await self.readiness.unpublished(),
            ),
            gauge(
                "checkpoint_age_seconds",
                "Since this process last saw the log published; NaN: not yet.",
                age,
            ),
            Metric(
                "anchor_trouble_seconds",
                "gauge",
                "For how long an anchor outside has not taken what it should; 0: all is well.",
                [("", labels, seconds) for labels, seconds in anchors],
            ),
            gauge(
                "anchors_in_trouble",
                "Anchors outside that do not take what they should.",
                sum(seconds > 0 for _, seconds in anchors),
            ),
        ]

    async def _of_backups(self, now: datetime) -> Sequence[Metric]:
        # Which backups are the archive's own, its keys tell.
        is_known = self.daily is not None and self.archive.vault.ring.is_at_hand
        newest = await self.daily.newest(now) if self.daily and is_known else None
        where = {"about": ABOUT, "reason": UNFIT, "state": "open"}
        unfit = await self.archive.stores.store.count(AttentionRow, where)
        return [
            gauge(
                "backup_configured", "1: backups are made by itself.", self.daily is not None
            ),
            gauge(
                "backup_age_seconds",
                "Age of the newest backup; NaN: there is none, or the keys are away.",
                age_of(newest, now=now),
            ),
            gauge(
                "backup_running",
                "1: a backup is being made.",
                self.daily is not None and self.daily.is_running,
            ),
            gauge("backup_unfit", "1: the newest backup failed its drill.", unfit),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringIntake:
    """Measures a process that only takes in, likewise."""

    config: Config
    stores: Stores
    sessions: Sessions
    watch: Watch
    meters: Meters
    deliveries: Room
    uploads: Room
    clock: Callable[[], datetime]

    async def __call__(self) -> Sequence[Metric]:
        """Return every metric. Deliveries that wait are told here too: workers that are down tell nothing."""
        now = self.clock()
        return [
            *_of_process(ProcessRole.INTAKE, self.watch),
            *await _of_waiting(self.stores.store, now),
            *_of_sessions(self.sessions, now),
            *_of_senders(self.deliveries, self.uploads),
            *await asyncio.to_thread(lambda: list(_of_disks(self.config))),
            *_of_stores(self.stores),
            *self.meters.metrics(),
        ]


def _of_process(role: ProcessRole, watch: Watch) -> Iterator[Metric]:
    # A number that is always 1 carries the role in a label, as is usual for what is no number.
    yield Metric(
        "process",
        "gauge",
        "Always 1: the role of this process.",
        [("", [("role", role.value)], 1)],
    )
    memory = resident_bytes()
    yield gauge(
        "process_resident_bytes",
        "Memory of this process.",
        _NONE if memory is None else memory,
    )
    yield gauge(
        "loops_failing",
        "Kinds of work beside requests that failed lately.",
        len(watch.failing()),
    )


async def _of_waiting(store: Store, now: datetime) -> Sequence[Metric]:
    oldest = [
        row.received_at
        for state in _WAITING
        for row in await store.find(
            DeliveryRow, {"state": state}, order=["received_at"], limit=1
        )
    ]
    age = (to_microseconds(now) - min(oldest)) / 1e6 if oldest else 0.0
    waiting = await store.count(DeliveryRow, {"state": _WAITING})
    return [
        gauge("deliveries_waiting", "Deliveries that are not understood yet.", waiting),
        gauge("deliveries_oldest_seconds", "Age of the oldest of them; 0: none.", age),
    ]


def _of_sessions(sessions: Sessions, now: datetime) -> Iterator[Metric]:
    begun = sessions.begun_at
    yield gauge(
        "session_key_age_seconds",
        "Age of the key that seals deliveries now; NaN: none is in use.",
        _NONE if begun is None else (now - begun).total_seconds(),
    )


def _of_senders(deliveries: Room, uploads: Room) -> Iterator[Metric]:
    yield gauge("deliveries_open", "Deliveries being written.", deliveries.taken)
    yield gauge("uploads_open", "Recordings being taken in.", uploads.taken)


def _of_stores(stores: Stores) -> Iterator[Metric]:
    yield gauge(
        "storage_broken",
        "1: a sync failed, and nothing more is taken.",
        stores.soundness.is_lost,
    )
    yield counter(
        "storage_failures_total",
        "What stores failed at: database, keys or blobs, and how.",
        [
            ((("store", part), ("kind", kind)), number)
            for (part, kind), number in sorted(stores.failures.items())
        ],
    )


def _of_disks(config: Config) -> Iterator[Metric]:
    """Measure the file systems on which the archive lies; those that cannot be asked are left out."""
    free, size = [], []
    for name, place in _places(config).items():
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        free.append(("", (("place", name),), float(usage.free)))
        size.append(("", (("place", name),), float(usage.total)))
    yield Metric("disk_free_bytes", "gauge", "Free bytes of the disk of each place.", free)
    yield Metric("disk_size_bytes", "gauge", "Size of the disk of each place.", size)


def _places(config: Config) -> Mapping[str, Path]:
    places: dict[str, Path | None] = {
        "archive": config.archive.directory,
        "anchors": config.log.anchor_directory,
        "backup": config.backup.directory,
        "backup_keys": config.backup.keys_directory,
    }
    blobs, database = config.storage.blobs, config.storage.database
    if isinstance(blobs, StorageUrl):
        places["blobs"] = blobs.path
    if isinstance(database, StorageUrl):
        places["database"] = database.path.parent
    return {name: place for name, place in places.items() if place is not None}
