"""Is this contact intact? Every check, one by one, and one of four honest answers.

A fault in checking is never shown as tampering, nor the reverse: each check that could not be done says why. Verifying
reveals no content; that it was done is in the log.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.archive.alarm import raise_alarm
from service.archive.checks import Check, Code, Outcome, State, decide_state, unknown
from service.archive.contact_checks import ContactChecker
from service.archive.evidence import Evidence
from service.archive.log_checks import LOG, EntryProof, LogFindings, check_log
from service.archive.published import PublishedLog
from service.domain.actor import Actor
from service.domain.errors import ErasedError, NotFoundError, UnavailableError
from service.domain.ids import parse_id
from service.domain.permission import Permission, require_permission
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Append, StoredEntry

_log: Final = logging.getLogger("taltio.integrity")


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer about one contact, the checks behind it, and the proofs of its log entries.

    ``tree_size`` is how many entries the checkpoint of the proofs covers, None when there are no proofs.
    """

    contact_id: str
    state: State
    checks: tuple[Check, ...]
    proofs: tuple[EntryProof, ...]
    tree_size: int | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Verifier:
    """The use case. ``published`` is read in a thread."""

    checker: ContactChecker
    published: PublishedLog

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

    async def prove(self, evidence: Evidence) -> LogFindings:
        """Check that the entries are in the signed log, and prove each that is."""
        size = await self.checker.log.log_size()
        stored = [one for one, _ in evidence.entries]
        return await asyncio.to_thread(self._prove, stored, size)

    def _prove(self, stored: list[StoredEntry], size: int) -> LogFindings:
        try:
            view = self.published.view()
        except UnavailableError as error:
            told = f"The published log could not be read: {error}."
            return LogFindings((unknown(Code.CHECKPOINT, LOG, told),), (), None)
        return check_log(stored, view, self.published.read, log_size=size)

    async def _verify(self, contact_id: str, *, now: datetime) -> Verification:
        rows = (await self.checker.read([contact_id]))[contact_id]
        evidence, broken = await self.checker.get_evidence(rows)
        if rows.contact is None and not evidence.entries and not broken:
            raise NotFoundError(f"no contact {contact_id}")
        if evidence.is_erased:
            raise ErasedError(f"{contact_id} was erased")
        found = await self.checker.check(rows, evidence, wants_plain_hash=True)
        log = await self.prove(evidence)
        checks = (*found, *broken, *log.checks)
        return Verification(
            contact_id=contact_id,
            state=decide_state(checks),
            checks=checks,
            proofs=log.proofs,
            tree_size=log.checkpoint.size if log.checkpoint else None,
            checked_at=now,
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
