"""PostgreSQL's own programs: which of those installed here suits a server, and running one.

How it reaches the server it learns from its environment alone (the library's own variables), so that nothing of it,
and no password, stands on a command line that everybody can read. Blocking.
"""

import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import parse_qs, unquote, urlsplit

from storage.errors import UnavailableError

PIECE_BYTES: Final = 1024**2
_LOOK_EVERY_SECONDS: Final = 0.5
# Where Debian and the packages of PostgreSQL itself keep the programs of each version.
_PLACES: Final = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
# postgresql.org/docs/current/libpq-envars.html; those that the driver knows too.
_KEPT: Final = (
    "PATH", "HOME", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGSSLNEGOTIATION",
    "PGSSLROOTCERT", "PGSSLCRL", "PGSSLKEY", "PGSSLCERT", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION",
    "PGSERVICE", "PGSERVICEFILE", "PGKRBSRVNAME", "PGGSSLIB",
)  # fmt: skip
_FROM_URL: Final = {
    "user": "PGUSER",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
}
# What a program says when it fails; of the server's answer to a row only the table, for it repeats the row.
_SAID: Final = re.compile(r"^pg_\w+: (?:error|fatal): (.*)$", re.MULTILINE)
_OF_A_ROW: Final = re.compile(r"(COPY failed for table \"\w+\").*")
_SAID_CHARACTERS: Final = 300


def find_program(name: str, *, major: int, places: Sequence[Path] | None = None) -> Path:
    """Return the program ``name`` of the version ``major`` of the server, or else of the next newer one.

    Raises:
        UnavailableError: There is none; the text names the package.
    """
    found: dict[int, Path] = {}
    for path in _installed(name) if places is None else places:
        if (version := _version_of(path)) is not None:
            found.setdefault(version, path)
    suitable = [version for version in found if version >= major]
    if suitable:
        return found[min(suitable)]
    package = f"install the package postgresql-client-{major} (Debian: PostgreSQL's own archive has every version)"
    if not found:
        raise UnavailableError(
            f"the program {name} is not installed, and backups of PostgreSQL need it: {package}"
        )
    raise UnavailableError(
        f"the program {name} is of PostgreSQL {max(found)}, and the server of PostgreSQL {major}: {package}"
    )


def environment_of(url: str, *, called: str) -> Mapping[str, str]:
    """Return the environment in which a program reaches the database of ``url`` as the driver does."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user, _, named = parts.netloc.rpartition("@")
    hosts, ports = _hosts(named or query.get("host", ""))
    given = {
        "PGHOST": ",".join(hosts),
        "PGPORT": query.get("port", "") or (",".join(ports) if any(ports) else ""),
        "PGUSER": unquote(user.partition(":")[0]),
        "PGPASSWORD": unquote(user.partition(":")[2]),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
        **{variable: query[name] for name, variable in _FROM_URL.items() if name in query},
    }
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        **{name: value for name, value in given.items() if value},
        "PGTARGETSESSIONATTRS": query.get("target_session_attrs", "read-write"),
        "PGCONNECT_TIMEOUT": "10",
        "PGAPPNAME": called,
        # So that what it says can be understood by `_said_by`.
        "LC_ALL": "C.UTF-8",
    }


def _hosts(named: str) -> tuple[list[str], list[str]]:
    hosts, ports = [], []
    for one in filter(None, named.split(",")):
        is_socket = unquote(one).startswith("/")
        host, _, port = (one, "", "") if is_socket else _split(one)
        hosts.append(unquote(host).removeprefix("[").removesuffix("]"))
        ports.append(port)
    return hosts, ports


def _split(one: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"(.*?)(?::([0-9]+))?", one)
    return (found[1], ":", found[2] or "") if found else (one, "", "")


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def read(self, *, told: Callable[[int], None]) -> Iterator[bytes]:
        """Yield what it writes, until its end. ``told`` is called all the time, with how many bytes that is so far."""
        source = self.process.stdout
        if source is None:
            raise ValueError("it was started without its output being kept")
        waiting = select.poll()
        waiting.register(source, select.POLLIN)
        done = 0
        while True:
            told(done)
            if waiting.poll(_LOOK_EVERY_SECONDS * 1000):
                piece = os.read(source.fileno(), PIECE_BYTES)
                if not piece:
                    return
                done += len(piece)
                yield piece

    def finish(self, *, check: Callable[[], None]) -> None:
        """Wait until it ends.

        Raises:
            UnavailableError: It did not do what it was asked for. The text is its own, without values of rows.
        """
        while (code := self._code()) is None:
            check()
        if code:
            called = Path(str(self.process.args[0])).name  # type: ignore[index]  # always a list here
            raise UnavailableError(f"{called} ended with {code}: {self._said()}")

    def _code(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(_LOOK_EVERY_SECONDS)
        return None

    def _said(self) -> str:
        self.errors.seek(0)
        said = _SAID.findall(self.errors.read(64 * 1024).decode("utf-8", "replace"))
        if not said:
            return "it does not say why"
        return _OF_A_ROW.sub(r"\1", said[0])[:_SAID_CHARACTERS]


@contextmanager
def running(
    command: Sequence[str | Path], environment: Mapping[str, str], *, keeps_output: bool
) -> Iterator[Running]:
    """Run a program inside the block, at whose end it is over in any case."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  # our own words and a path that we found
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keeps_output else subprocess.DEVNULL,
            stderr=errors,
            env=environment,
        )
        with process:
            try:
                yield Running(process, errors)
            finally:
                if process.poll() is None:
                    process.kill()


def _installed(name: str) -> Iterator[Path]:
    # First the programs themselves: what Debian has in the path chooses between versions by rules of its own.
    for place in _PLACES:
        yield from sorted(Path("/").glob(f"{place}/{name}"), reverse=True)
    if found := shutil.which(name):
        yield Path(found)


def _version_of(path: Path) -> int | None:
    """Return the major version of a program; None when it is none of PostgreSQL's."""
    try:
        said = subprocess.run(  # noqa: S603  # a path that we found
            [path, "--version"], capture_output=True, check=False, timeout=30
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else None
