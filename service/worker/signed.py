"""What was signed, remembered where no restore reaches; and if that is lost as well, as others remember it.

The ledger holds which log is written and its last signed checkpoint. Were the whole machine set back to yesterday, the
published log or the anchors outside may know better; a checkpoint that bears our own signature is believed there.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.archive.anchors import Anchors
from service.domain.errors import ArchiveError, UnavailableError
from service.log.checkpoint import Checkpoint, decode_checkpoint, log_key, verify_checkpoint
from service.log.witness import without_cosignatures
from storage.errors import MissingError
from storage.published import PublishedFiles

CHECKPOINT: Final = "checkpoint"
LAST: Final = "last-checkpoint"
STATE: Final = "log.json"
UNKNOWN: Final = -1

_MOST_TRIED: Final = 100
_log: Final = logging.getLogger("taltio")


class LogState(msgspec.Struct, frozen=True):
    """Which log is written: its origin, the position of its first entry in the store, and its number in a row.

    ``first`` is ``UNKNOWN`` where that was forgotten; such a log cannot be continued.
    """

    origin: str
    first: int
    generation: int


@dataclass(frozen=True, slots=True)
class Signed:
    """What the archive has signed. Blocking: call from a thread."""

    ledger: PublishedFiles
    published: PublishedFiles
    anchors: Path | None
    name: str
    signing_key: Callable[[], Ed25519PrivateKey] = field(repr=False)

    def state(self) -> LogState | None:
        """Return which log is written; None before the first.

        Raises:
            UnavailableError: The ledger contradicts itself or cannot be understood. Nothing may be signed.
        """
        try:
            stored = msgspec.json.decode(self.ledger.read(STATE), type=LogState)
        except MissingError:
            stored = None
        except msgspec.DecodeError as error:
            raise UnavailableError(f"the ledger's {STATE} is damaged") from error
        last = self.last()
        if last is None or (stored is not None and stored.origin == last.origin):
            return stored
        generation = self.generation_of(last.origin)
        if stored is not None and (generation is None or generation < stored.generation):
            # The log that is written was begun after this one, and nothing of it is signed yet.
            return stored
        if generation is None:
            raise UnavailableError(
                f"the ledger's last checkpoint is of {last.origin}; set [archive] name as it was"
            )
        return LogState(last.origin, 0 if generation == 1 else UNKNOWN, generation)

    def last(self) -> Checkpoint | None:
        """Return the last signed checkpoint.

        Raises:
            UnavailableError: It is damaged. Nothing may be signed.
        """
        try:
            return decode_checkpoint(self.ledger.read(LAST))
        except MissingError:
            return None
        except ArchiveError as error:
            raise UnavailableError(f"the ledger's {LAST} is damaged") from error

    def keep_state(self, state: LogState) -> None:
        """Remember which log is written. On return that survives a power cut."""
        self.ledger.write(STATE, msgspec.json.encode(state))

    def keep_last(self, note: bytes) -> None:
        """Remember a checkpoint before anybody sees it. On return that survives a power cut.

        Raises:
            UnavailableError: A newer one is remembered: another process has published meanwhile.
        """
        last = self.last()
        if last is not None and self._age(decode_checkpoint(note)) < self._age(last):
            raise UnavailableError("another process has published more of the log meanwhile")
        self.ledger.write(LAST, note)

    def origin_of(self, generation: int) -> str:
        """Return the name of the log that is this number in a row."""
        return self.name if generation == 1 else f"{self.name}/{generation}"

    def generation_of(self, origin: str) -> int | None:
        """Return which in a row the log ``origin`` is; None when it is none of ours."""
        if origin == self.name:
            return 1
        number = origin.removeprefix(f"{self.name}/")
        is_ours = number.isascii() and number.isdigit() and origin == f"{self.name}/{number}"
        return int(number) if is_ours else None

    def recall(self) -> None:
        """Let the ledger know of the newest checkpoint that was seen outside of it."""
        last = self.last()
        newest = (0, 0) if last is None else self._age(last)
        for note in self._seen_outside():
            found = decode_checkpoint(note)
            if self._age(found) > newest:
                _log.error(
                    "log.ledger_behind", extra={"origin": found.origin, "size": found.size}
                )
                newest = self._age(found)
                # Cosignatures were seen with it, and are not part of what was signed.
                key = log_key(found.origin, self.signing_key())
                self.keep_last(without_cosignatures(note, key))

    def _age(self, checkpoint: Checkpoint) -> tuple[int, int]:
        return (self.generation_of(checkpoint.origin) or 0, checkpoint.size)

    def _seen_outside(self) -> Iterator[bytes]:
        try:
            published = self.published.read(CHECKPOINT)
        except MissingError:
            pass
        else:
            if self._is_ours(published):
                yield published
        yield from self._newest_anchors()

    def _newest_anchors(self) -> Iterator[bytes]:
        """Yield the newest genuine checkpoint of each log of ours among the anchors, where these can be read."""
        if self.anchors is None or not self.anchors.is_dir():
            return
        try:
            for logs in Anchors(self.anchors).by_folder():
                found = [note for notes in logs if (note := self._first_of_ours(notes))]
                yield from found
                if found:
                    # Folders never go back in time: what lies in earlier ones is older.
                    return
        except OSError as error:
            # Without them the ledger is believed, as it is where nothing is anchored at all.
            _log.warning("log.anchors_unread", extra={"code": type(error).__name__})

    def _first_of_ours(self, notes: Iterator[bytes]) -> bytes | None:
        return next(filter(self._is_ours, islice(notes, _MOST_TRIED)), None)

    def _is_ours(self, note: bytes) -> bool:
        try:
            origin = decode_checkpoint(note).origin
            verify_checkpoint(note, log_key(origin, self.signing_key()))
        except ArchiveError:
            return False
        return self.generation_of(origin) is not None
