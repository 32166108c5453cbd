"""Which conversation a message belongs to: what it can be known by, and what it says of its neighbours."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from service.sources.mail.facts import Flag, ReadMail

WINDOW: Final = timedelta(days=14)
"""Messages of one subject between the same people are one conversation within this time."""

# "Re", and what mail programs write for it in Finnish, Swedish, Norwegian, Danish and German; also counted: "Re[2]:".
_ANSWER: Final = re.compile(
    r"(?:\s*(?:re|vs|sv|aw|antw)\s*(?:\[\d{1,4}\])?\s*:)+\s*", re.IGNORECASE
)
_ALONE: Final = frozenset(
    {Flag.AUTOMATIC, Flag.AUTO_REPLY, Flag.BOUNCE, Flag.RECEIPT, Flag.BULK}
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a message says of the conversation it is in.

    ``own`` is the message itself, ``root`` the first of its references, if it has any; ``neighbours`` are the messages
    before it, the nearest first. ``topic`` stands for its subject and the people in it, where these are to count.
    """

    own: str
    root: str | None
    neighbours: tuple[str, ...]
    topic: str | None
    sent_at: datetime

    @property
    def is_loose(self) -> bool:
        """Whether only its topic can tell what it belongs to."""
        return not self.neighbours and self.topic is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Everything by which the conversation may be asked for later."""
        topic = (self.topic,) if self.topic else ()
        return tuple(dict.fromkeys((self.own, *self.neighbours, *topic)))

    @property
    def first_name(self) -> str:
        """What the conversation is called where nothing of it is known yet: after the earliest message there is."""
        return self.root or next(iter(self.neighbours), self.own)


def conversation_of(
    read: ReadMail, *, sha256: str, people: Collection[str], sent_at: datetime
) -> Conversation:
    """Return what ``read``, whose bytes have the hash ``sha256``, says of its conversation with ``people``."""
    headers = read.headers
    before = (*headers.in_reply_to, *reversed(headers.references), *read.body.about)
    neighbours = tuple(dict.fromkeys(_name(one) for one in before if one))
    root = _name(headers.references[0]) if headers.references else None
    is_alone = not _ALONE.isdisjoint(read.flags)
    return Conversation(
        own=_name(headers.message_id) if headers.message_id else f"sha256:{sha256}",
        root=root,
        neighbours=neighbours,
        topic=None if is_alone else topic_of(headers.subject, people),
        sent_at=sent_at,
    )


def topic_of(subject: str, people: Collection[str]) -> str | None:
    """Return what stands for a subject between ``people``; None where there is no subject, or nobody."""
    plain = " ".join(_ANSWER.sub("", subject, count=1).casefold().split())
    if not plain or not people:
        return None
    digest = hashlib.sha256("\n".join((plain, *sorted(people))).encode()).hexdigest()
    return f"topic:{digest}"


def _name(message_id: str) -> str:
    return f"<{message_id}>"
