"""The published log as verification sees it: newest checkpoint, tiles, what was signed last, what lies outside."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.archive.anchors import Anchors
from service.archive.vouched import Stamp, Vouched
from service.domain.errors import ArchiveError, NotFoundError, UnavailableError
from service.log.checkpoint import decode_checkpoint, log_key, verify_checkpoint
from service.log.errors import FormatError
from service.log.note import VerifierKey
from service.log.timestamp import Trust
from storage.errors import MissingError, StorageError
from storage.published import PublishedFiles

CHECKPOINT: Final = "checkpoint"
LAST: Final = "last-checkpoint"
POSITION: Final = "log.json"
KEY: Final = "vkey"


class Position(msgspec.Struct, frozen=True):
    """Which log is written: its name, the index in the store of its first entry, its number in a row."""

    origin: str
    first: int
    generation: int


@dataclass(frozen=True, slots=True)
class LogView:
    """The log as published at one moment. Notes are unverified bytes, None where there are none.

    Attributes:
        anchors: The newest, by path.
        cosigned: What each witness that is configured cosigned last; None for nothing yet.
        trust: Whose timestamps are believed; None where none are asked for.
    """

    position: Position
    key: VerifierKey
    checkpoint: bytes | None
    last: bytes | None
    anchors: Mapping[str, bytes]
    has_anchors: bool
    cosigned: Mapping[VerifierKey, bytes | None] = field(default_factory=dict)
    trust: Trust | None = None

    @property
    def newest(self) -> bytes | None:
        """What was signed last: what is published, or what the ledger holds while that is about to be.

        A checkpoint is durable in the ledger before anybody sees it, and its tiles are published before both: stopped
        in between, the published one is older, and the log whole.
        """
        size, last_size = _claimed_size(self.checkpoint), _claimed_size(self.last)
        if size is None or last_size is None or self.last is None or last_size <= size:
            return self.checkpoint
        is_ours = decode_checkpoint(self.last).origin == self.position.origin
        return self.last if is_ours and _is_signed(self.last, self.key) else self.checkpoint


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """Reads what was published. Blocking: call from a thread.

    ``signing_key`` is the archive's own; what is published is held against it. Where the keys are not at hand it is
    None, and the verifier key that was published serves, though a key that lies beside what it vouches for vouches
    for little.
    """

    published: PublishedFiles
    ledger: PublishedFiles
    anchors: Path | None
    signing_key: Callable[[], Ed25519PrivateKey] | None = field(repr=False)
    witnesses: tuple[VerifierKey, ...] = ()
    trust: Trust | None = None

    @property
    def vouched(self) -> Vouched:
        """What others vouch for."""
        return Vouched(self.published, self.witnesses)

    def view(self) -> LogView | None:
        """Return the log as it is now, with its newest anchors; None while nothing was published.

        Raises:
            UnavailableError: Something cannot be read.
        """
        encoded = _find(self.ledger, POSITION)
        if encoded is None:
            return None
        try:
            position = msgspec.json.decode(encoded, type=Position)
        except msgspec.DecodeError as error:
            raise UnavailableError("the ledger does not say which log is written") from error
        checkpoint, last = _find(self.published, CHECKPOINT), _find(self.ledger, LAST)
        key = self._key_of(position.origin)
        anchors: Mapping[str, bytes] = {}
        if self.anchors is not None:
            sizes = {size for note in (checkpoint, last) if (size := _claimed_size(note))}
            anchors = Anchors(self.anchors).newest(
                position.origin, sizes, is_genuine=lambda note: _is_signed(note, key)
            )
        return LogView(
            position=position,
            key=key,
            checkpoint=checkpoint,
            last=last,
            anchors=anchors,
            has_anchors=self.anchors is not None,
            cosigned={key: self.vouched.cosigned(key) for key in self.witnesses},
            trust=self.trust,
        )

    def every_anchor(self, origin: str) -> Iterator[tuple[str, bytes]]:
        """Yield each anchor of the log ``origin`` by its path, reading it when its turn comes.

        Raises:
            UnavailableError: Something cannot be read.
        """
        if self.anchors is not None:
            yield from Anchors(self.anchors).of_log(origin)

    def first_stamp(self, origin: str, size: int) -> Stamp | None:
        """Return the first timestamp of the log ``origin`` with ``size`` entries or more, if any are believed at all.

        Raises:
            UnavailableError: Something cannot be read.
        """
        return None if self.trust is None else self.vouched.first_stamp(origin, size)

    def every_stamp(self, origin: str) -> Iterator[Stamp]:
        """Yield every timestamp of the log ``origin``, if any are believed at all; raises as ``first_stamp`` does."""
        if self.trust is not None:
            yield from self.vouched.every_stamp(origin)

    def read(self, path: str) -> bytes:
        """Return a published file.

        Raises:
            NotFoundError: There is none.
            UnavailableError: It cannot be read.
        """
        data = _find(self.published, path)
        if data is None:
            raise NotFoundError(f"there is no {path}")
        return data

    def _key_of(self, origin: str) -> VerifierKey:
        if self.signing_key is not None:
            return log_key(origin, self.signing_key())
        try:
            return VerifierKey.parse(self.read(KEY).decode().removesuffix("\n"))
        except (NotFoundError, UnicodeDecodeError, FormatError) as error:
            raise UnavailableError("there is no usable verifier key") from error


def _is_signed(note: bytes, key: VerifierKey) -> bool:
    try:
        verify_checkpoint(note, key)
    except ArchiveError:
        return False
    return True


def _claimed_size(note: bytes | None) -> int | None:
    try:
        return None if note is None else decode_checkpoint(note).size
    except FormatError:
        return None


def _find(files: PublishedFiles, path: str) -> bytes | None:
    try:
        return files.read(path)
    except MissingError:
        return None
    except (OSError, StorageError) as error:
        raise UnavailableError(f"{path} cannot be read") from error
