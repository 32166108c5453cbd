"""Sources that are connected while the service runs: added, given new secrets, made live, removed.

Order of writes: the row's key, then one commit of row and log entry. A crash leaves at worst a key that opens nothing.
A source that is removed takes its key with it; what it delivered stays.
"""

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from service.access.commits import commit_decided
from service.access.entries import entry
from service.access.persons import require_person
from service.access.secrets import SECRET_BYTES, new_secret
from service.archive.source_book import KnownSource, SourceBook
from service.archive.source_rows import (
    CONNECTING,
    LIVE,
    SourceDetails,
    SourceSeals,
    SourceSecrets,
    details_of,
    sealed_source,
)
from service.archive.vault import Vault
from service.connecting.errors import NotCoveredError
from service.domain.actor import Actor, ActorKind
from service.domain.errors import ContradictionError, NotFoundError
from service.domain.identifiers import require_source_name
from service.domain.ids import new_id
from service.domain.notice import Notice, Traffic
from service.domain.permission import Permission, require_permission
from service.domain.times import to_microseconds
from service.keys.intake import IntakeKeys
from service.log.entry import EntryType, Value
from service.sources.field_map import FieldMap
from service.sources.kinds import KINDS, Sender
from storage.errors import ConflictError
from storage.ports import Add, Change, Remove, Replace, Require, Store
from storage.rows import SourceRow

