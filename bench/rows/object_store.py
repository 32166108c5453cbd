"""Recordings in an object store: a SeaweedFS on this machine, told to sync."""

import asyncio
import random
import time
from pathlib import Path
from statistics import median
from typing import Final

import obstore
import uvloop
from obstore.store import S3Store

from bench.archives import new_archive, serving
from bench.content import blocks
from bench.recordings import playable, put_recording
from bench.results import Result, Wording, ratio
from bench.rows.bytes_out import random_ranges
from bench.sizes import MIB, Sizes
from bench.wire import load
from tests.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed, running_seaweed

_CONNECTIONS: Final = 8
_RANGE_BYTES, _LONG_BYTES = 64 * 1024, MIB
_BOUND: Final = 0.7


def uploaded(sizes: Sizes, directory: Path) -> Result:
    """Measure a large recording being sealed, hashed and put into the bucket while it comes."""
    size, rounds, costs = sizes.upload_bytes, [], []
    with running_seaweed(directory / "seaweed") as server:
        archive = new_archive(directory / "archive", storage=_settings(server))
        with serving(archive) as ours:
            for number in range(sizes.rounds + 1):
                before = ours.cpu_seconds()
                seconds = put_recording(archive, ours, f"call-{number}", size_bytes=size)
                cost = (ours.cpu_seconds() - before) / size
                plain_seconds = uvloop.run(_put_plainly(server, f"plain/{number}", size))
                if number:
                    rounds.append((size / seconds / 1e6, size / plain_seconds / 1e6))
                    costs.append(cost)
    wording = Wording(
        what=f"upload of {size // MIB} MiB into an object store: sealed, hashed, checked",
        against="obstore writing the same bytes there plainly",
        unit="MB/s",
        bound=_BOUND,
    )
    cost_gb = sorted(costs)[len(costs) // 2] * 1e9
    return ratio(wording, rounds, note=f"{cost_gb:.2f} s of our processor time per GB")


def ranges(sizes: Sizes, directory: Path) -> Result:
    """Measure random ranges of a large recording in the bucket whose opening has been made."""
    size, rounds, rates = sizes.upload_bytes, [], []
    with running_seaweed(directory / "seaweed") as server:
        archive = new_archive(directory / "archive", storage=_settings(server))
        uvloop.run(_put_plainly(server, "plain", size))
        with serving(archive) as ours:
            recording = playable(archive, ours, "call", size_bytes=size)
            for number in range(sizes.rounds + 1):
                pairs = []
                for length in (_RANGE_BYTES, _LONG_BYTES):
                    done = load(
                        ours.address,
                        random_ranges(
                            recording.path,
                            recording.headers,
                            size=size,
                            seed=number,
                            length=length,
                        ),
                        connections=_CONNECTIONS,
                        seconds=sizes.seconds,
                    )
                    reading = _get_plainly(server, size, length, sizes.seconds)
                    pairs.append((done.per_second * length / 1e6, uvloop.run(reading)))
                if number:
                    rounds.append(pairs[0])
                    rates.append(pairs[1])
    wording = Wording(
        what=f"random {_RANGE_BYTES // 1024} KiB Range of {size // MIB} MiB in an object store, "
        f"{_CONNECTIONS} connections",
        against="obstore reading such ranges there plainly",
        unit="MB/s",
        bound=_BOUND,
    )
    long = median(ours / plain for ours, plain in rates)
    note = f"two chunks of as much are read for each; 1 MiB: {long:.2f} of obstore's"
    return ratio(wording, rounds, note=note)


def _settings(server: Seaweed) -> str:
    return f"""[storage]
blobs = "s3://{BUCKET}/bench"
region = "eu-test-1"
endpoint = "{server.endpoint}"
country = "FI"
credentials_file = "{server.credentials_file}"
"""


def _plain(server: Seaweed) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region="eu-test-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True},
    )


async def _put_plainly(server: Seaweed, key: str, size: int) -> float:
    """Write as the library does by itself: parts of 5 MiB, twelve at a time."""
    begun = time.perf_counter()
    await obstore.put_async(_plain(server), key, blocks(size))
    return time.perf_counter() - begun


async def _get_plainly(server: Seaweed, size: int, length: int, seconds: float) -> float:
    """Read ranges for ``seconds`` on as many connections; return MB/s."""
    store, anywhere = _plain(server), random.Random(length)  # noqa: S311  # places, no secret
    begun = time.perf_counter()

    async def read() -> int:
        total = 0
        while time.perf_counter() < begun + seconds:
            start = anywhere.randrange(size - length)
            total += len(
                await obstore.get_range_async(store, "plain", start=start, length=length)
            )
        return total

    totals = await asyncio.gather(*(read() for _ in range(_CONNECTIONS)))
    return sum(totals) / (time.perf_counter() - begun) / 1e6
