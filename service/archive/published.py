"""The published log as verification sees it: newest checkpoint, tiles, what was signed last, what lies outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.errors import NotFoundError, UnavailableError
from service.log.checkpoint import log_key
from service.log.errors import FormatError
from service.log.note import VerifierKey
from storage.errors import MissingError, StorageError
from storage.published import PublishedFiles

CHECKPOINT: Final = "checkpoint"
LAST: Final = "last-checkpoint"
POSITION: Final = "log.json"
KEY: Final = "vkey"

_NEWEST_ANCHORS: Final = 3


class Position(msgspec.Struct, frozen=True):
    """Which log is written: its name, the index in the store of its first entry, its number in a row."""

    origin: str
    first: int
    generation: int


@dataclass(frozen=True, slots=True)
class LogView:
    """The log as published at one moment. Notes are unverified bytes, None where there are none."""

    position: Position
    key: VerifierKey
    checkpoint: bytes | None
    last: bytes | None
    anchors: Mapping[str, bytes]
    has_anchors: bool


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

    def view(self, *, all_anchors: bool = False) -> LogView | None:
        """Return the log as it is now, with its newest anchors or all of them; None while nothing was published.

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
        return LogView(
            position=position,
            key=self._key_of(position.origin),
            checkpoint=_find(self.published, CHECKPOINT),
            last=_find(self.ledger, LAST),
            anchors=self._anchors(position, all_anchors=all_anchors),
            has_anchors=self.anchors is not None,
        )

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

    def _anchors(self, position: Position, *, all_anchors: bool) -> dict[str, bytes]:
        if self.anchors is None:
            return {}
        prefix = position.origin.replace("/", "_") + "-"
        try:
            names = sorted(
                path.name
                for path in self.anchors.iterdir()
                if path.name.startswith(prefix) and path.is_file()
            )
            # Names end in the size with leading zeros: the last are the newest.
            wanted = names if all_anchors else names[-_NEWEST_ANCHORS:]
            return {name: (self.anchors / name).read_bytes() for name in reversed(wanted)}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnavailableError("the anchor directory cannot be read") from error


def _find(files: PublishedFiles, path: str) -> bytes | None:
    try:
        return files.read(path)
    except MissingError:
        return None
    except (OSError, StorageError) as error:
        raise UnavailableError(f"{path} cannot be read") from error
