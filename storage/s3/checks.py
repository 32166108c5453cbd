"""What an object store must be able to do before it is given a blob, and whether it keeps what it is given."""

import asyncio
import os
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from storage.errors import MissingError, UnavailableError
from storage.s3.multipart import complete, create_upload, put_part
from storage.s3.requests import Answer, Body, Requests, require_done

PROBES: Final = "probes/"
IF_ABSENT: Final = {"If-None-Match": "*"}
_NOT_FOUND, _REFUSED = 404, 412
_RULES_PATH: Final = "/etc/seaweedfs/filer.conf"
_RULES_SECONDS: Final = 2.0


async def require_bucket(requests: Requests) -> Answer:
    """Check that the bucket is there, where it is said to be.

    Raises:
        MissingError: There is no such bucket.
        UnavailableError: It is elsewhere, or we may not use it, or nobody answers.
    """
    place = requests.place
    answer = await requests.again("HEAD")
    if answer.status == _NOT_FOUND:
        raise MissingError(f"there is no bucket {place.bucket} at {place.endpoint}")
    if answer.status // 100 == 3:  # noqa: PLR2004  # a redirect
        raise UnavailableError(f"blobs: the bucket {place.bucket} is in another region")
    require_done(answer)
    region = answer.headers.get("x-amz-bucket-region", place.region)
    if region != place.region:
        raise UnavailableError(f"blobs: the bucket {place.bucket} is in {region}")
    return answer


async def require_guarding(requests: Requests) -> None:
    """Check by trying that the server never replaces an object where it is asked not to.

    Raises:
        UnavailableError: It does replace, so that no blob can be trusted to it; or the trial failed.
    """
    key = requests.place.key(f"{PROBES}{os.urandom(16).hex()}")
    body = await Body.of(b"probe")
    try:
        require_done(await requests.again("PUT", key, body=body))
        second = await requests.again("PUT", key, headers=IF_ABSENT, body=body)
        upload = await create_upload(requests, key, {})
        part = await put_part(requests, key, upload, 1, body)
        third = await complete(requests, key, upload, [part])
        if second.status != _REFUSED or third.status != _REFUSED:
            raise UnavailableError(
                "blobs: the object store replaces objects in spite of If-None-Match; it cannot be used"
            )
        await requests.again("DELETE", key, query={"uploadId": upload})
    finally:
        await requests.once("DELETE", key)


async def require_taking(requests: Requests) -> None:
    """Check by trying that the server takes what is given.

    Raises:
        UnavailableError, FullError: It does not.
    """
    key = requests.place.key(f"{PROBES}{os.urandom(16).hex()}")
    try:
        require_done(await requests.once("PUT", key, body=await Body.of(b"probe")))
    finally:
        await requests.once("DELETE", key)


async def find_sync_fault(filer: str, bucket: str) -> str | None:
    """Say what a SeaweedFS filer's path rules tell of syncing; None when it syncs what comes into ``bucket``."""
    try:
        async with (
            asyncio.timeout(_RULES_SECONDS),
            aiohttp.ClientSession() as session,
            session.get(f"{filer}{_RULES_PATH}", allow_redirects=False) as answer,
        ):
            rules = msgspec.json.decode(await answer.read()) if answer.status == 200 else {}  # noqa: PLR2004  # OK
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
        return f"the filer at {urlsplit(filer).netloc} does not tell whether it syncs"
    if _is_synced(rules, f"/buckets/{bucket}/"):
        return None
    return "the object store does not sync: no path rule with fsync covers the bucket"


def _is_synced(rules: object, path: str) -> bool:
    """Say whether the longest rule for ``path`` syncs; a rule for a longer path may take it back for what is below."""
    locations = rules.get("locations", []) if isinstance(rules, dict) else []
    synced = {
        str(rule.get("locationPrefix", "")): rule.get("fsync") is True for rule in locations
    }
    covering = [prefix for prefix in synced if path.startswith(prefix)]
    inside = [prefix for prefix in synced if prefix.startswith(path)]
    nearest = max(covering, key=len, default=None)
    return nearest is not None and synced[nearest] and all(synced[one] for one in inside)
