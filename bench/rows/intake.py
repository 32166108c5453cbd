"""Deliveries kept and understood, and customers imported."""

import subprocess
import time
from pathlib import Path
from typing import Final

from bench.archives import Archive, Process, new_archive, plain, serving, taking_in
from bench.deliveries import redirected, signed, write_customers
from bench.results import Result, Wording, ratio
from bench.sizes import Sizes
from bench.wire import load

_CONNECTIONS: Final = 64
_BARE: Final = "bare aiohttp handler that decodes the same JSON"
# More than any server here answers in a second, so that a round never runs out of requests.
_MOST_PER_SECOND: Final = 16_000


def kept(sizes: Sizes, directory: Path) -> Result:
    """Measure deliveries authenticated, sealed, logged and synced, by a process that understands none."""
    archive = new_archive(directory / "archive")
    rounds, costs = [], []
    with taking_in(archive) as ours, plain(directory / "plain") as bare:
        for number in range(sizes.rounds + 1):
            count = int(_MOST_PER_SECOND * sizes.seconds)
            requests = signed(archive.secret, count, customers=sizes.known_customers)
            before = ours.cpu_seconds()
            done = load(
                ours.address, iter(requests), connections=_CONNECTIONS, seconds=sizes.seconds
            )
            cost = (ours.cpu_seconds() - before) / len(done.latencies)
            reference = _bare(bare, requests, sizes)
            if number:
                # The first round warms up.
                rounds.append((done.per_second, reference))
                costs.append(cost)
    cost_us = sorted(costs)[len(costs) // 2] * 1e6
    wording = Wording(
        what=f"deliveries kept per second, {_CONNECTIONS} connections",
        against=_BARE,
        unit="/s",
        bound=0.5,
    )
    return ratio(wording, rounds, note=f"{cost_us:.0f} µs of processor time each")


def _bare(bare: Process, requests: list[bytes], sizes: Sizes) -> float:
    plain_requests = redirected(requests, "/deliveries")
    done = load(
        bare.address, iter(plain_requests), connections=_CONNECTIONS, seconds=sizes.seconds
    )
    return done.per_second


def understood(sizes: Sizes, directory: Path) -> Result:
    """Measure deliveries whose contacts are written, linked and logged, by the service as one process."""
    archive = new_archive(directory / "archive")
    import_customers(archive, sizes.known_customers)
    rounds, costs = [], []
    with serving(archive) as ours, plain(directory / "plain") as bare:
        for number in range(sizes.rounds + 1):
            before = ours.cpu_seconds()
            per_second, requests = _understood(archive, ours, sizes)
            cost = (ours.cpu_seconds() - before) / sizes.deliveries
            reference = _bare(bare, requests, sizes)
            if number:
                rounds.append((per_second, reference))
                costs.append(cost)
        _require_linked(archive, sizes.deliveries * (sizes.rounds + 1))
    cost_us = sorted(costs)[len(costs) // 2] * 1e6
    wording = Wording(
        what="deliveries understood per second: contact written, parties linked, logged",
        against=_BARE,
        unit="/s",
        bound=0.25,
    )
    return ratio(
        wording, rounds, note=f"{cost_us:.0f} µs of processor time each, keeping included"
    )


def _understood(archive: Archive, ours: Process, sizes: Sizes) -> tuple[float, list[bytes]]:
    requests = signed(archive.secret, sizes.deliveries, customers=sizes.known_customers)
    begun = time.perf_counter()
    load(ours.address, iter(requests), connections=_CONNECTIONS)
    archive.wait_until_understood()
    return sizes.deliveries / (time.perf_counter() - begun), requests


def _require_linked(archive: Archive, count: int) -> None:
    """Return when every contact is there, and a customer's."""
    for table in ("contacts", "links"):
        found = archive.count(table)
        if found != count:
            raise RuntimeError(f"{found} {table} of {count}")


def import_customers(archive: Archive, count: int) -> float:
    """Import a register of ``count`` customers on the command line; return the seconds it took."""
    file = archive.directory / "customers.csv"
    write_customers(file, count)
    begun = time.perf_counter()
    subprocess.run(
        archive.command("customers", "import", str(file)), check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - begun


def imported(sizes: Sizes, directory: Path) -> Result:
    """Measure the import of a customer register."""
    archive = new_archive(directory / "archive")
    seconds = import_customers(archive, sizes.imported_customers)
    return Result(
        what=f"{sizes.imported_customers:,} customers imported",
        against="a minute",
        ours=seconds,
        reference=60,
        unit="s",
        figure=seconds,
        figure_unit="s",
        bound=60,
        is_ceiling=True,
        spread=(seconds, seconds),
        note="one run",
    )
