"""The notice: which contacts people were told of before they are recorded, and which sources may go live by it.

A source of which the notice does not speak must not record anybody (GDPR, articles 12 and 13: people are told when
their data are obtained, not afterwards).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from typing import Self

from service.domain.contact import Channel, Direction
from service.domain.errors import InvalidInputError


@dataclass(frozen=True, slots=True, order=True)
class Traffic:
    """Contacts of one channel in one direction, which a source carries or the notice covers; ``call inbound``."""

    channel: Channel
    direction: Direction

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what ``text`` writes.

        Raises:
            InvalidInputError: It is not a channel and a direction with a space between.
        """
        channel, _, direction = text.partition(" ")
        try:
            return cls(Channel(channel), Direction(direction))
        except ValueError:
            raise InvalidInputError(
                f"a channel ({', '.join(Channel)}) and a direction ({', '.join(Direction)}), such as "
                '"call inbound"'
            ) from None

    def __str__(self) -> str:
        return f"{self.channel} {self.direction}"


ALL_TRAFFIC = tuple(
    Traffic(channel, direction) for channel in Channel for direction in Direction
)
"""Everything there is, in the order in which it is shown."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice of the register. ``valid_from`` is its first day, None when it holds already."""

    version: str = ""
    valid_from: date | None = None
    covers: frozenset[Traffic] = field(default_factory=frozenset)

    def decide_uncovered(
        self, carried: Collection[Traffic], *, today: date
    ) -> tuple[Traffic, ...]:
        """Return what of ``carried`` nobody was told of, in order; all of it before the notice's first day."""
        is_valid = self.valid_from is None or self.valid_from <= today
        covered = self.covers if is_valid else frozenset()
        return tuple(one for one in ALL_TRAFFIC if one in carried and one not in covered)
