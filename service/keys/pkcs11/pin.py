"""The PIN of a token: where it is read from, and that a wrong one is not tried until the token is locked."""

import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.domain.errors import ArchiveError
from service.keys.directory import KeyDirectory
from service.keys.errors import KeysMissingError, KeysRefusedError

PIN_VARIABLE: Final = "TALTIO_PKCS11_PIN"
REFUSED: Final = "token.pin-refused"
"""In the keys directory: by which a PIN that the token refused is known again, also after a restart."""

_MOST_BYTES: Final = 256
_SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class PinSource:
    """Where the PIN is: in ``file`` or, without one, in the environment. It is read at each login, and not kept."""

    file: Path | None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def read(self) -> str:
        """Return the PIN.

        Raises:
            KeysRefusedError: There is none, or others can read the file. The message never shows it.
        """
        pin = (
            self.environment.get(PIN_VARIABLE, "") if self.file is None else _read(self.file)
        ).strip("\r\n")
        if not pin:
            raise KeysRefusedError(
                "There is no PIN for the token: [keys] pkcs11_pin_file names a file with it, or the variable"
                f" {PIN_VARIABLE} holds it."
            )
        return pin


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeysRefusedError(
            f"The token's PIN cannot be read from {path}: {error.strerror}."
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        _require_private(path, found)
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise KeysRefusedError(f"{path} is too long to hold a PIN.")
    try:
        return data.decode()
    except ValueError:
        # The chain is cut: a decoding error carries the PIN.
        raise KeysRefusedError(f"{path} does not hold a PIN.") from None


def _require_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeysRefusedError(f"{path} is not a file with a PIN.")
    # Credentials that the service manager hands over belong to root, and are readable by one group.
    others = 0o077 if found.st_uid == os.geteuid() != 0 else 0o037
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & others:
        raise KeysRefusedError(
            f"{path} can be read or changed by other users (mode {stat.S_IMODE(found.st_mode):o}). Change the PIN if"
            f" they are not trusted, and close it: chmod 400 {path}"
        )


def _scrypt(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)


class PinGuard:
    """Remembers a PIN that the token refused: in memory, and in the keys directory for the next process.

    What lies there is a slow, salted hash of the refused PIN, and is removed once another one is taken.
    """

    __slots__ = ("_directory", "_note", "_random")

    def __init__(
        self, directory: KeyDirectory, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._directory, self._random = directory, random
        self._note = b""

    def require_not_refused(self, pin: str) -> None:
        """Return unless the token refused this very PIN before.

        Raises:
            KeysRefusedError: It did.
        """
        note = self._note
        with suppress(KeysMissingError):
            note = self._directory.read(REFUSED)
        salt, known = note[:_SALT_BYTES], note[_SALT_BYTES:]
        if note and hmac.compare_digest(_scrypt(pin, salt), known):
            raise KeysRefusedError(
                "The token refused this PIN before, and it is not tried again, so that the token does not lock itself."
                " Correct it, or have it tried once more by hand: taltio keys init"
            )

    def note_refused(self, pin: str) -> None:
        """Remember that the token refused this PIN."""
        salt = self._random(_SALT_BYTES)
        self._note = salt + _scrypt(pin, salt)
        # Where there is no directory yet, this process remembers it alone.
        with suppress(ArchiveError):
            self._directory.remove(REFUSED)
            self._directory.add(REFUSED, self._note)

    def forget(self) -> None:
        """Forget what was refused: the token has taken a PIN."""
        self._note = b""
        with suppress(ArchiveError):
            self._directory.remove(REFUSED)
