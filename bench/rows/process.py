"""What the service costs as a process: its memory and its start."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.archives import Process, new_archive, serving
from bench.content import wave_blocks
from bench.recordings import add_contact, granted, playable, put_recording
from bench.results import Result, Wording, ratio
from bench.sizes import MIB, Sizes
from bench.wire import ask, download


def memory(sizes: Sizes, directory: Path) -> Result:
    """Measure the memory that a large recording needs on its way in and out, the media child's apart."""
    archive, size = new_archive(directory / "archive"), sizes.memory_bytes
    with serving(archive) as ours:
        # What is imported and kept once anything at all has gone in and out is not what a large one needs.
        warm = playable(archive, ours, "small", size_bytes=MIB)
        download(ours.address, warm.path, warm.headers)
        time.sleep(1)
        contact_id = add_contact(archive, ours, "large")
        idle = _resident_mib(ours, "VmRSS")
        going_in = _peak_mib(
            ours,
            lambda: put_recording(
                archive,
                ours,
                "large",
                size_bytes=size,
                content=partial(wave_blocks, size),
            ),
        )
        archive.wait_until_understood()
        recording = granted(archive, ours, contact_id)
        going_out = _peak_mib(
            ours, lambda: download(ours.address, recording.path, recording.headers)
        )
    extra_in, extra_out = going_in - idle, going_out - idle
    extra = max(extra_in, extra_out)
    return Result(
        what=f"extra memory while {size // MIB} MiB go in and out",
        against="idle",
        ours=max(going_in, going_out),
        reference=idle,
        unit="MiB",
        figure=extra,
        figure_unit="MiB",
        bound=32,
        is_ceiling=True,
        spread=(min(extra_in, extra_out), extra),
        note=f"in {extra_in:.1f}, out {extra_out:.1f}; peak resident, one run",
    )


def _peak_mib(process: Process, step: Callable[[], object]) -> float:
    """Return the most memory that was resident during ``step``, as the kernel counted it."""
    # 5: forget the peak so far (proc_pid_clear_refs(5)).
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
    step()
    return _resident_mib(process, "VmHWM")


def _resident_mib(process: Process, name: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {name}")


def started(sizes: Sizes, directory: Path) -> Result:
    """Measure the time from the command to the first answer, with an archive that is there and empty."""
    archive = new_archive(directory / "archive")
    rounds = []
    for number in range(sizes.starts + 1):
        begun = time.perf_counter()
        with serving(archive) as ours:
            ask(ours.address, "GET", "/healthz")
            seconds = time.perf_counter() - begun
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import aiohttp"], check=True)
        if number:
            rounds.append((seconds, time.perf_counter() - begun))
    wording = Wording(
        what="`taltio serve` to the first 200, empty archive",
        against='python -c "import aiohttp"',
        unit="s",
        bound=4,
        is_ceiling=True,
    )
    return ratio(wording, rounds)
