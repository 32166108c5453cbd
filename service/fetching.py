"""Builds what fetches recordings, by the rules of each source."""

import ssl
import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from service.config import Config, SourceConfig
from service.domain.errors import InvalidInputError
from service.wiring import Archive
from service.worker.fetching.client import Fetcher
from service.worker.fetching.job import FetchJob
from service.worker.fetching.rules import FetchRules, parse_credentials

_OTHERS: Final = 0o077


def fetching_of(archive: Archive) -> FetchJob:
    """Return what fetches recordings for an open archive.

    Raises:
        InvalidInputError: A file that the configuration names cannot be used; the detail names it, and nothing in it.
    """
    return FetchJob(
        store=archive.stores.store,
        vault=archive.vault,
        intake=archive.intake,
        understanding=archive.understanding,
        expectations=archive.expectations,
        fetchers=_fetchers(archive.config),
    )


def _fetchers(config: Config) -> Mapping[str, Fetcher]:
    most = config.intake.max_recording_bytes
    return {source.name: Fetcher(_rules(source, most)) for source in config.sources}


def _rules(source: SourceConfig, most_bytes: int) -> FetchRules:
    known = {one.origin: _authorization(one.file) for one in source.fetch_credentials}
    return FetchRules(
        origins={origin: known.get(origin) for origin in source.fetch_origins},
        networks=source.fetch_networks,
        tls=_tls(source.fetch_certificate_authority),
        max_bytes=min(source.fetch_max_bytes, most_bytes),
        bytes_per_second=source.fetch_bytes_per_second,
        longest=timedelta(minutes=source.fetch_minutes),
    )


def _authorization(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"[[sources]] fetch_credentials: {file} cannot be read"
        ) from error
    if not stat.S_ISREG(mode) or mode & _OTHERS:
        raise InvalidInputError(
            f"[[sources]] fetch_credentials: others may read {file}; chmod 0400 it"
        )
    try:
        return parse_credentials(text)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"[[sources]] fetch_credentials: {file}: {error.detail}"
        ) from None


def _tls(authority: Path | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"[[sources]] fetch_certificate_authority: {authority} cannot be used: {error}"
        ) from error
