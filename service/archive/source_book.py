"""The sources that are known now: those of the settings, and those that were connected while the service runs.

Every process that understands deliveries reads the latter anew every two seconds, so that one that is connected,
changed or removed counts without a restart. Where both name a source, the settings win.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from service.archive.source_rows import CONNECTING, SourceDetails, details_of
from service.archive.vault import Vault
from service.domain.errors import InvalidInputError, TamperedError
from service.domain.notice import Traffic
from service.sources.carried import USUALLY_CARRIED
from service.sources.events import Adapter, SourceRule
from service.sources.field_map import FieldMap
from service.sources.kinds import KINDS
from storage.ports import Store
from storage.rows import SourceRow

REFRESH_EVERY: Final = timedelta(seconds=2)
T = TypeVar("T")
_log: Final = logging.getLogger("taltio")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSource:
    """A source as understanding knows it. ``row`` is None for one of the settings, which is live."""

    name: str
    kind: str
    rule: SourceRule
    adapters: Mapping[str, Adapter]
    carries: tuple[Traffic, ...] = ()
    row: SourceRow | None = None
    details: SourceDetails = field(default_factory=SourceDetails)

    @property
    def is_connecting(self) -> bool:
        """Whether its deliveries are kept and checked, and do not become contacts yet."""
        return self.row is not None and self.row.state == CONNECTING


class _View(Mapping[str, T], Generic[T]):
    """What the sources of a book have, by name, as it is at each moment."""

    def __init__(
        self,
        sources: Callable[[], Mapping[str, KnownSource]],
        value: Callable[[KnownSource], T],
    ) -> None:
        self._sources, self._value = sources, value

    def __getitem__(self, name: str) -> T:
        return self._value(self._sources()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources())

    def __len__(self) -> int:
        return len(self._sources())


class SourceBook:
    """The sources, by name. ``defaults`` are the rules of a source that says nothing of its own."""

    def __init__(
        self,
        fixed: Mapping[str, KnownSource],
        *,
        store: Store,
        vault: Vault,
        defaults: SourceRule,
    ) -> None:
        self._fixed, self._store, self._vault = dict(fixed), store, vault
        self._defaults = defaults
        self._connected: Mapping[str, KnownSource] = {}
        self._all: Mapping[str, KnownSource] = self._fixed
        self._hidden: frozenset[str] = frozenset()
        self.rules: Mapping[str, SourceRule] = _View(self.all, lambda one: one.rule)
        self.adapters: Mapping[str, Mapping[str, Adapter]] = _View(
            self.all, lambda one: one.adapters
        )
        self.regions: Mapping[str, str] = _View(self.all, lambda one: one.rule.region)

    def all(self) -> Mapping[str, KnownSource]:
        """Return every source, by name."""
        return self._all

    def find(self, name: str) -> KnownSource | None:
        """Return the source, if there is one."""
        return self._all.get(name)

    @property
    def fixed(self) -> Mapping[str, KnownSource]:
        """The sources of the settings."""
        return self._fixed

    async def refresh(self) -> None:
        """Take up what was connected, changed or removed since; with the keys away, what was known stays.

        A row that the archive did not write is passed over, and told of once.

        Raises:
            storage.errors.StorageError: The rows cannot be read. What was known stays.
        """
        if not self._vault.ring.is_at_hand:
            return
        rows = await self._store.find(SourceRow, {})
        before = {one.row: one for one in self._connected.values()}
        known = {row.name: before[row] for row in rows if row in before}
        fresh = [row for row in rows if row not in before]
        hidden = {row.name for row in rows if row.name in self._fixed}
        if hidden - self._hidden:
            _log.warning("sources.hidden", extra={"sources": sorted(hidden)})
        self._hidden = frozenset(hidden)
        sealers = await self._vault.find_sealers([row.id for row in fresh])
        for row in fresh:
            if row.id not in sealers:
                continue
            try:
                known[row.name] = self.known(row, details_of(row, sealers[row.id]))
            except (TamperedError, InvalidInputError) as error:
                _log.error("sources.refused", extra={"source": row.id, "code": error.code})
        self._connected, self._all = known, {**known, **self._fixed}

    def known(self, row: SourceRow, details: SourceDetails) -> KnownSource:
        """Return the source of ``row``.

        Raises:
            InvalidInputError: This program does not know its kind, or cannot read its details.
        """
        kind = KINDS.get(row.kind)
        if kind is None:
            raise InvalidInputError(f"there is no kind of sources {row.kind}")
        adapters = kind.adapters
        if details.field_map:
            adapters = {**adapters, "contact": FieldMap.parse(details.field_map).adapter()}
        default = self._defaults
        carries = tuple(map(Traffic.parse, details.carries))
        return KnownSource(
            name=row.name,
            kind=row.kind,
            rule=SourceRule(
                region=details.region or default.region,
                timezone=ZoneInfo(details.timezone) if details.timezone else default.timezone,
                grace=timedelta(minutes=details.grace_minutes) or default.grace,
                company_numbers=frozenset(details.company_numbers),
            ),
            adapters=adapters,
            carries=carries or USUALLY_CARRIED.get(row.kind, ()),
            row=row,
            details=details,
        )
