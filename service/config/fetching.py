"""Settings of fetching recordings by URL: origins, networks beyond the public ones, credentials for an origin."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.config.addresses import Network
from service.config.problems import ValueRefusedError
from service.config.values import SECRET_FILE, Context, Kind, require_texts
from service.domain.errors import InvalidInputError
from service.domain.reach import NEVER
from service.domain.urls import Origin

MAX_FETCH_MINUTES: Final = 240
"""So that a recording is awaited for longer than it is tried, whatever is set."""


@dataclass(frozen=True, slots=True)
class OriginCredentials:
    """The file that holds what an origin asks for."""

    origin: Origin
    file: Path


def _read_origins(value: object, _: Context) -> tuple[Origin, ...]:
    origins = tuple(_origin(item) for item in require_texts(value))
    _require_once(origins)
    return origins


def _read_networks(value: object, _: Context) -> tuple[Network, ...]:
    return tuple(_network(item) for item in require_texts(value))


def _read_credentials(value: object, context: Context) -> tuple[OriginCredentials, ...]:
    read = tuple(_credentials(item, context) for item in require_texts(value))
    _require_once(tuple(one.origin for one in read))
    return read


def _origin(text: str) -> Origin:
    try:
        return Origin.parse(text)
    except InvalidInputError as error:
        # Whoever writes https://user:password@host has written a secret.
        told = "" if "@" in text else f", got {text!r}"
        raise ValueRefusedError(
            f"expected origins such as https://pbx.example or https://pbx.example:8443{told} ({error.detail})"
        ) from None


def _network(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueRefusedError(
            f"expected addresses or networks such as 10.0.0.5 or 10.0.0.0/8, got {text!r}"
        ) from None
    if network.prefixlen == 0:
        raise ValueRefusedError(f"{text} is every address; name the network of the source")
    if any(network.version == one.version and network.subnet_of(one) for one in NEVER):  # type: ignore[arg-type]  # of one version
        raise ValueRefusedError(f"{text} is never connected to, whatever is set")
    return network


def _credentials(text: str, context: Context) -> OriginCredentials:
    origin, _, path = text.partition(" ")
    if path.strip().lower().startswith(("basic ", "bearer ")):
        raise ValueRefusedError(
            "this is a secret itself; put it into a file and name the file here"
        )
    file = SECRET_FILE.read(path.strip(), context)
    if file is None:
        raise ValueRefusedError("expected an origin, a space and the path of a file")
    return OriginCredentials(_origin(origin), file)


def _require_once(origins: tuple[Origin, ...]) -> None:
    for origin in origins:
        if origins.count(origin) > 1:
            raise ValueRefusedError(f"{origin} is named twice")


ORIGINS = Kind("a list of origins: https://host or https://host:port", _read_origins)
NETWORKS = Kind("a list of addresses or networks", _read_networks)
CREDENTIALS = Kind("a list of texts: an origin, a space, the path of a file", _read_credentials)