MAX_OVERLAP: Final = timedelta(days=30)
OVERLAP: Final = timedelta(days=1)
_WEBHOOK_PREFIX: Final = "whsec_"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A secret that was just made: what the sender is given, known at this moment only."""

    source: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sources:
    """The use cases of sources. ``intake_keys`` gives the keys of now, ``timezone`` is that of the notice's days."""

    store: Store
    vault: Vault
    book: SourceBook
    intake_keys: Callable[[], IntakeKeys]
    notice: Notice
    timezone: ZoneInfo

    async def find_all(self, *, actor: Actor) -> Sequence[KnownSource]:
        """Return every source, by name.

        Raises:
            NotPermittedError: The actor does not manage sources.
        """
        require_manager(actor)
        await self.book.refresh()
        return [source for _, source in sorted(self.book.all().items())]

    async def get(self, name: str, *, actor: Actor) -> KnownSource:
        """Return one source.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is none of this name.
        """
        require_manager(actor)
        await self.book.refresh()
        return self._known(name)

    def find_uncovered(self, source: KnownSource, *, now: datetime) -> tuple[Traffic, ...]:
        """Return what the source carries and the notice does not cover."""
        today = now.astimezone(self.timezone).date()
        return self.notice.decide_uncovered(source.carries, today=today)

    async def add(
        self,
        name: str,
        kind: str,
        details: SourceDetails,
        *,
        actor: Actor,
        now: datetime,
        random: Callable[[int], bytes] = os.urandom,
    ) -> NewSecret:
        """Add a source, which is connecting until it is made live; return its secret.

        Raises:
            NotPermittedError: The actor does not manage sources.
            InvalidInputError: The name cannot be.
            ContradictionError: The name is taken.
        """
        require_manager(actor)
        require_source_name(name)
        await self.book.refresh()
        if self.book.find(name) is not None:
            raise ContradictionError(f"there is a source called {name}")
        secret = _secret_for(kind, random)
        key = self.vault.new_key(new_id("so"), now=now)
        row = SourceRow(
            id=key.id,
            version=1,
            name=name,
            kind=kind,
            state=CONNECTING,
            created_at=to_microseconds(now),
            live_at=None,
            for_intake=b"",
            sealed=b"",
        )
        row = replace(row, for_intake=self._seals.seal(SourceSecrets(secret=secret), row))
        row = sealed_source(row, details, key.sealer)
        await self.vault.put([key])
        added = entry(
            EntryType.SOURCE_ADDED,
            row.id,
            actor=actor.id,
            at=now,
            data={"source": name, "kind": kind, "carries": tuple(details.carries)},
        )
        try:
            await self.store.commit([Add(row), added])
        except ConflictError as error:
            await self.vault.keys.destroy_keys([row.id])
            raise ContradictionError(f"there is a source called {name}") from error
        await self.book.refresh()
        return NewSecret(source=name, secret=secret)

    async def change_secret(
        self,
        name: str,
        *,
        actor: Actor,
        now: datetime,
        overlap: timedelta = OVERLAP,
        random: Callable[[int], bytes] = os.urandom,
    ) -> NewSecret:
        """Give a source a new secret and return it; the one before counts for ``overlap`` more.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is none of this name.
            ContradictionError: Its secret is in a file that the settings name.
        """
        known = await self._changeable(name, actor)
        secret = _secret_for(known.kind, random)
        until = to_microseconds(now + min(max(overlap, timedelta()), MAX_OVERLAP))

        def changed(before: SourceSecrets) -> SourceSecrets:
            return SourceSecrets(secret=secret, previous=before.secret, previous_until=until)

        await self._change(known, {"change": "secret"}, actor=actor, now=now, secrets=changed)
        return NewSecret(source=name, secret=secret)

    async def change_map(
        self, name: str, texts: Mapping[str, str], *, actor: Actor, now: datetime
    ) -> None:
        """Let a source's deliveries be read by the rules that ``texts`` write; without any, as they are.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is none of this name.
            InvalidInputError: The rules make no map; the detail names the field.
            ContradictionError: The source is of the settings, or of a kind with a format of its own.
        """
        known = await self._changeable(name, actor)
        if KINDS[known.kind].sender is not Sender.SIGNATURE:
            raise ContradictionError(f"{known.kind} has a format of its own")
        rules = {field: text.strip() for field, text in texts.items() if text.strip()}
        if rules:
            FieldMap.parse(rules)

        def mapped(details: SourceDetails) -> SourceDetails:
            return replace(details, field_map=rules)

        data: dict[str, Value] = {"change": "field_map", "fields": tuple(sorted(rules))}
        await self._change(known, data, actor=actor, now=now, details=mapped)

    async def go_live(self, name: str, *, actor: Actor, now: datetime) -> None:
        """Let what a source delivers from now on become contacts. A source that is live stays so.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is none of this name.
            NotCoveredError: The notice does not cover what it carries.
            ContradictionError: It is of the settings, and live.
        """
        known = await self._changeable(name, actor)
        uncovered = self.find_uncovered(known, now=now)
        if uncovered:
            raise NotCoveredError(uncovered)
        if not known.is_connecting:
            return

        def live(row: SourceRow) -> SourceRow:
            return replace(row, state=LIVE, live_at=to_microseconds(now))

        def by_notice(details: SourceDetails) -> SourceDetails:
            return replace(details, notice=self.notice.version)

        data: dict[str, Value] = {
            "change": "live",
            "notice": self.notice.version,
            "carries": tuple(map(str, known.carries)),
        }
        await self._change(known, data, actor=actor, now=now, row=live, details=by_notice)

    async def remove(self, name: str, *, actor: Actor, now: datetime) -> None:
        """Remove a source: nothing more is taken from it. What it delivered stays.

        Raises:
            NotPermittedError: The actor does not manage sources.
            NotFoundError: There is none of this name.
            ContradictionError: It is of the settings.
        """
        known = await self._changeable(name, actor)
        row_id = _row_of(known).id

        async def decide() -> tuple[Change, None]:
            row = await self._read(row_id)
            removed = entry(
                EntryType.SOURCE_REMOVED, row.id, actor=actor.id, at=now, data={"source": name}
            )
            required = Require(SourceRow, (row.id,), row.version)
            return [required, Remove(SourceRow, (row.id,)), removed], None

        await commit_decided(self.store, decide)
        await self.vault.keys.destroy_keys([row_id])
        await self.book.refresh()

    @property
    def _seals(self) -> SourceSeals:
        return SourceSeals(self.intake_keys())

    def _known(self, name: str) -> KnownSource:
        known = self.book.find(name)
        if known is None:
            raise NotFoundError("no such source")
        return known

    async def _changeable(self, name: str, actor: Actor) -> KnownSource:
        known = await self.get(name, actor=actor)
        if known.row is None:
            raise ContradictionError(
                f"{name} is of the settings: change it there ([[sources]])"
            )
        return known

    async def _change(
        self,
        known: KnownSource,
        data: Mapping[str, Value],
        *,
        actor: Actor,
        now: datetime,
        row: Callable[[SourceRow], SourceRow] = lambda one: one,
        details: Callable[[SourceDetails], SourceDetails] = lambda one: one,
        secrets: Callable[[SourceSecrets], SourceSecrets] = lambda one: one,
    ) -> None:
        """Change what a source shows (``row``), its details and its secrets; everything is sealed anew."""
        row_id = _row_of(known).id

        async def decide() -> tuple[Change, None]:
            stored = await self._read(row_id)
            sealer = await self.vault.get_sealer(row_id)
            told, kept = details_of(stored, sealer), self._seals.open(stored)
            changed = row(replace(stored, version=stored.version + 1))
            sealed = self._seals.seal(secrets(kept), changed)
            changed = sealed_source(replace(changed, for_intake=sealed), details(told), sealer)
            logged = entry(
                EntryType.SOURCE_CHANGED,
                row_id,
                actor=actor.id,
                at=now,
                data={"source": stored.name, **data},
            )
            return [Replace(changed), logged], None

        await commit_decided(self.store, decide)
        await self.book.refresh()

    async def _read(self, row_id: str) -> SourceRow:
        rows = await self.store.find(SourceRow, {"id": row_id})
        if not rows:
            raise NotFoundError("no such source")
        return rows[0]


def require_manager(actor: Actor) -> None:
    """Return when ``actor`` manages sources: an administrator in person, or an operator at the machine.

    Raises:
        NotPermittedError: Somebody else. A token is refused: it would give itself secrets.
    """
    if actor.kind is ActorKind.OPERATOR:
        return
    require_permission(actor, Permission.MANAGE_SOURCES)
    require_person(actor)


def _row_of(known: KnownSource) -> SourceRow:
    if known.row is None:
        raise NotFoundError("no such source")
    return known.row


def _secret_for(kind: str, random: Callable[[int], bytes]) -> str:
    """Return a new secret as senders of ``kind`` take it."""
    if KINDS[kind].sender is Sender.SIGNATURE:
        return _WEBHOOK_PREFIX + base64.b64encode(random(SECRET_BYTES)).decode("ascii")
    return new_secret(random=random)
