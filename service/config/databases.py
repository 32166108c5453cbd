"""Settings that name a database: a file for one machine, or a server for many."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from service.config.addresses import StorageUrl, is_loopback, read_location
from service.config.problems import ValueRefusedError
from service.config.values import Context, Kind, require_text

_SCHEMES: Final = ("postgresql", "postgres")
_WORDS: Final = "sqlite:///path or postgresql://user@host/database, or nothing"
# What may follow the question mark, and for some of it the only values that keep the archive's promises.
_MOST_PORTS: Final = 65_535
_PARAMETERS: Final[dict[str, frozenset[str] | None]] = {
    "host": None,
    "port": None,
    "user": None,
    "passfile": None,
    "sslmode": frozenset({"disable", "prefer", "require", "verify-ca", "verify-full"}),
    "sslcert": None,
    "sslkey": None,
    "sslrootcert": None,
    "target_session_attrs": frozenset({"read-write", "primary"}),
    "synchronous_commit": frozenset({"on", "remote_apply"}),
}


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A PostgreSQL database, on one or several hosts; there is no password in it.

    ``is_restoring`` while this process restores a backup into it, so that nobody else may open it yet.
    """

    url: str = field(repr=False)
    is_restoring: bool = False

    @property
    def scheme(self) -> str:
        """What kind of place it is."""
        return "postgresql"

    def __str__(self) -> str:
        return self.url


def _read_database(value: object, context: Context) -> StorageUrl | PostgresUrl:
    if value == "":
        return StorageUrl("sqlite", context.archive_directory / "taltio.db")
    return _read_url(value, context)


def _read_keys(value: object, context: Context) -> StorageUrl | PostgresUrl | None:
    return None if value == "" else _read_url(value, context)


def _read_url(value: object, context: Context) -> StorageUrl | PostgresUrl:
    plain = require_text(value)
    if plain.partition(":")[0] in _SCHEMES:
        return _read_server(plain)
    return StorageUrl("sqlite", read_location(plain, context, "sqlite"))


def _read_server(plain: str) -> PostgresUrl:
    try:
        url = urlsplit(plain)
        query = parse_qs(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError:
        # The reader's own text may repeat a password.
        raise ValueRefusedError("not a URL") from None
    user, _, hosts = url.netloc.rpartition("@")
    if ":" in user or "password" in query:
        raise ValueRefusedError(
            "has a password in it; put it into a file that only the service can read and name that: ?passfile=/path"
        )
    if not re.fullmatch(r"/[^/]+", url.path) or url.fragment:
        raise ValueRefusedError("expected postgresql://user@host/database")
    _require_known(query)
    ports = ",".join([hosts, *query.get("port", [])])
    if any(
        int(one) > _MOST_PORTS for one in re.findall(r"(?:^|:|,)([0-9]{1,9})(?=,|$)", ports)
    ):
        raise ValueRefusedError(f"a port is a number from 1 to {_MOST_PORTS}")
    if not all(re.fullmatch(r"[0-9,]+", text) for text in query.get("port", [])):
        raise ValueRefusedError(
            "port is a number, or one for each host with commas between them"
        )
    named = [*_split_hosts(hosts), *_split_hosts(",".join(query.get("host", [])))]
    is_checked = query.get("sslmode", [""])[-1] in {"verify-full", "verify-ca"}
    for host in named:
        if not (is_checked or host.startswith("/") or is_loopback(host)):
            raise ValueRefusedError(
                "a host is reached over the network: add sslmode=verify-full (and sslrootcert=/path), so that nobody "
                "can pose as the database"
            )
    return PostgresUrl(plain)


def _require_known(query: dict[str, list[str]]) -> None:
    for name, values in query.items():
        if name not in _PARAMETERS:
            known = ", ".join(sorted(_PARAMETERS))
            raise ValueRefusedError(f"{name!r} is not understood here; known are {known}")
        allowed = _PARAMETERS[name]
        if allowed is not None and values[-1] not in allowed:
            raise ValueRefusedError(f"{name} may be {' or '.join(sorted(allowed))}")


def _split_hosts(text: str) -> list[str]:
    """Return the hosts of a list such as ``one:5432,[::1]:5432``."""
    hosts = [re.sub(r":[0-9]+$", "", unquote(one)) for one in text.split(",") if one]
    return [host.removeprefix("[").removesuffix("]") for host in hosts]


DATABASE: Final = Kind(_WORDS, _read_database)
KEY_STORE: Final = Kind(_WORDS, _read_keys)
