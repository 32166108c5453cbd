"""``docs/http-api.md`` names every route with its roles, every parameter, every limit, problem and exit code."""

import re
from pathlib import Path

import pytest

from service.api.content import MAX_PER_ACTOR
from service.api.openapi import describe, is_described, path_of, problem_codes
from service.cli import main, verify_command
from service.config import parse_config
from service.http import bodies, uploads
from service.http.routes import Credential, Need
from service.http.server import PATIENCE
from service.sharing_out import all_routes

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "http-api.md").read_text()
ROUTES = [route for route in all_routes() if is_described(route)]
ROWS = {
    row[0].strip("`"): row[1:]
    for row in (
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines()
    )
    if len(row) >= 3
}
OPENERS = "complaint_handler, dpo; with a grant"


WORDS = {
    "signature": "signature",
    "twilio": "Twilio's signature",
    "chatwoot": "Chatwoot's",
    "meta": "Meta's",
    "zendesk": "Zendesk's",
    "basic": "secret",
    "bearer": "token",
    "path": "its secret in the path",
}


def _who(route):
    """Return the roles as the page is to name them."""
    (item,) = describe([route])["paths"].values()
    (operation,) = item.values()
    if route.needs is Need.PUBLIC:
        return "anybody"
    if route.needs is Need.SIGNED_IN:
        return OPENERS
    if route.needs is Need.SENDER:
        ways = [next(iter(way)) for way in operation["security"]]
        if ways == ["bearer"]:
            return "integration"
        return f"the source, by {' or '.join(WORDS[way] for way in ways or ['path'])}"
    people = "; sessions" if Credential.TOKEN not in route.accepts else ""
    return ", ".join(operation["x-roles"]) + people


def test_the_page_has_all_routes_and_no_others():
    named = {name for name in ROWS if re.match(r"[A-Z]+ /", name)}
    assert named == {f"{route.method} {path_of(route)}" for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_page_says_who_may_and_names_every_parameter(route):
    assert ROWS[f"{route.method} {path_of(route)}"][0] == _who(route)
    (item,) = describe([route])["paths"].values()
    (operation,) = item.values()
    for parameter in operation.get("parameters", []):
        name = re.escape(parameter["name"])
        assert re.search(rf"`{name}[`=]|\{{{name}\}}", PAGE), parameter["name"]


def test_the_page_has_all_codes_of_problems_with_their_status_and_no_others():
    rows = re.findall(r"(?m)^\| ([0-9]{3}) \| `([a-z_]+)` \|", PAGE)
    ours = [(str(status), code) for status, codes in problem_codes().items() for code in codes]
    assert sorted(rows) == sorted(ours)


def test_every_code_that_is_answered_is_in_the_table():
    ours = {code for codes in problem_codes().values() for code in codes}
    for folder in ("api", "http", "web", "intake"):
        for path in (ROOT / "service" / folder).rglob("*.py"):
            found = re.findall(r'(?m)^\s+code\s*=\s*"(\w+)"', path.read_text())
            assert set(found) <= ours, path


def test_the_page_has_all_exit_codes():
    text = PAGE.partition("## Exit codes")[2]
    codes = {0, main.EXIT_FAILED, main.EXIT_INTERRUPTED, *verify_command.EXIT_CODES.values()}
    assert {int(code) for code in re.findall(r"(?m)^\| ([0-9]+) \|", text)} == codes


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        ("the head of a request", [PATIENCE.head_seconds]),
        ("a connection without a request", [PATIENCE.head_seconds, PATIENCE.idle_seconds]),
        ("a body of JSON or a delivery", [bodies.SECONDS, bodies.MAX_BODY_BYTES >> 20]),
        ("a recording", [uploads.PAUSE_SECONDS, PATIENCE.body_bytes >> 10]),
        ("a client that takes nothing", [PATIENCE.stall_seconds]),
        ("connections", [PATIENCE.per_address]),
        ("contents on their way to one asker", [MAX_PER_ACTOR]),
    ],
)
def test_the_page_has_the_limits_that_hold(row, numbers):
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {row} |"))
    told = [int(number) for number in re.findall(r"\b[0-9]+\b", line)]
    assert set(numbers) <= set(told)


def test_the_page_has_the_limits_that_are_set():
    intake = parse_config("", base=ROOT).intake
    assert f"{intake.max_delivery_bytes >> 20} MiB (`[intake] max_delivery_bytes`" in PAGE
    assert f"{intake.max_recording_bytes >> 30} GiB (`[intake] max_recording_bytes`" in PAGE
