"""Everything that an administrator meets is in docs/operations.md, and everything there is so."""

import argparse
import ast
import re
import shlex

import pytest

from service.archive import alarm, arrivals, draft, expire, receive, understand
from service.archive.register import COLUMNS
from service.cli.commands import build_parser
from service.cli.journal import FOREIGN
from service.cli.main import EXIT_FAILED, EXIT_INTERRUPTED
from service.cli.verify_command import EXIT_CODES
from service.config.sections import LISTS, SECTIONS
from service.config.setting import settings_of
from service.domain.actor import Role
from service.domain.purpose import Purpose
from service.intake import standard_webhooks
from service.log.report import Outcome
from service.worker import jobs
from tests.docs.pages import ROOT, coded, read, section

PAGE = read("operations.md")
WORDS = coded(PAGE)
LEVELS = {"debug", "info", "warning", "error", "exception"}


def subcommands(parser, path=()):
    """Yield the words of every subcommand."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield path
    for group in groups:
        for name, below in group.choices.items():
            yield from subcommands(below, (*path, name))


def commands(text):
    """Yield every line of a code block that calls ``taltio``, without its comment and what may be left out."""
    for block in re.findall(r"(?ms)^```\w*\n(.*?)^```$", text):
        for line in block.splitlines():
            if line.startswith("taltio "):
                yield re.sub(r"\[[^\]]*\]", "", line.partition("  #")[0])


def events():
    """Yield the name of every event that is logged."""
    for path in sorted([*(ROOT / "service").rglob("*.py"), *(ROOT / "storage").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name not in {"log", "_log", "logger"} or node.func.attr not in {*LEVELS, "log"}:
                continue
            text = next((a.value for a in node.args if isinstance(a, ast.Constant)), None)
            if isinstance(text, str):
                yield text.split(" ")[0]


def test_every_setting_is_named_and_no_other():
    wanted = {name: set(settings_of(one)) for name, one in SECTIONS.items()}
    wanted |= {f"[{name}]": set(settings_of(one)) for name, one in LISTS.items()}
    listed = {
        name: set(re.findall(r"`(\w+)`", names))
        for name, names in re.findall(r"(?m)^- `\[(\S+)\]`: (.*)$", PAGE)
    }
    assert listed == wanted


def test_every_subcommand_is_named():
    listed = section(PAGE, "## Commands and exit codes")
    missing = [
        words for words in subcommands(build_parser()) if f"`{' '.join(words)}`" not in listed
    ]
    assert missing == []


@pytest.mark.parametrize("page", ["docs/operations.md", "README.md", "docs/format-log.md"])
def test_every_command_that_is_shown_can_be_typed(page):
    for line in commands((ROOT / page).read_text()):
        typed = re.sub(r"\b(ENTRY|N|EPOCH)\b", "1", line).replace("1.json", "N.json")
        try:
            build_parser().parse_args(shlex.split(typed)[1:])
        except SystemExit:
            pytest.fail(f"{page}: {line}")


def test_every_exit_code_is_in_the_table():
    codes = {0, EXIT_FAILED, EXIT_INTERRUPTED, *EXIT_CODES.values(), *map(int, Outcome)}
    listed = section(PAGE, "## Commands and exit codes")
    assert {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", listed)} == codes


def test_every_event_of_the_journal_is_explained():
    names = {name for name in events() if re.fullmatch(r"[a-z]+\.[a-z_]+", name)} | {FOREIGN}
    assert names - WORDS == set()
    explained = set(re.findall(r"`([a-z]+\.[a-z_]+)`", section(PAGE, "## What to watch")))
    assert explained - names == set()


def test_every_reason_of_attention_is_explained():
    catalogue = (ROOT / "service/web/locale/en.po").read_text()
    reasons = set(re.findall(r'"attention\.reason\.(\w+)"', catalogue)) | {
        alarm.REASON,
        arrivals.ERASED,
        receive.ID_REUSED,
        understand.NOT_UNDERSTOOD,
        understand.SOURCE_GONE,
        understand.ALTERED,
        understand.ERASED,
        understand.UNREADABLE,
        understand.BROKEN,
        draft.RECORDED_THOUGH_NONE,
        expire.EXPIRING,
        expire.WITHOUT_CONTACT,
        expire.PART_WITHOUT_CONTACT,
        jobs.JOB_DEAD,
        standard_webhooks.UNTIMELY,
    }
    listed = section(PAGE, "## Needs attention")
    assert reasons - set(re.findall(r"(?m)^\| `(\w+)` \|", listed)) == set()


def test_every_role_and_column_is_named():
    assert {role.value for role in Role} - WORDS == set()
    assert set(COLUMNS) - WORDS == set()


def test_the_purposes_of_the_examples_exist():
    shown = set(re.findall(r"--purpose (\w+)", PAGE))
    assert shown
    assert shown <= {purpose.value for purpose in Purpose}


def test_every_target_of_make_that_is_shown_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    for page in ("README.md", "CONTRIBUTING.md", "docs/operations.md", "SECURITY.md"):
        text = (ROOT / page).read_text()
        shown = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
        assert shown <= targets, page
