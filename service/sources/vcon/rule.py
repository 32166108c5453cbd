"""What understanding vCons needs to know of their source."""

from dataclasses import dataclass
from typing import Final

from service.domain.contact import Direction
from service.sources.vcon.signature import Anchors

MAX_BYTES: Final = 32 * 1024**2
"""How large a vCon may be, also unpacked, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class VconRule:
    """``anchors`` is who may sign; None where nobody is known. ``requires_signature``: what is not signed is refused.

    ``direction`` is that of contacts whose parties do not tell it; ``max_bytes`` holds for what was packed, too.
    """

    anchors: Anchors | None = None
    requires_signature: bool = False
    direction: Direction = Direction.INBOUND
    max_bytes: int = MAX_BYTES
