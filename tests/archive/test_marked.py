"""An entry that somebody wrote into the database without the keys is believed by nobody and never signed."""

from datetime import timedelta

import pytest

from service.domain.errors import TamperedError
from service.log.entry import EntryType, LogEntry, encode_entry
from service.serving import log_keeper
from service.wiring import authentic_log
from storage.database.sqlite import SqliteStore
from storage.ports import Append


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
