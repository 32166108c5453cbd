"""What an inspection of a log found, in words."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from service.log.checkpoint import Checkpoint


class Outcome(IntEnum):
    """The answer to whether something is as it was logged."""

    VERIFIED = 0
    ALTERED = 1
    UNCHECKED = 2
    """It could not be checked. That says nothing for or against it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    ``what`` names it: an entry, a file, a saved checkpoint. ``why`` is a sentence.
    ``entry`` is the index of the first entry concerned, where that is known.
    """

    outcome: Outcome
    what: str
    why: str
    entry: int | None = None


def gravest(findings: Iterable[Finding]) -> Outcome:
    """Return altered if anything is; verified only if there are no findings."""
    outcomes = {finding.outcome for finding in findings}
    if Outcome.ALTERED in outcomes:
        return Outcome.ALTERED
    return Outcome.UNCHECKED if outcomes else Outcome.VERIFIED


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, the gravest first, and how much was checked.

    ``entries`` counts those whose bytes were hashed again, ``saved`` the saved checkpoints
    that were compared. ``checkpoint`` is what the log claims, if that could be read at all.
    """

    checkpoint: Checkpoint | None
    findings: tuple[Finding, ...]
    entries: int
    saved: int

    @property
    def outcome(self) -> Outcome:
        """Altered if anything is; verified only if everything was checked."""
        return gravest(self.findings)


class LimitReachedError(Exception):
    """So much is wrong that looking further helps nobody."""


class Findings:
    """Gathers findings, up to a limit that bounds the work a hostile log can cause."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: list[Finding] = []

    def __len__(self) -> int:
        return len(self._all)

    @property
    def outcome(self) -> Outcome:
        """Altered if anything is; verified only if there is nothing."""
        return gravest(self._all)

    def altered(self, what: str, why: str, entry: int | None = None) -> None:
        """Add what is not as it was logged.

        Raises:
            LimitReachedError: There are enough findings.
        """
        self.add(Finding(Outcome.ALTERED, what, why, entry))

    def unchecked(self, what: str, why: str, entry: int | None = None) -> None:
        """Add what could not be checked; raises as ``altered`` does."""
        self.add(Finding(Outcome.UNCHECKED, what, why, entry))

    def add(self, finding: Finding) -> None:
        """Add ``finding``; raises as ``altered`` does."""
        if len(self._all) >= self._limit:
            raise LimitReachedError
        self._all.append(finding)

    def stop(self) -> None:
        """Note that the inspection ended early."""
        why = f"The inspection stopped after {len(self._all)} findings; there may be more."
        self._all.append(Finding(Outcome.UNCHECKED, "the rest", why))

    def sorted(self) -> tuple[Finding, ...]:
        """Return what was altered first, each kind in the order it was found."""
        return tuple(sorted(self._all, key=lambda finding: finding.outcome))
