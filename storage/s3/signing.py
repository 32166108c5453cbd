"""Signatures of requests: AWS Signature Version 4, with headers, for S3. Pure."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key and its secret; ``token`` belongs to temporary ones."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to be signed. ``path`` is not yet encoded; ``host`` has its port where that is not the usual one."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    payload_sha256: str

    @property
    def encoded_path(self) -> str:
        """The path as it is sent and signed: once encoded, as S3 alone wants it."""
        return quote(self.path, safe="/-_.~")

    @property
    def encoded_query(self) -> str:
        """The query as it is sent and signed: sorted, everything encoded."""
        pairs = sorted(
            (quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in self.query.items()
        )
        return "&".join(f"{key}={value}" for key, value in pairs)


def sign(
    request: Request, credentials: Credentials, *, region: str, now: datetime
) -> dict[str, str]:
    """Return the headers of ``request`` with its signature ("Authenticating Requests", Amazon S3 API reference)."""
    time, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {
        "host": request.host,
        "x-amz-content-sha256": request.payload_sha256,
        "x-amz-date": time,
        **({"x-amz-security-token": credentials.token} if credentials.token else {}),
        **{name.lower(): value.strip() for name, value in request.headers.items()},
    }
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [
            request.method,
            request.encoded_path,
            request.encoded_query,
            *(f"{name}:{headers[name]}" for name in sorted(headers)),
            "",
            names,
            request.payload_sha256,
        ]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _mac(key, part)
    signature = _mac(key, f"{_ALGORITHM}\n{time}\n{scope}\n{digest}").hex()
    credential = f"{credentials.access_key}/{scope}"
    headers["authorization"] = (
        f"{_ALGORITHM} Credential={credential},SignedHeaders={names},Signature={signature}"
    )
    return headers


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
