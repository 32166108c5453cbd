"""Settings that name a bucket, and whether it lies in the European Economic Area."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from service.config.addresses import FILE_BLOBS, StorageUrl, is_loopback
from service.config.problems import ValueRefusedError
from service.config.values import Context, Kind, require_text

EEA: Final = frozenset(
    {
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
        *("IS", "LI", "NO"),
    }
)
"""The member states of the European Union, and Iceland, Liechtenstein and Norway (ISO 3166-1)."""

AWS_REGIONS: Final = {
    "eu-central-1": "DE",
    "eu-north-1": "SE",
    "eu-south-1": "IT",
    "eu-south-2": "ES",
    "eu-west-1": "IE",
    "eu-west-3": "FR",
    "eusc-de-east-1": "DE",
}
"""The regions of Amazon Web Services in the EEA. London (eu-west-2) and Zürich (eu-central-2) are not in it."""

_AWS_HOST: Final = re.compile(r"(.*\.)?(amazonaws\.(com|eu|com\.cn)|api\.aws)", re.IGNORECASE)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A bucket and the part of it that is the archive's, e.g. ``s3://bucket/archive``."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


def _read_bucket(plain: str) -> BucketUrl:
    """Return the bucket that an ``s3://`` URL names. It has room for a password nowhere.

    Raises:
        ValueRefusedError: It names none.
    """
    bucket, _, prefix = plain.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not _PREFIX.fullmatch(prefix)):
        raise ValueRefusedError("expected s3://bucket or s3://bucket/prefix, and nothing else")
    return BucketUrl(bucket, prefix)


def endpoint_of_aws(region: str) -> str:
    """Return where Amazon's S3 answers for a region."""
    domain = "amazonaws.eu" if region.startswith("eusc-") else "amazonaws.com"
    return f"https://s3.{region}.{domain}"


def find_residency_fault(endpoint: str, region: str, country: str) -> tuple[str, str] | None:
    """Return the setting that keeps blobs from being known to stay in the EEA, and why; None if they do.

    An endpoint's operator is believed about its country; where Amazon's own name says more, that decides.
    """
    host = urlsplit(endpoint).hostname or ""
    if endpoint and not _AWS_HOST.fullmatch(host):
        return _find_fault_of_own(country)
    if region not in AWS_REGIONS:
        known = ", ".join(sorted(AWS_REGIONS))
        return "region", f"is not a region of Amazon in the European Economic Area ({known})"
    if endpoint and region not in host.split("."):
        return "endpoint", f"is Amazon's and does not name the region {region}"
    if country not in {"", AWS_REGIONS[region]}:
        return "country", f"{region} is in {AWS_REGIONS[region]}"
    return None


def _find_fault_of_own(country: str) -> tuple[str, str] | None:
    if not country:
        return "endpoint", "needs country as well, one in the European Economic Area"
    if country not in EEA:
        return "country", f"{country} is not in the European Economic Area"
    return None


def _read_blobs(value: object, context: Context) -> StorageUrl | BucketUrl:
    if isinstance(value, str) and value.startswith("s3:"):
        return _read_bucket(require_text(value))
    return FILE_BLOBS.read(value, context)


def _read_endpoint(value: object, _: Context) -> str:
    plain = require_text(value)
    return _read_address(plain, is_http_allowed=False) if plain else ""


def _read_filer(value: object, _: Context) -> str | None:
    plain = require_text(value)
    return _read_address(plain, is_http_allowed=True) if plain else None


def _read_address(plain: str, *, is_http_allowed: bool) -> str:
    try:
        url = urlsplit(plain)
        _ = url.port
    except ValueError:
        raise ValueRefusedError("not a URL") from None
    if url.scheme not in {"https", "http"} or not url.hostname:
        raise ValueRefusedError("expected https://host or https://host:port")
    if url.username or url.password or url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueRefusedError("expected only https://host or https://host:port; no password")
    if url.scheme == "http" and not (is_http_allowed or is_loopback(url.hostname)):
        raise ValueRefusedError("expected https://; plain HTTP is for this machine alone")
    return f"{url.scheme}://{url.netloc}"


BLOBS = Kind("file:///path, s3://bucket/prefix, or nothing", _read_blobs)
ENDPOINT = Kind("https://host, or nothing", _read_endpoint)
FILER = Kind("http://host:port, or nothing", _read_filer)
