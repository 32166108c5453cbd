"""The versions of messages: what was edited or deleted later stands with what it was before. Pure.

The archive keeps each version that it was told of as a message of its own, so that nothing of what was there is lost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from service.archive.mail_records import SealedMail
from service.domain.contact import MessageChange, PartyRole


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message of a contact as it may be shown without opening it."""

    id: str
    sender: str
    sent_at: datetime
    size_bytes: int
    mail: SealedMail | None = None
    ident: str = ""
    change: MessageChange | None = None
    changed_at: datetime | None = None
    is_internal: bool = False
    of: str | None = None
    """The id of the first version of the message, where this is a later one."""
    is_replaced: bool = False
    """Whether a later version follows."""
    writer: PartyRole | None = None

    @property
    def at(self) -> datetime:
        """When this version came to be."""
        return self.changed_at or self.sent_at


def arranged(messages: Iterable[MessageView]) -> tuple[MessageView, ...]:
    """Return messages in the order they were first sent, each followed by its later versions in their order.

    What a source told of a message before it told the message itself is its first version until then.
    """
    versions: dict[str, list[MessageView]] = {}
    for message in messages:
        versions.setdefault(message.ident or message.id, []).append(message)
    ordered = sorted((sorted(one, key=_turn) for one in versions.values()), key=_begun)
    return tuple(message for one in ordered for message in _related(one))


def _related(versions: Sequence[MessageView]) -> list[MessageView]:
    first, *later = versions
    # A source that does not say what became of a message has told it with another text.
    changed = [
        replace(one, of=first.id, change=one.change or MessageChange.EDITED) for one in later
    ]
    *replaced, last = [first, *changed]
    return [*(replace(one, is_replaced=True) for one in replaced), last]


def _turn(message: MessageView) -> tuple[bool, datetime, str]:
    return message.change is not None, message.at, message.id


def _begun(versions: Sequence[MessageView]) -> tuple[datetime, int, str, str]:
    # Two of one moment stand as the source numbers them, where it does so: 9 comes before 10.
    first = versions[0]
    return first.sent_at, len(first.ident), first.ident, first.id
