"""Alarms: stored bytes that do not authenticate are put before a person and into the log, every time."""

import logging
from datetime import datetime
from typing import Final

from service.archive.remarks import raise_attention
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.errors import StorageError
from storage.ports import Append, Store, Write
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
            writes += raise_attention(REASON, about=about, source=None, actor=actor_id, now=now)
        await store.commit(writes)
    except StorageError:
        _log.exception("integrity.alarm_not_stored", extra={"about": about})
