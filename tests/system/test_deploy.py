"""The files in deploy/: units that systemd takes and that shut the service in, an image without surprises."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.commands import build_parser
from service.config import parse_config

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
CONTAINERFILE = ROOT / "deploy/container/Containerfile"
ANALYZE = shutil.which("systemd-analyze")
SHUT_IN = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "UMask": "0077",
    "LimitCORE": "0",
    "CapabilityBoundingSet": "",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallFilter": "~@privileged @obsolete",
    "StateDirectoryMode": "0700",
}
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze absent")


@pytest.fixture
def installed(tmp_path):
    """The units with a program that is there."""
    for unit in UNITS:
        text = unit.read_text().replace("/srv/taltio/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text)
    return sorted(tmp_path.glob("*.service"))


def settings_of(unit):
    return dict(re.findall(r"(?m)^(\w+)=(.*)$", unit.read_text()))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_unit_shuts_the_service_in(unit):
    settings = settings_of(unit)
    assert {name: settings.get(name) for name in SHUT_IN} == SHUT_IN
    assert settings["User"] != "root"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_a_unit_starts_is_a_command_of_ours(unit):
    command = settings_of(unit)["ExecStart"].split(" -m service ")[1]
    options = build_parser().parse_args(command.replace("%i", "all").split())
    assert options.run


def test_stopping_may_take_as_long_as_the_service_gives_itself():
    unit = settings_of(ROOT / "deploy/systemd/taltio.service")
    assert int(unit["TimeoutStopSec"]) > parse_config("", base=ROOT).web.shutdown_seconds + 10


@needs_systemd
def test_systemd_takes_the_units(installed):
    done = subprocess.run(
        [ANALYZE, "verify", *installed], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_little_exposed(installed):
    # Fails above the threshold, in tenths (systemd-analyze(1), security).
    command = [ANALYZE, "security", "--offline=true", "--threshold=20", *installed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def instructions():
    text = re.sub(r"(?m)^#.*\n", "", CONTAINERFILE.read_text()).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def test_the_image_is_built_in_two_stages_from_hashes():
    done = instructions()
    assert [name for name, _ in done].count("FROM") == 2
    (install,) = [rest for name, rest in done if name == "RUN" and "pip install" in rest]
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    text = CONTAINERFILE.read_text()
    assert not re.search(
        r"https?://(?!127\.0\.0\.1)|--index-url|--extra-index|:latest|curl|wget", text
    )
    assert not re.search(r"(?m)^(ADD|COPY) (\.|/) ", text)


def test_the_image_runs_as_nobody_special_and_is_asked_how_it_goes():
    final = instructions()
    last = len(final) - 1 - [name for name, _ in final][::-1].index("FROM")
    final = dict(final[last:])
    assert re.fullmatch(r"[1-9][0-9]+:[1-9][0-9]+", final["USER"])
    assert "/healthz" in final["HEALTHCHECK"]
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert final["ENTRYPOINT"].startswith("[")
    assert set(re.findall(r'"(/[^"]+)"', final["VOLUME"])) == {
        "/var/lib/taltio",
        "/var/lib/taltio-keys",
    }


def test_what_the_image_copies_exists_and_may_reach_the_build():
    allowed = re.findall(
        r"(?m)^!(.+)$", CONTAINERFILE.with_name("Containerfile.containerignore").read_text()
    )
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            for source in rest.split(" ")[:-1]:
                assert list(ROOT.glob(source)), source
                assert source in allowed
