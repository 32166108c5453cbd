"""The calls of a multipart upload (Amazon S3 API: CreateMultipartUpload and its kin)."""

import base64
import hashlib
import html
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from storage.errors import UnavailableError
from storage.s3.requests import Answer, Body, Requests, require_done

PART_BYTES: Final = 5 * 1024 * 1024
"""How large every part but the last is: the least that the API allows, so that little is held in memory."""
MOST_PARTS: Final = 10_000
CHECKSUM: Final = "x-amz-checksum-sha256"
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Part:
    """A part as the server has it."""

    number: int
    etag: str
    sha256: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload that was begun and neither completed nor given up."""

    key: str
    upload: str
    begun_at: datetime


def checksum_of(digest: bytes) -> str:
    """Return a SHA-256 as S3 writes it."""
    return base64.b64encode(digest).decode()


def composite_of(parts: Sequence[Part]) -> str:
    """Return the checksum of an object of ``parts``: the SHA-256 of theirs, and how many they are."""
    joined = hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()
    return f"{checksum_of(joined)}-{len(parts)}"


async def create_upload(requests: Requests, key: str, headers: Mapping[str, str]) -> str:
    """Begin an upload and return its id.

    Raises:
        UnavailableError, FullError: There is none.
    """
    answer = require_done(
        await requests.again(
            "POST",
            key,
            query={"uploads": ""},
            headers={"x-amz-checksum-algorithm": "SHA256", **headers},
        )
    )
    found = _elements(answer.body, "UploadId")
    if not found:
        raise UnavailableError("blobs: the object store began no upload")
    return found[0]


async def put_part(requests: Requests, key: str, upload: str, number: int, body: Body) -> Part:
    """Send a part, which the server checks against its SHA-256.

    Raises:
        UnavailableError, FullError: The server does not have it.
    """
    answer = require_done(
        await requests.again(
            "PUT",
            key,
            query={"partNumber": str(number), "uploadId": upload},
            headers={CHECKSUM: checksum_of(body.sha256)},
            body=body,
        )
    )
    return Part(number, answer.headers.get("ETag", ""), body.sha256, len(body.data))


async def complete(requests: Requests, key: str, upload: str, parts: Sequence[Part]) -> Answer:
    """Ask once for ``parts`` to become the object ``key``, unless there is one."""
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>{html.escape(part.etag)}</ETag>"
        f"<ChecksumSHA256>{checksum_of(part.sha256)}</ChecksumSHA256></Part>"
        for part in parts
    )
    text = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    return await requests.once(
        "POST",
        key,
        query={"uploadId": upload},
        headers={"If-None-Match": "*"},
        body=await Body.of(text.encode()),
    )


async def give_up(requests: Requests, key: str, upload: str) -> None:
    """End an upload; its parts are removed. One that is gone already is none.

    Raises:
        UnavailableError: It may still be there.
    """
    answer = await requests.again("DELETE", key, query={"uploadId": upload})
    if answer.status != _NOT_FOUND:
        require_done(answer)


async def unfinished(requests: Requests) -> AsyncIterator[Unfinished]:
    """Go through the uploads under our prefix that nobody has finished.

    Raises:
        UnavailableError: They could not be listed.
    """
    markers: dict[str, str] = {}
    while True:
        query = {"uploads": "", "prefix": requests.place.key(""), **markers}
        body = require_done(await requests.again("GET", query=query)).body
        for one in _elements(body, "Upload"):
            text = one.encode()
            (key,), (upload,) = _elements(text, "Key"), _elements(text, "UploadId")
            (begun,) = _elements(text, "Initiated")
            yield Unfinished(
                html.unescape(key), html.unescape(upload), datetime.fromisoformat(begun)
            )
        if _elements(body, "IsTruncated") != ["true"]:
            return
        names = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}
        markers = {
            marker: html.unescape(found[0])
            for marker, name in names.items()
            if (found := _elements(body, name))
        }


def _elements(body: bytes, name: str) -> list[str]:
    """Return the contents of the elements called ``name``; none of those asked for holds one of its own name."""
    found = re.findall(
        rb"<%b(?: [^>]*)?>(.*?)</%b>" % (name.encode(), name.encode()), body, re.DOTALL
    )
    return [content.decode() for content in found]
