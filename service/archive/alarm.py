"""Alarms: stored bytes that do not authenticate are put before a person and into the log, every time."""

import logging
from datetime import datetime
from typing import Final

from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Add, Append, Store, Write
from storage.rows import AttentionRow

REASON: Final = "integrity"
"""The reason under which it needs attention."""

_log: Final = logging.getLogger("taltio.integrity")


async def raise_alarm(
    store: Store, what: str, *, about: str, contact_id: str | None, actor_id: str, now: datetime
) -> None:
    """Record that ``about`` does not authenticate; ``what`` is a short code of what was found.

    One open item is kept for each thing, and one log entry for each alarm. When neither can be stored, the
    operator's log says so, and nothing is raised: the caller has the worse news to tell.
    """
    ids = (about,) if contact_id is None else (about, contact_id)
    alarm = LogEntry(
        type=EntryType.INTEGRITY_ALARM, at=now, actor=actor_id, about=ids, data={"what": what}
    )
    _log.error("integrity.alarm", extra={"about": about, "what": what})
    try:
        writes: list[Write] = [Append(encode_entry(alarm), ids)]
        if not await store.count(
            AttentionRow, {"reason": REASON, "about": about, "state": "open"}
        ):
            writes += _attention(about, actor_id=actor_id, now=now)
        await store.commit(writes)
    except StorageError:
        _log.exception("integrity.alarm_not_stored", extra={"about": about})


def _attention(about: str, *, actor_id: str, now: datetime) -> list[Write]:
    row = AttentionRow(
        id=new_id("at"),
        version=1,
        reason=REASON,
        about=about,
        source=None,
        raised_at=to_microseconds(now),
        state="open",
        settled_by=None,
        settled_at=None,
        sealed=None,
    )
    entry = LogEntry(
        type=EntryType.ATTENTION_RAISED,
        at=now,
        actor=actor_id,
        about=(row.id, about),
        data={"reason": REASON},
    )
    return [Add(row), Append(encode_entry(entry), entry.about)]
