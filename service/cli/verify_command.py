"""``taltio verify``: everything is read and checked; what is wrong is named by contact. Exit code 0, 1 or 2."""

import argparse
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Final

from service.archive.checks import Outcome
from service.archive.contact_checks import ContactChecker
from service.archive.interpret import company_numbers_of
from service.archive.vault import Vault
from service.archive.verify_all import ArchiveReport, ArchiveVerifier, Finding
from service.cli.progress import Progress
from service.config import Config
from service.keys.errors import KeysRefusedError, KeysUnavailableError
from service.keys.ring import KeyRing
from service.wiring import (
    book_of,
    key_provider,
    known_sources,
    marker_of,
    opened_stores,
    published_log,
)

EXIT_CODES: Final = {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.UNKNOWN: 2}
"""Verified, altered, could not be checked."""

NOT_CHECKED: Final = (
    "Not checked: how much was sent and heard of what was opened, items that need attention, how far deliveries"
    " came, jobs, sessions, invites, passwords, and whether a customer, grant, account or token is missing or as it"
    " was earlier."
)
"""What neither a key nor the log vouches for; see the threat model, section 6."""

_MAX_SHOWN: Final = 1000
_WORDS: Final = {Outcome.FAILED: "ALTERED", Outcome.UNKNOWN: "Could not be checked"}


async def verify(config: Config, _: argparse.Namespace) -> int:
    """Read and check everything that is stored, and say what is wrong."""
    begun = time.monotonic()
    async with opened_verifier(config) as verifier:
        report = await verifier.verify(on_progress=Progress("objects"))
    for line in report_lines(report, seconds=time.monotonic() - begun):
        print(line)
    return EXIT_CODES[report.outcome]


@asynccontextmanager
async def opened_verifier(config: Config) -> AsyncIterator[ArchiveVerifier]:
    """Open the archive to verify it. Without its keys, what needs none is verified all the same.

    Raises:
        storage.errors.StorageError: There is no archive, or it cannot be opened.
    """
    ring = find_ring(config)
    async with opened_stores(config, create=False) as stores:
        vault = None if ring is None else Vault(ring, stores.keys, ring.blind_index())
        published = published_log(config, ring)
        checker = ContactChecker(stores.store, stores.log, stores.blobs, vault)
        rules = {name: source.rule for name, source in known_sources(config).items()}
        if vault is not None:
            book = book_of(config, stores.store, vault)
            await book.refresh()
            rules = dict(book.rules)
        yield ArchiveVerifier(
            checker,
            published,
            company_numbers=company_numbers_of(rules),
            timezone=config.archive.timezone.key,
            marker=None if ring is None else marker_of(ring),
        )


def report_lines(report: ArchiveReport, *, seconds: float) -> Iterator[str]:
    """Yield what to print: what is wrong, by contact, and what was read."""
    by_contact = sorted(report.findings, key=_contact_of)
    for contact_id, findings in groupby(by_contact[:_MAX_SHOWN], key=_contact_of):
        yield f"{contact_id}:" if contact_id else "The archive:"
        yield from (_line(finding) for finding in findings)
    if len(by_contact) > _MAX_SHOWN:
        yield f"… and {len(by_contact) - _MAX_SHOWN} more."
    rate = report.sealed_bytes / max(seconds, 1e-6) / 1e6
    yield (
        f"Read {report.contacts:,} contacts, {report.recordings:,} recordings, {report.messages:,} messages"
        f" and {report.entries:,} log entries ({report.sealed_bytes:,} bytes, {rate:,.0f} MB/s)."
    )
    yield from report.vouched
    if report.orphans:
        yield f"{report.orphans:,} stored objects belong to nothing, as interrupted uploads leave: no harm."
    yield NOT_CHECKED
    yield {
        Outcome.PASSED: "Verified: of what is checked, nothing is altered or missing.",
        Outcome.FAILED: "ALTERED: what is named above is not what was archived.",
        Outcome.UNKNOWN: "Could not be checked in full: see above. Nothing was found to be altered.",
    }[report.outcome]


def _line(finding: Finding) -> str:
    check = finding.check
    return f"  {_WORDS[check.outcome]}: {check.about} ({check.code}). {check.detail}"


def _contact_of(finding: Finding) -> str:
    return finding.contact_id or ""


def find_ring(config: Config) -> KeyRing | None:
    """Return the keys; None, with the reason printed, where they cannot be had."""
    provider = key_provider(config)
    try:
        return KeyRing(provider.load(), load=provider.load)
    except (KeysRefusedError, KeysUnavailableError) as error:
        print(f"taltio: {error}", file=sys.stderr)
        return None
