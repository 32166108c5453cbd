"""One service at a time works on a data directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.database.lock import LOCK_NAME, instance_lock
from storage.errors import UnavailableError

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, time
from pathlib import Path
from storage.database.lock import instance_lock
with instance_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, tmp_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_service_is_refused_and_told_who_holds_the_directory(tmp_path, holder):
    with (
        pytest.raises(UnavailableError, match=rf"process {holder.pid}\b") as caught,
        instance_lock(tmp_path),
    ):
        pytest.fail("two services at once")
    assert str(tmp_path) in str(caught.value)


def test_a_service_that_was_killed_holds_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    with instance_lock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_service_that_ended_holds_nothing(tmp_path):
    for _ in range(2):
        with instance_lock(tmp_path):
            pass
    with pytest.raises(ZeroDivisionError), instance_lock(tmp_path):
        raise ZeroDivisionError
    with instance_lock(tmp_path):
        pass


def test_two_in_one_process_are_refused_too(tmp_path):
    with instance_lock(tmp_path), pytest.raises(UnavailableError), instance_lock(tmp_path):
        pytest.fail("two services at once")


def test_directories_are_held_apart(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with instance_lock(tmp_path / "a"), instance_lock(tmp_path / "b"):
        pass


def test_a_missing_directory_says_so(tmp_path):
    with (
        pytest.raises(UnavailableError, match="cannot be opened"),
        instance_lock(tmp_path / "no"),
    ):
        pytest.fail("nothing to hold")
