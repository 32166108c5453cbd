"""Builds what moves an archive."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from service.config import Config, PostgresUrl, StorageUrl
from service.config.changing import OF_BUCKETS
from service.databases import copy_older_archive, driver, key_place, open_store
from service.domain.errors import InvalidInputError, UnavailableError
from service.keys.ring import KeyRing
from service.moving.blobs import BlobMove
from service.moving.move import Mover, Progress, RowMove
from service.moving.record import MoveRecord
from service.moving.rows import Findings
from service.wiring import key_provider, opened_blobs, places_of, published_log
from storage.database.reading import SqliteRows
from storage.migrations import ARCHIVE, KEYS
from storage.moving import KEYS as KEY_TABLES
from storage.moving import ROWS
from storage.soundness import Soundness


def moved_places(config: Config, storage: Mapping[str, str]) -> list[str]:
    """Return which places of ``config`` are left by a move to what ``storage`` says."""
    rows, keys, blobs = places_of(config)
    left = [rows] if "database" in storage else []
    if "database" in storage and isinstance(key_place(config), StorageUrl):
        left.append(keys)
    return [*left, blobs] if "blobs" in storage else left


def storage_of(config: Config, target: Config) -> Mapping[str, str]:
    """Return what ``target`` says under [storage] of what is moved from ``config``, each named in one way only.

    Raises:
        InvalidInputError: It is not a move from files to a server, or to other files for the blobs.
    """
    old, new = config.storage, target.storage
    said: dict[str, str] = {}
    if new.database != old.database:
        if isinstance(old.database, PostgresUrl) or not isinstance(new.database, PostgresUrl):
            raise InvalidInputError(
                "rows are moved from SQLite to PostgreSQL, and no other way"
            )
        said["database"] = str(new.database)
        if isinstance(key_place(config), StorageUrl):
            if not isinstance(key_place(target), PostgresUrl):
                raise InvalidInputError(
                    "the key store goes to PostgreSQL with the rows: --keys"
                )
            said["keys"] = "" if new.keys is None else str(new.keys)
    elif new.keys != old.keys:
        raise InvalidInputError("the key store is moved together with the rows: --to")
    if new.blobs != old.blobs:
        if not isinstance(old.blobs, StorageUrl):
            raise InvalidInputError("blobs are moved from files, and not from an object store")
        said["blobs"] = str(new.blobs)
        said |= {name: str(getattr(new, name) or "") for name in OF_BUCKETS}
    if not said:
        raise InvalidInputError(
            "the archive is there already: name another place with --to or --blobs"
        )
    return said


async def require_unused(config: Config) -> None:
    """Refuse an archive on PostgreSQL that services or commands work with; on SQLite there is a lock for that.

    Raises:
        UnavailableError: Somebody works with it, or it cannot be asked.
    """
    if isinstance(config.storage.database, PostgresUrl):
        with driver():
            from storage.database.postgres.receiving import count_others  # noqa: PLC0415  # see `driver`
        if others := await count_others(config.storage.database.url):
            raise UnavailableError(
                f"services or commands work with the database ({others} connections); stop all of them first"
            )


@asynccontextmanager
async def opened_mover(
    config: Config, target: Config, storage: Mapping[str, str], *, progress: Progress
) -> AsyncIterator[Mover]:
    """Open what moves the archive of ``config`` to where ``target`` and ``storage`` say.

    Raises:
        KeysMissingError, KeysRefusedError: The keys, with which what was signed is checked, are not there.
        storage.errors.StorageError: A place cannot be used.
    """
    provider = key_provider(config)
    ring = KeyRing(provider.load(), load=provider.load)
    findings, soundness = Findings(), Soundness()
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(copy_older_archive, config, now=datetime.now(UTC))
        opened = await open_store(config, stack, create=False, soundness=soundness)
        store = opened.store
        rows = await _rows(config, target, stack) if "database" in storage else []
        blobs = None
        if "blobs" in storage:
            old = await stack.enter_async_context(
                opened_blobs(config, create=False, soundness=soundness)
            )
            new = await stack.enter_async_context(
                opened_blobs(target, create=True, soundness=soundness)
            )
            if fault := await new.find_fault():
                raise UnavailableError(f"blobs: {fault}")
            blobs = BlobMove(old, new, store, findings)
        yield Mover(
            record=MoveRecord(config.archive.directory),
            store=store,
            published=published_log(config, ring),
            rows=rows,
            blobs=blobs,
            findings=findings,
            progress=progress,
        )


async def _rows(config: Config, target: Config, stack: AsyncExitStack) -> list[RowMove]:
    with driver():
        from storage.database.postgres.keys import SCHEMA as KEY_SCHEMA  # noqa: PLC0415  # see `driver`
        from storage.database.postgres.receiving import PostgresReceiving  # noqa: PLC0415  # as above
        from storage.database.postgres.store import SCHEMA  # noqa: PLC0415  # as above
    moves = []
    for old, new, schema, history, tables in (
        (config.storage.database, target.storage.database, SCHEMA, ARCHIVE, ROWS),
        (key_place(config), key_place(target), KEY_SCHEMA, KEYS, KEY_TABLES),
    ):
        if isinstance(old, StorageUrl) and isinstance(new, PostgresUrl):
            source = await stack.enter_async_context(SqliteRows.opened(old.path))
            receiving = PostgresReceiving.opened(new.url, schema, history, tables)
            taking = await stack.enter_async_context(receiving)
            moves.append(RowMove(source, taking, tables))
    return moves
