"""An entry that somebody wrote into the database without the keys is believed by nobody and never signed."""

from datetime import timedelta

import pytest

from service.archive.marked import Marker
from service.archive.verify_log import StoredLog
from service.crypto.secret import IndexKey
from service.domain.errors import TamperedError
from service.log.entry import EntryType, LogEntry, encode_entry
from service.serving import log_keeper
from service.wiring import authentic_log
from storage.database.sqlite import SqliteStore
from storage.ports import Append, StoredEntry


async def test_entries_of_the_archive_are_signed(archive, now):
    checkpoint = await log_keeper(archive).publish(now=now)
    assert checkpoint.size >= 1


async def test_an_entry_written_into_the_database_is_never_signed(archive, config, now):
    keeper = log_keeper(archive)
    before = await keeper.publish(now=now)
    forged = LogEntry(type=EntryType.CONTACT_ERASED, at=now, actor="system", about=("ct_x",))
    async with SqliteStore.opened(config.storage.database.path, create=False) as raw:
        await raw.commit([Append(encode_entry(forged), forged.about)])
    with pytest.raises(TamperedError):
        await keeper.publish(now=now + timedelta(seconds=5))
    log = authentic_log(archive.stores, archive.vault.ring)
    with pytest.raises(TamperedError):
        await log.log_about("ct_x")
    assert len(await log.log_entries(0, before.size)) == before.size


async def replayed(archive, config, position):
    """Put an entry of the archive in once more, with its mark, as somebody does who only has the database."""
    (old,) = await archive.stores.log.log_entries(position, position + 1)
    async with SqliteStore.opened(config.storage.database.path, create=False) as raw:
        await raw.commit([Append(old.entry, (), old.mark)])
    return await archive.stores.log.log_size() - 1


async def test_an_entry_of_the_archive_that_is_put_in_again_is_never_signed(
    archive, config, now
):
    keeper = log_keeper(archive)
    before = await keeper.publish(now=now)
    copy = await replayed(archive, config, 0)
    with pytest.raises(TamperedError, match="put in again"):
        await keeper.publish(now=now + timedelta(seconds=5))
    log = authentic_log(archive.stores, archive.vault.ring)
    assert len(await log.log_entries(0, before.size)) == before.size
    stored = StoredLog(
        archive.stores.store,
        archive.stores.log,
        archive.verifier.published,
        archive.verifier.marker,
    )
    checks = [check async for check in stored.check(None)]
    assert [(one.about, one.detail) for one in checks] == [
        (f"entry-{copy}", "It is entry 0, put in again.")
    ]


async def test_equal_entries_of_the_archive_are_each_its_own(archive, now):
    entry = encode_entry(LogEntry(type=EntryType.SIGNOUT, at=now, actor="us_x"))
    await archive.stores.store.commit([Append(entry), Append(entry)])
    checkpoint = await log_keeper(archive).publish(now=now)
    assert checkpoint.size == await archive.stores.log.log_size()


@pytest.mark.parametrize("position", [0, 15, 16, 47])
def test_a_flipped_bit_of_a_mark_is_seen(position):
    marker = Marker(IndexKey(b"k" * 32))
    mark = bytearray(marker.mark(b"entry"))
    assert marker.bears_mark(StoredEntry(0, b"entry", b"", bytes(mark)))
    mark[position] ^= 1
    assert not marker.bears_mark(StoredEntry(0, b"entry", b"", bytes(mark)))


@pytest.mark.parametrize("mark", [b"", b"x" * 16, b"x" * 47, b"x" * 49])
def test_a_mark_of_another_length_is_none(mark):
    assert not Marker(IndexKey(b"k" * 32)).bears_mark(StoredEntry(0, b"entry", b"", mark))
