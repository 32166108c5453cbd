"""Contacts found among few and among many."""

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.archives import Archive, Process, new_archive, serving
from bench.deliveries import customer_number, customer_phone
from bench.filling import fill
from bench.results import Result, Wording, ratio
from bench.sizes import Sizes
from bench.wire import Load, ask, load, request


@dataclass(frozen=True, slots=True)
class Filled:
    """An archive of many contacts that is served; the first ``customers`` can be looked up."""

    archive: Archive
    process: Process
    customers: int


def found(sizes: Sizes, directory: Path) -> Result:
    """Measure lookups of the newest contacts of a telephone or a customer, one after the other."""
    many = new_archive(directory / "many")
    few = new_archive(directory / "few")
    each = sizes.contacts_each
    known = min(sizes.contacts_few // each, 200)
    fill(many, contacts=sizes.contacts_many, each=each, whole=known)
    fill(few, contacts=sizes.contacts_few, each=each, whole=known)
    rounds, medians = [], []
    archives = {"many": many, "few": few}
    with serving_filled(archives, known=known, each=each) as filled:
        for number in range(sizes.rounds + 1):
            pair = []
            for one in filled.values():
                done = looked_up(one, sizes.lookups, seed=number)
                pair.append((done.percentile(0.99) * 1000, done.percentile(0.5) * 1000))
            if number:
                rounds.append((pair[0][0], pair[1][0]))
                medians.append((pair[0][1], pair[1][1]))
    wording = Wording(
        what=f"lookup by phone or customer among {sizes.contacts_many:,} contacts, newest 50, p99",
        against=f"the same among {sizes.contacts_few:,}",
        unit="ms",
        bound=sizes.lookup_bound,
        is_ceiling=True,
    )
    of_many_ms, of_few_ms = sorted(medians)[len(medians) // 2]
    return ratio(
        wording,
        rounds,
        note=f"p50 {of_many_ms:.2f} against {of_few_ms:.2f} ms; every lookup is a synced log entry",
    )


@contextmanager
def serving_filled(
    archives: Mapping[str, Archive], *, known: int, each: int
) -> Iterator[Mapping[str, Filled]]:
    """Serve filled archives, by name, once each finds what was put in."""
    with ExitStack() as stack:
        filled = {
            name: Filled(archive, stack.enter_context(serving(archive)), known)
            for name, archive in archives.items()
        }
        for one in filled.values():
            _require_found(one, each)
        yield filled


def looked_up(filled: Filled, count: int, *, seed: int) -> Load:
    """Look customers up one after the other."""
    lookups = _lookups(filled, count, seed=seed)
    return load(filled.process.address, lookups, connections=1)


def _paths(customer: int) -> tuple[str, str]:
    return (
        f"/api/v1/contacts?phone={quote(customer_phone(customer))}&limit=50",
        f"/api/v1/contacts?customer_number={customer_number(customer)}&limit=50",
    )


def _lookups(filled: Filled, count: int, *, seed: int) -> Iterator[bytes]:
    anybody = random.Random(seed)  # noqa: S311  # the same people for both
    headers = filled.archive.bearer("handler")
    for number in range(count):
        path = _paths(anybody.randrange(filled.customers))[number % 2]
        yield request("GET", path, headers)


def _require_found(filled: Filled, each: int) -> None:
    """Return when a lookup finds what was put in."""
    for path in _paths(0):
        answered = ask(filled.process.address, "GET", path, filled.archive.bearer("handler"))
        if len(answered["contacts"]) != min(50, each):
            raise RuntimeError(f"{len(answered['contacts'])} contacts found")
