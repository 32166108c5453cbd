"""Finding the contact of a mail: by the messages that it names, or by its subject and the people in it.

What is stored knows no message id: each is a token (`service.archive.link.alias_token`). Mails that come together, in
whichever order, find each other too.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from service.archive.link import alias_token
from service.archive.records import contact_of
from service.archive.vault import Vault
from service.domain.contact import Contact
from service.domain.errors import TamperedError
from service.sources.mail.thread import WINDOW, Conversation
from storage.ports import Store
from storage.rows import ContactRow, ContactTokenRow


@dataclass(slots=True)
class _Known:
    """A conversation, stored or just begun: its name and when it was."""

    source_id: str
    started_at: datetime
    ended_at: datetime

    def is_near(self, at: datetime, window: timedelta) -> bool:
        return self.started_at - window <= at <= self.ended_at + window


@dataclass(slots=True)
class _Index:
    """What is known by which name; the earliest conversation of a name comes first."""

    by_name: dict[str, list[_Known]] = field(default_factory=dict)

    def add(self, names: Collection[str], known: _Known) -> None:
        for name in names:
            self.by_name.setdefault(name, []).append(known)

    def find(self, conversation: Conversation) -> _Known | None:
        """Return the conversation that a message belongs to; that of its root first, then of its nearest neighbour."""
        root = (conversation.root,) if conversation.root else ()
        for name in (*root, *conversation.neighbours, conversation.own):
            if self.by_name.get(name):
                return min(self.by_name[name], key=lambda one: (one.started_at, one.source_id))
        if not conversation.is_loose:
            return None
        near = [
            one
            for one in self.by_name.get(conversation.topic or "", ())
            if one.is_near(conversation.sent_at, WINDOW)
        ]
        return min(near, key=lambda one: (one.started_at, one.source_id), default=None)


async def find_conversations(
    store: Store, vault: Vault, source: str, conversations: Sequence[Conversation]
) -> list[str]:
    """Return the source id of the contact of each message, in order; of a new one what it will be called.

    Messages are looked at by their times, so that the order in which they came decides nothing.

    Raises:
        storage.errors.StorageError: The store is not at hand.
    """
    names = {name for one in conversations for name in one.names}
    index = await _stored(store, vault, source, names)
    found: dict[int, str] = {}
    order = sorted(range(len(conversations)), key=lambda n: conversations[n].sent_at)
    for number in order:
        one = conversations[number]
        known = index.find(one)
        if known is None:
            known = _Known(one.first_name, one.sent_at, one.sent_at)
        known.started_at = min(known.started_at, one.sent_at)
        known.ended_at = max(known.ended_at, one.sent_at)
        index.add(one.names, known)
        found[number] = known.source_id
    return [found[number] for number in range(len(conversations))]


async def _stored(store: Store, vault: Vault, source: str, names: Collection[str]) -> _Index:
    """Return what the store knows of ``names``."""
    index = _Index()
    tokens = {alias_token(vault.index, source, name): name for name in names}
    rows = await store.find(ContactTokenRow, {"token": sorted(tokens)}) if tokens else ()
    contacts = await _contacts(store, vault, {row.contact_id for row in rows})
    for row in rows:
        contact = contacts.get(row.contact_id)
        if contact is not None:
            ended_at = contact.ended_at or contact.started_at
            known = _Known(contact.source_id, contact.started_at, ended_at)
            index.add([tokens[row.token]], known)
    return index


async def _contacts(store: Store, vault: Vault, ids: Collection[str]) -> Mapping[str, Contact]:
    if not ids:
        return {}
    rows = await store.find(ContactRow, {"id": sorted(ids), "state": "kept"})
    sealers = await vault.find_sealers([row.id for row in rows])
    found = {}
    for row in rows:
        try:
            if row.id in sealers:
                found[row.id] = contact_of(row, sealers[row.id])
        except TamperedError:
            # A row that was altered takes no more mails; verification says what is wrong with it.
            continue
    return found
