"""Roles on the command line: where they need a database that can be shared, they say so."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.commands import build_parser
from service.cli.overwriting import overwriting_environment
from service.cli.serve import require_shared
from service.config import parse_config
from service.config.roles import ProcessRole
from service.domain.errors import InvalidInputError
from service.sharing_out import all_routes, routes_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("role", ["intake", "desk", "worker"])
def test_on_sqlite_a_role_is_refused_with_what_it_takes(tmp_path, role):
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--role", role],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert ended.returncode == 2
    assert "takes PostgreSQL" in ended.stderr
    assert "--role all" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_process_that_does_everything_runs_on_either(tmp_path):
    require_shared(parse_config("", base=tmp_path), ProcessRole.ALL)
    shared = parse_config(
        '[storage]\ndatabase = "postgresql://taltio@/taltio?host=/run/x"\n', base=tmp_path
    )
    for role in ProcessRole:
        require_shared(shared, role)
    with pytest.raises(InvalidInputError):
        require_shared(parse_config("", base=tmp_path), ProcessRole.DESK)


def test_every_address_is_served_by_one_role_beside_all_or_by_each():
    known = {(route.method, route.path) for route in all_routes()}
    served = {role: set() for role in ProcessRole}
    for role in ProcessRole:
        routes = routes_of(role)
        assert {(route.method, route.path) for route in routes} == known
        own = {(route.method, route.path, route.handler) for route in all_routes()}
        served[role] = {
            (route.method, route.path)
            for route in routes
            if (route.method, route.path, route.handler) in own
        }
    of_everybody = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}
    assert served[ProcessRole.ALL] == known
    assert served[ProcessRole.WORKER] == of_everybody
    assert served[ProcessRole.INTAKE] & served[ProcessRole.DESK] == of_everybody
    assert served[ProcessRole.INTAKE] | served[ProcessRole.DESK] == known
    assert all(
        path.startswith("/intake/") for _, path in served[ProcessRole.INTAKE] - of_everybody
    )


def test_the_help_says_what_each_role_does(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["serve", "--help"])
    told = capsys.readouterr().out
    assert all(f"\n  {role}  " in told for role in ProcessRole)


def test_what_is_freed_is_overwritten_whatever_the_environment_says_of_it():
    made = overwriting_environment({"PATH": "/bin", "GLIBC_TUNABLES": "glibc.rtld.nns=4"})
    assert made is not None
    assert made["PATH"] == "/bin"
    assert made["PYTHONMALLOC"] == "malloc"
    assert made["GLIBC_TUNABLES"].startswith("glibc.rtld.nns=4:glibc.malloc.perturb=")
    assert overwriting_environment(made) is None
    assert overwriting_environment({**made, "PYTHONMALLOC": "pymalloc"}) is not None
