"""A mailbox that is read over IMAP: every mail in it is kept once, and what could not be taken is told of.

How far it was read is remembered by UID. When the mailbox numbers its mails anew (UIDVALIDITY), all are read again, and
those that are known by their bytes change nothing.
"""

import logging
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from service.archive.gaps import Gaps
from service.archive.receive import Intake, Kept
from service.archive.receive_mail import Envelope, keep_mail
from service.domain.errors import TooLargeError, UnavailableError
from service.domain.times import from_microseconds, to_microseconds
from service.worker.imap.client import (
    ANSWER_SECONDS,
    Connection,
    Opened,
    RefusedError,
    connected,
)
from service.worker.imap.words import Described
from storage.ports import Add, Replace, Turn
from storage.rows import MailboxRow

REMOVED: Final = "mail_removed"
"""The cause of a gap: mails were in the mailbox, and were removed before they were read."""
TOO_LARGE: Final = "mail_too_large"
"""Likewise: mails are larger than is taken."""
UNREADABLE: Final = "mail_unreadable"
"""Likewise: the server does not hand out some mails, while it does others."""

STAND_BY: Final = timedelta(seconds=10)
_NEWS_SECONDS: Final = 30.0
_BATCH: Final = 200
_TRIES: Final = 5
_MOST_REFUSED: Final = 10
_MOMENT: Final = timedelta(seconds=1)
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxRules:
    """Which mailbox is read for a source, and what of it.

    Attributes:
        source: Whose deliveries its mails are.
        host, port: The server, which speaks TLS there.
        user, password: Who reads.
        mailbox: Its name.
        since: What came to the mailbox before is left alone; None: nothing is.
        max_bytes: A larger mail is not taken.
        tls: Which certificates are trusted.
    """

    source: str
    host: str
    port: int
    user: str = field(repr=False)
    password: str = field(repr=False)
    mailbox: str = field(repr=False)
    since: datetime | None
    max_bytes: int
    tls: ssl.SSLContext = field(repr=False)


