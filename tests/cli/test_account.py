"""Whoever runs a command without the rights that it takes is told so in a sentence, and nothing is begun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# To root no mode means anything; without this capability modes count for root too (capabilities, section 7).
PLAIN = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
SETTINGS = """
[archive]
directory = "state/data"
[backup]
directory = "backups"
keys_directory = "backups-of-keys"
"""


def said(folder, *arguments):
    """Return what a command says that ends with 2."""
    ended = subprocess.run(
        [*(PLAIN if os.geteuid() == 0 else ()), sys.executable, "-m", "service", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        timeout=60,
    )
    assert ended.returncode == 2
    assert "fault" not in ended.stderr
    return ended.stderr


@pytest.fixture
def state(tmp_path):
    (tmp_path / "config.toml").write_text(SETTINGS)
    state = tmp_path / "state"
    state.mkdir()
    yield state
    state.chmod(0o700)


def test_a_restore_is_not_begun_where_it_could_not_be_put_in_place(tmp_path, state):
    state.chmod(0o500)
    told = said(tmp_path, "backup", "restore", "--without-ledger")
    assert f"{state} is not this account's to write" in told
    assert "/var/lib/taltio/data in /var/lib/taltio" in told
    assert list(state.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_said_in_a_sentence(tmp_path, state):
    state.chmod(0o500)
    assert f"{state / 'data'} cannot be made: Permission denied" in said(tmp_path, "serve")
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "arguments", [("serve",), ("users", "list"), ("backup", "restore", "--without-ledger")]
)
def test_who_may_not_look_into_the_archive_is_told_whose_it_is(tmp_path, state, arguments):
    state.chmod(0)
    told = said(tmp_path, *arguments)
    assert f"{state} belongs to user {os.geteuid()}" in told
    assert "run it as the account of the service" in told
