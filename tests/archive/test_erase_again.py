"""An erasure that cannot finish yet is tried again and again, and the ledger says once what it destroys."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from service.archive.dispose import said_by
from service.archive.erasure_ledger import encode_line
from service.domain.retention import ErasureState
from service.wiring import key_provider, opened_archive
from storage.errors import BrokenError, UnavailableError
from tests.archive.test_erase import (
    OTHER,
    blobs_of,
    contact_with_everything,
    erase,
    request,
)
from tests.archive.test_erasure_ledger import line
from tests.archive.test_spine import call, deliver
from tests.conftest import NOW


class Stuck:
    """Blobs that cannot be removed."""

    def __init__(self, blobs) -> None:
        self._blobs = blobs

    def __getattr__(self, name):
        return getattr(self._blobs, name)

    async def remove(self, _):
        raise UnavailableError("the bucket does not answer")


def stuck(archive):
    disposal = replace(archive.erasures.disposal, blobs=Stuck(archive.stores.blobs))
    return replace(archive.erasures, disposal=disposal)


async def test_the_ledger_has_one_line_for_it_however_often_it_is_tried_and_started(config):
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True) as archive:
        await erase(archive, await contact_with_everything(archive, source_id="before"))
        asked = await request(archive, await contact_with_everything(archive))
        done = await stuck(archive).approve(asked.id, actor=OTHER, now=NOW)
        assert done.state is ErasureState.ERASING
        await erase(archive, await contact_with_everything(archive, source_id="between"))
        for _ in range(3):
            assert await stuck(archive).finish_interrupted(now=NOW) == 0
    async with opened_archive(config) as archive:
        assert await stuck(archive).finish_interrupted(now=NOW) == 0
        assert await archive.erasures.finish_interrupted(now=NOW) == 1
        lines = await archive.erasures.disposal.ledger.read()
        assert [one.erasure for one in lines].count(asked.id) == 1
        assert len(lines) == 3
        assert await blobs_of(archive) == set()


async def test_a_contact_that_is_erased_once_more_has_a_line_once_more(archive):
    contact_id = await contact_with_everything(archive)
    await erase(archive, contact_id)
    await deliver(archive, call("c-1", queue="Uusi"), ident="w-late", now=NOW)
    await erase(archive, contact_id)
    lines = await archive.erasures.disposal.ledger.read()
    assert [one.contact.id for one in lines] == [contact_id, contact_id]


async def test_a_disk_that_fails_in_the_ledger_ends_writing_and_no_key_goes(
    archive, monkeypatch
):
    contact_id = await contact_with_everything(archive)
    asked = await request(archive, contact_id)
    sync = os.fsync

    def fail(file):
        if Path(f"/proc/self/fd/{file}").readlink().match("ledger/erasures"):
            raise OSError(errno.EIO, "failed")
        sync(file)

    monkeypatch.setattr(os, "fsync", fail)
    done = await archive.erasures.approve(asked.id, actor=OTHER, now=NOW)
    assert done.state is ErasureState.ERASING
    monkeypatch.undo()
    assert archive.stores.soundness.is_lost
    assert await archive.erasures.finish_interrupted(now=NOW) == 0
    assert await archive.erasures.disposal.ledger.read() == []
    assert await archive.stores.keys.get_keys([contact_id])
    with pytest.raises(BrokenError, match="ledger/erasures"):
        await deliver(archive, call("c-2"), ident="w-2", now=NOW)


# -- what a line says

SAID = encode_line(line(1))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"previous": "ff" * 32}, id="after another line"),
        pytest.param({"at": 5}, id="at another time"),
    ],
)
def test_a_line_says_the_same_wherever_it_stands(change):
    assert said_by(encode_line(msgspec.structs.replace(line(1), **change))) == said_by(SAID)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"erasure": "er_2"}, id="another erasure"),
        pytest.param({"destroyed": ("ct_1", "ob_1")}, id="less"),
        pytest.param({"destroyed": ("ct_1", "ob_1", "dl_1", "dl_2")}, id="more"),
    ],
)
def test_a_line_that_destroys_something_else_says_something_else(change):
    assert said_by(encode_line(msgspec.structs.replace(line(1), **change))) != said_by(SAID)


@pytest.mark.parametrize("other", [b"", b"{}", b"\xff\xfe", SAID[:-1], b"[]"])
def test_what_is_no_line_stands_for_itself(other):
    assert said_by(other) != said_by(SAID)
    assert said_by(other) == said_by(other)
