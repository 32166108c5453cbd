"""Which hosts a URL names, and reaching the first that is fit; a frozen one keeps nobody from the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

T = TypeVar("T")

NEXT_SECONDS: Final = 0.5
"""A host that has not answered for so long is not waited for any longer before the next is tried as well."""

_PORT: Final = 5432
_SOCKETS: Final = "/run/postgresql"


@dataclass(frozen=True, slots=True)
class Host:
    """A name or address, or the directory of a socket."""

    name: str
    port: int


def hosts_of(url: str) -> Sequence[Host]:
    """Return the hosts that ``url`` names, in its order; the system's own directory of sockets where it names none.

    The driver alone would try ``/tmp`` as well, where anybody may listen and ask for the password.
    As in libpq ("Connection URIs" in its manual): hosts stand before the path, or in the parameter ``host``, with
    one port for all or one for each.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    before = unquote(parts.netloc.rpartition("@")[2])
    named = before or query.get("host", [""])[-1]
    ports = [text for text in query.get("port", [""])[-1].split(",") if text]
    hosts = []
    for number, spec in enumerate(spec for spec in named.split(",") if spec):
        name, port = _parted(spec)
        if not port and ports:
            port = ports[min(number, len(ports) - 1)]
        hosts.append(Host(name, int(port or _PORT)))
    return hosts or [Host(_SOCKETS, int(ports[0]) if ports else _PORT)]


def _parted(spec: str) -> tuple[str, str]:
    if spec.startswith("/"):
        return spec, ""
    if spec.startswith("["):
        name, _, port = spec[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = spec.partition(":")
    return name, port


async def first_of(
    attempts: Sequence[Callable[[], Awaitable[T]]], *, discard: Callable[[T], None]
) -> T:
    """Return what the first attempt gives that succeeds, or raise what the last one raised.

    They begin in order, each when the one before has failed or taken a moment. What comes too late is discarded.
    """
    waiting = list(attempts)
    running: set[asyncio.Future[T]] = set()
    given: list[T] = []
    failure: BaseException = ConnectionError("there is no host")
    try:
        while not given and (waiting or running):
            if waiting:
                running.add(asyncio.ensure_future(waiting.pop(0)()))
            done, running = await asyncio.wait(
                running,
                timeout=NEXT_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            given, failure = _sorted_out(done, failure)
    finally:
        for one in running:
            one.cancel()
        late = await asyncio.gather(*running, return_exceptions=True)
        for result in (*given[1:], *late):
            if not isinstance(result, BaseException):
                discard(result)
    if given:
        return given[0]
    raise failure


def _sorted_out(
    done: set["asyncio.Future[T]"], failure: BaseException
) -> tuple[list[T], BaseException]:
    given = []
    for one in done:
        error = one.exception()
        if error is None:
            given.append(one.result())
        else:
            failure = error
    return given, failure
