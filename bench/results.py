"""What was measured, as a table for people and for ``docs/performance.md``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of the table.

    Attributes:
        what: What was measured.
        against: What it is held against.
        ours, reference: The medians of the rounds, in ``unit``.
        figure: What must reach ``bound``: a ratio, or a number of ``figure_unit``.
        is_ceiling: The figure must be at most the bound; otherwise at least.
        spread: The smallest and the largest figure of the rounds.
        note: What else was seen.
    """

    what: str
    against: str
    ours: float
    reference: float
    unit: str
    figure: float
    bound: float
    is_ceiling: bool = False
    figure_unit: str = ""
    spread: tuple[float, float]
    note: str = ""

    @property
    def is_reached(self) -> bool:
        """Whether the figure is what it must be."""
        return self.figure <= self.bound if self.is_ceiling else self.figure >= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The words of a row and what it must reach; see `Result`."""

    what: str
    against: str
    unit: str
    bound: float
    is_ceiling: bool = False


def ratio(wording: Wording, rounds: Sequence[tuple[float, float]], *, note: str = "") -> Result:
    """Return the row of ``rounds``, each ours and the reference beside it.

    The figure is the median of the rounds' own ratios: what slows the machine for a while slows both of a round.
    """
    ratios = sorted(ours / reference for ours, reference in rounds)
    return Result(
        what=wording.what,
        against=wording.against,
        ours=median(ours for ours, _ in rounds),
        reference=median(reference for _, reference in rounds),
        unit=wording.unit,
        figure=median(ratios),
        bound=wording.bound,
        is_ceiling=wording.is_ceiling,
        spread=(ratios[0], ratios[-1]),
        note=note,
    )


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    heading = ("what", "ours", "reference", "figure (rounds)", "must be", "reached", "remarks")
    rows = [heading, tuple("---" for _ in heading), *(_cells(result) for result in results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(page: Path, measured: str) -> None:
    """Put ``measured`` between the markers of ``page``.

    Raises:
        ValueError: The page has no markers.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")


def _cells(result: Result) -> tuple[str, ...]:
    low, high = (_number(value) for value in result.spread)
    sign = "≤" if result.is_ceiling else "≥"
    unit = f" {result.figure_unit}" if result.figure_unit else ""
    return (
        result.what,
        f"{_number(result.ours)} {result.unit}",
        f"{result.against}: {_number(result.reference)} {result.unit}",
        f"**{_number(result.figure)}**{unit} ({low} to {high})",
        f"{sign} {_number(result.bound)}{unit}",
        "yes" if result.is_reached else "**no**",
        result.note,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
