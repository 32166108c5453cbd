"""A storm: calls with their recordings come in while people search and listen."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.archives import Archive, Process, new_archive, serving
from bench.content import wave_blocks
from bench.deliveries import customer_number, customer_phone, signed
from bench.filling import fill
from bench.recordings import Playable, playable, put_recording
from bench.results import Result
from bench.sizes import MIB, Sizes
from bench.wire import ask, download, send

CALLS_PER_HOUR: Final = 2_000
HANDLERS: Final = 20
_PAUSE_SECONDS: Final = 1.0
"""What a handler needs to look at an answer, on average."""
_RANGE_BYTES: Final = 256 * 1024
_BOUND_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Seen:
    """How long things took, in seconds, and what went wrong; filled by many threads."""

    acknowledged: list[float] = field(default_factory=list)
    handled: list[float] = field(default_factory=list)
    wrong: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


def stormed(sizes: Sizes, directory: Path) -> Result:
    """Measure acknowledgements and handlers' requests while calls come at the rate of a storm, each when it is due.

    Raises:
        RuntimeError: Something that was acknowledged is not there, or a request failed.
    """
    archive = new_archive(directory / "archive")
    known = min(sizes.contacts_few // sizes.contacts_each, 200)
    fill(archive, contacts=sizes.contacts_few, each=sizes.contacts_each, whole=known)
    calls = max(2, math.ceil(CALLS_PER_HOUR * sizes.storm_seconds / 3600))
    seen = _Seen()
    with serving(archive) as process:
        heard = playable(archive, process, "heard", size_bytes=sizes.storm_recording_bytes)
        before = archive.count("contacts")
        desks = [
            threading.Thread(target=_handle, args=(archive, process, heard, known, seed, seen))
            for seed in range(HANDLERS)
        ]
        for desk in desks:
            desk.start()
        try:
            _deliver(archive, process, calls, sizes, seen)
        finally:
            seen.over.set()
            for desk in desks:
                desk.join()
        archive.wait_until_understood()
        lost = calls - (archive.count("contacts") - before)
        waiting = archive.count("deliveries WHERE state != 'understood'")
    if seen.wrong:
        raise seen.wrong[0]
    if lost or waiting or len(seen.acknowledged) != 2 * calls:
        raise RuntimeError(f"{lost} calls lost, {waiting} deliveries not understood")
    return _result(calls, sizes, seen)


def _result(calls: int, sizes: Sizes, seen: _Seen) -> Result:
    acknowledged, handled = sorted(seen.acknowledged), sorted(seen.handled)
    p99 = acknowledged[min(len(acknowledged) - 1, int(len(acknowledged) * 0.99))]
    worst = max(p99, handled[-1])
    return Result(
        what=f"storm: {CALLS_PER_HOUR:,} calls an hour with recordings of {sizes.storm_recording_bytes / MIB:.0f} MiB, "
        f"{HANDLERS} handlers who search and listen, {sizes.storm_seconds:.0f} s",
        against="a second",
        ours=worst,
        reference=_BOUND_SECONDS,
        unit="s",
        figure=worst,
        figure_unit="s",
        bound=_BOUND_SECONDS,
        is_ceiling=True,
        spread=(min(p99, handled[-1]), worst),
        note=f"0 of {calls} calls lost; acknowledged p99 {p99 * 1000:.0f} ms, handlers' "
        f"{len(handled)} requests at most {handled[-1] * 1000:.0f} ms",
    )


def _deliver(archive: Archive, process: Process, calls: int, sizes: Sizes, seen: _Seen) -> None:
    """Begin each call when it is due, whatever became of those before."""
    deliveries = signed(archive.secret, calls, customers=200)
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=64) as pool:
        for number, delivery in enumerate(deliveries):
            due = begun + number * sizes.storm_seconds / calls
            time.sleep(max(0.0, due - time.monotonic()))
            pool.submit(_timed, seen, seen.acknowledged, _sending(process, delivery))
            recording = _recording(archive, process, delivery, sizes.storm_recording_bytes)
            pool.submit(_timed, seen, seen.acknowledged, recording)


def _sending(process: Process, delivery: bytes) -> Callable[[], object]:
    return lambda: send(process.address, delivery)


def _recording(
    archive: Archive, process: Process, delivery: bytes, size_bytes: int
) -> Callable[[], object]:
    _, _, after = delivery.partition(b'"source_id":"')
    source_id = after.partition(b'"')[0].decode()
    return lambda: put_recording(
        archive,
        process,
        source_id,
        size_bytes=size_bytes,
        content=partial(wave_blocks, size_bytes),
    )


def _handle(
    archive: Archive, process: Process, heard: Playable, known: int, seed: int, seen: _Seen
) -> None:
    """Search and listen by turns until it is over."""
    anybody = random.Random(seed)  # noqa: S311  # who is looked up does not matter
    for one in _turns(archive, process, heard, anybody, known):
        if seen.over.wait(anybody.uniform(0, 2 * _PAUSE_SECONDS)):
            return
        _timed(seen, seen.handled, one)


def _turns(
    archive: Archive, process: Process, heard: Playable, anybody: random.Random, known: int
) -> Iterator[Callable[[], object]]:
    handler = archive.bearer("handler")
    while True:
        customer = anybody.randrange(known)
        for criterion in (
            f"phone={quote(customer_phone(customer))}",
            f"customer_number={customer_number(customer)}",
        ):
            path = f"/api/v1/contacts?{criterion}&limit=50"
            yield lambda path=path: ask(process.address, "GET", path, handler)  # type: ignore[misc]  # bound at once
        start = anybody.randrange(1 << 20)
        headers = {**heard.headers, "Range": f"bytes={start}-{start + _RANGE_BYTES - 1}"}
        yield lambda headers=headers: download(process.address, heard.path, headers)  # type: ignore[misc]  # as above


def _timed(seen: _Seen, into: list[float], do: Callable[[], object]) -> None:
    begun = time.perf_counter()
    try:
        do()
    except (OSError, RuntimeError) as error:
        seen.wrong.append(error)
    into.append(time.perf_counter() - begun)
