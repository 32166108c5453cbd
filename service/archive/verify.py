"""Is this contact intact? Every check, one by one, and one of four honest answers.

A fault in checking is never shown as tampering, nor the reverse: each check that could not be done says why. Verifying
reveals no content; that it was done is in the log. Which entries are about the contact is taken from the published log
as well, so that nobody hides one by changing the database. That it was erased is believed of the signed log, or of a
newer entry that bears the archive's mark, and of nothing else.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.archive.alarm import raise_alarm
from service.archive.checks import (
    Anchor,
    Check,
    Code,
    Outcome,
    State,
    decide_state,
    unknown,
)
from service.archive.contact_checks import ContactChecker
from service.archive.evidence import ContactRows, Evidence
from service.archive.forged import without_forged
from service.archive.log_checks import LOG, EntryProof, LogFindings, check_log
from service.archive.marked import Marker
from service.archive.published import LogView, PublishedLog
from service.archive.published_index import PublishedIndex
from service.archive.tombstones import erased_error
from service.archive.unlisted import find_unlisted
from service.domain.actor import Actor
from service.domain.errors import NotFoundError, UnavailableError
from service.domain.ids import parse_id
from service.domain.permission import Permission, require_permission
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Append

_log: Final = logging.getLogger("taltio.integrity")

_READINGS: Final = 3
"""Somebody may write meanwhile: rows and entries that do not belong together are read so often at the most."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer about one contact, the checks behind it, and the proofs of its log entries.

    ``tree_size`` is how many entries the checkpoint of the proofs covers, None when there are no proofs. ``anchors``
    are what outside of the archive vouches for all of it.
    """

    contact_id: str
    state: State
    checks: tuple[Check, ...]
    proofs: tuple[EntryProof, ...]
    tree_size: int | None
    checked_at: datetime
    anchors: tuple[Anchor, ...] = ()


@dataclass(frozen=True, slots=True)
class Verifier:
    """The use case. ``published`` is read in a thread."""

    checker: ContactChecker
    published: PublishedLog
    marker: Marker = field(repr=False)
    index: PublishedIndex = field(default_factory=PublishedIndex, repr=False, compare=False)

    async def verify(self, contact_id: str, *, actor: Actor, now: datetime) -> Verification:
        """Check the contact, whole: its rows, every byte of its recordings and messages, its log entries.

        Raises:
            NotPermittedError: The actor may not verify.
            NotFoundError: There is no such contact, and never was.
            ErasedError: It was erased.
            UnavailableError: Rows or log cannot be read at all, or that it was verified cannot be recorded. What is
                altered is told in any case.
        """
        require_permission(actor, Permission.VERIFY)
        try:
            verification = await self._verify(parse_id("ct", contact_id), now=now)
        except StorageError as error:
            raise UnavailableError(f"{contact_id} could not be verified") from error
        try:
            await self.checker.store.commit([_made(verification, actor, now=now)])
        except StorageError as error:
            if verification.state is not State.ALTERED:
                raise UnavailableError(f"{contact_id} could not be verified") from error
            # A log that was tampered with may take no more entries; the bad news must come out all the same.
            _log.exception("verification.not_recorded", extra={"contact": contact_id})
        if verification.state is State.ALTERED:
            await raise_alarm(
                self.checker.store,
                "verification",
                about=contact_id,
                contact_id=None,
                actor_id=actor.id,
                now=now,
            )
        return verification

    async def _prove(self, evidence: Evidence, view: LogView | Check | None) -> LogFindings:
        """Check that the entries are in the signed log, and prove each that is."""
        if isinstance(view, Check):
            return LogFindings((view,), (), None)
        size = await self.checker.log.log_size()
        stored = [one for one, _ in evidence.entries]
        return await asyncio.to_thread(
            check_log,
            stored,
            view,
            self.published.read,
            log_size=size,
            find_stamp=self.published.first_stamp,
        )

    def _view(self) -> LogView | Check | None:
        try:
            return self.published.view()
        except UnavailableError as error:
            told = f"The published log could not be read: {error}."
            return unknown(Code.CHECKPOINT, LOG, told)

    async def _read(
        self, contact_id: str, view: LogView | Check | None
    ) -> tuple[ContactRows, Evidence, tuple[Check, ...]]:
        """Return rows and evidence of one moment, and what is wrong with the entries."""
        rows, readings = await self._rows(contact_id), 0
        while True:
            evidence, broken = await self.checker.get_evidence(rows)
            # What is read between two equal readings of the rows is what the log says of these.
            again, readings = await self._rows(contact_id), readings + 1
            if again == rows or readings == _READINGS:
                break
            rows = again
        shown = None if isinstance(view, Check) else view
        evidence, forged = await self._without_forged(evidence, shown)
        if isinstance(view, Check) or evidence.is_erased:
            return rows, evidence, (*broken, *forged)
        unlisted, wrong = await find_unlisted(
            contact_id,
            evidence,
            view,
            self.published.read,
            log=self.checker.log,
            index=self.index,
        )
        if unlisted:
            evidence, broken = await self.checker.get_evidence(rows, unlisted)
            evidence, forged = await self._without_forged(evidence, shown)
        return rows, evidence, (*broken, *wrong, *forged)

    async def _without_forged(
        self, evidence: Evidence, view: LogView | None
    ) -> tuple[Evidence, tuple[Check, ...]]:
        return await without_forged(evidence, view, self.published.read, self.marker)

    async def _rows(self, contact_id: str) -> ContactRows:
        return (await self.checker.read([contact_id]))[contact_id]

    async def _verify(self, contact_id: str, *, now: datetime) -> Verification:
        view = await asyncio.to_thread(self._view)
        rows, evidence, broken = await self._read(contact_id, view)
        if rows.contact is None and not evidence.entries and not broken:
            raise NotFoundError(f"no contact {contact_id}")
        if evidence.is_erased:
            raise await erased_error(self.checker.store, contact_id)
        found = await self.checker.check(rows, evidence, wants_plain_hash=True)
        log = await self._prove(evidence, view)
        checks = (*found, *broken, *log.checks)
        return Verification(
            contact_id=contact_id,
            state=decide_state(checks),
            checks=checks,
            proofs=log.proofs,
            tree_size=log.checkpoint.size if log.checkpoint else None,
            checked_at=now,
            anchors=log.anchors,
        )


def _made(verification: Verification, actor: Actor, *, now: datetime) -> Append:
    failed = tuple(
        sorted({one.code.value for one in verification.checks if one.outcome is Outcome.FAILED})
    )
    entry = LogEntry(
        type=EntryType.VERIFICATION_MADE,
        at=now,
        actor=actor.id,
        about=(verification.contact_id,),
        data={"state": verification.state.value, "failed": failed},
    )
    return Append(encode_entry(entry), entry.about)
