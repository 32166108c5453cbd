"""Asking Chatwoot's REST interface for its listing, by the rules by which files of the source are fetched.

The access token goes to the configured address alone: no redirect is followed. What is raised names neither the address
nor anything of an answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Final

import aiohttp
from yarl import URL

from service.domain.errors import UnavailableError
from service.domain.fetching import FetchError
from service.worker.fetching.client import CONNECT_SECONDS, wished_pause
from service.worker.fetching.connecting import Resolve, connector, resolve
from service.worker.fetching.rules import FetchRules, judge_url

MAX_PAGE_BYTES: Final = 16 * 1024**2
PAUSE: Final = timedelta(seconds=0.25)
_WHY: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "the access token is not accepted (status 401)",
    HTTPStatus.FORBIDDEN: "the access token may not do that (status 403)",
    HTTPStatus.NOT_FOUND: "there is no such account at the address (status 404)",
    HTTPStatus.TOO_MANY_REQUESTS: "it is asked too often (status 429)",
}


class PausedError(UnavailableError):
    """The server wishes to be left alone for ``pause``."""

    def __init__(self, detail: str, *, pause: timedelta) -> None:
        super().__init__(detail)
        self.pause = pause


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingAddress:
    """Where a listing is asked for, and as whom.

    Attributes:
        url: Where Chatwoot is, without a slash at its end.
        account: The number of the account there.
        token: The access token of a user who sees every inbox.
        rules: What may be connected to, and whose certificates are trusted.
        pause: How long is waited before each question.
    """

    url: str
    account: int
    token: str = field(repr=False)
    rules: FetchRules = field(repr=False)
    resolve: Resolve = resolve
    pause: timedelta = PAUSE
    answer_within: timedelta = timedelta(seconds=60)

    @property
    def conversations(self) -> str:
        """The address of the conversations."""
        return f"{self.url}/api/v1/accounts/{self.account}/conversations"


Get = Callable[[str], Awaitable[bytes]]
"""Returns the answer at what follows the address of the conversations; raises UnavailableError where there is none."""


@asynccontextmanager
async def asking(address: ListingAddress) -> AsyncIterator[Get]:
    """Give what asks at ``address``, inside the block."""
    async with aiohttp.ClientSession(
        connector=connector(address.rules, address.resolve),
        # No proxies and no credentials of the environment; no cookies.
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
    ) as session:

        async def get(rest: str) -> bytes:
            await asyncio.sleep(address.pause.total_seconds())
            return await _get(session, address, rest)

        yield get


async def _get(session: aiohttp.ClientSession, address: ListingAddress, rest: str) -> bytes:
    """Return the body of an answer whose status is 200.

    Raises:
        UnavailableError: There is none; the text says why.
    """
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "taltio",
        "api_access_token": address.token,
    }
    try:
        url = judge_url(f"{address.conversations}{rest}", address.rules)
        async with (
            asyncio.timeout(address.answer_within.total_seconds()),
            session.get(
                URL(url.address, encoded=True), headers=headers, allow_redirects=False
            ) as response,
        ):
            _require_ok(response)
            return await _body(response)
    except FetchError as error:
        raise UnavailableError(f"it may not be connected to ({error.fault})") from None
    except aiohttp.ClientSSLError:
        raise UnavailableError("its certificate is not trusted") from None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"no answer ({type(error).__name__})") from None


def _require_ok(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == HTTPStatus.OK:
        return
    why = _WHY.get(status)
    if why is None and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        why = f"it leads elsewhere, where the access token is not sent (status {status})"
    pause = wished_pause(response)
    if pause:
        raise PausedError(why or f"it answers with status {status}", pause=pause)
    raise UnavailableError(why or f"it answers with status {status}")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_PAGE_BYTES:
            raise UnavailableError("a page of it is too long")
    return bytes(body)
