"""Everything read and checked."""

import os
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.archives import Archive, new_archive, serving
from bench.recordings import add_contact, put_recording
from bench.results import Result, Wording, ratio
from bench.sizes import MIB, Sizes

_MOST_ARGUMENTS = 1000


def verified(sizes: Sizes, directory: Path) -> Result:
    """Measure ``taltio verify`` of an archive of recordings, by the processor time it takes."""
    archive = new_archive(directory / "archive")
    with serving(archive):
        archive.wait_until_published()
    starting = min(_processor_seconds([archive.command("verify")]) for _ in range(2))
    with serving(archive) as ours:
        for number in range(sizes.verified_recordings):
            add_contact(archive, ours, f"call-{number}")
            put_recording(archive, ours, f"call-{number}", size_bytes=sizes.verified_bytes)
        archive.wait_until_understood()
    blobs = _blobs(archive)
    size = sum(blob.stat().st_size for blob in blobs)
    digesting = [
        ["openssl", "dgst", "-sha256", *map(str, blobs[start : start + _MOST_ARGUMENTS])]
        for start in range(0, len(blobs), _MOST_ARGUMENTS)
    ]
    rounds = []
    for number in range(sizes.rounds + 1):
        seconds = _processor_seconds([archive.command("verify")])
        reference = _processor_seconds(digesting)
        if number:
            rounds.append((size / seconds / 1e6, size / reference / 1e6))
    wording = Wording(
        what=f"`taltio verify` of {size // MIB:,} MiB in {len(blobs):,} objects, per core",
        against="openssl dgst -sha256 of the same bytes",
        unit="MB/s",
        bound=0.5,
    )
    taken = size / 1e6 / median(ours for ours, _ in rounds)
    note = f"{taken:.1f} s of processor time, of which {starting:.1f} s are the program's start"
    return ratio(wording, rounds, note=note)


def _blobs(archive: Archive) -> list[Path]:
    everything = (archive.directory / "data" / "blobs").rglob("*")
    return sorted(path for path in everything if path.is_file())


def _processor_seconds(commands: Sequence[Sequence[str]]) -> float:
    """Return the processor time of commands, run on one core."""
    core = {min(os.sched_getaffinity(0))}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, core),  # no other thread runs here
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
