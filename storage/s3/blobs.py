"""Blobs as objects in a bucket: each written once, whole and checked before it is told of, and never replaced.

An object is called as the blob is, under the prefix. What is not a blob's name belongs to no blob: ``claims/…`` and
``probes/…`` live for moments.
"""
# ruff: noqa: D102  # the ports say what the methods promise

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import obstore
from obstore import exceptions as refused
from obstore.store import S3Store

from storage.errors import MissingError, StorageError, UnavailableError
from storage.names import is_blob_name, require_blob_name
from storage.s3.checks import (
    PROBES,
    find_sync_fault,
    require_bucket,
    require_guarding,
    require_taking,
)
from storage.s3.multipart import give_up, unfinished
from storage.s3.place import Place
from storage.s3.requests import Patience, Requests, require_done
from storage.s3.writing import CLAIMS, S3BlobWriter
from storage.waiting import settled

if TYPE_CHECKING:
    from obstore.store import S3Credential


class S3Blobs:
    """`storage.ports.BlobStore` in a bucket, beside other processes."""

    def __init__(self, requests: Requests, objects: S3Store, filer: str | None) -> None:
        self._requests = requests
        self._objects = objects
        self._filer = filer
        self._is_guarding = False

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, place: Place, *, filer: str | None = None, patience: Patience | None = None
    ) -> AsyncIterator[Self]:
        """Use the bucket at ``place``, which exists. ``filer``: where a SeaweedFS tells its path rules.

        Raises:
            MissingError: There is no such bucket.
            UnavailableError: It cannot be used, or is elsewhere.
        """
        patience = patience or Patience()
        async with Requests.opened(place, patience) as requests:
            await require_bucket(requests)
            yield cls(requests, _objects(place, patience), filer)

    @asynccontextmanager
    async def create(self, name: str) -> AsyncIterator[S3BlobWriter]:
        require_blob_name(name)
        if not self._is_guarding:
            await self._require_guarding()
        writer = S3BlobWriter(self._requests, name)
        try:
            yield writer
        finally:
            # What cannot be given up now is found by `tidy`.
            with suppress(StorageError):
                await settled(writer.discard())

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator["S3BlobReader"]:
        require_blob_name(name)
        async with self.reading(name):
            found = await obstore.head_async(self._objects, name)
        yield S3BlobReader(self, name, found["size"])

    async def _require_guarding(self) -> None:
        """Once by each process, and not before it writes: commands that only read ask for nothing."""
        await require_guarding(self._requests)
        self._is_guarding = True

    async def remove(self, name: str) -> None:
        require_blob_name(name)
        key = self._requests.place.key(name)
        require_done(await settled(self._requests.again("DELETE", key)))

    async def names(self) -> AsyncIterator[str]:
        with _translating():
            async for found in obstore.list(self._objects):
                for one in found:
                    if is_blob_name(one["path"]):
                        yield one["path"]

    async def find_fault(self) -> str | None:
        if self._is_guarding:
            await require_taking(self._requests)
        else:
            await self._require_guarding()
        if self._filer is None:
            return None
        return await find_sync_fault(self._filer, self._requests.place.bucket)

    async def tidy(self, *, begun_before: datetime) -> int:
        removed = 0
        async for one in unfinished(self._requests):
            if one.begun_at < begun_before:
                await give_up(self._requests, one.key, one.upload)
                removed += 1
        for folder in (CLAIMS, PROBES):
            with _translating():
                left = [
                    one["path"]
                    async for found in obstore.list(self._objects, folder)
                    for one in found
                    if one["last_modified"] < begun_before
                ]
            for path in left:
                key = self._requests.place.key(path)
                require_done(await self._requests.again("DELETE", key))
            removed += len(left)
        return removed

    async def get_range(self, name: str, start: int, length: int) -> bytes:
        """Read part of a blob; nothing else of it is fetched."""
        async with self.reading(name):
            data = await obstore.get_range_async(
                self._objects, name, start=start, length=length
            )
        return bytes(data)

    @asynccontextmanager
    async def reading(self, name: str) -> AsyncIterator[None]:
        """Raise what the library says in the archive's words, and in time."""
        patience = self._requests.patience
        try:
            async with asyncio.timeout(patience.step):
                with _translating():
                    yield
        except TimeoutError:
            raise UnavailableError(f"blobs: {name} could not be read in time") from None
        except MissingError:
            # A bucket that is gone must not look like a blob that is.
            try:
                await require_bucket(self._requests)
            except MissingError as error:
                raise UnavailableError(f"blobs: {error}") from error
            raise MissingError(f"{name} is not there") from None


class S3BlobReader:
    """A blob whose size is known; every read is a request of its own."""

    def __init__(self, blobs: S3Blobs, name: str, size_bytes: int) -> None:
        self._blobs = blobs
        self._name = name
        self.size_bytes = size_bytes

    async def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size_bytes - offset)
        if length <= 0:
            return b""
        data = await self._blobs.get_range(self._name, offset, length)
        if len(data) != length:
            raise UnavailableError(f"blobs: {self._name} came in another length")
        return data


def _objects(place: Place, patience: Patience) -> S3Store:
    answer = timedelta(seconds=patience.answer)

    def credentials() -> "S3Credential":
        now = place.credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token or None,
            # Asked for again soon, because the file may be replaced.
            "expires_at": datetime.now(UTC) + timedelta(minutes=6),
        }

    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        # All that the environment could say otherwise is said here: where a blob is stored is no matter of chance.
        config={
            "endpoint": place.endpoint,
            "region": place.region,
            "virtual_hosted_style_request": False,
            "skip_signature": False,
        },
        client_options={
            "allow_http": place.is_http,
            "timeout": answer,
            "connect_timeout": timedelta(seconds=min(5.0, patience.answer)),
        },
        retry_config={
            "max_retries": 8,
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
            "retry_timeout": timedelta(seconds=patience.step),
        },
        credential_provider=credentials,
    )


@contextmanager
def _translating() -> Iterator[None]:
    """Raise what the library says in the archive's words. Its own repeat addresses, so the chain is cut."""
    try:
        yield
    except (refused.NotFoundError, FileNotFoundError):
        raise MissingError("the blob is not there") from None
    except (refused.PermissionDeniedError, refused.UnauthenticatedError):
        raise UnavailableError("blobs: the object store refuses our credentials") from None
    except refused.BaseError:
        raise UnavailableError("blobs: the object store did not answer as it should") from None
