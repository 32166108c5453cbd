"""Remarks: what a person should look at, with what was told against what is archived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from service.archive.vault import open_value, seal_value
from service.crypto.fields import FieldSealer
from service.domain.errors import TamperedError
from service.domain.ids import new_id
from service.domain.times import to_microseconds
from service.log.entry import EntryType, LogEntry, encode_entry
from storage.ports import Add, Append, Replace, Write
from storage.rows import AttentionRow

_TABLE = "attention"
# A settled item is another version of its row, and what was told is still the same.
_VERSION = 1
_AND = ";"


class SealedTold(msgspec.Struct, frozen=True):
    """What a source told of fields that are archived otherwise, sealed under the contact's key."""

    told: dict[str, str]


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to look at. ``told`` is what a source said of the fields that a contradiction is about."""

    reason: str
    told: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons, of which there are several when one delivery gives them all; fields follow a colon."""
        return tuple(self.reason.split(_AND))


def contradiction(told: Mapping[str, str]) -> Remark:
    """Return the remark that what a source told contradicts what is archived."""
    return Remark("contradiction:" + ",".join(told), told)


def joined(remarks: Sequence[Remark]) -> Remark:
    """Return as one what a single delivery gives reason to: a person looks at it once."""
    told = {name: value for remark in remarks for name, value in remark.told.items()}
    reasons = dict.fromkeys(reason for remark in remarks for reason in remark.reasons)
    return Remark(_AND.join(reasons), told)


def raise_remarks(
    remarks: Sequence[Remark],
    *,
    contact_id: str,
    sealer: FieldSealer,
    noted: Sequence[AttentionRow],
    source: str,
    actor: str,
    now: datetime,
) -> list[Write]:
    """Return the writes that raise attention to each remark, once: not to those that are open as ``noted``."""
    known = [Remark(row.reason, told_of(row, sealer)) for row in noted]
    writes: list[Write] = []
    for remark in remarks:
        if remark in known:
            continue
        known.append(remark)
        row_id = new_id("at")
        sealed = None
        if remark.told:
            sealed = seal_value(
                sealer,
                SealedTold(dict(remark.told)),
                table=_TABLE,
                row=row_id,
                version=_VERSION,
            )
        writes += _raised(
            row_id,
            remark.reason,
            about=contact_id,
            source=source,
            actor=actor,
            now=now,
            sealed=sealed,
        )
    return writes


def told_of(row: AttentionRow, sealer: FieldSealer) -> Mapping[str, str]:
    """Return what a source told of the fields of a contradiction; nothing when the item has none, or was altered."""
    if row.sealed is None:
        return {}
    try:
        value = open_value(
            sealer, row.sealed, SealedTold, table=_TABLE, row=row.id, version=_VERSION
        )
    except TamperedError:
        return {}
    return value.told


def raise_attention(
    reason: str, *, about: str, source: str | None, actor: str, now: datetime
) -> list[Write]:
    """Return the writes that put ``about`` on the list of what needs attention."""
    return _raised(
        new_id("at"), reason, about=about, source=source, actor=actor, now=now, sealed=None
    )


def settle_attention(row: AttentionRow, *, actor: str, now: datetime) -> list[Write]:
    """Return the writes that take an open item off that list."""
    settled = replace(
        row,
        version=row.version + 1,
        state="settled",
        settled_by=actor,
        settled_at=to_microseconds(now),
    )
    entry = LogEntry(
        type=EntryType.ATTENTION_SETTLED, at=now, actor=actor, about=(row.id, row.about)
    )
    return [Replace(settled), Append(encode_entry(entry), entry.about)]


def _raised(
    row_id: str,
    reason: str,
    *,
    about: str,
    source: str | None,
    actor: str,
    now: datetime,
    sealed: bytes | None,
) -> list[Write]:
    row = AttentionRow(
        id=row_id,
        version=1,
        reason=reason,
        about=about,
        source=source,
        raised_at=to_microseconds(now),
        state="open",
        settled_by=None,
        settled_at=None,
        sealed=sealed,
    )
    entry = LogEntry(
        type=EntryType.ATTENTION_RAISED,
        at=now,
        actor=actor,
        about=(row.id, about),
        data={"reason": reason},
    )
    return [Add(row), Append(encode_entry(entry), entry.about)]
