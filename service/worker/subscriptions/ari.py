"""The line to Asterisk's REST interface (ARI): a WebSocket of events, and questions beside it.

It is reached by the rules by which recordings of the source are fetched: its origin, its networks, its credentials.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from service.domain.errors import InvalidInputError, UnavailableError
from service.sources.asterisk_ari import (
    KEPT,
    HeardEvent,
    Place,
    missed_events,
    read_event,
    recording_named,
    subject_of,
)
from service.sources.asterisk_ari import Told as Event
from service.worker.fetching.connecting import Resolve, connector, resolve
from service.worker.fetching.rules import FetchRules, judge_url
from service.worker.subscriptions.line import Patience, RefusedError, Told

MAX_EVENT_BYTES: Final = 256 * 1024
MAX_LISTING_BYTES: Final = 32 * 1024**2
_MAX_ANSWER_BYTES: Final = 256 * 1024
_MOST_KNOWN: Final = 10_000
_REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Where ARI is (``https://host:8089/ari``), and by which rules it is reached. ``app`` is what we are called there.

    ``calls`` remembers the calls of recordings that have begun, from one line to the next.
    """

    url: str
    app: str
    rules: FetchRules = field(repr=False)
    resolve: Resolve = resolve
    calls: OrderedDict[str, str] = field(default_factory=OrderedDict, repr=False)


@asynccontextmanager
async def interface_line(
    interface: Interface, clock: Callable[[], datetime], patience: Patience
) -> AsyncIterator["InterfaceLine"]:
    """Open a line to ARI.

    Raises:
        RefusedError: It does not let us in with the credentials of its origin.
        UnavailableError: It does not answer, or not as ARI does.
        FetchError: It is nowhere where the source's rules let us go.
    """
    judged = judge_url(interface.url, interface.rules)
    query = urlencode({"app": interface.app, "subscribeAll": "true"})
    events = URL(f"{judged.address}/events?{query}", encoded=True)
    authorization = interface.rules.origins.get(judged.origin)
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession(
        connector=connector(interface.rules, interface.resolve),
        headers={**headers, "User-Agent": "taltio", "Accept-Encoding": "identity"},
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trace_configs=[_no_redirects()],
    ) as session:
        socket = await _opened(session, events, patience)
        try:
            yield InterfaceLine(session, socket, interface, clock, patience)
        finally:
            await socket.close()


async def _opened(
    session: aiohttp.ClientSession, events: URL, patience: Patience
) -> "aiohttp.ClientWebSocketResponse[bool]":
    try:
        async with asyncio.timeout(patience.connect.total_seconds()):
            return await session.ws_connect(
                events,
                autoping=False,
                max_msg_size=MAX_EVENT_BYTES,
                # Text as bytes: what callers say in it need not be UTF-8.
                decode_text=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            raise RefusedError("ARI refuses the credentials of its origin") from None
        raise UnavailableError(f"ARI answered {error.status}") from None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"no connection ({type(error).__name__})") from None


def _no_redirects() -> aiohttp.TraceConfig:
    """Return what refuses redirects: ARI has none, and a WebSocket would follow them unasked."""

    async def refuse(*_: SimpleNamespace | object) -> None:
        raise UnavailableError("ARI redirects")

    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(refuse)
    return config


