"""Exit codes: 1 says that something was altered, so nothing else ends with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import json, sys
from service.cli import log_commands, verify_command
from service.cli.main import main
from service.domain.errors import TamperedError
from storage.errors import BrokenError

faults = [
    ZeroDivisionError("x"), MemoryError(), RecursionError(), KeyError("x"), OSError(5, "no"), AssertionError(),
    ValueError("x"), UnicodeError("x"), TamperedError("changed"), BrokenError("disk"), BrokenPipeError(),
    ExceptionGroup("several", [ExceptionGroup("inner", [BrokenError("disk")])]),
    ExceptionGroup("several", [ZeroDivisionError("x")]),
]
codes = {}
for fault in faults:
    async def failing(*_):
        raise fault
    verify_command.verify = log_commands.verify = log_commands.prove = failing
    for asked in (["verify"], ["log", "verify", "."], ["log", "proof", "0"]):
        out = sys.stdout
        sys.stdout = open("/dev/null", "w")
        codes[f"{asked} {fault!r}"] = main(asked)
        sys.stdout = out
print(json.dumps(codes))
"""


def run(*arguments, cwd, program=None):
    command = ["-c", program] if program else ["-m", "service"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fault_in_checking_never_ends_as_altered(tmp_path):
    (tmp_path / "config.toml").touch()
    done = run(cwd=tmp_path, program=FAULTS)
    codes = json.loads(done.stdout)
    assert len(codes) == 39
    assert set(codes.values()) == {2}, codes
    assert "taltio: stopped by a fault in the program (ZeroDivisionError)" in done.stderr
    assert "taltio: disk" in done.stderr
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["verify"], id="no archive"),
        pytest.param(["verify", "--config", "missing.toml"], id="no settings"),
        pytest.param(["log", "verify", "missing"], id="no log"),
        pytest.param(["log", "verify", "config.toml"], id="a file for a log"),
        pytest.param(["log", "verify", "/dev"], id="devices for a log"),
        pytest.param(["log", "proof", "0"], id="no log to prove from"),
        pytest.param(["log", "proof", "99999999999999999999"], id="an entry beyond any log"),
        pytest.param(["log", "proof", "x"], id="no number"),
        pytest.param(
            ["log", "verify", ".", "--proof", ".", "--key", "."], id="folders for files"
        ),
    ],
)
def test_what_cannot_be_checked_ends_with_2_and_a_line(tmp_path, arguments):
    (tmp_path / "config.toml").touch()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert (done.stderr + done.stdout).strip()
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_does_not_end_as_altered(tmp_path):
    (tmp_path / "config.toml").touch()
    command = f'"{sys.executable}" -m service log verify . --proof a --key b; echo $? >&2'
    piped = subprocess.run(
        ["sh", "-c", f"({command}) | true"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.stderr.split()[-1] == "2"
