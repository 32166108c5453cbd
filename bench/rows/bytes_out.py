"""Recordings going out."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.archives import new_archive, plain, serving
from bench.content import write_file
from bench.recordings import playable
from bench.results import Result, Wording, ratio
from bench.sizes import MIB, Sizes
from bench.wire import download, load, request

_CONNECTIONS: Final = 16
_RANGE_BYTES: Final = 65536


def ranges(sizes: Sizes, directory: Path) -> Result:
    """Measure random ranges of a large recording whose opening has been made."""
    archive, size = new_archive(directory / "archive"), sizes.recording_bytes
    files = directory / "plain"
    rounds, rates = [], []
    with serving(archive) as ours, plain(files) as bare:
        write_file(files / "recording", size)
        recording = playable(archive, ours, "call", size_bytes=size)
        for number in range(sizes.rounds + 1):
            pair = []
            for process, path, headers in (
                (ours, recording.path, recording.headers),
                (bare, "/files/recording", {}),
            ):
                done = load(
                    process.address,
                    random_ranges(path, headers, size=size, seed=number),
                    connections=_CONNECTIONS,
                    seconds=sizes.seconds,
                )
                pair.append((done.percentile(0.99) * 1000, done.per_second))
            (p99, rate), (plain_p99, plain_rate) = pair
            if number:
                rounds.append((p99, plain_p99))
                rates.append((rate, plain_rate))
    wording = Wording(
        what=f"random 64 KiB Range of {size // MIB} MiB, {_CONNECTIONS} connections, p99",
        against="aiohttp FileResponse of the plain file",
        unit="ms",
        bound=0.8,
        is_ceiling=True,
    )
    rate, plain_rate = sorted(rates)[len(rates) // 2]
    return ratio(wording, rounds, note=f"{rate:,.0f} against {plain_rate:,.0f} requests/s")


def random_ranges(
    path: str, headers: dict[str, str], *, size: int, seed: int, length: int = _RANGE_BYTES
) -> Iterator[bytes]:
    """Yield requests for ranges that begin anywhere, so that most of them need two chunks."""
    anywhere = random.Random(seed)  # noqa: S311  # the same places for both
    template = request("GET", path, {**headers, "Range": "bytes=FROM-TO"})
    before, _, after = template.partition(b"FROM-TO")
    while True:
        start = anywhere.randrange(size - length)
        yield before + f"{start}-{start + length - 1}".encode() + after


def played(sizes: Sizes, directory: Path) -> Result:
    """Measure a whole recording being given out, every chunk of it verified."""
    archive, size = new_archive(directory / "archive"), sizes.recording_bytes
    sealed = _age_file(directory, size)
    rounds = []
    with serving(archive) as ours:
        recording = playable(archive, ours, "call", size_bytes=size)
        for number in range(sizes.rounds + 1):
            seconds, received = download(ours.address, recording.path, recording.headers)
            if received != size:
                raise RuntimeError(f"{received} bytes of {size}")
            age_seconds = _age(directory / "identity", sealed)
            if number:
                rounds.append((size / seconds / 1e6, size / age_seconds / 1e6))
    wording = Wording(
        what=f"playback of {size // MIB} MiB, whole",
        against="age -d to /dev/null, one core",
        unit="MB/s",
        bound=1.1,
    )
    return ratio(wording, rounds)


def _age_file(directory: Path, size: int) -> Path:
    """Let the age program seal a file of ``size`` bytes."""
    identity, clear, sealed = (directory / name for name in ("identity", "clear", "sealed.age"))
    subprocess.run(["age-keygen", "-o", identity], check=True, stderr=subprocess.DEVNULL)
    told = subprocess.run(
        ["age-keygen", "-y", identity], check=True, capture_output=True, text=True
    )
    write_file(clear, size)
    subprocess.run(["age", "-r", told.stdout.strip(), "-o", sealed, clear], check=True)
    clear.unlink()
    return sealed


def _age(identity: Path, sealed: Path) -> float:
    core = {min(os.sched_getaffinity(0))}
    begun = time.perf_counter()
    subprocess.run(
        ["age", "-d", "-i", identity, sealed],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),  # no other thread runs here
    )
    return time.perf_counter() - begun
