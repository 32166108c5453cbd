"""Interpreting: what arrives is worked into contacts, many at a time, each whole or not at all.

Order of writes: blobs of messages, keys, then one commit per contact of everything else (all of a batch synced
together). A crash leaves orphaned blobs or unused keys; the deliveries are still marked as received and are
interpreted again. A contact that changed meanwhile is read again and decided again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from service.archive.arrivals import ERASED, Arrival, Outcome
from service.archive.assemble import Assembled, Assembler, Group, Stored
from service.archive.draft import Draft
from service.archive.link import Linking, Relinked
from service.archive.remarks import Remark, joined, raise_attention
from service.archive.vault import Vault
from service.domain.errors import UnavailableError
from service.sources.events import SourceRule
from storage.errors import ConflictError, StaleError
from storage.ports import BlobStore, Change, Replace, Store, Write
from storage.rows import (
    AttentionRow,
    ContactRow,
    DeliveryRow,
    KeyRow,
    MessageRow,
    RecordingRow,
)

__all__ = ["Arrival", "Interpreter", "Outcome", "company_numbers_of"]

# Each time, one of those who amend the same contact at the same moment succeeds.
_ATTEMPTS: Final = 32
_DEFAULT_RULE: Final = SourceRule()


@dataclass(frozen=True, slots=True)
class _Decided:
    """What is to be written of one group; without a draft, its deliveries wait or are refused."""

    group: Group
    change: Change
    draft: Draft | None = None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Works arrivals into contacts."""

    store: Store
    blobs: BlobStore
    vault: Vault
    rules: Mapping[str, SourceRule]

    @property
    def linking(self) -> Linking:
        """What links contacts to customers."""
        return Linking(self.store, self.vault, company_numbers_of(self.rules))

    def token_of(self, source: str, source_id: str) -> bytes:
        """Return the token by which a source's contact is found."""
        return self.vault.index.token("source_id", f"{source}\n{source_id}")

    def rule_of(self, source: str) -> SourceRule:
        """Return the rules of ``source``, or the default ones."""
        return self.rules.get(source, _DEFAULT_RULE)

    async def interpret(
        self, arrivals: Sequence[Arrival], *, now: datetime, is_replay: bool = False
    ) -> list[Outcome]:
        """Work the arrivals into their contacts; return what became of each, in order.

        What comes as a replay puts nothing before a person that was put before one when it came.

        Raises:
            UnavailableError: Keys or store are not at hand. Arrivals may have been stored; each is whole or absent.
            ErasedError, TamperedError: A contact that is to be amended cannot be opened. None was stored.
        """
        outcomes: dict[int, Outcome] = {}
        groups: dict[bytes, Group] = {}
        for place, arrival in enumerate(arrivals):
            token = self.token_of(arrival.source, arrival.source_id)
            groups.setdefault(token, Group(token, [])).arrivals.append((place, arrival))
        pending = list(groups.values())
        for _ in range(_ATTEMPTS):
            pending = await self._attempt(pending, outcomes, now=now, is_replay=is_replay)
            if not pending:
                nothing = Outcome(contact=None)
                return [outcomes.get(place, nothing) for place in range(len(arrivals))]
            for place in {place for group in pending for place, _ in group.arrivals}:
                outcomes.pop(place, None)
            pending = await self._refreshed(pending)
        raise UnavailableError("contacts kept changing while they were amended")

    async def _attempt(
        self,
        groups: Sequence[Group],
        outcomes: dict[int, Outcome],
        *,
        now: datetime,
        is_replay: bool,
    ) -> list[Group]:
        """Interpret the groups; return those whose contact changed meanwhile."""
        stored = await self._read(groups)
        assembled: list[tuple[Group, Assembled]] = []
        decided: list[_Decided] = []
        for group in groups:
            known = stored.get(group.token)
            rule = self.rule_of(group.arrivals[0][1].source)
            if known is not None and known.row.state != "kept":
                decided.append(_refuse(group, known.row, outcomes, now=now))
            elif known is None and not group.has_facts:
                decided.append(_wait(group, now=now))
            else:
                one = await self.assembler.assemble(group, known, rule=rule, now=now)
                assembled.append((group, one))
        drafts = [one.draft for _, one in assembled]
        linked = await self._linked(drafts, now=now)
        noted = await self._noted(drafts, is_replay=is_replay)
        new_keys: list[KeyRow] = []
        for group, one in assembled:
            contact_id = one.draft.contact_id
            change = one.draft.change(
                linked.writes.get(contact_id, ()), noted=noted.get(contact_id, ())
            )
            # The contact as it will be stored, not as it was when the arrival had its turn.
            for place, outcome in one.outcomes.items():
                outcomes[place] = replace(outcome, contact=one.draft.contact)
            if change:
                decided.append(_Decided(group, change, one.draft))
                new_keys += one.keys
        return await self._commit([d for d in decided if d.change], new_keys, linked, now=now)

    async def _commit(
        self,
        decided: Sequence[_Decided],
        new_keys: Sequence[KeyRow],
        linked: Relinked,
        *,
        now: datetime,
    ) -> list[Group]:
        if new_keys:
            await self.vault.keys.put_keys(new_keys)
        stale = []
        stored = []
        errors = await self.store.commit_each([one.change for one in decided])
        for one, error in zip(decided, errors, strict=True):
            if isinstance(error, StaleError | ConflictError):
                stale.append(one.group)
            elif error is not None:
                raise error
            elif one.draft is not None and one.draft.contact_id in linked.writes:
                stored.append(one.draft.contact_id)
        # Customers may have been imported between the reading and the commit.
        await self.linking.follow_up(linked, stored, now=now)
        return stale

    @property
    def assembler(self) -> Assembler:
        """What works arrivals into drafts."""
        return Assembler(self.vault, self.blobs)

    async def _refreshed(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with their deliveries as they are now, without what somebody else understood."""
        ids = [a.delivery.id for group in groups for _, a in group.arrivals if a.delivery]
        rows = {row.id: row for row in await self.store.find(DeliveryRow, {"id": ids})}
        refreshed = []
        for group in groups:
            arrivals = []
            for place, arrival in group.arrivals:
                if arrival.delivery is None:
                    arrivals.append((place, arrival))
                    continue
                row = rows.get(arrival.delivery.id)
                if row is not None and row.state != "understood":
                    arrivals.append((place, replace(arrival, delivery=row)))
            if arrivals:
                refreshed.append(Group(group.token, arrivals, group.messages))
        return refreshed

    async def _read(self, groups: Sequence[Group]) -> Mapping[bytes, Stored]:
        """Read what is stored of the contacts: a few statements for the whole batch."""
        rows = await self.store.find(ContactRow, {"source_token": [g.token for g in groups]})
        ids = [row.id for row in rows]
        recordings: dict[str, dict[bytes, RecordingRow]] = {}
        messages: dict[str, set[bytes]] = {}
        if ids:
            for recording in await self.store.find(RecordingRow, {"contact_id": ids}):
                of_contact = recordings.setdefault(recording.contact_id, {})
                of_contact[recording.name_token] = recording
            if any(
                a.mail or (a.facts and a.facts.messages) for g in groups for _, a in g.arrivals
            ):
                for message in await self.store.find(MessageRow, {"contact_id": ids}):
                    messages.setdefault(message.contact_id, set()).add(message.message_token)
        sealers = await self.vault.find_sealers(ids)
        return {
            row.source_token: Stored(
                row=row,
                sealer=sealers.get(row.id),
                recordings=recordings.get(row.id, {}),
                messages=frozenset(messages.get(row.id, ())),
            )
            for row in rows
        }

    async def _linked(self, drafts: Sequence[Draft], *, now: datetime) -> Relinked:
        """Return the writes that link the contacts whose identifiers changed."""
        changed = [
            draft for draft in drafts if draft.has_new_identifiers and not draft.is_refused
        ]
        return await self.linking.decide(
            [draft.require_contact() for draft in changed],
            new={draft.contact_id for draft in changed if draft.is_new},
            actor="system",
            now=now,
        )

    async def _noted(
        self, drafts: Sequence[Draft], *, is_replay: bool
    ) -> Mapping[str, Sequence[AttentionRow]]:
        """Return the open items about those of the contacts that would get more; for a replay, the settled ones too."""
        ids = [draft.contact_id for draft in drafts if draft.remarks and not draft.is_new]
        noted: dict[str, list[AttentionRow]] = {}
        if ids:
            states = ["open", "settled"] if is_replay else ["open"]
            for row in await self.store.find(AttentionRow, {"about": ids, "state": states}):
                noted.setdefault(row.about, []).append(row)
        return noted


def _wait(group: Group, *, now: datetime) -> _Decided:
    """Let deliveries wait for their contact; their remarks are raised now."""
    writes: list[Write] = []
    for _, arrival in group.arrivals:
        delivery = arrival.delivery
        if delivery is None or delivery.state == "waiting":
            continue
        waiting = replace(
            delivery,
            version=delivery.version + 1,
            state="waiting",
            reason=None,
            await_token=group.token,
        )
        writes.append(Replace(waiting))
        if arrival.remarks:
            together = joined([Remark(reason) for reason in arrival.remarks])
            writes += raise_attention(
                together.reason,
                about=delivery.id,
                source=arrival.source,
                actor="system",
                now=now,
            )
    return _Decided(group, writes)


def _refuse(
    group: Group, row: ContactRow, outcomes: dict[int, Outcome], *, now: datetime
) -> _Decided:
    """Refuse what comes for a contact that was erased; a person learns that its source still has it.

    The deliveries name the contact, so that they are erased with it.
    """
    writes: list[Write] = []
    for place, arrival in group.arrivals:
        outcomes[place] = Outcome(contact=None, refusal=ERASED)
        delivery = arrival.delivery
        if delivery is None or (delivery.state, delivery.reason) == ("failed", ERASED):
            continue
        failed = replace(
            delivery,
            version=delivery.version + 1,
            state="failed",
            reason=ERASED,
            await_token=None,
            contact_id=row.id,
        )
        writes.append(Replace(failed))
        writes += raise_attention(
            ERASED, about=delivery.id, source=arrival.source, actor="system", now=now
        )
    return _Decided(group, writes)


def company_numbers_of(rules: Mapping[str, SourceRule]) -> Mapping[str, Collection[str]]:
    """Return the company's own numbers, by source."""
    return {name: rule.company_numbers for name, rule in rules.items()}
