"""Asking for a recording: redirects by hand, nothing decoded, and no byte taken for whole that is not.

What is raised names neither the URL nor anything of the answer: both may hold secrets or persons.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import hdrs
from yarl import URL

from service.crypto.content_key import ContentOpener
from service.crypto.errors import PayloadError
from service.domain.contact import AnnouncedRecording
from service.domain.errors import InvalidInputError
from service.domain.fetching import FetchError, FetchFault
from service.domain.urls import MAX_URL_CHARACTERS, WebUrl
from service.sources.strict_json import decode_json
from service.worker.fetching.connecting import Resolve, connector, resolve
from service.worker.fetching.rules import FetchRules, judge_redirect, judge_url

MOST_REDIRECTS: Final = 3
CONNECT_SECONDS: Final = 10.0
MOST_PATIENCE: Final = timedelta(hours=1)
"""For how long a server can put us off, so that a recording is not given up for its wish alone."""
UNKNOWN_TYPE: Final = "application/octet-stream"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FAULTS: Final[Mapping[int, FetchFault]] = {
    HTTPStatus.UNAUTHORIZED: FetchFault.DENIED,
    HTTPStatus.FORBIDDEN: FetchFault.DENIED,
    HTTPStatus.NOT_FOUND: FetchFault.GONE,
    HTTPStatus.GONE: FetchFault.GONE,
    HTTPStatus.REQUEST_TIMEOUT: FetchFault.UNREACHABLE,
    HTTPStatus.TOO_EARLY: FetchFault.UNREACHABLE,
    HTTPStatus.TOO_MANY_REQUESTS: FetchFault.UNREACHABLE,
}
_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+\-]{1,63}/[a-z0-9!#$&^_.+\-]{1,63}")
# What no recording is, but an answer about one.
_PAGES: Final = re.compile(r"text/.*|application/(json|xml|xhtml\+xml|problem\+json|.*\+xml)")
_MARKUP: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|\?xml)", re.IGNORECASE
)
# What no file is that somebody sent, though it is a text.
_HTML: Final = re.compile(r"text/html|application/(xhtml\+xml|problem\+json)")
_PAGE: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html)", re.IGNORECASE
)
# Enough to tell a page by.
_BEGINNING_BYTES: Final = 512
_DESCRIPTION_BYTES: Final = 64 * 1024
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches recordings of one source."""

    rules: FetchRules
    resolve: Resolve = resolve

    @asynccontextmanager
    async def asked(self, announced: AnnouncedRecording) -> AsyncIterator["Answer"]:
        """Ask for what was announced; inside the block the answer's bytes can be taken, once.

        Raises:
            FetchError: There is no such answer, or it may not be asked for. Also what the block raises when the time
                of ``rules.longest`` is over.
        """
        url = judge_url(announced.url, self.rules)
        limit = asyncio.timeout(self.rules.longest.total_seconds())
        try:
            async with limit, self._session() as session:
                response = await self._follow(session, url)
                if announced.is_described:
                    response = await self._follow_description(session, response)
                try:
                    yield Answer(response, announced, self.rules)
                finally:
                    response.close()
        except TimeoutError:
            if not limit.expired():
                raise
            raise FetchError(FetchFault.UNREACHABLE, "it takes too long") from None

    async def _follow_description(
        self, session: aiohttp.ClientSession, response: aiohttp.ClientResponse
    ) -> aiohttp.ClientResponse:
        """Return the answer of the URL that stands in a description; it is judged as the first one was."""
        try:
            async with asyncio.timeout(self.rules.window.total_seconds()):
                described = await response.content.read(_DESCRIPTION_BYTES)
                while not response.content.at_eof() and len(described) < _DESCRIPTION_BYTES:
                    described += await response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise FetchError(FetchFault.UNREACHABLE, type(error).__name__) from None
        finally:
            response.close()
        return await self._follow(session, judge_url(_described_url(described), self.rules))

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector(self.rules, self.resolve),
            # No proxies and no credentials of the environment; no cookies from one origin to another.
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            auto_decompress=False,
        )

    async def _follow(
        self, session: aiohttp.ClientSession, url: WebUrl
    ) -> aiohttp.ClientResponse:
        """Return the answer at the end of the redirects, whose status is 200."""
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._ask(session, url)
            if response.status == HTTPStatus.OK:
                return response
            response.close()
            if response.status not in _REDIRECTS:
                raise _fault(response)
            location = response.headers.get(hdrs.LOCATION)
            if location is None:
                raise FetchError(FetchFault.WRONG_ANSWER, "a redirect to nowhere")
            url = judge_redirect(url, location, self.rules)
        raise FetchError(FetchFault.WRONG_ANSWER, "too many redirects")

    async def _ask(self, session: aiohttp.ClientSession, url: WebUrl) -> aiohttp.ClientResponse:
        """Return the head of the answer to one request."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "taltio"}
        # Of this origin alone: for that of a redirect they are looked up anew.
        authorization = self.rules.origins.get(url.origin)
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            async with asyncio.timeout(self.rules.window.total_seconds()):
                return await session.get(
                    URL(url.address, encoded=True), headers=headers, allow_redirects=False
                )
        except aiohttp.ClientSSLError:
            raise FetchError(FetchFault.UNTRUSTED) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise FetchError(FetchFault.UNREACHABLE, type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose status is 200."""

    response: aiohttp.ClientResponse = field(repr=False)
    announced: AnnouncedRecording
    rules: FetchRules

    @property
    def content_type(self) -> str:
        """The media type that was announced, or else that of the answer, without parameters."""
        return self.announced.content_type or self._declared_type()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the recording as its bytes come. When it ends they are whole, and what was announced.

        Raises:
            FetchError: They are not, are no recording, or come too slowly. What was yielded is to be thrown away.
        """
        opener = self._opener()
        async for chunk in self._stored():
            opened = chunk if opener is None else opener.update(chunk)
            if opened:
                yield opened
        if opener is not None:
            try:
                opener.finish()
            except PayloadError:
                raise FetchError(FetchFault.OTHER_BYTES, "the tag") from None

    def _opener(self) -> ContentOpener | None:
        """Return what opens the recording; None where it is not encrypted.

        Raises:
            FetchError: It is encrypted for a key that is not here.
        """
        sealed = self.announced.content_key
        if sealed is None:
            return None
        private = self.rules.content_keys.get(sealed.key_id)
        if private is None:
            raise FetchError(FetchFault.NO_KEY)
        try:
            return ContentOpener(private, wrapped=sealed.wrapped, iv=sealed.iv)
        except PayloadError:
            raise FetchError(FetchFault.NO_KEY, "it opens another key") from None

    async def _stored(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they are stored there, likewise."""
        length = self._promised_length()
        digest, longer, received = hashlib.sha256(), hashlib.sha512(), 0
        async for chunk in self._judged():
            received += len(chunk)
            self._require_fitting(received)
            digest.update(chunk)
            if self.announced.sha512 is not None:
                longer.update(chunk)
            yield chunk
        if length is not None and received != length:
            raise FetchError(FetchFault.UNREACHABLE, "it broke off")
        if not received and not self._is_told:
            # Not written yet, most likely: kept, it would be the recording for ever.
            raise FetchError(FetchFault.WRONG_ANSWER, "nothing in it")
        if self.announced.size_bytes not in {None, received}:
            raise FetchError(FetchFault.OTHER_BYTES, "the size")
        if self.announced.sha256 not in {None, digest.hexdigest()}:
            raise FetchError(FetchFault.OTHER_BYTES, "the hash")
        if self.announced.sha512 not in {None, longer.hexdigest()}:
            raise FetchError(FetchFault.OTHER_BYTES, "the SHA-512")

    def _promised_length(self) -> int | None:
        """Return the length that the head tells, if it does, and the head is that of a recording.

        Raises:
            FetchError: It is of something else, or nobody could tell whether it is whole.
        """
        headers, length = self.response.headers, self.response.content_length
        if not {"identity", ""}.issuperset(_words(self.response, hdrs.CONTENT_ENCODING)):
            raise FetchError(FetchFault.WRONG_ANSWER, "compressed, unasked")
        # What has the announced hash is what was announced, also where that is a text.
        refused = _HTML if self.announced.is_text else _PAGES
        if self.announced.sha256 is None and refused.fullmatch(self._declared_type()):
            raise FetchError(FetchFault.WRONG_ANSWER, "a text")
        codings = _words(self.response, hdrs.TRANSFER_ENCODING)
        if codings not in ([], ["chunked"]):
            # Every other ends with the connection (RFC 9112, 6.3), wherever that breaks, or is still to be decoded.
            raise FetchError(FetchFault.WRONG_ANSWER, "a transfer coding")
        if len(headers.getall(hdrs.CONTENT_LENGTH, [])) + len(codings) > 1:
            raise FetchError(FetchFault.WRONG_ANSWER, "two lengths")
        if length is None and not codings and not self._is_told:
            raise FetchError(FetchFault.WRONG_ANSWER, "nothing tells its length")
        self._require_fitting(length or 0)
        return length

    @property
    def _is_told(self) -> bool:
        """Whether what was announced tells when it is whole."""
        told = self.announced
        return any(one is not None for one in (told.size_bytes, told.sha256, told.sha512))

    def _require_fitting(self, size: int) -> None:
        if size > self.rules.max_bytes:
            raise FetchError(FetchFault.TOO_LARGE)
        if self.announced.size_bytes is not None and size > self.announced.size_bytes:
            raise FetchError(FetchFault.OTHER_BYTES, "the size")

    async def _judged(self) -> AsyncIterator[bytes]:
        """Yield what comes, unless it begins as a page does; its beginning may come in pieces."""
        beginning = b""
        async for chunk in self._paced():
            if len(beginning) >= _BEGINNING_BYTES or self.announced.sha256 is not None:
                yield chunk
                continue
            beginning += chunk
            if len(beginning) >= _BEGINNING_BYTES:
                yield self._no_page(beginning)
        if 0 < len(beginning) < _BEGINNING_BYTES:
            yield self._no_page(beginning)

    def _no_page(self, beginning: bytes) -> bytes:
        """Return the beginning of a recording, or of a file.

        Raises:
            FetchError: It is that of a page.
        """
        markup = _PAGE if self.announced.is_text else _MARKUP
        if markup.match(beginning):
            raise FetchError(FetchFault.WRONG_ANSWER, "a page")
        return beginning

    async def _paced(self) -> AsyncIterator[bytes]:
        """Yield what comes. Only waiting for it counts, not what is done with it meanwhile."""
        loop, window = asyncio.get_running_loop(), self.rules.window.total_seconds()
        waited, received = 0.0, 0
        while True:
            begun = loop.time()
            chunk: bytes | None = None
            try:
                async with asyncio.timeout(max(window - waited, 0)):
                    chunk = await self.response.content.readany()
            except TimeoutError:
                pass
            except (aiohttp.ClientError, OSError) as error:
                raise FetchError(FetchFault.UNREACHABLE, type(error).__name__) from None
            if chunk == b"":
                return
            waited += loop.time() - begun
            received += len(chunk or b"")
            if waited >= window:
                if received < self.rules.bytes_per_second * window:
                    raise FetchError(FetchFault.UNREACHABLE, "it comes too slowly")
                waited, received = 0.0, 0
            if chunk:
                yield chunk

    def _declared_type(self) -> str:
        declared = self.response.headers.get(hdrs.CONTENT_TYPE, "")
        plain = declared.partition(";")[0].strip().lower()
        return plain if _TYPE.fullmatch(plain) else UNKNOWN_TYPE


