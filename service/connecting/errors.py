"""What connecting a source may be refused for."""

from collections.abc import Sequence

from service.domain.errors import ContradictionError
from service.domain.notice import Traffic


class NotCoveredError(ContradictionError):
    """The notice does not speak of what the source carries: it cannot go live."""

    def __init__(self, uncovered: Sequence[Traffic]) -> None:
        told = ", ".join(map(str, uncovered))
        super().__init__(
            f"the notice does not cover {told}: nobody was told of it, and so it is not recorded; "
            "see [notice] covers"
        )
        self.uncovered = tuple(uncovered)
