"""Builds what fetches recordings, by the rules of each source."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from service.config import Config, SourceConfig
from service.config.secret_files import read_secret, trusting
from service.domain.errors import InvalidInputError
from service.wiring import Archive
from service.worker.fetching.client import Fetcher
from service.worker.fetching.job import FetchJob
from service.worker.fetching.rules import FetchRules, parse_credentials


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
    authority = source.fetch_certificate_authority
    known = {one.origin: _authorization(one.file) for one in source.fetch_credentials}
    return FetchRules(
        origins={origin: known.get(origin) for origin in source.fetch_origins},
        networks=source.fetch_networks,
        content_keys=_content_keys(source.fetch_content_keys),
        tls=None if authority is None else trusting("fetch_certificate_authority", authority),
        max_bytes=min(source.fetch_max_bytes, most_bytes),
        bytes_per_second=source.fetch_bytes_per_second,
        longest=timedelta(minutes=source.fetch_minutes),
    )


def _content_keys(directory: Path | None) -> Mapping[str, RSAPrivateKey]:
    if directory is None:
        return {}
    files = sorted(directory.glob("*.pem"))
    if not files:
        raise InvalidInputError(f"[[sources]] fetch_content_keys: {directory} has no ID.pem")
    return {file.stem: _content_key(file) for file in files}


def _content_key(file: Path) -> RSAPrivateKey:
    pem = read_secret("fetch_content_keys", file)
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The chain is cut: what was read is a secret.
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise InvalidInputError(
            f"[[sources]] fetch_content_keys: {file} is no RSA key without a passphrase"
        )
    return key


def _authorization(file: Path) -> str:
    text = read_secret("fetch_credentials", file)
    try:
        return parse_credentials(text)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"[[sources]] fetch_credentials: {file}: {error.detail}"
        ) from None
