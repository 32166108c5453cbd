"""Asking a witness to cosign each checkpoint (C2SP tlog-witness), beside the signing, which never waits for it.

A refusal because the log does not continue what the witness saw is never passed over: it is put before a person and
into the log, once for each start, and what is verified stays *anchor pending*.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from service.archive.remarks import raise_attention
from service.archive.vouched import Vouched
from service.domain.errors import TamperedError, UnavailableError
from service.log.checkpoint import Checkpoint, decode_checkpoint
from service.log.entry import EntryType, LogEntry, encode_entry
from service.log.errors import FormatError, SignatureError, UnknownSignerError
from service.log.merkle import prove_consistency
from service.log.note import VerifierKey
from service.log.tiles import ReadTile, subtree_from_tiles
from service.log.witness import (
    AddCheckpoint,
    encode_request,
    merge_cosignatures,
    parse_size,
)
from service.worker.checkpoints import LogKeeper
from service.worker.outside import Answer, Post
from storage.ports import Append, Store, Write
from storage.rows import AttentionRow
from storage.waiting import settled

REASON: Final = "witness_refused"
"""The reason under which it needs attention."""

ABOUT: Final = "log"
"""What it is about."""

_log: Final = logging.getLogger("taltio.integrity")


class ContradictedError(TamperedError):
    """The witness has seen a log of this name that this one does not continue."""


@dataclass(slots=True)
class WitnessAsker:
    """Keeps one witness up to date with one log."""

    key: VerifierKey
    post: Post
    keeper: LogKeeper
    vouched: Vouched
    store: Store
    clock: Callable[[], datetime]
    _has_alarmed: bool = field(default=False, init=False, repr=False)

    async def ask(self) -> timedelta | None:
        """Let the last signed checkpoint be cosigned, unless it is already.

        On return the cosignature is verified, durable and published.

        Raises:
            ContradictedError: The witness refuses: the log does not continue what it saw. An alarm was raised.
            UnavailableError: It does not answer, or not as it should.
            storage.errors.StorageError, OSError: Something cannot be read or kept.
        """
        note = await asyncio.to_thread(self.keeper.last_note)
        if note is None:
            return None
        kept = await asyncio.to_thread(self.vouched.cosigned, self.key)
        if kept is not None and kept.startswith(note):
            return None
        try:
            cosigned = await self._cosigned(note, kept)
        except ContradictedError as error:
            await self._alarm(str(error))
            raise
        except (SignatureError, UnknownSignerError, FormatError) as error:
            told = "it answers something else than a cosignature by the key that was configured"
            raise UnavailableError(told) from error
        await settled(asyncio.to_thread(self._keep, cosigned))
        return None

    def _keep(self, cosigned: bytes) -> None:
        self.vouched.keep_cosigned(self.key, cosigned)
        self.keeper.show_last()

    async def _cosigned(self, note: bytes, kept: bytes | None) -> bytes:
        checkpoint = decode_checkpoint(note)
        old = _size_of(kept, checkpoint)
        answer = await self._ask_from(old, note, checkpoint)
        if answer.status == HTTPStatus.CONFLICT:
            known = parse_size(answer.body)
            if known > checkpoint.size:
                raise ContradictedError(
                    f"it has cosigned {known} entries, and the log has only {checkpoint.size}"
                )
            if known == old:
                raise ContradictedError(f"it has cosigned another log of {known} entries")
            answer = await self._ask_from(known, note, checkpoint)
        if answer.status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT}:
            raise ContradictedError("it has cosigned entries that are not those of the log")
        if answer.status == HTTPStatus.NOT_FOUND:
            raise UnavailableError("it does not watch this log")
        if answer.status != HTTPStatus.OK:
            raise UnavailableError(f"it answers {answer.status}")
        return merge_cosignatures(note, answer.body, [self.key])

    async def _ask_from(self, old: int, note: bytes, checkpoint: Checkpoint) -> Answer:
        proof = await asyncio.to_thread(_prove, old, checkpoint.size, self.keeper.read_tile)
        return await self.post(encode_request(AddCheckpoint(old, proof, note)))

    async def _alarm(self, why: str) -> None:
        """Put the refusal before a person and into the log; once, for each entry would make another checkpoint."""
        if self._has_alarmed:
            return
        _log.error("witness.refused", extra={"witness": self.key.name, "why": why})
        now = self.clock()
        alarm = LogEntry(
            type=EntryType.INTEGRITY_ALARM,
            at=now,
            actor="system",
            about=(ABOUT,),
            data={"what": REASON, "witness_key": self.key.key_id.hex()},
        )
        writes: list[Write] = [Append(encode_entry(alarm), alarm.about)]
        open_items = {"reason": REASON, "about": ABOUT, "state": "open"}
        if not await self.store.count(AttentionRow, open_items):
            writes += raise_attention(REASON, about=ABOUT, source=None, actor="system", now=now)
        await self.store.commit(writes)
        self._has_alarmed = True


def _size_of(kept: bytes | None, checkpoint: Checkpoint) -> int:
    """Return from which size to ask: that of what was cosigned last, if it is of this log and fits; else 0."""
    try:
        last = None if kept is None else decode_checkpoint(kept)
    except FormatError:
        return 0
    if last is None or last.origin != checkpoint.origin or last.size > checkpoint.size:
        return 0
    return last.size


def _prove(old: int, size: int, read: ReadTile) -> tuple[bytes, ...]:
    # A proof from the empty tree is empty, and so is one from a tree to itself.
    return prove_consistency(old, size, subtree_from_tiles(size, read)) if old else ()
