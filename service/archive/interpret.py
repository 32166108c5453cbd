"""Interpreting: what arrives is worked into contacts, many at a time, each whole or not at all.

Order of writes: blobs of messages, keys, then one commit per contact of everything else (all of a batch synced
together). A crash leaves orphaned blobs or unused keys; the deliveries are still marked as received and are
interpreted again. A contact that changed meanwhile is read again and decided again.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from service.archive.draft import Draft, NewMessage, raise_attention
from service.archive.link import relink
from service.archive.objects import seal_object
from service.archive.receive import ReceivedRecording
from service.archive.records import SealedMessage, contact_of
from service.archive.vault import RowKey, Vault
from service.domain.contact import Contact, ContactFacts, MessageText
from service.domain.errors import UnavailableError
from service.domain.ids import new_id
from service.domain.times import format_time
from service.log.entry import commitment
from storage.errors import ConflictError, StaleError, StorageError
from storage.ports import BlobStore, Change, Replace, Store, Write
from storage.rows import ContactRow, DeliveryRow, KeyRow, MessageRow, ObjectRow, RecordingRow

_ATTEMPTS = 6
_SALT_BYTES = 16
_MAX_MESSAGE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRule:
    """What interpreting needs to know of a source."""

    region: str = "FI"
    grace: timedelta = timedelta(hours=1)
    company_numbers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One thing to work into the contact that ``source`` calls ``source_id``: facts, a recording, or both.

    ``is_strict`` refuses a contradiction whole, for callers that are told; otherwise what fits is taken and the rest is
    put on the list of what needs attention.
    """

    source: str
    source_id: str
    facts: ContactFacts | None = None
    recording: tuple[ReceivedRecording, ObjectRow] | None = None
    delivery: DeliveryRow | None = None
    remarks: tuple[str, ...] = ()
    also: tuple[Write, ...] = ()
    also_keys: tuple[KeyRow, ...] = ()
    actor: str = "system"
    is_strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an arrival. Without a ``contact`` it waits for one."""

    contact: Contact | None
    is_new: bool = False
    is_duplicate: bool = False
    contradictions: tuple[str, ...] = ()
    recording_id: str | None = None


@dataclass(slots=True)
class _Group:
    """The arrivals of one contact in a batch, and what was read of it."""

    token: bytes
    arrivals: list[tuple[int, Arrival]]
    messages: dict[bytes, tuple[NewMessage, KeyRow]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Stored:
    contacts: Mapping[bytes, ContactRow]
    drafts_of: Mapping[str, Mapping[bytes, RecordingRow]]
    messages: frozenset[bytes]
    keys: Mapping[str, RowKey] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Works arrivals into contacts."""

    store: Store
    blobs: BlobStore
    vault: Vault
    rules: Mapping[str, SourceRule]

    def token_of(self, source: str, source_id: str) -> bytes:
        """Return the token by which a source's contact is found."""
        return self.vault.index.token("source_id", f"{source}\n{source_id}")

    def rule_of(self, source: str) -> SourceRule:
        """Return the rules of ``source``, or the default ones."""
        return self.rules.get(source, _DEFAULT_RULE)

    async def interpret(self, arrivals: Sequence[Arrival], *, now: datetime) -> list[Outcome]:
        """Work the arrivals into their contacts; return what became of each, in order.

        Raises:
            UnavailableError: Keys or store are not at hand. Arrivals may have been stored; each is whole or absent.
        """
        outcomes: list[Outcome | None] = [None] * len(arrivals)
        groups: dict[bytes, _Group] = {}
        for position, arrival in enumerate(arrivals):
            token = self.token_of(arrival.source, arrival.source_id)
            groups.setdefault(token, _Group(token, [])).arrivals.append((position, arrival))
        pending = list(groups.values())
        for _ in range(_ATTEMPTS):
            pending = await self._attempt(pending, outcomes, now=now)
            if not pending:
                return [outcome or Outcome(contact=None) for outcome in outcomes]
            pending = await self._refreshed(pending)
        raise UnavailableError("contacts kept changing while they were amended")

    async def _attempt(
        self, groups: list[_Group], outcomes: list[Outcome | None], *, now: datetime
    ) -> list[_Group]:
        """Interpret the groups; return those whose contact changed meanwhile."""
        stored = await self._read(groups)
        drafts: list[tuple[_Group, Draft]] = []
        new_keys: list[KeyRow] = []
        changes: list[tuple[_Group, Draft | None, Change]] = []
        for group in groups:
            draft = await self._draft(group, stored, outcomes, new_keys, now=now)
            if draft is not None:
                drafts.append((group, draft))
            elif waiting := _wait(group, now=now):
                changes.append((group, None, waiting))
        links = await self._links([draft for _, draft in drafts], now=now)
        for group, draft in drafts:
            change = draft.change(links.get(draft.require_contact().id, ()))
            if change:
                changes.append((group, draft, change))
            for position, _ in group.arrivals:
                outcome = outcomes[position]
                if outcome is not None:
                    outcomes[position] = replace(outcome, contact=draft.contact)
        if new_keys:
            await self.vault.keys.put_keys(new_keys)
        errors = await self.store.commit_each([change for _, _, change in changes])
        return _stale(changes, errors)

    async def _refreshed(self, groups: Sequence[_Group]) -> list[_Group]:
        """Return the groups with their deliveries as they are now, without what somebody else understood."""
        ids = [a.delivery.id for group in groups for _, a in group.arrivals if a.delivery]
        rows = {row.id: row for row in await self.store.find(DeliveryRow, {"id": ids})}
        refreshed = []
        for group in groups:
            arrivals = [
                (position, replace(a, delivery=rows.get(a.delivery.id) if a.delivery else None))
                for position, a in group.arrivals
                if a.delivery is None or rows[a.delivery.id].state != "understood"
            ]
            if arrivals:
                refreshed.append(_Group(group.token, arrivals, group.messages))
        return refreshed

    async def _read(self, groups: Sequence[_Group]) -> _Stored:
        """Read what is stored of the contacts: a few statements for the whole batch."""
        rows = await self.store.find(ContactRow, {"source_token": [g.token for g in groups]})
        ids = [row.id for row in rows]
        recordings: dict[str, dict[bytes, RecordingRow]] = {}
        messages: Sequence[MessageRow] = ()
        if ids:
            for row in await self.store.find(RecordingRow, {"contact_id": ids}):
                recordings.setdefault(row.contact_id, {})[row.name_token] = row
            if any(a.facts and a.facts.messages for g in groups for _, a in g.arrivals):
                messages = await self.store.find(MessageRow, {"contact_id": ids})
        sealers = await self.vault.find_sealers(ids)
        keys = {
            row_id: RowKey(row_id, sealer, _NO_KEY_ROW) for row_id, sealer in sealers.items()
        }
        return _Stored(
            contacts={row.source_token: row for row in rows},
            drafts_of=recordings,
            messages=frozenset(row.message_token for row in messages),
            keys=keys,
        )

    async def _draft(
        self,
        group: _Group,
        stored: _Stored,
        outcomes: list[Outcome | None],
        new_keys: list[KeyRow],
        *,
        now: datetime,
    ) -> Draft | None:
        """Work the arrivals of one contact into a draft; None while there is no contact to work into."""
        first = group.arrivals[0][1]
        draft = Draft(
            source=first.source,
            source_token=group.token,
            index=self.vault.index,
            now=now,
            actor=first.actor,
            grace=self.rule_of(first.source).grace,
        )
        row = stored.contacts.get(group.token)
        if row is not None:
            key = stored.keys.get(row.id)
            if key is None or row.state != "kept":
                # It was erased, and what comes for it waits until it is erased as well.
                return None
            draft.stored, draft.sealer = row, key.sealer
            draft.contact = contact_of(row, key.sealer)
            draft.recordings = dict(stored.drafts_of.get(row.id, {}))
        elif not any(arrival.facts for _, arrival in group.arrivals):
            return None
        # A contact begins with its facts, in whichever order things came.
        for position, arrival in sorted(group.arrivals, key=lambda item: item[1].facts is None):
            if draft.sealer is None:
                key = self.vault.new_key(new_id("ct"), now=now)
                draft.sealer = key.sealer
                new_keys.append(key.row)
                draft.add_facts(_required(arrival), contact_id=key.id)
                is_new = True
            else:
                is_new = False
                if arrival.facts is not None:
                    draft.add_facts(arrival.facts)
            if arrival.facts is not None:
                new_keys += await self._add_messages(
                    group, draft, arrival.facts, stored, now=now
                )
            outcomes[position] = self._finish(draft, arrival, is_new=is_new)
            if not (draft.is_duplicate or draft.is_refused):
                draft.add_writes(arrival.also)
                new_keys += arrival.also_keys
        return draft

    def _finish(self, draft: Draft, arrival: Arrival, *, is_new: bool) -> Outcome:
        """Work in what remains of an arrival, and say what became of it."""
        draft.is_duplicate, draft.recording_id = False, None
        if arrival.recording is not None:
            draft.add_recording(*arrival.recording)
        contradictions, draft.contradictions = draft.contradictions, ()
        if contradictions and arrival.is_strict:
            draft.is_refused = True
        elif contradictions:
            draft.remark("contradiction:" + ",".join(contradictions))
        for reason in arrival.remarks:
            draft.remark(reason)
        if arrival.delivery is not None:
            draft.settle(arrival.delivery)
        return Outcome(
            contact=draft.contact,
            is_new=is_new,
            is_duplicate=draft.is_duplicate,
            contradictions=contradictions,
            recording_id=draft.recording_id,
        )

    async def _add_messages(
        self,
        group: _Group,
        draft: Draft,
        facts: ContactFacts,
        stored: _Stored,
        *,
        now: datetime,
    ) -> list[KeyRow]:
        """Seal the messages that are not archived yet; return the headers to store first."""
        headers = []
        for message in facts.messages:
            token = self.vault.index.token(
                "message",
                f"{group.token.hex()}\n{format_time(message.sent_at)}\n{message.sender}\n{message.text}",
            )
            if token in stored.messages or draft.has_message(token):
                continue
            if token not in group.messages:
                group.messages[token] = await self._seal_message(token, message, now=now)
            sealed, header = group.messages[token]
            draft.add_message(sealed)
            headers.append(header)
        return headers

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
        )
        return NewMessage(token, message.sent_at, sealed.row, details), sealed.header

    async def _links(
        self, drafts: Sequence[Draft], *, now: datetime
    ) -> Mapping[str, Sequence[Write]]:
        """Return the writes that link the contacts whose identifiers changed."""
        changed = [draft for draft in drafts if draft.has_new_identifiers]
        if not changed:
            return {}
        return await relink(
            self.store,
            self.vault.index,
            [draft.require_contact() for draft in changed],
            company_numbers={d.source: self.rule_of(d.source).company_numbers for d in changed},
            new={d.require_contact().id for d in changed if d.is_new},
            actor="system",
            now=now,
        )


