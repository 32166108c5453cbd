"""Every link in the documentation leads somewhere."""

import re

import pytest

from tests.docs.pages import PAGES, ROOT


def anchors(text):
    """Return the anchors of the headings, as hosts of Markdown make them."""
    outside = re.sub(r"(?ms)^```.*?^```$", "", text)
    headings = re.findall(r"(?m)^#+ (.+)$", outside)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in headings
    }


def has_anchor(path, anchor):
    return not anchor or (path.is_file() and anchor in anchors(path.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    outside = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", outside):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        if not (path.is_relative_to(ROOT) and path.exists() and has_anchor(path, anchor)):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_reached_from_the_readme():
    reached, pending = set(), [ROOT / "README.md"]
    while pending:
        page = pending.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            path = (page.parent / link).resolve()
            if path.is_dir():
                pending += path.glob("*.md")
            elif path.suffix == ".md" and path.exists():
                pending.append(path)
    assert [page.name for page in PAGES if page not in reached] == []
