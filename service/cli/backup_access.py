"""What the commands of backups share: keys at hand, the places, and telling how far the work is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.backup.bringing_up import BringingUp
from service.backup.places import BackupKeys
from service.backup.unpack import Unpacker
from service.backup_sites import temporary_sites
from service.cli.progress import Progress
from service.config import Config
from service.crypto.recipients import Identity, parse_identity
from service.domain.errors import InvalidInputError
from service.keys.ring import KeyRing
from service.wiring_backups import backup_places


@dataclass(slots=True)
class Stages:
    """Tells the progress of one thing after another."""

    _bars: dict[str, Progress] = field(default_factory=dict)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Draw ``done`` of ``total``."""
        self._bars.setdefault(what, Progress(what))(done, total)


def bringing_up_of(config: Config, ring: KeyRing | None, identity: Path | None) -> BringingUp:
    """Return what opens the backups that ``config`` names, with the keys at hand.

    Raises:
        InvalidInputError: The settings name no place for backups, or ``identity`` holds no identity.
    """
    keys = BackupKeys.of_ring(ring, () if identity is None else read_identities(identity))
    return BringingUp(Unpacker(backup_places(config), keys), temporary_sites(config))


def read_identities(file: Path) -> Sequence[Identity]:
    """Return the identities in ``file``, one on a line beside comments, as ``age-keygen`` writes them.

    Raises:
        InvalidInputError: It cannot be read, or holds none. What it holds is not repeated.
    """
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read") from error
    found = [parse_identity(line) for line in lines if line and not line.startswith("#")]
    if not found:
        raise InvalidInputError(f"{file} holds no identity")
    return found
