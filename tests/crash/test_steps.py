"""Each step of keeping a delivery and an upload fails, or is the last: it is whole or absent, and goes on."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.archive.payload import get_file_key, open_blob, open_payload
from service.domain.times import to_microseconds
from service.log.entry import decode_entry
from service.wiring import key_provider, opened_archive
from storage.errors import BrokenError, FullError, StorageError, UnavailableError
from storage.rows import ContactRow, DeliveryRow, ObjectRow
from tests.attempts import MOST_STEPS
from tests.conftest import NOW
from tests.crash.keeping import (
    ACKNOWLEDGED,
    SOUND,
    Steps,
    config_in,
    keep,
    stepping,
)

ROOT = Path(__file__).resolve().parents[2]
DEEDS = ["delivery", "upload"]
FAILURES = [
    pytest.param(errno.ENOSPC, "SQLITE_FULL", FullError, id="no room"),
    pytest.param(errno.EMFILE, "SQLITE_CANTOPEN", UnavailableError, id="no handles"),
    pytest.param(errno.EIO, "SQLITE_IOERR_FSYNC", BrokenError, id="failed disk"),
]
SHORT, LONG = 5, 1


@pytest.fixture
async def template(tmp_path):
    """An archive in which nothing is yet."""
    folder = tmp_path / "template"
    folder.mkdir()
    key_provider(config_in(folder)).create(now=NOW)
    async with opened_archive(config_in(folder), create=True):
        pass
    return folder


async def require_whole_or_absent(archive, deed: str) -> bool:
    """Tell whether what was to be kept is there; then all of it is, once, with its entries and its bytes."""
    rows = await archive.stores.store.find(DeliveryRow, {})
    objects = await archive.stores.store.find(ObjectRow, {"kind": "recording"})
    log = [decode_entry(one.entry) for one in await archive.stores.log.log_entries(0, 100)]
    received = [entry.about[0] for entry in log if entry.type == "delivery.received"]
    assert received == [row.id for row in rows]
    assert len(rows) <= 1
    assert len(objects) == (len(rows) if deed == "upload" else 0)
    assert len(await archive.understanding.opener.open(rows)) == len(rows)
    for row in objects:
        assert [e.about for e in log if e.type == "recording.received"] == [(row.id,)]
        async with AsyncExitStack() as stack:
            reader = await open_blob(stack, archive.stores.blobs, row.id)
            key = await get_file_key(archive.vault, row.id)
            payload = await open_payload(reader, row, file_key=key)
            assert bytes(await payload.read(0, row.plain_bytes)) == SOUND
    return bool(rows)


async def require_to_go_on(folder: Path, deed: str, *, is_acknowledged: bool) -> None:
    """Open the archive anew; what is missing is kept now, and everything is understood."""
    async with opened_archive(config_in(folder)) as archive:
        is_there = await require_whole_or_absent(archive, deed)
        assert is_there or not is_acknowledged
        kept = await keep(archive, deed)
        assert kept.is_duplicate == is_there
        assert await require_whole_or_absent(archive, deed)
        await archive.understanding.catch_up(now=NOW, received_before=to_microseconds(NOW) + 1)
        if deed == "delivery":
            assert await archive.stores.store.count(ContactRow, {}) == 1


async def fail_at_each(template, tmp_path, deed, failure, stride):
    number, name, raised = failure
    for at in range(1, MOST_STEPS, stride):
        folder = Path(shutil.copytree(template, tmp_path / str(at)))
        steps = Steps(at, number, name)
        outcome = None
        async with opened_archive(config_in(folder)) as archive:
            with stepping(archive, steps):
                try:
                    await keep(archive, deed)
                except StorageError as error:
                    outcome = error
            if raised is BrokenError and outcome is not None:
                with pytest.raises(BrokenError):
                    await keep(archive, deed)
            elif outcome is not None:
                assert isinstance(outcome, raised)
                # In the same process, without a new start.
                await keep(archive, deed)
                assert await require_whole_or_absent(archive, deed)
        await require_to_go_on(
            folder, deed, is_acknowledged=outcome is None or raised is not BrokenError
        )
        shutil.rmtree(folder)
        if not steps.has_happened:
            assert outcome is None
            return at
    raise AssertionError("no end in sight")


@pytest.mark.slow
@pytest.mark.parametrize(
    "failure", [param.values for param in FAILURES], ids=[p.id for p in FAILURES]
)
@pytest.mark.parametrize("deed", DEEDS)
async def test_what_fails_at_some_steps_is_whole_or_absent(template, tmp_path, deed, failure):
    assert await fail_at_each(template, tmp_path, deed, failure, SHORT) > 15


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "failure", [param.values for param in FAILURES], ids=[p.id for p in FAILURES]
)
@pytest.mark.parametrize("deed", DEEDS)
async def test_what_fails_at_any_step_is_whole_or_absent(template, tmp_path, deed, failure):
    last = await fail_at_each(template, tmp_path, deed, failure, LONG)
    print(f"{last - 1} steps of the {deed} failed", file=sys.stderr)  # noqa: T201  # a long run tells what it did


async def stop_at_each(template, tmp_path, deed, stride):
    command = [
        sys.executable,
        "-m",
        "tests.crash.keeping",
        deed,
        template,
        tmp_path,
        f"{stride}",
    ]
    done = subprocess.run(  # noqa: ASYNC221  # nothing else is to do meanwhile
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    last = int(done.stdout)
    for at in range(1, last + 1, stride):
        folder = tmp_path / str(at)
        is_acknowledged = (folder / ACKNOWLEDGED).exists()
        assert is_acknowledged == (at == last)
        await require_to_go_on(folder, deed, is_acknowledged=is_acknowledged)
    return last


@pytest.mark.slow
@pytest.mark.parametrize("deed", DEEDS)
async def test_a_process_that_stops_at_some_steps_keeps_all_or_nothing(
    template, tmp_path, deed
):
    assert await stop_at_each(template, tmp_path, deed, SHORT) > 15


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("deed", DEEDS)
async def test_a_process_that_stops_at_any_step_keeps_all_or_nothing(template, tmp_path, deed):
    last = await stop_at_each(template, tmp_path, deed, LONG)
    print(f"stopped at {last - 1} steps of the {deed}", file=sys.stderr)  # noqa: T201  # as above