_DEFAULT_RULE = SourceRule()
_NO_KEY_ROW = KeyRow(id="", kind="row", wrapped_by="", wrapped=b"", made_at=0)


def _required(arrival: Arrival) -> ContactFacts:
    if arrival.facts is None:
        raise ValueError("a contact begins with facts")
    return arrival.facts


def _wait(group: _Group, *, now: datetime) -> Change:
    """Return the writes that let deliveries wait for their contact, remarks raised."""
    writes: list[Write] = []
    for _, arrival in group.arrivals:
        delivery = arrival.delivery
        if delivery is None or delivery.state == "waiting":
            continue
        writes.append(
            Replace(
                replace(
                    delivery,
                    version=delivery.version + 1,
                    state="waiting",
                    await_token=group.token,
                )
            )
        )
        for reason in arrival.remarks:
            writes += raise_attention(
                reason, about=delivery.id, source=arrival.source, actor="system", now=now
            )
    return writes


def _stale(
    changes: Sequence[tuple[_Group, Draft | None, Change]],
    errors: Sequence[StorageError | None],
) -> list[_Group]:
    """Return the groups to decide again; any other error is raised."""
    stale = []
    for (group, _, _), error in zip(changes, errors, strict=True):
        if isinstance(error, StaleError | ConflictError):
            stale.append(group)
        elif error is not None:
            raise error
    return stale


def company_numbers_of(rules: Mapping[str, SourceRule]) -> Mapping[str, Collection[str]]:
    """Return the company's own numbers, by source."""
    return {name: rule.company_numbers for name, rule in rules.items()}