def _described_url(described: bytes) -> str:
    """Return the URL that a description has.

    Raises:
        FetchError: It has none, or is none.
    """
    try:
        told = decode_json(described)
    except InvalidInputError:
        told = None
    url = told.get("url") if isinstance(told, Mapping) else None
    if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS:
        raise FetchError(FetchFault.WRONG_ANSWER, "no description")
    return url


def _words(response: aiohttp.ClientResponse, name: str) -> list[str]:
    """Return the elements of a header that is a list, on however many lines."""
    lines = response.headers.getall(name, [])
    return [word.strip().lower() for line in lines for word in line.split(",")]


def _fault(response: aiohttp.ClientResponse) -> FetchError:
    """Return what a status says that is neither 200 nor a redirect."""
    status = response.status
    fault = _FAULTS.get(status)
    if fault is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fault = FetchFault.UNREACHABLE
    return FetchError(
        fault or FetchFault.WRONG_ANSWER,
        f"status {status}",
        # Gone is gone (RFC 9110, 15.5.11), while what is not found may only be on its way.
        tries=1 if status == HTTPStatus.GONE else None,
        pause=wished_pause(response),
    )


def wished_pause(response: aiohttp.ClientResponse) -> timedelta:
    """Return for how long a server wishes to be left alone (RFC 9110, 10.2.3), within what it may wish."""
    headers = response.headers
    told = headers.get(hdrs.RETRY_AFTER, "").strip()
    if _SECONDS.fullmatch(told):
        wished = timedelta(seconds=int(told))
    else:
        try:
            # By its own clock, whatever that shows.
            now = parsedate_to_datetime(headers.get(hdrs.DATE, ""))
            wished = parsedate_to_datetime(told) - now
        except (ValueError, TypeError):
            return timedelta()
    return min(max(wished, timedelta()), MOST_PATIENCE)
