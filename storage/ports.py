"""What the archive asks of whatever stores it. The docstrings are the contract; `tests/conformance` holds it.

A change is a value: a list of writes and log entries that are stored together or not at all. Reading happens
before, outside of it; rows carry a version, and a change made on a stale reading is refused, to be decided again.
So no transaction is ever open while somebody else's code runs, and every backend commits in one step.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from storage.errors import StorageError
from storage.rows import JobRow, KeyRow, Row

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Add:
    """Add ``row``; a ConflictError when its key or a unique column is taken."""

    row: Row


@dataclass(frozen=True, slots=True)
class Put:
    """Add ``row``, or let it replace the one with its key."""

    row: Row


@dataclass(frozen=True, slots=True)
class Replace:
    """Let ``row`` replace the one with its key, whose version must be one less; else a StaleError."""

    row: Row


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the row with ``key`` (in the order of ``table.KEY``), if there is one."""

    table: type[Row]
    key: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Require:
    """Change nothing, and let the change fail with a StaleError unless the row with ``key`` has ``version``."""

    table: type[Row]
    key: tuple[object, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Append:
    """Append ``entry`` to the log. It can be found again by each id in ``about``, of 200 characters at the most.

    ``mark`` is kept beside it: what tells its writer's entries from those of others, and each from every other.
    """

    entry: bytes
    about: tuple[str, ...] = ()
    mark: bytes = b""


Write = Add | Put | Replace | Remove | Require | Append
Change = Sequence[Write]


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of values, ``start <= value < stop``; None leaves a side open."""

    start: object = None
    stop: object = None


Condition = object
"""One value, a list or tuple of values (any of them; an empty one matches nothing), None (is null), or a Span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The contacts that have every token, within the period, newest first.

    Attributes:
        tokens: One collection per criterion; a contact must have one token of each.
        where: Conditions on columns of ``ContactRow``.
        started: Microseconds, half-open.
        before: Start after this (started_at, id) in the order, exclusive; None starts at the newest.
        limit: At the most this many.
    """

    tokens: Sequence[Collection[bytes]] = ()
    where: Mapping[str, Condition] = field(default_factory=dict)
    started: Span = Span()
    before: tuple[int, str] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One log entry, its position, its leaf hash (RFC 6962, section 2.1) and its writer's mark."""

    index: int
    entry: bytes
    leaf: bytes
    mark: bytes = b""


class Store(Protocol):
    """The archive's rows and its log."""

    async def commit(self, change: Change) -> None:
        """Store the whole change, in the order given. On return it survives a power cut.

        Removing what is not there is not an error. A change of nothing returns when what could be seen before the call
        survives a power cut, whoever wrote it. Log entries get consecutive indexes without gaps, in the order
        in which changes are committed. A caller that is cancelled may find the change stored, whole.

        Raises:
            ConflictError: An added row's place is taken. Nothing was stored.
            StaleError: A replaced or required row has another version, or is gone. Nothing was stored.
            UnavailableError: Nothing was stored.
            BrokenError: Durability can no longer be promised.
        """
        ...

    async def commit_each(self, changes: Sequence[Change]) -> Sequence[StorageError | None]:
        """Store each change whole or not at all, in one durable step; tell of each what went wrong, or None.

        A change that conflicts leaves its neighbours untouched. Later changes see earlier ones.

        Raises:
            UnavailableError, BrokenError: As for ``commit``; then no change was stored.
        """
        ...

    async def find(
        self,
        table: type[R],
        where: Mapping[str, Condition],
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
    ) -> Sequence[R]:
        """Return the rows of ``table`` that meet every condition, at the most ``limit``.

        ``order`` names columns, a leading ``-`` for descending; without it the order is that of the key. What was
        committed before the call is seen.
        """
        ...

    async def lookup(self, query: Lookup) -> Sequence[str]:
        """Return the ids of the contacts that ``query`` describes, by (started_at, id) descending."""
        ...

    async def count(self, table: type[Row], where: Mapping[str, Condition]) -> int:
        """Return how many rows meet every condition."""
        ...

    async def claim_jobs(
        self, kinds: Collection[str], *, now: int, lease: int, limit: int
    ) -> Sequence[JobRow]:
        """Claim jobs that are due, oldest first, until ``now + lease``; nobody else gets them meanwhile.

        A job whose lease has run out is due again. So is what lies more than a day ahead, for nothing is put off that
        long: the clock was wrong then. The rows returned count the attempt that begins.
        """
        ...

    async def wait_for_jobs(self, seconds: float) -> None:
        """Return when somebody may have added a job since the call, at the latest after ``seconds``.

        Not everything is heard of, so ask again after that time all the same.
        """
        ...


class News(Protocol):
    """What the processes that share a store tell each other: that deliveries wait to be understood."""

    async def announce_deliveries(self) -> None:
        """Wake whoever waits in ``wait_for_deliveries``, in whatever process.

        Raises:
            UnavailableError: Nobody may have heard.
        """
        ...

    async def wait_for_deliveries(self, seconds: float) -> None:
        """Return when somebody has announced some since the call, at the latest after ``seconds``.

        Not everything is heard, so look after that time all the same.
        """
        ...


class Turn(Protocol):
    """The turn to do what only one of the processes that share a store may do at a time."""

    async def is_mine(self) -> bool:
        """Tell whether this process has the turn, taking it when nobody else has.

        Raises:
            UnavailableError: It cannot be told. Somebody else may have it by now.
        """
        ...

    async def give_back(self) -> None:
        """Let somebody else have it; whoever asks next takes it."""
        ...


@runtime_checkable
class Scrub(Protocol):
    """Overwriting what was removed from a store of rows, which its files may still hold."""

    async def scrub(self) -> None:
        """Leave as little in the files of the store, of what was removed or replaced before, as the engine can.

        Raises:
            UnavailableError: Somebody keeps reading what was; trying again later may succeed.
        """
        ...


class Ledger(Protocol):
    """Lines that are only ever added, kept apart from backups and never restored from one."""

    async def append(self, follow: Callable[[bytes], bytes]) -> None:
        """Add the line that ``follow`` returns, given the last one (empty for the first). It has no line break.

        On return it survives a power cut. ``follow`` runs on a thread, alone among all processes.

        Raises:
            FullError, UnavailableError: Nothing was added.
        """
        ...

    async def read(self) -> Sequence[bytes]:
        """Return every line, in order; one that a crash cut short was never acted upon, and is not among them."""
        ...


class LogStore(Protocol):
    """Reading the log; writing is part of a change."""

    async def log_size(self) -> int:
        """Return how many entries the log has."""
        ...

    async def log_entries(self, start: int, stop: int) -> Sequence[StoredEntry]:
        """Return the entries ``start <= index < stop`` that exist, in order."""
        ...

    async def log_about(self, subject: str) -> Sequence[StoredEntry]:
        """Return the entries that are about ``subject``, in order."""
        ...

    async def log_first(self, marks: Collection[bytes]) -> Mapping[bytes, int]:
        """Return of each mark the index of the first entry that bears it; none for a mark that no entry bears."""
        ...


class KeyStore(Protocol):
    """Wrapped keys and age headers, apart from everything they open. Destroying here is what erases."""

    async def put_keys(self, rows: Sequence[KeyRow]) -> None:
        """Store the keys; one that exists is replaced. On return they survive a power cut.

        A row of the kind ``CLOSED``, wrapped by nothing (an empty string), closes the wrapper that is its id. From
        its return on, no key that this wrapper opens is stored any more, by whatever process.

        Raises:
            StaleError: One of the keys is wrapped by something closed. None was stored.
        """
        ...

    async def get_keys(self, ids: Collection[str]) -> Mapping[str, KeyRow]:
        """Return the keys that exist, by id."""
        ...

    async def find_keys(
        self, wrapped_by: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[KeyRow]:
        """Return keys that ``wrapped_by`` opens, in the order of their ids, beginning after ``after``."""
        ...

    async def count_keys(self) -> Mapping[str, int]:
        """Return how many keys each wrapper opens, those that open none left out."""
        ...

    async def replace_keys(self, rows: Sequence[KeyRow]) -> None:
        """Let each row replace the key of its id, where there still is one: what was destroyed stays destroyed.

        Raises:
            StaleError: As ``put_keys``.
        """
        ...

    async def destroy_keys(self, ids: Collection[str]) -> None:
        """Destroy the keys: on return nobody gets them from the store any more, and a power cut brings none back.

        A store in files of its own holds their bytes nowhere. A database server may keep them for a while in what only
        its administrator can read; `docs/threat-model.md` says where.
        """
        ...


class BlobWriter(Protocol):
    """A blob that is being written and that nobody can see yet."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes. The buffer may be reused after the return."""
        ...

    async def finish(self) -> None:
        """Make the blob visible under its name. On return it survives a power cut.

        Raises:
            ConflictError: The name is taken. What is there was kept.
            FullError, UnavailableError, BrokenError: Nothing is visible under the name.
        """
        ...


class BlobReader(Protocol):
    """An open blob."""

    @property
    def size_bytes(self) -> int:
        """How long the blob is."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from ``offset``, fewer than ``length`` only at the end.

        Raises:
            MissingError: The blob was removed since it was opened. A backend may also read on.
            UnavailableError: It could not be read now.
        """
        ...


class BlobStore(Protocol):
    """Immutable sealed objects, by name (letters, digits, ``_`` and ``-``)."""

    def create(self, name: str) -> AbstractAsyncContextManager[BlobWriter]:
        """Begin a blob. Left without ``finish``, however it was left, nothing remains of it."""
        ...

    def open(self, name: str) -> AbstractAsyncContextManager[BlobReader]:
        """Open a blob to read.

        Raises:
            MissingError: There is no such blob.
        """
        ...

    async def remove(self, name: str) -> None:
        """Remove the blob, if there is one. On return that survives a power cut."""
        ...

    def names(self) -> AsyncIterator[str]:
        """Go through the names of all blobs, in no order."""
        ...

    async def find_fault(self) -> str | None:
        """Try what taking a blob needs, leaving nothing; say what is known to keep one from surviving a power cut.

        Raises:
            FullError, UnavailableError, BrokenError: None can be taken now.
        """
        ...

    async def tidy(self, *, begun_before: datetime) -> int:
        """Remove what unfinished blobs left that were begun before then, unless known to be written; say how many."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy of a store is: of which engine, at which revision of its tables, with how many rows in each."""

    engine: str
    revision: str
    rows: Mapping[str, int]


class Sink(Protocol):
    """Takes bytes, one after the other."""

    def write(self, data: bytes, /) -> int:
        """Take the next bytes; return how many."""
        ...


class Snapshots(Protocol):
    """Copies of a whole store of rows or keys, each one file and of one moment. Blocking: call from a thread."""

    @property
    def file_name(self) -> str:
        """What a copy is called in a backup."""
        ...

    @property
    def engine(self) -> str:
        """What the copies are copies of."""
        ...

    def copy_to(
        self, out: Sink, *, folder: Path, on_progress: Callable[[int, int], None]
    ) -> Snapshot:
        """Write a copy to ``out`` while others go on writing to the store; ``folder`` is a private one to work in.

        It holds everything that was committed before the call, and of later commits the first ones or none. What
        ``on_progress`` (done, total) raises ends the copying.

        Raises:
            UnavailableError: The store cannot be read, or is damaged.
            FullError: There is no room for the copy.
        """
        ...

    def require_known(self, snapshot: Snapshot) -> None:
        """Refuse a copy that cannot be put back here.

        Raises:
            UnavailableError: It is of another engine, or of a newer program.
        """
        ...

    def put_back(self, copy: Path, *, check: Callable[[], None]) -> None:
        """Let ``copy``, on the same file system, become the store, brought up to date; it is used up.

        What ``check`` raises ends it.

        Raises:
            ConflictError: There is a store already. It was kept.
            UnavailableError: It is no copy of such a store, or a newer program wrote it.
        """
        ...
