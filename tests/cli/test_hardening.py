"""A hardened process, looked at from inside; it is another one, because nothing can be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, resource
from service.cli.hardening import harden
before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
harden()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(before, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
print(soft == hard)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_hardened_process_leaves_no_core_and_cannot_be_attached_to():
    root = Path(__file__).resolve().parents[2]
    command = ["sh", "-c", 'ulimit -Sn 256; exec "$0" -c "$1"', sys.executable, PROGRAM]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0", "0", "0", "True"]
