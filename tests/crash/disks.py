"""Small disks of a test's own: a file mounted as ext4, filled, or cut from power."""

import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

# include/uapi/linux/fs.h and fs/ext4/ext4.h of the kernel: nothing more reaches the disk, not even the journal.
_FS_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_NEEDED = ("mkfs.ext4", "mount", "umount")


@dataclass(frozen=True, slots=True)
class Disk:
    """An ext4 file system in a file, mounted."""

    image: Path
    point: Path

    def cut_power(self) -> None:
        """Let nothing that was not synced by now ever reach the disk."""
        directory = os.open(self.point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, _FS_IOC_SHUTDOWN, ctypes.c_uint32(_NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.point))

    def unmount(self) -> None:
        _run("umount", str(self.point))

    def fill(self) -> Path:
        """Leave no room; return the file that takes it."""
        filler = self.point / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))
            with suppress(OSError):
                os.fsync(file.fileno())
        return filler


@contextmanager
def mounted_disk(folder: Path, *, mebibytes: int = 256) -> Iterator[Disk]:
    """Mount a new disk in ``folder`` inside the block. Where that is impossible the test is skipped, and says why."""
    require_mounting()
    disk = Disk(folder / "disk.img", folder / "disk")
    disk.point.mkdir()
    with disk.image.open("wb") as file:
        file.truncate(mebibytes << 20)
    _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", str(disk.image))
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"a loop device cannot be mounted here: {error.stderr.strip()}")
    try:
        yield disk
    finally:
        if os.path.ismount(disk.point):
            _run("umount", "--lazy", str(disk.point))
        disk.image.unlink()


def require_mounting() -> None:
    """Skip the test where disks cannot be mounted."""
    if os.geteuid():
        pytest.skip("mounting a disk needs root")
    absent = [name for name in _NEEDED if shutil.which(name) is None]
    if absent:
        pytest.skip(f"absent: {', '.join(absent)}")
    if not Path("/dev/loop-control").exists():
        pytest.skip(f"the kernel has no loop devices ({os.strerror(errno.ENODEV)})")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
