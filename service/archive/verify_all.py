"""Verifying the whole archive: everything is read and checked, and what is wrong is named by contact.

The plain content is not hashed again for each recording, because its blob is compared with the log and every
chunk of it authenticates; verifying a single contact does that too.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from service.archive.checks import Check, Outcome, State, decide_state
from service.archive.contact_checks import ContactChecker
from service.archive.evidence import ContactRows
from service.archive.forged import without_forged
from service.archive.marked import Marker
from service.archive.published import LogView, PublishedLog
from service.archive.verify_accounts import AccountChecker
from service.archive.verify_erased import check_erased
from service.archive.verify_index import LogIndex, check_key
from service.archive.verify_links import LinkChecker
from service.archive.verify_log import StoredLog, inspect_published
from service.archive.verify_rows import RowChecker, pages
from storage.rows import ContactRow, ObjectRow

Progress = Callable[[int, int], None]
"""Is told how many objects of how many have been read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that did not pass, and the contact it concerns, if it concerns one."""

    contact_id: str | None
    check: Check


@dataclass(slots=True)
class ArchiveReport:
    """What was read, and everything that is not as it should be. ``orphans`` are blobs that no row names: no harm.

    ``recordings`` and ``messages`` count those whose bytes were to be read, ``objects`` also what was derived of them.
    ``vouched`` are sentences: who outside vouches for which state of the log.
    """

    contacts: int = 0
    recordings: int = 0
    messages: int = 0
    objects: int = 0
    sealed_bytes: int = 0
    entries: int = 0
    orphans: int = 0
    findings: list[Finding] = field(default_factory=list)
    vouched: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """The gravest outcome: passed, unknown or failed."""
        state = decide_state([finding.check for finding in self.findings])
        if not self.findings:
            return Outcome.PASSED
        return Outcome.FAILED if state is State.ALTERED else Outcome.UNKNOWN

    def count(self, objects: Collection[ObjectRow]) -> None:
        """Count ``objects`` by their kind."""
        kinds = Counter(stored.kind for stored in objects)
        self.recordings += kinds["recording"]
        self.messages += kinds["message"]
        self.objects += len(objects)

    def add(self, contact_id: str | None, checks: Sequence[Check]) -> None:
        """Keep what did not pass."""
        self.findings += [
            Finding(contact_id, check)
            for check in checks
            if check.outcome in {Outcome.FAILED, Outcome.UNKNOWN}
        ]


@dataclass(frozen=True, slots=True)
class ArchiveVerifier:
    """Verifies everything. ``workers`` contacts are read at a time; without ``marker`` no marks are checked.

    ``company_numbers`` are the company's own, by source; ``timezone`` that in which customers' occupancies are days.
    """

    checker: ContactChecker
    published: PublishedLog
    company_numbers: Mapping[str, Collection[str]] = field(default_factory=dict)
    timezone: str = "UTC"
    marker: Marker | None = field(default=None, repr=False)
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    async def verify(
        self, *, on_progress: Progress = lambda _done, _total: None
    ) -> ArchiveReport:
        """Read and check everything; return what was found. Constant memory, apart from findings.

        Raises:
            storage.errors.StorageError: Rows or log cannot be read at all.
        """
        report = ArchiveReport()
        total = await self.checker.store.count(ObjectRow, {})
        view = await self._log(report)
        await self._contacts(view, report, lambda: on_progress(report.objects, total))
        await self._others(report)
        await self._orphans(report)
        on_progress(total, total)
        return report

    async def _log(self, report: ArchiveReport) -> LogView | None:
        def counted(done: int, _: int) -> None:
            report.entries = done

        view, checks = await asyncio.to_thread(
            inspect_published,
            self.published,
            on_entries=counted,
            on_vouched=report.vouched.append,
        )
        report.add(None, checks)
        if view is not None:
            report.add(None, await asyncio.to_thread(check_key, self.published, view))
        async for wrong in LogIndex(self.checker.log).check():
            report.add(None, [wrong])
        stored = StoredLog(self.checker.store, self.checker.log, self.published, self.marker)
        async for check in stored.check(view):
            contact_id = check.about if check.about.startswith("ct_") else None
            report.add(contact_id, [check])
        return view

    async def _contacts(
        self, view: LogView | None, report: ArchiveReport, advanced: Callable[[], None]
    ) -> None:
        source = _Shared(self._read_contacts())
        async with asyncio.TaskGroup() as tasks:
            for _ in range(max(1, self.workers)):
                tasks.create_task(self._work(source, view, report, advanced))

    async def _read_contacts(self) -> AsyncIterator[ContactRows]:
        async for rows in pages(self.checker.store, ContactRow):
            for one in (await self.checker.read([row.id for row in rows])).values():
                yield one

    async def _work(
        self,
        source: "_Shared",
        view: LogView | None,
        report: ArchiveReport,
        advanced: Callable[[], None],
    ) -> None:
        while (rows := await source.next()) is not None:
            await self._contact(rows, view, report)
            advanced()

    async def _contact(
        self, rows: ContactRows, view: LogView | None, report: ArchiveReport
    ) -> None:
        def read(count: int) -> None:
            report.sealed_bytes += count

        readings = 0
        while True:
            evidence, broken = await self.checker.get_evidence(rows)
            evidence, forged = await without_forged(
                evidence, view, self.published.read, self.marker
            )
            broken = (*broken, *forged)
            if evidence.is_erased:
                # As it is now: it may have been erased since it was read.
                now_there = (await self.checker.read([rows.id]))[rows.id]
                report.add(rows.id, (*broken, *await check_erased(self.checker, now_there)))
                return
            checks = await self.checker.check(
                rows, evidence, wants_plain_hash=False, on_bytes=read
            )
            readings += 1
            if readings == _READINGS or all(
                one.outcome is not Outcome.FAILED for one in checks
            ):
                break
            # Somebody may write meanwhile: what does not fit is read anew before it is reported.
            again = (await self.checker.read([rows.id]))[rows.id]
            if again == rows:
                break
            rows = again
        report.contacts += 1
        report.count(rows.objects.values())
        report.add(rows.id, (*broken, *checks))

    async def _others(self, report: ArchiveReport) -> None:
        links = LinkChecker(self.checker, self.company_numbers)
        async for contact_id, wrong in links.contacts():
            report.add(contact_id, [wrong])
        rows = RowChecker(self.checker, self.timezone)
        accounts = AccountChecker(self.checker.store, self.checker.log)
        for checks in (
            rows.customers(),
            rows.grants(),
            rows.deliveries(),
            accounts.users(),
            accounts.tokens(),
            accounts.sources(),
        ):
            async for check in checks:
                report.add(None, [check])
        async for stored, found in rows.waiting():
            report.count([stored])
            report.add(None, found)

    async def _orphans(self, report: ArchiveReport) -> None:
        names: list[str] = []
        async for name in self.checker.blobs.names():
            names.append(name)
            if len(names) == _NAMES:
                report.orphans += await self._strangers(names)
                names = []
        report.orphans += await self._strangers(names)

    async def _strangers(self, names: list[str]) -> int:
        known = await self.checker.store.find(ObjectRow, {"id": names})
        return len(set(names) - {row.id for row in known})


_NAMES = 500
_READINGS = 3


class _Shared:
    """One iterator for several workers."""

    def __init__(self, source: AsyncIterator[ContactRows]) -> None:
        self._source = source
        self._lock = asyncio.Lock()

    async def next(self) -> ContactRows | None:
        """Return the next one, or None at the end."""
        async with self._lock:
            return await anext(self._source, None)
