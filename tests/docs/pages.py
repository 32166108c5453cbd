"""The pages of the documentation, and what is found in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.rglob("*.md"), *(path for path in ROOT.glob("*.md") if path.is_file())],
    key=lambda path: str(path.relative_to(ROOT)),
)


def read(name):
    """Return the page ``name`` of docs/."""
    return (DOCS / name).read_text()


def coded(text):
    """Return everything that ``text`` writes as code within a sentence."""
    return set(re.findall(r"`([^`\n]+)`", text))


def section(text, heading):
    """Return what stands below ``heading`` up to the next one of its level or above."""
    level = heading.split(" ")[0]
    below = text.split(f"\n{heading}\n")[1]
    return re.split(rf"(?m)^#{{1,{len(level)}}} ", below)[0]
