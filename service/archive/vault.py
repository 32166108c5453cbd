"""The vault: the fields of rows, sealed and opened, and the tokens by which they are found.

Everything that is personal in a row is one JSON document, sealed as one value under the row's own key
(`docs/format-sealing.md`). The keys are in the key store, wrapped by the current epoch; they are stored before the row
that they open, so a crash leaves at worst a key that opens nothing.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from service.crypto.blind_index import BlindIndex
from service.crypto.fields import FieldSealer, Sealed
from service.crypto.wrap import new_key
from service.domain.errors import ErasedError, TamperedError
from service.domain.times import to_microseconds
from service.keys.ring import KeyRing
from storage.ports import KeyStore
from storage.rows import KeyRow

T = TypeVar("T")

_EPOCH: Final = re.compile(r"epoch:([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class RowKey:
    """The key of one row, in the clear; ``row`` is how the key store knows it wrapped."""

    id: str
    sealer: FieldSealer = field(repr=False)
    row: KeyRow = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vault:
    """Row keys and tokens, where the epoch's keys are at hand."""

    ring: KeyRing
    keys: KeyStore
    index: BlindIndex
    random: Callable[[int], bytes] = os.urandom

    def new_key(self, row_id: str, *, now: datetime) -> RowKey:
        """Make the key of a new row. It must be stored (``put``) before the row."""
        key = new_key()
        epoch, wrapped = self.ring.wrap(key)
        row = KeyRow(
            id=row_id,
            kind="row",
            wrapped_by=f"epoch:{epoch}",
            wrapped=wrapped,
            made_at=to_microseconds(now),
        )
        return RowKey(row_id, FieldSealer(key), row)

    async def put(self, keys: Collection[RowKey]) -> None:
        """Store new keys. On return they survive a power cut."""
        if keys:
            await self.keys.put_keys([key.row for key in keys])

    async def find_sealers(self, ids: Collection[str]) -> Mapping[str, FieldSealer]:
        """Return what opens each row; rows whose key was destroyed are missing."""
        if not ids:
            return {}
        rows = await self.keys.get_keys(ids)
        return {
            row.id: FieldSealer(self.ring.unwrap(epoch_of(row), row.wrapped))
            for row in rows.values()
        }

    async def get_sealer(self, row_id: str) -> FieldSealer:
        """Return what opens the row.

        Raises:
            ErasedError: Its key was destroyed.
        """
        sealers = await self.find_sealers([row_id])
        if row_id not in sealers:
            raise ErasedError(f"the key of {row_id} was destroyed")
        return sealers[row_id]


def epoch_of(row: KeyRow) -> int:
    """Return the epoch that wraps the key.

    Raises:
        TamperedError: It names none, so the key store's row was changed.
    """
    return require_epoch(row.wrapped_by, row.id)


def require_epoch(wrapped_by: str, an_id: str) -> int:
    """Return the number of the epoch that ``wrapped_by`` names.

    Raises:
        TamperedError: It names none, so the key store's row was changed.
    """
    match = _EPOCH.fullmatch(wrapped_by)
    if match is None:
        raise TamperedError(f"the key of {an_id} names no epoch")
    return int(match[1])


def seal_value(
    sealer: FieldSealer, value: object, *, table: str, row: str, version: int
) -> bytes:
    """Seal ``value`` (a struct or dataclass) as the ``sealed`` column of the row in ``table``."""
    plain = msgspec.json.encode(value)
    return bytes(sealer.seal(plain, table=table, row=row, column="sealed", version=version))


def open_value(
    sealer: FieldSealer, sealed: bytes, kind: type[T], *, table: str, row: str, version: int
) -> T:
    """Return the value that ``seal_value`` sealed.

    Raises:
        TamperedError: The bytes are not what was sealed there.
    """
    plain = sealer.open(Sealed(sealed), table=table, row=row, column="sealed", version=version)
    return msgspec.json.decode(plain, type=kind)
