"""Deliveries kept and contacts found on PostgreSQL, beside SQLite: a server on this machine, which syncs."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from bench.archives import Archive, Process, new_archive, taking_in
from bench.deliveries import signed
from bench.filling import fill
from bench.filling_postgres import fill_postgres
from bench.results import Result, Wording, ratio
from bench.rows.finding import Filled, looked_up, serving_filled
from bench.sizes import Sizes
from bench.wire import load
from tests.postgres import Cluster, new_database, running_cluster

_CONNECTIONS: Final = 64
_MOST_PER_SECOND: Final = 16_000
# Nothing is promised of one engine beside the other: the row tells.
_TOLD: Final = 0.0


def kept(sizes: Sizes, directory: Path) -> Result:
    """Measure deliveries kept by one process on PostgreSQL, and by one on SQLite."""
    rounds = []
    with _archive(directory / "postgres") as archive:
        beside = new_archive(directory / "sqlite")
        with taking_in(archive) as ours, taking_in(beside) as other:
            for number in range(sizes.rounds + 1):
                pair = (
                    _per_second(archive, [ours], sizes),
                    _per_second(beside, [other], sizes),
                )
                if number:
                    rounds.append(pair)
    wording = Wording(
        what=f"deliveries kept per second on PostgreSQL, {_CONNECTIONS} connections",
        against="the same on SQLite",
        unit="/s",
        bound=_TOLD,
    )
    return ratio(wording, rounds, note="rows, keys and log on one server beside the service")


def kept_by_two(sizes: Sizes, directory: Path) -> Result:
    """Measure deliveries kept by two processes on one database, and by one of them alone."""
    rounds = []
    with (
        _archive(directory / "postgres") as archive,
        taking_in(archive) as first,
        taking_in(archive) as second,
    ):
        for number in range(sizes.rounds + 1):
            both = _per_second(archive, [first, second], sizes)
            alone = _per_second(archive, [first], sizes)
            if number:
                rounds.append((both, alone))
    wording = Wording(
        what=f"deliveries kept per second by two processes, {_CONNECTIONS} connections in all",
        against="one process on the same PostgreSQL",
        unit="/s",
        bound=1.5,
    )
    return ratio(
        wording,
        rounds,
        note="sender, both processes and the server share this machine's processors",
    )


def found(sizes: Sizes, directory: Path) -> Result:
    """Measure lookups among many contacts and among few on PostgreSQL, and the same on SQLite."""
    each = sizes.contacts_each
    known = min(sizes.contacts_few // each, 200)
    places = {
        "many": sizes.contacts_many,
        "few": sizes.contacts_few,
    }
    p99: dict[str, list[float]] = {}
    rounds = []
    with running_cluster() as cluster:
        archives = {}
        for name, contacts in places.items():
            archives[name] = _archive_on(cluster, directory / f"postgres-{name}")
            fill_postgres(archives[name], contacts=contacts, each=each, whole=known)
            beside = archives[f"SQLite {name}"] = new_archive(directory / f"sqlite-{name}")
            fill(beside, contacts=contacts, each=each, whole=known)
        with serving_filled(archives, known=known, each=each) as filled:
            for number in range(sizes.rounds + 1):
                took = {name: _p99(one, sizes, number) for name, one in filled.items()}
                if number:
                    rounds.append((took["many"], took["few"]))
                    for name, milliseconds in took.items():
                        p99.setdefault(name, []).append(milliseconds)
    wording = Wording(
        what=f"lookup on PostgreSQL among {sizes.contacts_many:,} contacts, newest 50, p99",
        against=f"the same among {sizes.contacts_few:,}",
        unit="ms",
        bound=sizes.lookup_bound,
        is_ceiling=True,
    )
    many, few = median(p99["SQLite many"]), median(p99["SQLite few"])
    return ratio(wording, rounds, note=f"SQLite in the same run: {many:.2f} and {few:.2f} ms")


def _p99(filled: Filled, sizes: Sizes, seed: int) -> float:
    return looked_up(filled, sizes.lookups, seed=seed).percentile(0.99) * 1000


@contextmanager
def _archive(directory: Path) -> Iterator[Archive]:
    with running_cluster() as cluster:
        yield _archive_on(cluster, directory)


def _archive_on(cluster: Cluster, directory: Path) -> Archive:
    url = asyncio.run(new_database(cluster))
    return new_archive(directory, storage=f'[storage]\ndatabase = "{url}"\n')


def _per_second(archive: Archive, processes: list[Process], sizes: Sizes) -> float:
    """Load the processes at once, each with its share of the connections; return what they keep together."""
    share = len(processes)
    count = int(_MOST_PER_SECOND * sizes.seconds / share)
    batches = [
        signed(archive.secret, count, customers=sizes.known_customers) for _ in processes
    ]
    with ThreadPoolExecutor(share) as threads:
        loads = [
            threads.submit(
                load,
                process.address,
                iter(requests),
                connections=_CONNECTIONS // share,
                seconds=sizes.seconds,
            )
            for process, requests in zip(processes, batches, strict=True)
        ]
        return sum(one.result().per_second for one in loads)
