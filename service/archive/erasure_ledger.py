"""The erasure ledger: what was erased for good, so that no restore brings it back.

One line of canonical JSON for each erasure, written before its keys are destroyed; each names the SHA-256 of the line
before it, so that none can be taken out unseen. Nothing in it is personal: random ids, keyed hashes, times.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from service.domain.errors import TamperedError
from storage.ports import Ledger

FILE = "erasures"
_FIRST = "0" * 64


class ErasedContact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stays of a contact that was erased: enough to know it again when its source sends it once more."""

    id: str
    source: str
    source_token: str
    channel: str
    direction: str
    started_at: int
    created_at: int
    customers: tuple[str, ...]


class LedgerLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One erasure, decided ``at`` microseconds. ``destroyed`` are the ids of keys, objects and deliveries."""

    v: int
    erasure: str
    ground: str
    requested_by: str
    requested_at: int
    approved_by: str
    at: int
    contact: ErasedContact
    destroyed: tuple[str, ...]
    previous: str = ""


@dataclass(frozen=True, slots=True)
class ErasureLedger:
    """Lines of the ledger, in order."""

    lines: Ledger

    async def add(self, line: LedgerLine) -> None:
        """Add ``line``. On return it survives a power cut. Added again it stands there twice, which harms nothing.

        Raises:
            storage.errors.StorageError: It was not added.
        """

        def follow(last: bytes) -> bytes:
            previous = hashlib.sha256(last).hexdigest() if last else _FIRST
            return encode_line(msgspec.structs.replace(line, previous=previous))

        await self.lines.append(follow)

    async def read(self) -> Sequence[LedgerLine]:
        """Return every line.

        Raises:
            TamperedError: One is malformed, or does not follow the one before it.
        """
        return decode_lines(await self.lines.read())


def encode_line(line: LedgerLine) -> bytes:
    """Return the bytes of ``line``, without a line break."""
    return msgspec.json.encode(line, order="deterministic")


def decode_lines(lines: Sequence[bytes]) -> list[LedgerLine]:
    """Return the values of ``lines``, each held against the one before it.

    Raises:
        TamperedError: One is malformed, not canonical, or does not follow the one before it.
    """
    decoded: list[LedgerLine] = []
    previous = _FIRST
    for number, encoded in enumerate(lines, start=1):
        try:
            line = msgspec.json.decode(encoded, type=LedgerLine)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TamperedError(f"line {number} of the erasure ledger is malformed") from error
        if encode_line(line) != encoded or line.v != 1:
            raise TamperedError(f"line {number} of the erasure ledger is not in its form")
        if line.previous != previous:
            raise TamperedError(f"line {number} of the erasure ledger does not follow the last")
        previous = hashlib.sha256(encoded).hexdigest()
        decoded.append(line)
    return decoded
