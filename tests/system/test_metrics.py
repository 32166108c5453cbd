"""What ``/metrics`` tells, and that the dashboard and the alerts ask for nothing else."""

import json
import re
from pathlib import Path

from service.domain.actor import Role
from storage.errors import UnavailableError
from tests.docs.pages import read, section
from tests.system.world import contact

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/taltio.json"
SUFFIXES = ("_bucket", "_sum", "_count")
LINE = re.compile(r'(taltio_\w+)((?:\{(?:\w+="[^"\\\n]*",?)+\})?) (\S+)')


def names_in(text):
    return set(re.findall(r"\btaltio_\w+", text))


async def measured(world):
    admin = await world.token(Role.ADMIN)
    answer = await world.ask(admin, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.body.decode()


def numbers_of(text):
    """Return every sample by name and labels; what is no comment has to be one."""
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    matches = [LINE.fullmatch(line) for line in lines]
    assert None not in matches
    return {match[1] + match[2]: float(match[3]) for match in matches}


def declared_in(text):
    return dict(re.findall(r"(?m)^# TYPE (taltio_\w+) (gauge|counter|histogram)$", text))


async def test_every_metric_has_a_kind_and_a_meaning_and_is_written_once(world):
    text = await measured(world)
    kinds = declared_in(text)
    assert set(re.findall(r"(?m)^# HELP (taltio_\w+) \S.*\.$", text)) == set(kinds)
    assert text.count("# TYPE ") == len(kinds)
    numbers = numbers_of(text)
    assert len(numbers) == len([line for line in text.splitlines() if line[0] != "#"])
    for name in numbers:
        plain = re.sub(r"\{.*", "", name)
        base = re.sub("_(bucket|sum|count)$", "", plain)
        assert plain in kinds or kinds[base] == "histogram"
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter")


async def test_deliveries_and_uploads_are_counted_by_what_became_of_them(world):
    machine, agent = await world.token(Role.INTEGRATION), await world.token(Role.AGENT)
    before = numbers_of(await measured(world))
    for ident, asker in (("m-1", machine), ("m-1", machine), ("m-2", machine), ("m-3", agent)):
        await world.ask(asker, "POST", "/api/v1/contacts", body=contact(ident))
    for _ in range(2):
        await world.ask(machine, "PUT", "/intake/pbx/m-1/recordings/a.wav", body=b"x" * 5000)
    after = numbers_of(await measured(world))

    def rose(name):
        return after[name] - before.get(name, 0)

    assert rose('taltio_deliveries_total{outcome="kept"}') == 2
    assert rose('taltio_deliveries_total{outcome="duplicate"}') == 1
    assert rose('taltio_deliveries_total{outcome="refused"}') == 1
    assert rose('taltio_uploads_total{outcome="kept"}') == 1
    assert rose('taltio_uploads_total{outcome="duplicate"}') == 1
    assert rose("taltio_received_bytes_total") > 10_000
    assert rose("taltio_sent_bytes_total") > 0
    route = 'method="POST",path="/api/v1/contacts"'
    assert rose(f"taltio_request_seconds_count{{{route}}}") == 4
    assert rose(f'taltio_request_seconds_bucket{{{route},le="+Inf"}}') == 4
    assert rose(f'taltio_requests_total{{{route},status="403"}}') == 1


async def test_a_route_is_told_by_its_pattern_and_never_by_what_was_asked(world):
    machine = await world.token(Role.INTEGRATION)
    await world.ask(machine, "GET", "/api/v1/contacts/ct_marker")
    await world.ask(machine, "GET", "/marker?phone=marker")
    await world.ask(machine, "PUT", "/intake/marker/marker/recordings/marker")
    text = await measured(world)
    assert 'path="/api/v1/contacts/{contact_id}"' in text
    assert 'path="",status="404"' in text
    assert "marker" not in text


async def test_failures_of_a_store_are_counted_and_what_callers_decide_by_is_not(world):
    machine = await world.token(Role.INTEGRATION)
    await world.ask(machine, "POST", "/api/v1/contacts", body=contact("f-1"))
    assert "taltio_storage_failures_total{" not in await measured(world)
    world.blobs.rename(world.blobs.with_name("away"))
    world.blobs.write_text("where a directory should be")
    try:
        path = "/intake/pbx/f-1/recordings/a.wav"
        assert (await world.ask(machine, "PUT", path, body=b"sound")).status == 503
    finally:
        world.blobs.unlink()
        world.blobs.with_name("away").rename(world.blobs)
    name = f'taltio_storage_failures_total{{store="blobs",kind="{UnavailableError.__name__}"}}'
    assert numbers_of(await measured(world))[name] == 1


async def test_every_metric_that_is_measured_is_explained_and_no_other(world):
    page = read("operations.md")
    exported = set(declared_in(await measured(world)))
    assert names_in(section(page, "### Metrics")) == exported
    # Names of a schema and of databases of PostgreSQL.
    assert names_in(page) - {"taltio_keys", "taltio_drill_"} <= exported


async def test_alerts_and_dashboard_ask_for_what_is_measured(world):
    kinds = declared_in(await measured(world))
    known = set(kinds) | {
        f"{name}{end}"
        for name, kind in kinds.items()
        if kind == "histogram"
        for end in SUFFIXES
    }
    dashboard = json.loads(DASHBOARD.read_text())
    assert names_in(ALERTS.read_text()) <= known
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert all(names_in(query) for query in asked)
    assert names_in(json.dumps(dashboard)) <= known
    # Whatever is worth measuring is shown or alerted on.
    shown = names_in(json.dumps(asked) + ALERTS.read_text())
    unseen = {name for name in kinds if not any(one.startswith(name) for one in shown)}
    assert unseen == {"taltio_anchors_in_trouble", "taltio_backup_running"}


def test_panels_have_room_of_their_own():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_every_alert_is_explained_and_well_formed():
    named = re.findall(r"(?m)^      - alert: (\w+)$", ALERTS.read_text())
    assert len(set(named)) == len(named)
    explained = re.findall(
        r"(?m)^\| `(Taltio\w+)` \|", section(read("operations.md"), "### Alerts")
    )
    assert explained == named
    blocks = ALERTS.read_text().split("      - alert: ")[1:]
    for block in blocks:
        assert re.search(r"(?m)^        expr: \S", block)
        assert re.search(r"severity: (page|ticket)\}", block)
        assert re.search(r'annotations: \{summary: "[^"]+"\}', block)
