"""The key provider that keeps keys in files, in a directory of their own."""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from service.crypto.file import seal_file
from service.crypto.recipients import Recipient
from service.crypto.secret import IndexMaster
from service.domain.errors import InvalidInputError, NotFoundError
from service.keys import formats
from service.keys.directory import KeyDirectory
from service.keys.epoch import (
    Epoch,
    EpochKeys,
    EpochKind,
    EpochState,
    KeyMaterial,
    SigningSeed,
)
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.intake import IntakeKeys, PublicMaterial, derive_intake_master
from service.keys.safe import PLAIN_SAFE, WRAPPED, Safe, require_one_safe

T = TypeVar("T")

_INDEX, _LOG = "index", "log"
_INDEX_ESCROW, _LOG_ESCROW = "index.escrow.age", "log.escrow.age"
_EPOCH_FILE = re.compile(r"epoch-([0-9]{6})\.(key|wrapped|destroyed|intake)")


class FileKeyProvider:
    """Keys in files that only the service's user can read. Implements ``KeyProvider``.

    ``safe`` decides what the files of secrets say: the secrets themselves or, with a token's, what only that opens.

    With ``escrow``, the secrets of epochs and the index master are also sealed, as age files
    beside the others, to recipients whose identities are kept offline.
    """

    __slots__ = ("_directory", "_escrow", "_kind", "_random", "_safe", "_timer")

    def __init__(
        self,
        directory: Path,
        *,
        archive: Path,
        kind: EpochKind = EpochKind.X25519,
        escrow: Sequence[Recipient] = (),
        safe: Safe = PLAIN_SAFE,
        random: Callable[[int], bytes] = os.urandom,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at nothing yet. New epochs are of ``kind``; ``timer`` is the ring's.

        Raises:
            InvalidInputError: The epochs are hybrid and an escrow recipient is not: it would
                undo what they protect against. Or escrow recipients mix the two.
        """
        families = {recipient.family for recipient in escrow}
        if len(families) > 1 or (kind is EpochKind.HYBRID and "x25519" in families):
            raise InvalidInputError(
                "Escrow recipients are all of one kind, and hybrid (age1pq1…) for hybrid epochs."
            )
        self._directory = KeyDirectory(directory, archive=archive)
        self._kind = kind
        self._escrow = tuple(escrow)
        self._safe = safe
        self._random = random
        self._timer = timer

    def create(self, *, now: datetime) -> str:
        """Make the keys of a new archive, or complete what was interrupted."""
        self._directory.make()
        with self._directory.locked():
            names = self._names()
            if not _numbers(names, self._safe.suffix, "destroyed", "intake"):
                # The first epoch comes last: with it, the keys are complete.
                if self._secret_name(_INDEX) not in names:
                    master = IndexMaster.generate(self._random)
                    self._add_secret(_INDEX, formats.format_index_master(master))
                if self._secret_name(_LOG) not in names:
                    seed = SigningSeed.generate(self._random)
                    self._add_secret(_LOG, formats.format_signing_seed(seed))
                self._add_epoch(1, now)
            self._complete()
        return self._advice()

    def load(self) -> KeyMaterial:
        """Return all keys."""
        began = self._timer()
        self._directory.require_safe()
        numbers = _numbers(self._names(), self._safe.suffix, "destroyed")
        if not numbers:
            raise KeysMissingError(
                f"{self._directory.path} has no epoch key. Restore the key directory from its"
                " backup; a new archive makes its own when it is first started."
            )
        epochs = [self._read_epoch(number) for number in range(1, max(numbers) + 1)]
        if epochs[-1].keys is None:
            raise KeysMissingError(
                f"The key file after epoch {epochs[-1].number} is missing from"
                f" {self._directory.path}: a current epoch cannot be destroyed. Restore it."
            )
        epochs[-1] = replace(epochs[-1], state=EpochState.ACTIVE)
        return KeyMaterial(
            epochs=tuple(epochs),
            index_master=self._read_secret(_INDEX, formats.parse_index_master),
            signing_seed=self._read_secret(_LOG, formats.parse_signing_seed),
            escrow=self._escrow,
            # Counted from before the first was opened.
            usable_until=None
            if self._safe.hold is None
            else began + self._safe.hold.total_seconds(),
        )

    def load_public(self) -> PublicMaterial:
        """Return what is known without opening a secret, from the intake files and those of destroyed epochs."""
        self._directory.require_safe()
        names = self._directory.names()
        destroyed = _numbers(names, "destroyed")
        epochs = []
        for number in sorted(_numbers(names, "intake")):
            record = self._read(_name(number, "intake"), formats.parse_intake)
            gone_at = None
            if number in destroyed:
                gone_at = self._read(_name(number, "destroyed"), formats.parse_destroyed)[1]
            epochs.append(
                Epoch(
                    number=number,
                    recipient=record.keys.recipient,
                    created_at=record.created_at,
                    state=EpochState.RETIRED if gone_at is None else EpochState.DESTROYED,
                    destroyed_at=gone_at,
                )
            )
        intake = self.load_intake()
        if not epochs or epochs[-1].number != intake.epoch:
            raise KeysMissingError(
                f"Intake files are missing from {self._directory.path}. Restore them."
            )
        epochs[-1] = replace(epochs[-1], state=EpochState.ACTIVE)
        return PublicMaterial(tuple(epochs), intake, self._escrow)

    def load_intake(self) -> IntakeKeys:
        """Return what intake needs, reading intake files alone."""
        self._directory.require_safe()
        names = self._directory.names()
        usable = _numbers(names, "intake") - _numbers(names, "destroyed")
        if not usable:
            raise KeysMissingError(
                f"{self._directory.path} has no intake file of an epoch in use. Copy the newest"
                " epoch-….intake from the machine that has the keys."
            )
        return self._read(_name(max(usable), "intake"), formats.parse_intake).keys

    def add_epoch(self, *, now: datetime) -> Epoch:
        """Make a new epoch, which is current on return."""
        with self._directory.locked():
            current = self.load().epochs[-1].number
            epoch = self._add_epoch(current + 1, now)
            self._complete()
        return epoch

    def destroy_epoch(self, number: int, *, now: datetime) -> tuple[str, ...]:
        """Destroy the secrets of an epoch for good."""
        with self._directory.locked():
            self._complete()
            epochs = {epoch.number: epoch for epoch in self.load().epochs}
            if number not in epochs:
                raise NotFoundError(f"There is no epoch {number}.")
            if epochs[number].state is EpochState.ACTIVE:
                raise KeysRefusedError(
                    f"Epoch {number} is the current one. Rotate first: taltio keys rotate"
                )
            if epochs[number].state is not EpochState.DESTROYED:
                # From here on the epoch counts as destroyed, even if the rest is interrupted.
                self._add(_name(number, "destroyed"), formats.format_destroyed(number, now))
            for kind in (self._safe.suffix, "escrow.age"):
                self._directory.remove(_name(number, kind))
        return self._other_copies(epochs[number])

    def _add_epoch(self, number: int, now: datetime) -> Epoch:
        keys = EpochKeys.generate(self._kind, self._random)
        epoch = Epoch(
            number=number,
            recipient=keys.identity.recipient,
            created_at=now.replace(microsecond=0),
            state=EpochState.ACTIVE,
            keys=keys,
        )
        text = formats.format_epoch(epoch, keys)
        # Escrow comes first, so that no epoch is in use without it. One that an interrupted
        # attempt left belongs to secrets that were never used.
        self._directory.remove(_name(number, "escrow.age"))
        self._add_escrow(_name(number, "escrow.age"), text)
        self._add_secret(_name(number), text)
        return epoch

    def _complete(self) -> None:
        """Add what an interruption, or a new escrow setting, left to be added."""
        names = self._directory.names()
        material = self.load()
        intake_master = derive_intake_master(material.index_master)
        for epoch in material.epochs:
            if epoch.keys is None:
                continue
            if _name(epoch.number, "escrow.age") not in names:
                text = formats.format_epoch(epoch, epoch.keys)
                self._add_escrow(_name(epoch.number, "escrow.age"), text)
            if _name(epoch.number, "intake") not in names:
                intake = IntakeKeys(epoch.number, epoch.recipient, intake_master)
                text = formats.format_intake(intake, epoch.created_at)
                self._add(_name(epoch.number, "intake"), text)
        if _INDEX_ESCROW not in names:
            self._add_escrow(_INDEX_ESCROW, formats.format_index_master(material.index_master))
        if self._safe.suffix == WRAPPED and _LOG_ESCROW not in names:
            # No copy of a wrapped file survives its token.
            self._add_escrow(_LOG_ESCROW, formats.format_signing_seed(material.signing_seed))

    def _read_epoch(self, number: int) -> Epoch:
        try:
            destroyed = self._read(_name(number, "destroyed"), formats.parse_destroyed)
        except KeysMissingError:
            epoch = self._read_secret(_name(number), formats.parse_epoch)
        else:
            record = self._read(_name(number, "intake"), formats.parse_intake)
            epoch = Epoch(
                number=destroyed[0],
                recipient=record.keys.recipient,
                created_at=record.created_at,
                state=EpochState.DESTROYED,
                destroyed_at=destroyed[1],
            )
        if epoch.number != number:
            raise KeysRefusedError(
                f"A file of epoch {epoch.number} is named as epoch {number} in"
                f" {self._directory.path}. Restore the directory from its backup."
            )
        return epoch

    def _names(self) -> frozenset[str]:
        names = self._directory.names()
        require_one_safe(names, self._safe.suffix, directory=self._directory.path)
        return names

    def _secret_name(self, stem: str) -> str:
        return f"{stem}.{self._safe.suffix}"

    def _read_secret(self, stem: str, parse: Callable[[str], T]) -> T:
        name = self._secret_name(stem)
        return self._parse(name, self._safe.open(stem, self._directory.read(name)), parse)

    def _read(self, name: str, parse: Callable[[str], T]) -> T:
        return self._parse(name, self._directory.read(name), parse)

    def _parse(self, name: str, data: bytes, parse: Callable[[str], T]) -> T:
        try:
            return parse(data.decode("ascii"))
        except (UnicodeDecodeError, InvalidInputError) as error:
            # The chain is cut: a decoding error carries the whole file.
            detail = error.detail if isinstance(error, InvalidInputError) else "It is not text."
            raise KeysRefusedError(
                f"{self._directory.path / name} is damaged. {detail} Restore it from the"
                " backup of the key directory."
            ) from None

    def _add(self, name: str, text: str) -> None:
        self._directory.add(name, text.encode("ascii"))

    def _add_secret(self, stem: str, text: str) -> None:
        sealed = self._safe.seal(stem, text.encode("ascii"))
        self._directory.add(self._secret_name(stem), sealed)

    def _add_escrow(self, name: str, text: str) -> None:
        if self._escrow:
            sealed = seal_file(text.encode("ascii"), self._escrow, self._random)
            self._directory.add(name, sealed)

    def _advice(self) -> str:
        path = self._directory.path.resolve()
        escrow = (
            " The .escrow.age files open with your offline identity alone; keep copies with the"
            " backups."
            if self._escrow
            else " No escrow recipient is set: without a backup, a lost disk loses everything."
        )
        return (
            f"The archive's keys are in {path}. Back that directory up now, apart from the"
            f" archive and its backups: {self._safe.advice}{escrow}"
        )

    def _other_copies(self, epoch: Epoch) -> tuple[str, ...]:
        path, day = self._directory.path.resolve(), epoch.created_at.date()
        return (
            f"Backups of {path} made since {day}: they hold {_name(epoch.number, self._safe.suffix)}.",
            f"Copies of {_name(epoch.number, 'escrow.age')}, if escrow recipients were set.",
            "Key directories of other machines that run this archive.",
        )


def _name(number: int, kind: str = "") -> str:
    return f"epoch-{number:06d}.{kind}" if kind else f"epoch-{number:06d}"


def holds_keys(directory: Path) -> bool:
    """Tell whether ``directory`` has keys of an archive, whichever provider made them. Blocking."""
    try:
        names = frozenset(path.name for path in directory.iterdir())
    except OSError:
        return False
    return any(_EPOCH_FILE.fullmatch(name) for name in names)


def _numbers(names: frozenset[str], *kinds: str) -> set[int]:
    found = (match for name in names if (match := _EPOCH_FILE.fullmatch(name)))
    return {int(match[1]) for match in found if match[2] in kinds}
