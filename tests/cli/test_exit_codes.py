"""Exit codes: 1 says that something was altered, so nothing else ends with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.log.checkpoint import log_key
from tests.log.conftest import ORIGIN, SECRET, MemoryLog

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


def made_log(folder):
    """Return the path of a published log of ten entries."""
    log = MemoryLog()
    log.append(*(b"entry %d" % i for i in range(10)))
    files = log.publish().files | {"vkey": f"{log_key(ORIGIN, SECRET).format()}\n".encode()}
    for path, data in files.items():
        file = folder / "log" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return str(folder / "log")


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


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_stream_changes_no_exit_code(tmp_path, closed):
    made_log(tmp_path)
    command = f'"{sys.executable}" -m service log verify log {closed}'
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0
    (tmp_path / "log" / "tile/entries/000.p/10").write_bytes(b"")
    altered = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert altered.returncode == 1


@pytest.mark.parametrize("out", ["/dev/null", "/proc/none", "/dev/null/deeper"])
def test_where_nothing_can_be_written_is_no_fault_of_the_program(tmp_path, out):
    done = run("log", "proof", "0", "--log", made_log(tmp_path), "--out", out, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"taltio: nothing can be written to {out}: ")


def test_a_full_disk_behind_the_output_is_told_in_words(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "service", "log", "verify", made_log(tmp_path)],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.endswith(
        "taltio: not everything could be written: No space left on device\n"
    )
    assert "Traceback" not in done.stderr


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
