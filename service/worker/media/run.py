"""Examining a recording: the parent's side, which holds the bytes and trusts no answer."""

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from service.domain.errors import InvalidInputError, UnavailableError
from service.worker.children import Child, Process, running, start_child
from service.worker.media import pipe
from service.worker.media.facts import MediaFacts, MediaFlag, decode_facts, unreadable
from service.worker.media.peaks import Peaks, decode_peaks

_RENDITION_TYPE = "audio/wav"
_MOST_RENDITION_BYTES = 2**32 - 1024
_READ_ALLOWANCE_BYTES = 64 * 1024 * 1024

_Value = TypeVar("_Value")

Sink = Callable[[bytes], Awaitable[None]]


class SeekableSource(Protocol):
    """A recording in the clear, wherever its bytes come from."""

    size_bytes: int

    async def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``; both lie within the recording."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """How much one recording may cost. ``cpu_seconds`` is for each of at most two passes."""

    cpu_seconds: int = 300
    wall_seconds: float = 1800
    memory_bytes: int = 512 * 1024 * 1024
    rendition_bytes: int = _MOST_RENDITION_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """A copy that plays and seeks in every browser: the decoded samples, unchanged, as WAV."""

    content_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaResult:
    """What examining gave. ``peaks`` is None where there is no sound.

    ``rendition`` is None unless a whole one went to the sink; whatever the sink got otherwise
    is worth nothing.
    """

    facts: MediaFacts
    peaks: Peaks | None = None
    rendition: Rendition | None = None


async def examine(
    source: SeekableSource,
    *,
    content_type: str = "",
    name: str = "",
    sink: Sink | None = None,
    limits: MediaLimits = MediaLimits(),
) -> MediaResult:
    """Decode ``source`` in a child process and say what it is.

    Bytes that nobody can decode are no error: the facts say so. ``content_type`` and ``name``
    are hints for bytes without a mark of their own. With a ``sink``, a recording that browsers
    do not play is also written there, piece by piece, as 16-bit PCM in WAV at its own rate and
    with its own channels. Nothing is written to disk. Cancelled, or left by any error, the
    child is dead on return. What ``source`` or ``sink`` raises passes through.

    Raises:
        UnavailableError: The child could not be started, was killed from outside, or did not
            finish in ``limits.wall_seconds``. Trying again may succeed.
    """
    if source.size_bytes == 0:
        return MediaResult(facts=MediaFacts(flags=frozenset({MediaFlag.EMPTY})))
    order = {
        "size_bytes": source.size_bytes,
        "content_type": content_type,
        "name": name,
        "wants_rendition": sink is not None,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        # Twice for two passes, twice for seeking about in them.
        "read_bytes": 4 * source.size_bytes + _READ_ALLOWANCE_BYTES,
        "rendition_bytes": min(limits.rendition_bytes, _MOST_RENDITION_BYTES),
    }
    deadline = asyncio.timeout(limits.wall_seconds)
    try:
        async with deadline, running(_start) as child:
            talk = _Talk(child, source=source, sink=sink)
            await talk.hold(json.dumps(order).encode())
            return talk.result() or _from_exit(await child.process.wait())
    except TimeoutError:
        if deadline.expired():
            raise UnavailableError("a recording was not examined in time") from None
        raise


async def _start(theirs: socket.socket) -> Process:
    return await start_child(theirs, module="service.worker.media.child", packages=("av",))


class _MisbehavedError(Exception):
    """The child said what a child of ours does not say."""


class _Talk:
    """One conversation with a child, and what came of it."""

    def __init__(self, child: Child, *, source: SeekableSource, sink: Sink | None) -> None:
        self._child = child
        self._source = source
        self._sink = sink
        self._facts: MediaFacts | None = None
        self._peaks: Peaks | None = None
        self._announced_bytes: int | None = None
        self._rendered_bytes = 0
        self._has_ended = False

    async def hold(self, order: bytes) -> None:
        """Give the order and answer until the child is done or gone."""
        try:
            await self._say(order)
            while not self._has_ended:
                await self._take(*await self._hear())
        except _GoneError:
            return
        except _MisbehavedError:
            # Whatever it said before is not worth more.
            self._facts = unreadable("decoder_misbehaved", MediaFlag.MALFORMED)
            self._peaks = self._announced_bytes = None

    def result(self) -> MediaResult | None:
        """Return what is known; None where the child told nothing."""
        if self._facts is None:
            return None
        rendition = None
        size = self._announced_bytes
        if self._has_ended and size is not None and self._rendered_bytes == size:
            rendition = Rendition(content_type=_RENDITION_TYPE, size_bytes=size)
        return MediaResult(facts=self._facts, peaks=self._peaks, rendition=rendition)

    async def _hear(self) -> tuple[bytes, bytes]:
        try:
            head = await self._child.reader.readexactly(pipe.FRAME.size)
            kind, length = pipe.FRAME.unpack(head)
            if length > pipe.MAX_PAYLOAD_BYTES:
                raise _MisbehavedError
            return kind, await self._child.reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError):
            raise _GoneError from None

    async def _say(self, answer: bytes) -> None:
        try:
            self._child.writer.write(pipe.ANSWER.pack(len(answer)) + answer)
            await self._child.writer.drain()
        except ConnectionError:
            raise _GoneError from None

    async def _take(self, kind: bytes, payload: bytes) -> None:
        match kind:
            case pipe.READ:
                await self._answer(payload)
            case pipe.FACTS if self._facts is None:
                self._facts = _decoded(decode_facts, payload)
            case pipe.PEAKS if self._facts is not None and self._peaks is None:
                self._peaks = _decoded(decode_peaks, payload)
                if len(self._peaks.channels) != self._facts.channels:
                    raise _MisbehavedError
            case pipe.BEGIN if self._announced_bytes is None and len(payload) == pipe.SIZE.size:
                (self._announced_bytes,) = pipe.SIZE.unpack(payload)
            case pipe.DATA if self._announced_bytes is not None and self._sink is not None:
                self._rendered_bytes += len(payload)
                if self._rendered_bytes > self._announced_bytes:
                    raise _MisbehavedError
                await self._sink(payload)
            case pipe.END if self._facts is not None:
                self._has_ended = True
            case _:
                raise _MisbehavedError

    async def _answer(self, payload: bytes) -> None:
        if len(payload) != pipe.REQUEST.size:
            raise _MisbehavedError
        offset, length = pipe.REQUEST.unpack(payload)
        if length > pipe.MAX_READ_BYTES or offset + length > self._source.size_bytes:
            raise _MisbehavedError
        await self._say(await self._source.read(offset, length))


def _decoded(decode: Callable[[bytes], _Value], payload: bytes) -> _Value:
    try:
        return decode(payload)
    except InvalidInputError:
        raise _MisbehavedError from None


class _GoneError(Exception):
    """The child has closed its end of the socket."""


def _from_exit(code: int) -> MediaResult:
    """Return what it means that a child ended with ``code`` and told nothing.

    Raises:
        UnavailableError: It could not even begin, or was killed from outside.
    """
    if code == -signal.SIGXCPU:
        return MediaResult(facts=unreadable("cpu_limit", MediaFlag.LIMIT_REACHED))
    if code in {
        -signal.SIGSEGV,
        -signal.SIGABRT,
        -signal.SIGBUS,
        -signal.SIGFPE,
        -signal.SIGILL,
    }:
        return MediaResult(facts=unreadable("decoder_crashed", MediaFlag.MALFORMED))
    raise UnavailableError(f"the process that examines recordings ended with {code}")