@dataclass(slots=True, kw_only=True)
class Mailbox:
    """Reads a mailbox while it is this process's ``turn``. ``on_read`` is called whenever it has been read so far.

    ``outcomes`` counts mails by what became of them.
    """

    rules: MailboxRules
    intake: Intake
    gaps: Gaps
    clock: Callable[[], datetime]
    offer: Callable[[Kept], None] | None
    turn: Turn
    on_read: Callable[[], None] = lambda: None
    news_seconds: float = _NEWS_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    outcomes: Counter[str] = field(default_factory=Counter)
    _refusals: Counter[int] = field(default_factory=Counter, init=False, repr=False)
    _read_at: datetime | None = field(default=None, init=False)

    async def read(self) -> timedelta:
        """Read what is there, and what comes, until it is another process's turn; return when to ask for the turn.

        A crash at any point leaves mails that are kept and will be read again, which changes nothing.

        Raises:
            UnavailableError: The server does not answer as it should.
            InvalidInputError: User, password or name cannot be said to it.
            storage.errors.StorageError: The archive takes nothing now.
        """
        rules = self.rules
        if not await self.turn.is_mine():
            return STAND_BY
        async with connected(
            rules.host, rules.port, tls=rules.tls, answer_seconds=self.answer_seconds
        ) as connection:
            await connection.sign_in(rules.user, rules.password)
            opened = await connection.examine(rules.mailbox)
            row = await self._remembered(opened)
            row = await self._read_from(connection, row, until=opened.uid_next)
            while await self.turn.is_mine():
                await connection.wait_for_news(self.news_seconds)
                row = await self._read_from(connection, row, until=0)
        return STAND_BY

    async def _remembered(self, opened: Opened) -> MailboxRow:
        """Return how far the mailbox was read; from its beginning, where it numbers its mails anew."""
        rules = self.rules
        named = f"{rules.source}\n{rules.host}\n{rules.user}\n{rules.mailbox}"
        token = self.intake.index.token("mailbox", named)
        where = {"source": rules.source, "token": token}
        rows = await self.intake.store.find(MailboxRow, where)
        if rows and rows[0].uid_validity == opened.uid_validity:
            return rows[0]
        new = MailboxRow(
            source=rules.source,
            token=token,
            version=rows[0].version + 1 if rows else 1,
            uid_validity=opened.uid_validity,
            next_uid=1,
            read_at=None,
        )
        self._refusals.clear()
        if rows:
            _log.warning("imap.numbered_anew", extra={"source": rules.source})
        await self.intake.store.commit([Replace(new) if rows else Add(new)])
        return new

    async def _read_from(
        self, connection: Connection, row: MailboxRow, *, until: int
    ) -> MailboxRow:
        """Keep what has come, in order; return how far that is. UIDs below ``until`` were given out."""
        now = self.clock()
        uids = await connection.find_uids(row.next_uid)
        end = max(row.next_uid, until, uids[-1] + 1 if uids else 0)
        gone = end - row.next_uid - len(uids)
        if row.read_at is not None and gone:
            since = self._read_at or from_microseconds(row.read_at)
            await self._tell(REMOVED, gone, since)
        for batch in _batches(uids):
            row = await self._keep_all(connection, row, batch)
            self.on_read()
        # Not at every look: each would be a write.
        if end > row.next_uid or row.read_at is None:
            row = await self._advanced(row, end, read_at=now)
        self._read_at = now
        self.on_read()
        return row

    async def _keep_all(
        self, connection: Connection, row: MailboxRow, uids: Sequence[int]
    ) -> MailboxRow:
        """Keep the mails ``uids``; return how far that is.

        Raises:
            UnavailableError: Some are not handed out yet; the first of them is where to go on.
        """
        described = await connection.describe(uids)
        gone = len(uids) - len(described)
        refused: list[int] = []
        last = 0
        for one in described:
            try:
                gone += not await self._keep(connection, row, one)
                last = one.uid
            except RefusedError:
                refused.append(one.uid)
                if len(refused) > _MOST_REFUSED:
                    break
        if gone:
            await self._tell(REMOVED, gone)
        waiting = [uid for uid in refused if not await self._gives_up(uid, last)]
        row = await self._advanced(row, waiting[0] if waiting else uids[-1] + 1)
        if waiting:
            raise UnavailableError("the mail server does not hand out some mails")
        return row

    async def _gives_up(self, uid: int, last: int) -> bool:
        """Count a refusal, and tell whether the mail is waited for no longer; ``last`` is the last that came.

        A server that hands out nothing now will later. A mail that it never does must not be in the way for ever.
        """
        self._refusals[uid] += uid < last
        if self._refusals[uid] < _TRIES:
            return False
        del self._refusals[uid]
        await self._tell(UNREADABLE, 1)
        return True

    async def _keep(self, connection: Connection, row: MailboxRow, told: Described) -> bool:
        """Keep a mail, unless it is none to take; tell whether it was still there."""
        rules = self.rules
        if rules.since and told.arrived_at and told.arrived_at < rules.since:
            self.outcomes["older"] += 1
            return True
        if told.size_bytes > rules.max_bytes:
            await self._tell(TOO_LARGE, 1)
            return True
        chunks = await connection.find_mail(told.uid)
        if chunks is None:
            return False
        envelope = Envelope(
            mail_from="",
            recipients=(),
            peer=connection.peer,
            protocol="imap",
            is_tls=True,
            mailbox=(rules.mailbox, row.uid_validity, told.uid),
            arrived_at=told.arrived_at,
        )
        try:
            kept = await keep_mail(
                self.intake,
                chunks,
                envelope,
                source=rules.source,
                limit_bytes=rules.max_bytes,
                now=self.clock(),
            )
        except TooLargeError:
            # It is larger than its server said; the rest of it has to come all the same.
            async for _ in chunks:
                pass
            await self._tell(TOO_LARGE, 1)
            return True
        self.outcomes["duplicate" if kept.is_duplicate else "kept"] += 1
        if self.offer is not None:
            self.offer(kept)
        return True

    async def _advanced(
        self, row: MailboxRow, next_uid: int, *, read_at: datetime | None = None
    ) -> MailboxRow:
        """Remember how far the mailbox was read; refused when another process has read on meanwhile."""
        read = row.read_at if read_at is None else to_microseconds(read_at)
        new = replace(row, version=row.version + 1, next_uid=next_uid, read_at=read)
        await self.intake.store.commit([Replace(new)])
        return new

    async def _tell(self, cause: str, mails: int, since: datetime | None = None) -> None:
        """Let a person know of mails that were not taken, before it is remembered that nothing more is done."""
        now = self.clock()
        self.outcomes[cause] += mails
        source = self.rules.source
        _log.warning("imap.not_taken", extra={"source": source, "code": cause, "mails": mails})
        since = min(since or self._read_at or now, now - _MOMENT)
        await self.gaps.note_again(source, since=since, until=now, cause=cause, now=now)


def _batches(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(uids), _BATCH):
        yield uids[start : start + _BATCH]
