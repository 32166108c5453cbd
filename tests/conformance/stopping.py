"""Run as a program: does one thing again and again, each time stopping dead one step later, until it is done.

Each attempt works in a folder of its own, which the test then opens and looks at. No cleaning up runs: the process
ends at once, as with ``kill -9``.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import storage.database.file
from storage.database.file import prepare
from storage.database.keys import SqliteKeyStore
from storage.database.sqlite import SqliteStore
from storage.files import FileBlobs
from storage.migrations import ARCHIVE
from storage.ports import Add, Append, Put, Remove, Replace
from storage.rows import ContactTokenRow, GrantContactRow, KeyRow, LinkRow
from tests.attempts import STOPPED, stop_later_each_time
from tests.conformance.faults import Fault, make_faulty

LINK = LinkRow(
    contact_id="ct_1",
    customer_id="cu_1",
    version=1,
    state="linked",
    reasons="phone",
    certainty="sure",
    made_by="system",
    made_at=1,
)
LINK_2 = LinkRow(**{name: getattr(LINK, name) for name in LINK.__slots__} | {"version": 2})
GRANTED = GrantContactRow(grant_id="gr_1", contact_id="ct_1")
TOKEN = ContactTokenRow(token=b"t", started_at=1, contact_id="ct_1")
BEFORE = [Add(LINK), Add(GRANTED), Append(b"before")]
CHANGE = [
    Replace(LINK_2),
    Remove(GrantContactRow, ("gr_1", "ct_1")),
    Put(TOKEN),
    Append(b"change", ("ct_1",)),
]
KEYS = [
    KeyRow(
        id=f"key_{n}",
        kind="row",
        wrapped_by="epoch:1",
        wrapped=b"secret %03d" % n * 5,
        made_at=n,
    )
    for n in range(10)
]
BLOB = b"sealed" * 1000


async def commit(folder, fault):
    async with SqliteStore.opened(folder / "taltio.db", create=False) as store:
        await store.commit(BEFORE)
        make_faulty(store, fault)
        await store.commit(CHANGE)


async def put_keys(folder, fault):
    async with SqliteKeyStore.opened(folder / "keys.db", create=False) as keys:
        make_faulty(keys, fault)
        await keys.put_keys(KEYS)


async def destroy_keys(folder, fault):
    async with SqliteKeyStore.opened(folder / "keys.db", create=False) as keys:
        await keys.put_keys(KEYS)
        make_faulty(keys, fault)
        await keys.destroy_keys([key.id for key in KEYS[::2]])


async def put_blob(folder, fault):
    async with FileBlobs.opened(folder / "blobs", create=True) as blobs:
        count_calls(fault)
        async with blobs.create("ob_1") as writer:
            await writer.write(BLOB)
            await writer.finish()


async def make_archive(folder, fault):
    connect = storage.database.file.connect

    def traced(*args):
        db = connect(*args)
        db.set_trace_callback(lambda _: fault.around(lambda: None))
        return db

    storage.database.file.connect = traced
    count_calls(fault)
    prepare(folder / "new.db", ARCHIVE, create=True)


def count_calls(fault):
    for name in ("open", "write", "fdatasync", "link", "fsync", "unlink", "mkdir", "close"):
        setattr(os, name, _counted(getattr(os, name), fault))


def _counted(step, fault):
    return lambda *args, **kwargs: fault.around(lambda: step(*args, **kwargs))


DEEDS = {
    deed.__name__: deed for deed in (commit, put_keys, destroy_keys, put_blob, make_archive)
}


def main(name: str, template: Path, directory: Path, stride: int) -> None:
    """Do it until it is done."""

    def attempt(at: int) -> None:
        folder = Path(shutil.copytree(template, directory / str(at)))
        asyncio.run(DEEDS[name](folder, Fault(lambda: os._exit(STOPPED), at)))

    stop_later_each_time(attempt, stride)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
