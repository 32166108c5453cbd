"""docs/design.md and the glossary say what the tree, the import rules and the pages say."""

import re
import tomllib

import pytest
from babel.messages.pofile import read_po

from service.archive.checks import State
from service.domain.actor import Role
from service.domain.contact import RecordingState
from tests.docs.pages import DOCS, ROOT, coded, read

LAYERS = next(
    contract["layers"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
        "importlinter"
    ]["contracts"]
    if contract["type"] == "layers"
)
GLOSSARY = {
    code: [cell.strip() for cell in cells]
    for line in re.findall(r"(?m)^\| `.*\|$", read("glossary.md"))
    for first, *cells in [line.strip("|").split("|")]
    for code in re.findall(r"`([^`]+)`", first)
}
# Where the pages have a word of their own for it.
PAGES_SAY = {
    "channel": "fact.channel",
    "direction": "fact.direction",
    "customer": "party.customer",
    "agent": "party.agent",
    "queue": "fact.queue",
    "customer_number": "fact.customer_number",
    "metering_point": "fact.metering_point",
    "business_id": "fact.business_id",
    "source": "fact.source",
    "purpose": "fact.purpose",
    "recording_state": "matched.recording",
    "not_recorded": "recording.state.not_recorded",
    "lost": "recording.state.lost",
    "attention": "nav.attention",
    "anchored": "integrity.anchored",
    "pending": "integrity.pending",
    "unchecked": "integrity.unchecked",
    "altered": "integrity.altered",
}


@pytest.mark.parametrize(
    "page", ["design.md", "decisions/0007-import-order.md", "../README.md"]
)
def test_the_order_of_imports_is_the_one_that_is_held(page):
    shown = re.search(r"\bcli → [^`\n]*", read(page))[0].split(" → ")
    held = [layer.replace("service.", "").split(" | ") for layer in LAYERS]
    assert [layer.split(" | ") for layer in shown] == held


def test_every_folder_of_the_program_is_in_the_tree():
    words = coded(read("design.md"))
    folders = {
        f"service/{path.name}"
        for path in (ROOT / "service").iterdir()
        if (path / "__init__.py").exists()
    }
    assert folders - words == set()


def test_every_module_that_the_journeys_name_exists():
    page = read("design.md")
    for path in re.findall(r"`((?:archive|worker|api|intake)/\w+\.py)`", page):
        assert (ROOT / "service" / path).exists(), path


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (DOCS / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    "path", sorted((DOCS / "decisions").glob("*.md")), ids=lambda p: p.name
)
def test_a_decision_has_its_parts(path):
    text = path.read_text()
    assert text.startswith(f"# {int(path.name[:4])}. ")
    assert "## Context" in text
    assert "## Consequences" in text


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = coded(read("decisions/0006-dependencies.md"))
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=\[]", text)[0] for text in wanted} - named == set()


def test_roles_states_and_answers_are_in_the_glossary():
    words = {*(r.value for r in Role), *(s.value for s in State)}
    words |= {state.value for state in RecordingState} - {"present", "erased"}
    assert words - GLOSSARY.keys() == set()


@pytest.mark.parametrize(("position", "language"), [(0, "fi"), (1, "sv")])
def test_the_glossary_has_the_words_of_the_pages(position, language):
    with (ROOT / f"service/web/locale/{language}.po").open("rb") as file:
        catalogue = read_po(file)
    wrong = {
        code: (GLOSSARY[code][position], catalogue.get(key).string)
        for code, key in PAGES_SAY.items()
        if GLOSSARY[code][position].lower() != catalogue.get(key).string.lower()
    }
    assert wrong == {}
