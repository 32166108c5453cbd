"""Where a witness keeps what it has: its key, the logs that it watches, and the state that it must never lose.

``key/`` is for its own account alone. ``vkey`` is its public key, for whoever checks cosignatures. ``logs`` has the
verifier key of each log, one a line. ``state/checkpoints.json`` has the last cosigned checkpoint of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.errors import InvalidInputError, UnavailableError
from service.keys.directory import KeyDirectory
from service.keys.epoch import SigningSeed
from service.keys.formats import format_signing_seed, parse_signing_seed
from service.log.errors import FormatError
from service.log.note import KeyKind, VerifierKey
from storage.errors import MissingError
from storage.published import PublishedFiles

_KEY: Final = "signing.key"
_VKEY: Final = "vkey"
_LOGS: Final = "logs"
_STATE: Final = "checkpoints.json"
_VERSION: Final = 1


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last cosigned checkpoint of each log by its origin, as the signed note that it came as."""

    version: int
    checkpoints: dict[str, str]


@dataclass(frozen=True, slots=True)
class WitnessPlaces:
    """The directory of one witness. Blocking: call from a thread."""

    directory: Path

    def create(self, name: str, *, random: Callable[[int], bytes] = urandom) -> VerifierKey:
        """Make the key and an empty state of a new witness; return its verifier key.

        The state comes last: without it, no witness serves.

        Raises:
            InvalidInputError: ``name`` cannot name a key, or there is a witness already.
            KeysRefusedError: The key cannot be kept safely here.
        """
        if any((self.directory / one).exists() for one in (_VKEY, "state")):
            raise InvalidInputError(f"there is a witness in {self.directory} already")
        seed = SigningSeed.generate(random)
        key = _verifier_key(name, Ed25519PrivateKey.from_private_bytes(seed))
        keys = self._keys()
        keys.make()
        with keys.locked():
            keys.add(_KEY, format_signing_seed(seed).encode())
        self._files().write(_VKEY, f"{key.format()}\n".encode())
        self._files().write(_LOGS, b"")
        self.keep(Kept(_VERSION, {}))
        return key

    def load(self) -> tuple[str, Ed25519PrivateKey]:
        """Return the name and the key of the witness.

        Raises:
            KeysMissingError, KeysRefusedError: The key is not there, or others can read it.
            UnavailableError: Another part is missing or damaged.
        """
        keys = self._keys()
        keys.require_safe()
        try:
            seed = parse_signing_seed(keys.read(_KEY).decode())
            public = VerifierKey.parse(self._files().read(_VKEY).decode().removesuffix("\n"))
        except (MissingError, UnicodeDecodeError, InvalidInputError) as error:
            raise UnavailableError(f"{self.directory}: key or vkey is damaged") from error
        key = Ed25519PrivateKey.from_private_bytes(seed)
        if _verifier_key(public.name, key) != public:
            raise UnavailableError(f"{self.directory}: vkey is not that of the key")
        self.state()
        self.logs()
        return public.name, key

    def logs(self) -> tuple[VerifierKey, ...]:
        """Return the keys of the logs that are watched.

        Raises:
            UnavailableError: They cannot be read or understood.
        """
        try:
            lines = self._files().read(_LOGS).decode().splitlines()
            keys = tuple(parse_log_key(line) for line in lines if line)
        except (MissingError, OSError, UnicodeDecodeError, FormatError) as error:
            raise UnavailableError(
                f"{self.directory / _LOGS} is not a list of verifier keys"
            ) from error
        if len({key.name for key in keys}) < len(keys):
            raise UnavailableError(f"{self.directory / _LOGS} has two keys for one log")
        return keys

    def watch(self, key: VerifierKey) -> None:
        """Add a log; adding it again changes nothing. A running witness heeds it at once.

        Raises:
            InvalidInputError: A log of this name has another key.
        """
        logs = self.logs()
        if any(one.name == key.name and one != key for one in logs):
            raise InvalidInputError(f"{key.name} is watched with another key")
        if key not in logs:
            lines = "".join(f"{one.format()}\n" for one in (*logs, key))
            self._files().write(_LOGS, lines.encode())

    def state(self) -> Kept:
        """Return what was cosigned last.

        Raises:
            UnavailableError: It is missing or damaged. Nothing may be cosigned: a witness that forgot would vouch for
                a second history.
        """
        try:
            kept = msgspec.json.decode(self._states().read(_STATE), type=Kept)
        except (MissingError, OSError, msgspec.DecodeError) as error:
            raise UnavailableError(
                f"the state of the witness in {self.directory} is missing or damaged: a witness that forgot what it"
                " cosigned must not go on; make a new one with another key"
            ) from error
        if kept.version != _VERSION:
            raise UnavailableError("the state of the witness is of another version")
        return kept

    def keep(self, kept: Kept) -> None:
        """Replace the state. On return it survives a power cut."""
        self._states().write(_STATE, msgspec.json.encode(kept))

    def keep_conflict(self, name: str, note: bytes) -> None:
        """Keep a checkpoint as evidence of two histories."""
        self._states().write(f"conflicts/{name}.checkpoint", note)

    def _keys(self) -> KeyDirectory:
        return KeyDirectory(self.directory / "key", archive=self.directory / "state")

    def _files(self) -> PublishedFiles:
        return PublishedFiles(self.directory)

    def _states(self) -> PublishedFiles:
        return PublishedFiles(self.directory / "state")


def parse_log_key(text: str) -> VerifierKey:
    """Return the verifier key of a log.

    Raises:
        FormatError: It is none, or a witness's.
    """
    key = VerifierKey.parse(text)
    if key.kind is not KeyKind.ED25519:
        raise FormatError("This is the key of a witness, not of a log.")
    return key


def _verifier_key(name: str, key: Ed25519PrivateKey) -> VerifierKey:
    return VerifierKey(name, key.public_key().public_bytes_raw(), KeyKind.COSIGNATURE)
