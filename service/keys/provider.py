"""What keeps the keys: the port that the file provider and hardware providers fulfil."""

from datetime import datetime
from typing import Protocol

from service.keys.epoch import Epoch, KeyMaterial
from service.keys.intake import IntakeKeys, PublicMaterial


class KeyProvider(Protocol):
    """Keeps epochs, the index master and the log's signing key, outside the archive.

    Every method may raise ``KeysRefusedError``: the keys are kept in a way that is not safe,
    or cannot be read or written; its message says what to do. Those that touch secrets may raise
    ``KeysUnavailableError``: what opens them does not answer now; nothing was changed. None
    of them waits without a limit. Killed at any point and called
    again, each method completes what it began; only ``add_epoch`` may then have added two.
    """

    def create(self, *, now: datetime) -> str:
        """Make the keys of a new archive. On return they survive a power cut.

        Returns what to tell the operator: where the keys are and how to back them up. Called
        again it completes what was interrupted and changes nothing that is there.

        Call it only when the archive is new: what was sealed under lost keys stays sealed.

        Raises:
            KeysRefusedError: Some keys are missing from what was once complete.
        """
        ...

    def load(self) -> KeyMaterial:
        """Return all keys. Changes nothing.

        Raises:
            KeysMissingError: There are none, or not all.
        """
        ...

    def load_public(self) -> PublicMaterial:
        """Return what is known of the keys without opening a secret. Changes nothing, and never waits for a token.

        Raises:
            KeysMissingError: There are none, or not all.
        """
        ...

    def load_intake(self) -> IntakeKeys:
        """Return what intake needs, reading no secret of an epoch. Changes nothing.

        Raises:
            KeysMissingError: It is not there.
        """
        ...

    def add_epoch(self, *, now: datetime) -> Epoch:
        """Make a new epoch and return it. It is durable, and current, on return.

        Other processes know it once they load again.

        Raises:
            KeysMissingError: There are no keys yet.
        """
        ...

    def destroy_epoch(self, number: int, *, now: datetime) -> tuple[str, ...]:
        """Destroy the secrets of an epoch, escrow copies kept here included, for good.

        Returns sentences that name the copies that are elsewhere and must be destroyed too.
        Destroying a destroyed epoch again succeeds. Everything that is to survive must have
        been rewrapped, and no process may still seal to the epoch.

        Raises:
            KeysRefusedError: It is the current epoch.
            NotFoundError: There never was such an epoch.
        """
        ...
