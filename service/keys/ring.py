"""The key ring: opened keys in memory, and the only thing of the keys that use cases see."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.crypto.age import Header, open_header, parse_header, rewrap_header, seal_header
from service.crypto.blind_index import BlindIndex, derive_index_key
from service.crypto.errors import NoMatchError
from service.crypto.recipients import Recipient
from service.crypto.secret import DataKey, FileKey, IndexKey
from service.crypto.wrap import unwrap_key, wrap_key
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.keys.epoch import Epoch, EpochKeys, EpochState, KeyMaterial
from service.keys.errors import KeysRefusedError, KeysUnavailableError
from service.keys.intake import IntakeKeys, PublicMaterial, derive_intake_master
from service.keys.provider import KeyProvider
from service.keys.session import ReopenedSession

_log = logging.getLogger("taltio")


class KeyRing:
    """Wraps under the current epoch; unwraps under every epoch that was not destroyed.

    Wherever an epoch is given, these may be raised:
        ErasedError: That epoch was destroyed.
        UnavailableError: This ring does not have that epoch; another process may have made
            it. Take the keys again from their provider (``adopt``).
        KeysUnavailableError: The keys were put away, and their provider does not give them now.
        TamperedError: The bytes were changed, or sealed to another epoch, or there is no such epoch number.
    """

    __slots__ = (
        "_active",
        "_back_at",
        "_epochs",
        "_escrow",
        "_has_looked",
        "_intake",
        "_load",
        "_material",
        "_never_waits",
        "_renew_at",
        "_timer",
        "_trouble",
    )

    def __init__(
        self,
        material: KeyMaterial | PublicMaterial,
        *,
        load: Callable[[], KeyMaterial] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with ``material``, or without secrets; ``load`` gives the newest, for an epoch newer than these.

        It blocks, shortly, and is called once at the most between two calls of ``adopt``, whatever somebody writes into
        the key store. Secrets that may be kept for a time only are dropped when that is over, and ``load`` is asked for
        them again, each time they are needed. ``timer`` is the clock of ``usable_until``.
        """
        self._load = load
        self._timer = timer
        self._never_waits = self._has_looked = False
        self._trouble = ""
        self._material: KeyMaterial | None = None
        self._renew_at = self._back_at = float("-inf")
        if isinstance(material, KeyMaterial):
            self._take(_public(material))
            self._use(material)
        else:
            self._take(material)

    def adopt(self, material: KeyMaterial) -> None:
        """Take ``material`` as it is now: after a rotation, here or in another process.

        Raises:
            KeysRefusedError: It belongs to another archive. The ring is as it was.
        """
        public = _public(material)
        if public.intake.index_master != self._intake.index_master:
            raise KeysRefusedError("These are the keys of another archive.")
        if not self.is_at_hand:
            self._back_at = self._timer()
        self._take(public)
        self._use(material)

    def never_wait(self) -> None:
        """From now on somebody else adopts keys that may be kept for a time only; nobody waits for them here."""
        self._never_waits = True

    def put_away(self) -> None:
        """Drop every secret until keys are given again (``adopt``). What seals for intake, and its index, stays."""
        self._material = None
        epochs = tuple(replace(epoch, keys=None) for epoch in self.epochs)
        self._take(PublicMaterial(epochs, self._intake, self._escrow))

    def put_away_when_due(self) -> None:
        """Drop every secret that was kept for as long as it may be."""
        if not self.is_at_hand:
            self.put_away()

    def note_trouble(self, error: KeysRefusedError | KeysUnavailableError) -> None:
        """Tell why the provider does not give the keys, once for each reason until it does."""
        if str(error) != self._trouble:
            _log.warning("keys.unavailable", extra={"code": error.code, "reason": str(error)})
        self._trouble = str(error)

    @property
    def is_at_hand(self) -> bool:
        """Whether the secrets are here and may be used."""
        return self.remaining > 0

    @property
    def is_lent(self) -> bool:
        """Whether the secrets are here for a time only, so that their provider need not be asked each time."""
        return 0 < self.remaining < float("inf")

    @property
    def is_due(self) -> bool:
        """Whether it is time to take the keys again: always or, of those that may be kept for a time, after a third."""
        return self._timer() >= self._renew_at

    @property
    def at_hand_for(self) -> float:
        """For how many seconds the secrets have been here without a break."""
        return self._timer() - self._back_at if self.is_at_hand else 0.0

    @property
    def remaining(self) -> float:
        """For how many seconds the secrets may still be used; infinite where they may be kept."""
        if self._material is None:
            return 0.0
        until = self._material.usable_until
        return float("inf") if until is None else max(0.0, until - self._timer())

    @property
    def current_epoch(self) -> int:
        """The number of the epoch to which new keys are sealed."""
        return self._active.number

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Every epoch, destroyed ones too, in the order of their numbers; without keys while those are away."""
        return tuple(self._epochs.values())

    @property
    def escrow(self) -> tuple[Recipient, ...]:
        """The offline recipients to whom the secrets of new epochs are sealed as well."""
        return self._escrow

    @property
    def log_signing_key(self) -> Ed25519PrivateKey:
        """The key that signs the log's checkpoints. No epoch has to do with it."""
        return Ed25519PrivateKey.from_private_bytes(self._opened().signing_seed)

    def wrap(self, key: DataKey) -> tuple[int, bytes]:
        """Return the current epoch and ``key`` wrapped under it."""
        number, keys = self._current()
        return number, wrap_key(keys.wrapping_key, key)

    def unwrap(self, epoch: int, wrapped: bytes) -> DataKey:
        """Return the key that was wrapped under ``epoch``."""
        return unwrap_key(self._keys_of(epoch).wrapping_key, wrapped)

    def rewrap_key(self, epoch: int, wrapped: bytes) -> tuple[int, bytes]:
        """Return the current epoch and the same key wrapped under it."""
        return self.wrap(self.unwrap(epoch, wrapped))

    def seal_header(self, file_key: FileKey) -> tuple[int, bytes]:
        """Return the current epoch and an age header that it opens."""
        active = self._active
        return active.number, seal_header(file_key, [active.recipient])

    def open_header(self, epoch: int, header: bytes) -> FileKey:
        """Return the file key of ``header``, which was sealed to ``epoch``."""
        keys = self._keys_of(epoch)
        try:
            return open_header(_parse_whole(header), [keys.identity])
        except NoMatchError as error:
            raise _not_sealed_to(epoch) from error

    def rewrap_header(self, epoch: int, header: bytes) -> tuple[int, bytes]:
        """Return the current epoch and a header for it, of the same file key."""
        return self.seal_header(self.open_header(epoch, header))

    def disclose_header(
        self, epoch: int, header: bytes, recipients: Sequence[Recipient]
    ) -> bytes:
        """Return a header that ``recipients`` open, for a recording that leaves the archive.

        Raises:
            InvalidInputError: There are no recipients, or they do not mix.
        """
        keys = self._keys_of(epoch)
        try:
            return rewrap_header(_parse_whole(header), [keys.identity], recipients)
        except NoMatchError as error:
            raise _not_sealed_to(epoch) from error

    def open_session(self, epoch: int, sealed: bytes) -> ReopenedSession:
        """Return the intake session that was sealed to ``epoch``, to unwrap its deliveries."""
        return ReopenedSession(self.open_header(epoch, sealed))

    def intake_keys(self) -> IntakeKeys:
        """Return what a process that only takes deliveries in may have."""
        return self._intake

    def index_key(self, field: str) -> IndexKey:
        """Return the blind index key of ``field``; rotation of epochs does not change it.

        Raises:
            ValueError: ``field`` is not a short lower-case name.
        """
        return derive_index_key(self._opened().index_master, field)

    def blind_index(self) -> BlindIndex:
        """Return what makes the tokens of fields."""
        is_kept = self._material is not None and self._material.usable_until is None
        return BlindIndex(self.index_key, keep=is_kept)

    def require_at_hand(self) -> None:
        """Return when the secrets can be used now.

        Raises:
            KeysUnavailableError, KeysRefusedError: They are away.
        """
        self._opened()

    def _take(self, public: PublicMaterial) -> None:
        self._intake, self._escrow = public.intake, public.escrow
        self._epochs = {epoch.number: epoch for epoch in public.epochs}
        self._active = public.epochs[-1]

    def _use(self, material: KeyMaterial) -> None:
        now, until = self._timer(), material.usable_until
        self._material, self._trouble = material, ""
        self._renew_at = float("-inf") if until is None else now + (until - now) / 3
        self._has_looked = False

    def _opened(self) -> KeyMaterial:
        if self._material is not None and self.is_at_hand:
            return self._material
        self.put_away()
        if self._load is None or self._never_waits:
            raise KeysUnavailableError(
                "The keys were put away: their provider does not give them."
            )
        try:
            material = self._load()
            self.adopt(material)
        except KeysRefusedError as error:
            self.note_trouble(error)
            raise KeysUnavailableError("The keys cannot be used as they are.") from error
        return material

    def _current(self) -> tuple[int, EpochKeys]:
        number = self._active.number
        return number, self._keys_of(number)

    def _look_again(self) -> None:
        """Take up what another process may have made since."""
        if self._load is None or self._has_looked:
            return
        if self._never_waits and self.remaining != float("inf"):
            return
        # Keys that cannot be used as they are leave those in memory in use.
        with suppress(KeysRefusedError, KeysUnavailableError):
            self.adopt(self._load())
        self._has_looked = True

    def _keys_of(self, number: int) -> EpochKeys:
        if number < 1:
            raise TamperedError(f"There never was an epoch {number}.")
        self._opened()
        if number > self._active.number:
            self._look_again()
        epoch = self._epochs.get(number)
        if epoch is None:
            raise UnavailableError(f"The key ring has no epoch {number}.")
        if epoch.state is EpochState.DESTROYED:
            raise ErasedError(f"Epoch {number} was destroyed.")
        if epoch.keys is None:
            raise KeysUnavailableError(f"The keys of epoch {number} were put away.")
        return epoch.keys


def ring_from(provider: KeyProvider) -> KeyRing:
    """Return a ring with the keys of ``provider``; without their secrets where it does not give them now.

    Raises:
        KeysRefusedError: The keys cannot be used as they are.
    """
    try:
        material = provider.load()
    except KeysUnavailableError as error:
        # Deliveries can be taken in without; who needs a secret is told once more.
        ring = KeyRing(provider.load_public(), load=provider.load)
        ring.note_trouble(error)
        return ring
    return KeyRing(material, load=provider.load)


def _public(material: KeyMaterial) -> PublicMaterial:
    """Return ``material`` with the keys of its epochs, and without its other secrets."""
    active = material.epochs[-1]
    master = derive_intake_master(material.index_master)
    intake = IntakeKeys(active.number, active.recipient, master)
    return PublicMaterial(material.epochs, intake, material.escrow)


def _parse_whole(header: bytes) -> Header:
    parsed = parse_header(header)
    if parsed.length_bytes != len(header):
        raise TamperedError("Bytes follow the header, which is kept apart from its payload.")
    return parsed


def _not_sealed_to(epoch: int) -> TamperedError:
    return TamperedError(
        f"The header does not open with epoch {epoch}, to which it claims to be sealed."
    )
