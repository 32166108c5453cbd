"""The machine on which was measured, in words."""

import os
import platform
import ssl
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

_LIBRARIES: Final = ("aiohttp", "uvloop", "cryptography", "msgspec")


def describe(directory: Path) -> str:
    """Return what there is to know of this machine, ``directory`` being where files are written."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}. {_processor()}, {os.cpu_count()} cores, "
        f"{_memory_gib():.0f} GiB of memory, files on {_file_system(directory)}; "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {libraries}, "
        f"{ssl.OPENSSL_VERSION}. Load average before the first row: {load:.1f}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _file_system(directory: Path) -> str:
    mounts = [
        line.split()[1:3]
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    ]
    holding = [
        (len(place), kind)
        for place, kind in mounts
        if directory.resolve().is_relative_to(place)
    ]
    return max(holding, default=(0, "an unknown file system"))[1]


def _commit() -> str:
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
