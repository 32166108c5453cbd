"""What can be wrong with a configuration, and where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from service.domain.errors import ArchiveError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. ``line`` counts from 1, or is None where no single line is at fault."""

    line: int | None
    message: str


class ConfigError(ArchiveError):
    """The configuration cannot be used. ``problems`` are all of them, in the order of the file."""

    code: ClassVar[str] = "configuration"
    public: ClassVar[str] = "The service is not configured correctly."

    def __init__(self, problems: Sequence[Problem], *, file: str) -> None:
        self.problems = tuple(sorted(problems, key=_position))
        self.file = file
        super().__init__("\n".join(self._sentences()))

    def _sentences(self) -> list[str]:
        places = (
            self.file if problem.line is None else f"{self.file}:{problem.line}"
            for problem in self.problems
        )
        return [
            f"{place}: {problem.message}"
            for place, problem in zip(places, self.problems, strict=True)
        ]


class ValueRefusedError(ValueError):
    """A value is not what its setting may be. The text says what is expected, and fits after a colon."""


def _position(problem: Problem) -> int:
    return problem.line or 0
