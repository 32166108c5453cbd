"""Assembling: the arrivals of one contact are worked into a draft of it, and their messages are sealed."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.archive.arrivals import Arrival, ArrivedMail, Outcome
from service.archive.draft import Draft, NewMessage
from service.archive.objects import seal_object
from service.archive.records import SealedMessage, contact_of
from service.archive.vault import Vault
from service.crypto.fields import FieldSealer
from service.domain.contact import ContactFacts, MessageChange, MessageText
from service.domain.errors import ErasedError
from service.domain.ids import new_id
from service.domain.times import format_time
from service.log.entry import commitment
from service.sources.events import SourceRule
from storage.ports import BlobStore
from storage.rows import ContactRow, KeyRow, RecordingRow

_SALT_BYTES = 16
_MAX_MESSAGE_BYTES = 1 << 26
_SEALED_TOGETHER = 8
"""So many messages are sealed and synced at the same time."""


@dataclass(slots=True)
class Group:
    """The arrivals of one contact in a batch, each with its place there, and the messages sealed for them so far."""

    token: bytes
    arrivals: list[tuple[int, Arrival]]
    messages: dict[bytes, tuple[NewMessage, KeyRow]] = field(default_factory=dict)

    @property
    def has_facts(self) -> bool:
        """Whether a contact can begin with it."""
        return any(arrival.facts and arrival.facts.can_begin for _, arrival in self.arrivals)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a contact: its row, what opens it, its recordings, and the tokens of its messages."""

    row: ContactRow
    sealer: FieldSealer | None = field(repr=False)
    recordings: Mapping[bytes, RecordingRow]
    messages: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A draft, the keys to store before it, and what became of each arrival, by its place."""

    draft: Draft
    keys: Sequence[KeyRow] = field(repr=False)
    outcomes: Mapping[int, Outcome]


@dataclass(frozen=True, slots=True)
class Assembler:
    """Works arrivals into drafts."""

    vault: Vault
    blobs: BlobStore

    async def assemble(
        self, group: Group, stored: Stored | None, *, rule: SourceRule, now: datetime
    ) -> Assembled:
        """Work the arrivals of ``group``, which has facts unless something is stored, into a draft.

        Raises:
            ErasedError: What opens the contact is gone.
            TamperedError: The contact's row is not what was sealed there.
        """
        draft, keys = self._begin(group, stored, rule=rule, now=now)
        outcomes = {}
        for place, arrival in sorted(group.arrivals, key=_turn):
            is_new = draft.contact is None
            contradictions: tuple[str, ...] = ()
            if arrival.facts is not None:
                contradictions = draft.add_facts(arrival.facts, is_strict=arrival.is_strict)
                if not draft.is_refused:
                    keys += await self._add_messages(
                        group, draft, arrival.facts, stored, now=now
                    )
            is_known = False
            if arrival.mail is not None and not draft.is_refused:
                added = self._add_mail(draft, arrival.mail, group, stored)
                keys += added
                is_known = not added
            if not draft.is_refused:
                keys += _add_carried(draft, arrival)
            outcome = _finish(draft, arrival, contradictions, is_new=is_new, is_known=is_known)
            outcomes[place] = outcome
            if not (outcome.is_duplicate or draft.is_refused):
                draft.add_writes(arrival.also)
                keys += arrival.also_keys
        return Assembled(draft, keys, outcomes)

    def _begin(
        self, group: Group, stored: Stored | None, *, rule: SourceRule, now: datetime
    ) -> tuple[Draft, list[KeyRow]]:
        _, first = group.arrivals[0]
        keys: list[KeyRow] = []
        if stored is None:
            key = self.vault.new_key(new_id("ct"), now=now)
            contact_id, sealer = key.id, key.sealer
            keys.append(key.row)
        elif stored.sealer is None:
            raise ErasedError(f"the key of {stored.row.id} is gone")
        else:
            contact_id, sealer = stored.row.id, stored.sealer
        draft = Draft(
            contact_id=contact_id,
            source=first.source,
            source_token=group.token,
            sealer=sealer,
            index=self.vault.index,
            now=now,
            actor=first.actor,
            grace=rule.grace,
            fetched_as=rule.fetched_as,
            stored=stored.row if stored else None,
            contact=contact_of(stored.row, sealer) if stored else None,
            stored_recordings=stored.recordings if stored else {},
        )
        return draft, keys

    async def _add_messages(
        self,
        group: Group,
        draft: Draft,
        facts: ContactFacts,
        stored: Stored | None,
        *,
        now: datetime,
    ) -> list[KeyRow]:
        """Add the messages that are not archived yet, sealed; return the headers to store first."""
        wanted: dict[bytes, MessageText] = {}
        for message in facts.messages:
            identity = (group.token.hex(), *_identity(message))
            token = self.vault.index.token("message", "\n".join(identity))
            if not (stored and token in stored.messages) and not draft.has_message(token):
                wanted[token] = message
        missing = [token for token in wanted if token not in group.messages]
        for start in range(0, len(missing), _SEALED_TOGETHER):
            together = missing[start : start + _SEALED_TOGETHER]
            sealed = await asyncio.gather(
                *(self._seal_message(token, wanted[token], now=now) for token in together),
                return_exceptions=True,
            )
            for sealed_token, one in zip(together, sealed, strict=True):
                if isinstance(one, BaseException):
                    raise one
                group.messages[sealed_token] = one
        for wanted_token in wanted:
            draft.add_message(group.messages[wanted_token][0])
        return [group.messages[wanted_token][1] for wanted_token in wanted]

    def _add_mail(
        self, draft: Draft, mail: ArrivedMail, group: Group, stored: Stored | None
    ) -> list[KeyRow]:
        """Add a mail; return the headers to store first. None: it is archived already."""
        identity = (group.token.hex(), "mail", mail.identity)
        token = self.vault.index.token("message", "\n".join(identity))
        if (stored and token in stored.messages) or draft.has_message(token):
            return []
        beside = (mail.raw, *(one.row for one in mail.objects))
        draft.add_message(NewMessage(token, mail.sent_at, mail.text.row, mail.sealed, beside))
        return [mail.text.header, *(one.header for one in mail.objects)]

    async def _seal_message(
        self, token: bytes, message: MessageText, *, now: datetime
    ) -> tuple[NewMessage, KeyRow]:
        async def text() -> AsyncIterator[bytes]:
            yield message.text.encode()

        sealed = await seal_object(
            new_id("ob"),
            text(),
            kind="message",
            blobs=self.blobs,
            seal_header=self.vault.ring.seal_header,
            limit_bytes=_MAX_MESSAGE_BYTES,
            now=now,
        )
        salt = self.vault.random(_SALT_BYTES)
        details = SealedMessage(
            sender=message.sender,
            sha256=sealed.sha256,
            salt=salt,
            commitment=commitment(salt, bytes.fromhex(sealed.sha256)),
            ident=message.ident,
            change=message.change,
            changed_at=message.changed_at,
            is_internal=message.is_internal,
            writer=message.writer,
        )
        return NewMessage(token, message.sent_at, sealed.row, details), sealed.header


def _identity(message: MessageText) -> tuple[str, ...]:
    """Return what makes a message the same when it is told again.

    Of those that the source has a name for, the text: it is told anew for many reasons. Two edits at different times
    are two, for a text may be changed back; what is deleted stays so.
    """
    if not message.ident:
        return (format_time(message.sent_at), message.sender, message.text)
    changed_at = message.changed_at if message.change is MessageChange.EDITED else None
    when = format_time(changed_at) if changed_at else ""
    return ("version", message.ident, message.change or "", when, message.text)


def _turn(item: tuple[int, Arrival]) -> int:
    """Return when an arrival has its turn: a contact begins with its facts, in whichever order things came."""
    facts = item[1].facts
    return 2 if facts is None else 0 if facts.can_begin else 1


def _add_carried(draft: Draft, arrival: Arrival) -> list[KeyRow]:
    """Add the recordings that an arrival carries and that are not there yet; return the headers to store first."""
    headers = []
    for part in arrival.carried:
        attached = draft.add_recording(part.received, part.sealed.row)
        if attached.is_stored:
            draft.add_writes([part.entry])
            headers.append(part.sealed.header)
    return headers


def _finish(
    draft: Draft,
    arrival: Arrival,
    contradictions: tuple[str, ...],
    *,
    is_new: bool,
    is_known: bool,
) -> Outcome:
    """Work in what remains of an arrival, and say what became of it."""
    attached = None
    if arrival.recording is not None and not draft.is_refused:
        attached = draft.add_recording(*arrival.recording, is_strict=arrival.is_strict)
        if attached.contradicts:
            contradictions = (*contradictions, "recording")
    draft.end_arrival(arrival.remarks)
    if arrival.delivery is not None:
        draft.settle(arrival.delivery)
    return Outcome(
        contact=draft.contact,
        is_new=is_new,
        is_duplicate=is_known or (attached is not None and attached.is_duplicate),
        contradictions=contradictions,
        recording_id=attached.id if attached else None,
    )