@dataclass(slots=True)
class InterfaceLine:
    """An open line to ARI. Implements ``Line``."""

    session: aiohttp.ClientSession
    socket: "aiohttp.ClientWebSocketResponse[bool]"
    interface: Interface
    clock: Callable[[], datetime]
    patience: Patience
    heard_at: datetime = field(init=False)
    _read_at: datetime = field(init=False)
    _silent_since: float = field(init=False)
    _is_asked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.heard_at = self._read_at = self.clock()
        self._silent_since = _now()

    async def receive(self) -> Told | None:
        """Return the next event of a call or a recording, as ``Line`` promises."""
        self.heard_at = self._read_at
        try:
            message = await self.socket.receive(self.patience.look.total_seconds())
        except TimeoutError:
            await self._ask_for_life()
            return None
        if message.type not in _ALIVE:
            raise UnavailableError("ARI hung up, or speaks otherwise")
        self._read_at, self._silent_since, self._is_asked = self.clock(), _now(), False
        if message.type is aiohttp.WSMsgType.PING:
            await self._send(self.socket.pong(message.data))
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        text = bytes(message.data)
        try:
            event = read_event(text)
        except InvalidInputError as error:
            raise UnavailableError(f"ARI does not speak as it does: {error.detail}") from None
        if event["type"] not in KEPT:
            return None
        return _told(text, await self._call_of(event))

    async def missed(self, since: datetime) -> Sequence[Told]:
        """Return what tells of stored recordings whose end may have been missed."""
        listing = await self._ask("/recordings/stored", most_bytes=MAX_LISTING_BYTES)
        return [
            _told(text, self.interface.calls.get(recording_named(read_event(text)), ""))
            for text in missed_events(listing, since=since)
        ]

    async def _call_of(self, event: Event) -> str:
        """Return the call of an event: asked while its channel is there, which at a recording's end may be gone."""
        calls, name = self.interface.calls, recording_named(event)
        known = calls.get(name) if name else None
        if known is not None:
            return known
        subject = subject_of(event)
        try:
            async with asyncio.timeout(self.patience.answer.total_seconds()):
                call = "" if subject is None else await self._linkedid(*subject)
        except (UnavailableError, TimeoutError):
            # Its name may tell it all the same.
            return ""
        if name and call:
            calls[name] = call
            while len(calls) > _MOST_KNOWN:
                calls.popitem(last=False)
        return call

    async def _linkedid(self, place: Place, ident: str) -> str:
        if place is Place.BRIDGE:
            bridge = await self._ask(f"/bridges/{quote(ident, safe='')}")
            channels = bridge.get("channels") if isinstance(bridge, dict) else None
            if not isinstance(channels, list) or not channels or type(channels[0]) is not str:
                return ""
            ident = channels[0]
        asked = urlencode({"variable": "CHANNEL(linkedid)"})
        answer = await self._ask(f"/channels/{quote(ident, safe='')}/variable?{asked}")
        value = answer.get("value") if isinstance(answer, dict) else None
        return value if isinstance(value, str) else ""

    async def _ask(self, path: str, *, most_bytes: int = _MAX_ANSWER_BYTES) -> object:
        """Return what ARI answers, as JSON.

        Raises:
            UnavailableError: It does not, or with something else.
        """
        judged = judge_url(self.interface.url, self.interface.rules)
        url = URL(judged.address + path, encoded=True)
        timeout = aiohttp.ClientTimeout(total=self.patience.lost.total_seconds())
        try:
            async with self.session.get(
                url, allow_redirects=False, timeout=timeout
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise UnavailableError(f"ARI answered {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > most_bytes:
                        raise UnavailableError("ARI answers more than is taken")
            answer: object = json.loads(body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(f"no answer ({type(error).__name__})") from None
        except (ValueError, RecursionError):
            raise UnavailableError("ARI answered something that is not JSON") from None
        return answer

    async def _ask_for_life(self) -> None:
        silent = _now() - self._silent_since
        if silent >= self.patience.lost.total_seconds():
            raise UnavailableError("ARI fell silent")
        if silent >= self.patience.ask.total_seconds() and not self._is_asked:
            await self._send(self.socket.ping())
            self._is_asked = True

    async def _send(self, frame: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self.patience.answer.total_seconds()):
                await frame
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(f"the line is lost ({type(error).__name__})") from None


_ALIVE: Final = frozenset(
    {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG}
)


def _told(text: bytes, call: str) -> Told:
    return Told(HeardEvent(text, call).encode(), text)


def _now() -> float:
    return asyncio.get_running_loop().time()
