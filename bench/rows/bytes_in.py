"""Recordings going in."""

from functools import partial
from pathlib import Path

from bench.archives import new_archive, plain, serving
from bench.content import blocks
from bench.recordings import put_recording
from bench.results import Result, Wording, ratio
from bench.sizes import MIB, Sizes
from bench.wire import upload


def uploaded(sizes: Sizes, directory: Path) -> Result:
    """Measure a large recording being sealed, hashed and synced while it comes."""
    archive = new_archive(directory / "archive")
    size, rounds = sizes.upload_bytes, []
    costs = []
    with serving(archive) as ours, plain(directory / "plain") as bare:
        for number in range(sizes.rounds + 1):
            before = ours.cpu_seconds()
            seconds = put_recording(archive, ours, f"call-{number}", size_bytes=size)
            cost = (ours.cpu_seconds() - before) / size
            plain_seconds = upload(
                bare.address, f"/files/{number}", {}, partial(blocks, size), size_bytes=size
            )
            (directory / "plain" / str(number)).unlink()
            if number:
                rounds.append((size / seconds / 1e6, size / plain_seconds / 1e6))
                costs.append(cost)
    wording = Wording(
        what=f"upload of {size // MIB} MiB: sealed, hashed, synced",
        against="the same server writing plain and syncing",
        unit="MB/s",
        bound=0.75,
    )
    cost_gb = sorted(costs)[len(costs) // 2] * 1e9
    return ratio(wording, rounds, note=f"{cost_gb:.2f} s of processor time per GB")
