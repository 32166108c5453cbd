"""A blob on its way into a bucket: small ones in one request, large ones in parts while they come.

Nothing is visible before ``finish``. A request that commits may be answered by an error, or not at all, and yet be
done; so each blob carries a random mark, and what then stands under its name is ours if it carries the same.

A server may check the condition of a completion first and complete afterwards (SeaweedFS does), so two completions
at once could both succeed. A claim, an object made on condition in one step, lets only one of them try.
"""
# ruff: noqa: D102  # the ports say what the methods promise

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from storage.errors import ConflictError, StorageError, UnavailableError
from storage.s3.checks import IF_ABSENT, require_bucket
from storage.s3.multipart import (
    CHECKSUM,
    MOST_PARTS,
    PART_BYTES,
    Part,
    checksum_of,
    complete,
    composite_of,
    create_upload,
    give_up,
    put_part,
)
from storage.s3.requests import Answer, Body, Requests, require_done
from storage.waiting import settled

CLAIMS: Final = "claims/"
MARK: Final = "x-amz-meta-taltio"
_IN_FLIGHT: Final = 2
_NOT_FOUND, _CONFLICT, _REFUSED = 404, 409, 412


@dataclass(frozen=True, slots=True)
class Sent:
    """What the server is to have: so many bytes with this checksum, in these parts."""

    size_bytes: int
    checksum: str
    parts: tuple[Part, ...]


class S3BlobWriter:
    """A blob that is being written."""

    def __init__(self, requests: Requests, name: str) -> None:
        self._requests = requests
        self._name = name
        self._key = requests.place.key(name)
        self._mark = os.urandom(16).hex()
        self._buffer = bytearray()
        self._upload: str | None = None
        self._parts: list[Part] = []
        self._sending: deque[asyncio.Task[Part]] = deque()
        self._is_open = True

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._require_open()
        left = memoryview(data).cast("B")
        while left:
            room = PART_BYTES - len(self._buffer)
            self._buffer += left[:room]
            left = left[room:]
            # A full part waits for more to come: a blob of exactly one part is one request.
            if left:
                await self._send()

    async def finish(self) -> None:
        self._require_open()
        await settled(self._finish())
        self._is_open = False

    async def discard(self) -> None:
        """Give up what was sent, unless it is the blob by now."""
        self._is_open = False
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._upload is not None:
            upload, self._upload = self._upload, None
            await give_up(self._requests, self._key, upload)

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError(f"{self._name} is finished")

    async def _send(self) -> None:
        """Send the buffer as the next part, beside at most one other."""
        if self._upload is None:
            self._upload = await create_upload(self._requests, self._key, {MARK: self._mark})
        number = len(self._parts) + len(self._sending) + 1
        if number > MOST_PARTS:
            raise UnavailableError(f"blobs: {self._name} is larger than an object can be")
        data, self._buffer = self._buffer, bytearray()
        while len(self._sending) >= _IN_FLIGHT:
            await self._settle_part()
        self._sending.append(asyncio.create_task(self._send_part(self._upload, number, data)))

    async def _send_part(self, upload: str, number: int, data: bytearray) -> Part:
        return await put_part(self._requests, self._key, upload, number, await Body.of(data))

    async def _settle_part(self) -> None:
        self._parts.append(await self._sending[0])
        del self._sending[0]

    async def _finish(self) -> None:
        if self._upload is None:
            body = await Body.of(self._buffer)
            checksum = checksum_of(body.sha256)
            part = Part(1, "", body.sha256, len(body.data))
            headers = {**IF_ABSENT, MARK: self._mark, CHECKSUM: checksum}
            await self._commit(
                lambda: self._requests.once("PUT", self._key, headers=headers, body=body),
                Sent(len(body.data), checksum, (part,)),
            )
            return
        if self._buffer:
            await self._send()
        while self._sending:
            await self._settle_part()
        upload, parts = self._upload, tuple(self._parts)
        sent = Sent(sum(part.size_bytes for part in parts), composite_of(parts), parts)
        async with self._claimed():
            await self._commit(lambda: complete(self._requests, self._key, upload, parts), sent)
        self._upload = None

    @asynccontextmanager
    async def _claimed(self) -> AsyncIterator[None]:
        """Hold the only right to complete an upload under this name."""
        key = self._requests.place.key(f"{CLAIMS}{self._name}")
        headers = {**IF_ABSENT, MARK: self._mark}
        answer = await self._requests.again("PUT", key, headers=headers)
        if answer.status in {_REFUSED, _CONFLICT}:
            # An earlier try of our own may have been done although its answer said otherwise.
            there = await self._requests.again("HEAD", key)
            if there.headers.get(MARK) != self._mark:
                raise ConflictError(f"{self._name} is being written by another")
        else:
            require_done(answer)
        try:
            yield
        finally:
            # What cannot be removed now is found by `tidy`.
            with suppress(StorageError):
                await self._requests.again("DELETE", key)

    async def _commit(self, ask: Callable[[], Awaitable[Answer]], sent: Sent) -> None:
        """Ask until the blob is there as it was sent, or something else is, or time is over."""
        for pause in self._requests.pauses():
            answer = await ask()
            there = await self._requests.again(
                "HEAD", self._key, headers={"x-amz-checksum-mode": "ENABLED"}
            )
            if there.is_done:
                await self._require_same(there, sent)
                return
            if there.status != _NOT_FOUND:
                require_done(there)
            # An upload that is gone without having become an object is not to be had again.
            if answer.status == _NOT_FOUND:
                await require_bucket(self._requests)
            if not (
                answer.is_passing or answer.is_done or answer.status in {_CONFLICT, _REFUSED}
            ):
                require_done(answer)
            await asyncio.sleep(pause)
        raise UnavailableError(f"blobs: the object store did not take {self._name} in time")

    async def _require_same(self, there: Answer, sent: Sent) -> None:
        """Check that what stands under the name is this blob, whole.

        Raises:
            ConflictError: It is another's.
            UnavailableError: It is ours and not as it was sent. It was removed.
        """
        if there.headers.get(MARK) != self._mark:
            raise ConflictError(f"{self._name} is already there")
        checksum = there.headers.get(CHECKSUM)
        is_same = there.headers.get("Content-Length") == str(sent.size_bytes)
        if is_same and checksum is None:
            is_same = await self._is_read_back(sent)
        elif is_same:
            is_same = checksum == sent.checksum
        if not is_same:
            await self._requests.again("DELETE", self._key)
            raise UnavailableError(
                f"blobs: the object store has {self._name} otherwise than it was sent"
            )

    async def _is_read_back(self, sent: Sent) -> bool:
        """Read all of it and compare; for servers that keep no checksum."""
        start = 0
        for part in sent.parts:
            headers = {"Range": f"bytes={start}-{start + part.size_bytes - 1}"}
            answer = await self._requests.again(
                "GET", self._key, headers=headers if part.size_bytes else {}
            )
            digest = await asyncio.to_thread(hashlib.sha256, require_done(answer).body)
            if digest.digest() != part.sha256:
                return False
            start += part.size_bytes
        return True
