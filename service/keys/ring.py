"""The key ring: opened keys in memory, and the only thing of the keys that use cases see."""

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
from service.keys.epoch import Epoch, EpochKeys, KeyMaterial
from service.keys.errors import KeysRefusedError, KeysUnavailableError
from service.keys.intake import IntakeKeys, derive_intake_master
from service.keys.session import ReopenedSession


class KeyRing:
    """Wraps under the current epoch; unwraps under every epoch that was not destroyed.

    Wherever an epoch is given, these may be raised:
        ErasedError: That epoch was destroyed.
        UnavailableError: This ring does not have that epoch; another process may have made
            it. Take the keys again from their provider (``adopt``).
        KeysUnavailableError: The keys were put away.
        TamperedError: The bytes were changed, or sealed to another epoch, or there is no such epoch number.
    """

    __slots__ = ("_active", "_epochs", "_has_looked", "_is_away", "_load", "_material")

    def __init__(
        self, material: KeyMaterial, *, load: Callable[[], KeyMaterial] | None = None
    ) -> None:
        """Begin with ``material``; ``load`` gives the newest, for an epoch newer than these. It blocks, shortly.

        It is called once at the most between two calls of ``adopt``, whatever somebody writes into the key store.
        """
        self._material = material
        self._load = load
        self.adopt(material)

    def adopt(self, material: KeyMaterial) -> None:
        """Take ``material`` as it is now: after a rotation, here or in another process.

        Raises:
            KeysRefusedError: It belongs to another archive. The ring is as it was.
        """
        if material.index_master != self._material.index_master:
            raise KeysRefusedError("These are the keys of another archive.")
        self._material = material
        self._epochs = {epoch.number: epoch for epoch in material.epochs}
        self._active = material.epochs[-1]
        self._has_looked = self._is_away = False

    def put_away(self) -> None:
        """Drop the secrets of every epoch, until they are given again (``adopt``).

        What only seals or finds goes on: intake's keys, tokens, the log's signature.
        """
        self._is_away = True
        without = tuple(replace(epoch, keys=None) for epoch in self._material.epochs)
        self._material = replace(self._material, epochs=without)
        self._epochs = {epoch.number: epoch for epoch in without}

    @property
    def is_at_hand(self) -> bool:
        """Whether the keys were not put away."""
        return not self._is_away

    @property
    def current_epoch(self) -> int:
        """The number of the epoch to which new keys are sealed."""
        return self._active.number

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """Every epoch, destroyed ones too, in the order of their numbers."""
        return self._material.epochs

    @property
    def escrow(self) -> tuple[Recipient, ...]:
        """The offline recipients to whom the secrets of new epochs are sealed as well."""
        return self._material.escrow

    @property
    def log_signing_key(self) -> Ed25519PrivateKey:
        """The key that signs the log's checkpoints. No epoch has to do with it."""
        return Ed25519PrivateKey.from_private_bytes(self._material.signing_seed)

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
        master = derive_intake_master(self._material.index_master)
        return IntakeKeys(self._active.number, self._active.recipient, master)

    def index_key(self, field: str) -> IndexKey:
        """Return the blind index key of ``field``; rotation of epochs does not change it.

        Raises:
            ValueError: ``field`` is not a short lower-case name.
        """
        return derive_index_key(self._material.index_master, field)

    def blind_index(self) -> BlindIndex:
        """Return what makes the tokens of fields."""
        return BlindIndex(self.index_key)

    def _current(self) -> tuple[int, EpochKeys]:
        number = self._active.number
        return number, self._keys_of(number)

    def _look_again(self) -> None:
        """Take up what another process may have made since."""
        if self._load is None or self._has_looked:
            return
        # Keys that cannot be used as they are leave those in memory in use.
        with suppress(KeysRefusedError):
            self.adopt(self._load())
        self._has_looked = True

    def _keys_of(self, number: int) -> EpochKeys:
        if number < 1:
            raise TamperedError(f"There never was an epoch {number}.")
        if number > self._active.number:
            self._look_again()
        if self._is_away:
            raise KeysUnavailableError(
                "The keys were put away: their provider does not give them."
            )
        epoch = self._epochs.get(number)
        if epoch is None:
            raise UnavailableError(f"The key ring has no epoch {number}.")
        if epoch.keys is None:
            raise ErasedError(f"Epoch {number} was destroyed.")
        return epoch.keys


def _parse_whole(header: bytes) -> Header:
    parsed = parse_header(header)
    if parsed.length_bytes != len(header):
        raise TamperedError("Bytes follow the header, which is kept apart from its payload.")
    return parsed


def _not_sealed_to(epoch: int) -> TamperedError:
    return TamperedError(
        f"The header does not open with epoch {epoch}, to which it claims to be sealed."
    )
