"""Epochs: the keys under which everything of a time is sealed, and destroyed together."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from service.crypto.recipients import HybridIdentity, Identity, Recipient, X25519Identity
from service.crypto.secret import IndexMaster, Secret, WrappingKey


class EpochKind(StrEnum):
    """What the recipient of an epoch is made of."""

    X25519 = "x25519"
    """Every age program opens it."""
    HYBRID = "hybrid"
    """ML-KEM-768 and X25519: also safe from a quantum computer; needs age 1.3 or later."""


class EpochState(StrEnum):
    """What an epoch is good for."""

    ACTIVE = "active"
    """New keys are sealed to it. One epoch is."""
    RETIRED = "retired"
    """It still opens what was sealed to it."""
    DESTROYED = "destroyed"
    """Nothing opens any more what only it could open."""


class SigningSeed(Secret):
    """The Ed25519 private key that signs the log's checkpoints."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """The secrets of an epoch: the identity opens headers, the wrapping key unwraps row keys."""

    identity: Identity = field(repr=False)
    wrapping_key: WrappingKey = field(repr=False)

    @classmethod
    def generate(
        cls, kind: EpochKind, random: Callable[[int], bytes] = os.urandom
    ) -> "EpochKeys":
        """Return the secrets of a new epoch."""
        maker = X25519Identity if kind is EpochKind.X25519 else HybridIdentity
        return cls(maker.generate(random), WrappingKey.generate(random))


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch. Without ``keys`` it was destroyed, at ``destroyed_at``."""

    number: int
    recipient: Recipient = field(repr=False)
    created_at: datetime
    state: EpochState
    keys: EpochKeys | None = field(default=None, repr=False)
    destroyed_at: datetime | None = None

    @property
    def kind(self) -> EpochKind:
        """What the recipient is made of."""
        return EpochKind(self.recipient.family)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """Everything that a key provider holds, opened. Nothing in it prints.

    ``epochs`` are in the order of their numbers; the last one is active. ``usable_until`` is when it must be forgotten,
    in the seconds of the monotonic clock; None: it may be kept.
    """

    epochs: tuple[Epoch, ...]
    index_master: IndexMaster = field(repr=False)
    signing_seed: SigningSeed = field(repr=False)
    escrow: tuple[Recipient, ...] = ()
    usable_until: float | None = None
