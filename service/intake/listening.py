"""The sources that deliveries are taken from: those of the settings, and those that were connected since."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from service.archive.source_rows import SourceSeals, SourceSecrets
from service.domain.errors import InvalidInputError, TamperedError
from service.domain.times import to_microseconds
from service.intake.app_keys import Listener
from service.intake.shared_secret import SharedSecret
from service.intake.standard_webhooks import WebhookSecret
from service.keys.intake import IntakeKeys
from service.sources.kinds import KINDS, Sender
from service.sources.vcon.rule import MAX_BYTES
from storage.ports import Store
from storage.rows import SourceRow

_log: Final = logging.getLogger("taltio")
_Known = dict[SourceRow, SourceSecrets]


class Listeners(Mapping[str, Listener]):
    """Listeners by name. No private key is needed: what a source is known by is sealed under a key of intake."""

    def __init__(
        self,
        fixed: Mapping[str, Listener],
        *,
        store: Store,
        keys: Callable[[], IntakeKeys],
        tolerance: timedelta,
    ) -> None:
        self._fixed, self._store, self._keys = dict(fixed), store, keys
        self._tolerance = tolerance
        self._rows: _Known = {}
        self._all: Mapping[str, Listener] = self._fixed

    def __getitem__(self, name: str) -> Listener:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    async def refresh(self, now: datetime) -> None:
        """Take up what was connected, changed or removed since, and forget secrets whose time is over.

        A row that the archive did not write lets nobody in, and is told of once. Where both name a source, the settings
        win.

        Raises:
            storage.errors.StorageError: The rows cannot be read. What was known stays.
        """
        rows = await self._store.find(SourceRow, {})
        seals = SourceSeals(self._keys())
        known: _Known = {}
        for row in rows:
            secrets = self._rows.get(row)
            if secrets is None:
                try:
                    secrets = seals.open(row)
                except TamperedError:
                    secrets = SourceSecrets(secret="")
                    _log.error("intake.source_refused", extra={"source": row.id})
            known[row] = secrets
        connected = {
            row.name: listener
            for row, secrets in known.items()
            if (listener := _listener(row, secrets, self._tolerance, now)) is not None
        }
        self._rows, self._all = known, {**connected, **self._fixed}


def _listener(
    row: SourceRow, secrets: SourceSecrets, tolerance: timedelta, now: datetime
) -> Listener | None:
    """Return the listener of a source; None of one that nobody can send as."""
    kind = KINDS.get(row.kind)
    texts = [secrets.secret]
    if secrets.previous and to_microseconds(now) < secrets.previous_until:
        texts.append(secrets.previous)
    if kind is None or not secrets.secret:
        return None
    try:
        return Listener(
            row.name,
            kind.sender,
            secrets=tuple(map(WebhookSecret.parse, texts))
            if kind.sender is Sender.SIGNATURE
            else (),
            shared=tuple(map(SharedSecret.parse, texts))
            if kind.sender is Sender.SECRET
            else (),
            max_vcon_bytes=MAX_BYTES if kind.sends_vcons else 0,
            tolerance=tolerance,
        )
    except InvalidInputError:
        # Of another program: this one knows no such secret.
        return None
