"""Tables and sizes for people."""

from collections.abc import Sequence
from typing import Final

_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")
_THOUSAND: Final = 1000
_FEW: Final = 9.95


def human_size(size_bytes: int) -> str:
    """Return a size in powers of a thousand, such as ``1.2 GB``."""
    if size_bytes < _THOUSAND:
        return f"{size_bytes} B"
    size = float(size_bytes)
    unit = ""
    for unit in _UNITS:  # noqa: B007  # the one at which the loop ends is said
        size /= _THOUSAND
        if round(size) < _THOUSAND:
            break
    return f"{size:.1f} {unit}" if size < _FEW else f"{size:.0f} {unit}"


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0
) -> list[str]:
    """Return the lines of a table; all columns from the second to the ``right``-th are set to the right."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return [
        "  ".join(
            cell.rjust(width) if 0 < column < right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
