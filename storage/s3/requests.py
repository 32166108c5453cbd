"""Signed requests to a bucket, tried again within a deadline.

Writes are made here and not by the library that reads, because that can neither complete a multipart upload on
condition nor list or end the uploads that a crash left behind.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

import aiohttp
from yarl import URL

from storage.errors import FullError, UnavailableError
from storage.s3.place import Place
from storage.s3.signing import Request, sign

_PIECE_BYTES: Final = 256 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
_INSUFFICIENT_STORAGE: Final = 507
_EMPTY_SHA256: Final = hashlib.sha256().hexdigest()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds: for one answer, and for all the tries of one step together."""

    answer: float = 20.0
    step: float = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. ``status`` 0: nothing that could be understood came; the request may have been done."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def code(self) -> str:
        """The server's word for what is wrong, or the status."""
        found = _CODE.search(self.body)
        if found:
            return found[1].decode()
        return str(self.status) if self.status else "no answer"

    @property
    def is_success(self) -> bool:
        """Whether the status says so."""
        return self.status // 100 == 2  # noqa: PLR2004  # 2xx (RFC 9110, section 15.3)

    @property
    def is_done(self) -> bool:
        """Whether it was done. A completion may fail after it said 200 (Amazon S3 API, CompleteMultipartUpload)."""
        return self.is_success and b"<Error>" not in self.body

    @property
    def is_passing(self) -> bool:
        """Whether another try may fare better; what this one did is not known."""
        return (
            self.status in _AGAIN or not self.status or (self.is_success and not self.is_done)
        )


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to be sent, and their SHA-256."""

    data: bytes | bytearray = field(default=b"", repr=False)
    sha256: bytes = bytes.fromhex(_EMPTY_SHA256)

    @classmethod
    async def of(cls, data: bytes | bytearray) -> Self:
        """Hash ``data``; on a thread where that takes long."""
        if len(data) <= _PIECE_BYTES:
            return cls(data, hashlib.sha256(data).digest())
        return cls(data, (await asyncio.to_thread(hashlib.sha256, data)).digest())

    async def pieces(self) -> AsyncIterator[memoryview]:
        """Yield it so that no socket has to take it at once."""
        view = memoryview(self.data)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]


class Requests:
    """Sends signed requests to one bucket."""

    def __init__(
        self, place: Place, session: aiohttp.ClientSession, patience: Patience
    ) -> None:
        self.place = place
        self.patience = patience
        self._session = session

    @classmethod
    @asynccontextmanager
    async def opened(cls, place: Place, patience: Patience) -> AsyncIterator[Self]:
        """Open connections as they are needed, and close them."""
        timeout = aiohttp.ClientTimeout(total=patience.answer, sock_connect=5)
        async with aiohttp.ClientSession(
            timeout=timeout,
            skip_auto_headers=["Content-Type"],
            connector=aiohttp.TCPConnector(limit=64),
        ) as session:
            yield cls(place, session, patience)

    async def once(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send a request about ``key``, or the bucket, once. Whatever happens on the way is an answer."""
        body = body or Body()
        request = Request(
            method=method,
            host=self.place.host,
            path=f"/{self.place.bucket}/{key}" if key else f"/{self.place.bucket}",
            query=query or {},
            headers=headers or {},
            payload_sha256=body.sha256.hex(),
        )
        signed = sign(
            request, self.place.credentials(), region=self.place.region, now=datetime.now(UTC)
        )
        question = f"?{request.encoded_query}" if request.query else ""
        url = URL(f"{self.place.endpoint}{request.encoded_path}{question}", encoded=True)
        if method in {"PUT", "POST"}:
            signed["content-length"] = str(len(body.data))
        try:
            async with self._session.request(
                method,
                url,
                headers=signed,
                data=body.pieces() if body.data else None,
                allow_redirects=False,
            ) as answer:
                return Answer(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError):
            # Which address and which bytes is nothing that a log should repeat.
            return Answer(0)

    async def again(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Answer:
        """Send a request that may be done twice, until there is an answer that will not change.

        Raises:
            UnavailableError, FullError: There was none in time, or the server refuses.
        """
        for pause in self.pauses():
            answer = await self.once(method, key, query=query, headers=headers, body=body)
            if not answer.is_passing:
                return answer
            await asyncio.sleep(pause)
        raise UnavailableError("blobs: the object store did not answer in time")

    def pauses(self) -> Iterator[float]:
        """Yield how long to pause after each try, growing, until the time for one step is over."""
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self.patience.step, _FIRST_PAUSE
        yield pause
        while clock() < deadline:
            pause = min(2 * pause, _LONGEST_PAUSE)
            yield min(pause, max(0.0, deadline - clock()))


def require_done(answer: Answer) -> Answer:
    """Return ``answer`` if it was done.

    Raises:
        FullError: There is no room.
        UnavailableError: The server refused; it says why in a word.
    """
    if answer.is_done:
        return answer
    if answer.status == _INSUFFICIENT_STORAGE or answer.code.endswith("StorageFull"):
        raise FullError(f"blobs: the object store is full ({answer.code})")
    raise UnavailableError(f"blobs: the object store refused ({answer.code})")
