"""A hardened process, looked at from inside; it is another one, because nothing can be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, ctypes, importlib, os, resource, sys
from service.cli.main import main

async def look(config, options):
    print(os.umask(0o022), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    print(*resource.getrlimit(resource.RLIMIT_CORE))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(soft == hard)
    return 0

module, function, *arguments = sys.argv[1:]
setattr(importlib.import_module(f"service.cli.{module}"), function, look)
os.umask(0o022)
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
sys.exit(main(arguments))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize(
    ("module", "function", "arguments"),
    [
        ("serve", "serve", ["serve"]),
        ("verify_command", "verify", ["verify"]),
        ("keys", "rotate", ["keys", "rotate"]),
        ("log_commands", "verify", ["log", "verify", "."]),
    ],
)
def test_every_command_leaves_no_core_no_memory_and_no_file_to_others(
    tmp_path, module, function, arguments
):
    (tmp_path / "config.toml").touch()
    program = 'ulimit -Sn 256; exec "$0" -c "$@"'
    command = ["sh", "-c", program, sys.executable, PROGRAM, module, function, *arguments]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", str(0o077), "0", "0", "0", "True"]


def test_no_command_runs_beside_the_one_place_that_hardens():
    """Each is called by the main function, which hardens first, and no other place needs to."""
    callers = [
        path.name
        for path in (ROOT / "service").rglob("*.py")
        if "harden()" in path.read_text(encoding="utf-8")
    ]
    assert sorted(callers) == ["hardening.py", "main.py"]
