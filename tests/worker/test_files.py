"""Files that sources leave: kept as if they had been delivered, and moved only then."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.archive.receive_request import keep_request
from service.domain.errors import InvalidInputError
from service.sources.files import RecordingFile, RequestFile
from service.sources.kinds import KINDS
from service.sources.requests import ReceivedRequest, decode_request, target_of
from service.worker.files import RESTED_AFTER, FileIntake, bring_in, find_files
from service.worker.spool import TAKEN, Spool
from storage.errors import FullError
from storage.rows import DeliveryRow
from tests.captures import capture, talk
from tests.freeswitch import A, B, as_json, further, record
from tests.intake.test_freeswitch import wav
from tests.sources.test_rtpengine import metadata

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RECORD = as_json(record()).encode()


def clock():
    return NOW


@pytest.fixture
def spool(tmp_path) -> Path:
    directory = tmp_path / "spool"
    directory.mkdir()
    return directory


@pytest.fixture
def files(archive):
    return FileIntake(archive.intake, "pbx", KINDS["freeswitch"].files, 2**20)


def left(spool):
    return sorted(str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file())


async def deliveries(archive):
    return await archive.stores.store.find(DeliveryRow, {}, order=("kind",))


async def take(files, spool, *, move_to=None, **more):
    found = find_files(spool, without=move_to)
    return await bring_in(found, files, move_to=move_to, clock=clock, **more)


async def test_a_record_is_kept_as_if_it_had_been_posted(archive, files, spool):
    (spool / f"a_{A}.cdr.json").write_bytes(RECORD)
    tally = await take(files, spool)
    assert (tally.kept, tally.there_already, tally.unknown, tally.refused) == (1, 0, [], {})
    (row,) = await deliveries(archive)
    opened = await archive.understanding.opener.open([row])
    request = decode_request(opened[row.id].body)
    assert (row.kind, request.method, request.body) == ("request", "POST", RECORD)
    assert request.target == f"/intake/pbx?uuid=a_{A}"
    assert request.header("x-taltio-file") == f"a_{A}.cdr.json"
    posted = ReceivedRequest("POST", target_of("pbx", f"uuid=a_{A}"), (), RECORD)
    kept = await keep_request(archive.intake, posted, source="pbx", now=NOW)
    assert kept.is_duplicate


async def test_a_recording_is_kept_whole(archive, files, spool):
    body = wav(40)
    (spool / f"{A}.wav").write_bytes(body)
    assert (await take(files, spool)).kept == 1
    (row,) = await deliveries(archive)
    assert (row.kind, row.object_id is not None) == ("recording", True)
    again = await take(files, spool)
    assert (again.kept, again.there_already) == (0, 1)
    assert left(spool) == [f"{A}.wav"]


async def test_what_is_kept_is_moved_and_what_is_not_stays(files, spool):
    (spool / "a").mkdir()
    for name in (f"a/{A}.cdr.json", f"{B}.cdr.xml", "notes.txt"):
        (spool / name).write_bytes(RECORD)
    for name in (f"{A}.wav", f"{B}.wav"):
        (spool / name).write_bytes(wav())
    big = spool / "big.cdr.json"
    big.write_bytes(bytes(2**20 + 1))
    told = []
    taken = spool / TAKEN
    tally = await take(files, spool, move_to=taken, progress=lambda *done: told.append(done))
    assert (tally.kept, tally.unknown, list(tally.refused)) == (4, ["notes.txt"], [big.name])
    assert left(spool) == sorted(
        [
            f"{TAKEN}/{one}"
            for one in (f"a/{A}.cdr.json", f"{B}.cdr.xml", f"{A}.wav", f"{B}.wav")
        ]
        + ["big.cdr.json", "notes.txt"]
    )
    assert told[-1] == (6, 6)


async def test_a_file_is_moved_beside_one_of_its_name(files, spool):
    bodies = [wav(n) for n in (1, 2, 3)]
    for body in bodies:
        (spool / f"{A}.wav").write_bytes(body)
        await take(files, spool, move_to=spool / TAKEN)
    taken = spool / TAKEN
    assert [(taken / f"{A}.wav{end}").read_bytes() for end in ("", ".1", ".2")] == bodies


async def test_links_pipes_hidden_files_and_directories_are_left_alone(archive, spool):
    secret = spool.parent / "secret.cdr.json"
    secret.write_bytes(RECORD)
    (spool / "1.cdr.json").symlink_to(secret)
    (spool / "elsewhere").symlink_to(spool.parent)
    (spool / f".{A}.wav.x7").write_bytes(b"copying")
    (spool / ".rsync").mkdir()
    (spool / ".rsync" / f"{A}.wav").write_bytes(b"copying")
    os.mkfifo(spool / "2.cdr.json")
    (spool / "3.cdr.json").mkdir()
    assert find_files(spool) == []
    assert await deliveries(archive) == []


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("link", "Too many levels of symbolic links"),
        ("pipe", "it is no regular file"),
        ("directory", "it is no regular file"),
        ("gone", "No such file or directory"),
    ],
)
async def test_a_file_that_becomes_something_else_is_not_read(
    archive, files, spool, other, reason
):
    path = spool / "1.cdr.json"
    path.write_bytes(RECORD)
    found = find_files(spool)
    path.unlink()
    match other:
        case "link":
            path.symlink_to("/etc/hostname")
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    async with asyncio.timeout(5):
        tally = await bring_in(found, files, move_to=spool / TAKEN, clock=clock)
    assert tally.refused == {"1.cdr.json": reason}
    assert await deliveries(archive) == []


@pytest.mark.parametrize("name", [f"{A}.wav", f"{A}.cdr.json"])
async def test_a_file_that_is_still_written_is_left_for_later(archive, files, spool, name):
    path = spool / name
    path.write_bytes(RECORD if name.endswith("json") else wav())
    found = find_files(spool)
    with path.open("ab") as file:
        file.write(b"more")
    tally = await bring_in(found, files, move_to=spool / TAKEN, clock=clock)
    assert (tally.kept, tally.still_written) == (0, 1)
    assert await deliveries(archive) == []
    assert left(spool) == [name]


OPEN = {
    "nothing yet": b"",
    "a header without sound": wav(0),
    "more than its header says": wav(1)[:4] + (36).to_bytes(4, "little") + wav(1)[8:],
    "another format": b"ID3" + bytes(100),
}


@pytest.mark.parametrize("body", OPEN.values(), ids=OPEN)
async def test_a_recording_that_may_be_open_is_taken_when_it_has_rested(
    archive, files, spool, body
):
    path = spool / f"{A}.wav"
    path.write_bytes(body)
    for age, kept in ((RESTED_AFTER - SECOND, 0), (RESTED_AFTER, 1)):
        os.utime(path, ((NOW - age).timestamp(),) * 2)
        tally = await take(files, spool, move_to=spool / TAKEN)
        assert (tally.kept, tally.still_written) == (kept, 1 - kept)
        assert len(await deliveries(archive)) == kept


async def test_a_file_that_is_replaced_once_it_is_kept_stays(files, spool):
    path = spool / f"{A}.cdr.json"
    path.write_bytes(RECORD)
    (found,) = find_files(spool)
    take_one = files.take

    class Replacing:
        async def take(self, one, **more):
            kept = await take_one(one, **more)
            path.write_bytes(b"another")
            return kept

    tally = await bring_in([found], Replacing(), move_to=spool / TAKEN, clock=clock)
    assert tally.still_written == 1
    assert path.read_bytes() == b"another"


async def test_while_the_archive_takes_nothing_everything_stays_where_it_is(files, spool):
    (spool / f"{A}.cdr.json").write_bytes(RECORD)
    (spool / f"{A}.wav").write_bytes(wav())

    class Full:
        def __getattr__(self, name):
            raise FullError("no room")

    full = replace(files, intake=replace(files.intake, keys=Full(), blobs=Full()))
    for _ in range(2):
        with pytest.raises(FullError):
            await take(full, spool, move_to=spool / TAKEN)
    assert left(spool) == sorted([f"{A}.cdr.json", f"{A}.wav"])
    assert (await take(files, spool, move_to=spool / TAKEN)).kept == 2


@pytest.mark.parametrize(
    "what",
    [
        RecordingFile("", "a", "audio/wav"),
        RecordingFile("a", "b\u202e", "audio/wav"),
        RecordingFile("a" * 300, "b", "audio/wav"),
        RequestFile("x"),
    ],
)
async def test_a_name_that_cannot_be_kept_is_told_of(archive, files, spool, what):
    path = spool / ("x\u200b" if isinstance(what, RequestFile) else "x")
    path.write_bytes(wav())
    tally = await take(replace(files, recognise=lambda *_: what), spool)
    assert list(tally.refused) == [path.name]
    assert await deliveries(archive) == []
    with pytest.raises(InvalidInputError):
        await replace(files, recognise=lambda *_: what).take(find_files(spool)[0], now=NOW)


# -- spools


@pytest.fixture
def looked(files, spool):
    return Spool(spool, files, clock)


async def test_a_spool_takes_what_has_not_changed_since_the_last_look(archive, looked, spool):
    path = spool / f"{A}.wav"
    path.write_bytes(wav(1))
    await looked.look(NOW)
    assert await deliveries(archive) == []
    path.write_bytes(wav(2))
    await looked.look(NOW)
    assert await deliveries(archive) == []
    await looked.look(NOW)
    assert len(await deliveries(archive)) == 1
    assert left(spool) == [f"{TAKEN}/{A}.wav"]
    await looked.look(NOW)
    assert len(await deliveries(archive)) == 1


async def test_a_spool_offers_what_it_keeps_and_tells_of_what_stays_once(files, spool, caplog):
    caplog.set_level("INFO")
    offered = []
    looked = Spool(spool, files, clock, offered.append)
    (spool / "Matti Esimerkki.txt").write_bytes(b"x")
    (spool / f"{B}.cdr.json").write_bytes(as_json(further()).encode())
    for _ in range(4):
        await looked.look(NOW)
    assert [kept.row.source for kept in offered] == ["pbx"]
    told = [(one.getMessage(), one.files) for one in caplog.records if "spool" in one.msg]
    assert told == [("spool.taken", 1), ("spool.left", 1)]
    assert "Matti" not in caplog.text
    (spool / "Matti Esimerkki.txt").write_bytes(b"other")
    for _ in range(3):
        await looked.look(NOW)
    assert len([one for one in caplog.records if one.msg == "spool.left"]) == 2


async def test_a_spool_that_is_not_there_is_an_error_that_the_chore_tells_of(looked, spool):
    spool.rmdir()
    with pytest.raises(OSError, match="No such file"):
        await looked.look(NOW)


CAPTURED = "1-26865%40127.0.0.1-b6c7f0053c4d1bf3"


@pytest.fixture
def captures(archive, spool):
    """What keeps the files of rtpengine, and its recording directory."""
    for name in ("pcaps", "metadata", "tmp"):
        (spool / name).mkdir()
    return FileIntake(archive.intake, "pbx", KINDS["rtpengine"].files, 2**20)


async def test_a_capture_is_taken_when_its_metadata_say_that_the_call_is_over(
    captures, spool, tmp_path
):
    pcap, told = spool / f"pcaps/{CAPTURED}.pcap", f"rtpengine-meta-{CAPTURED}"
    pcap.write_bytes(capture(talk(0.1)))
    (spool / f"tmp/{told}.tmp").write_text(metadata())
    os.utime(pcap, (NOW.timestamp(),) * 2)
    os.utime(spool / f"tmp/{told}.tmp", (NOW.timestamp(),) * 2)
    moved = tmp_path / "moved"
    moved.mkdir()
    tally = await take(captures, spool, move_to=moved)
    assert (tally.kept, tally.still_written, tally.unknown) == (0, 2, [])
    (spool / f"tmp/{told}.tmp").rename(spool / f"metadata/{told}.txt")
    tally = await take(captures, spool, move_to=moved)
    assert (tally.kept, tally.still_written) == (2, 0)
    assert left(spool) == []


async def test_a_capture_whose_metadata_were_taken_before_is_whole(captures, spool, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    (spool / f"metadata/rtpengine-meta-{CAPTURED}.txt").write_text(metadata())
    assert (await take(captures, spool, move_to=moved)).kept == 1
    late = spool / f"pcaps/{CAPTURED}.pcap"
    late.write_bytes(capture(talk(0.1)))
    os.utime(late, (NOW.timestamp(),) * 2)
    assert (await take(captures, spool, move_to=moved)).kept == 1


async def test_what_rtpengine_left_when_it_ended_is_taken_after_a_while(captures, spool):
    rested = (NOW - RESTED_AFTER).timestamp()
    for name, data in (
        (f"pcaps/{CAPTURED}.pcap", capture(talk(0.1))),
        (f"tmp/rtpengine-meta-{CAPTURED}.tmp", metadata(ended="").encode()),
    ):
        (spool / name).write_bytes(data)
        os.utime(spool / name, (rested, rested))
    assert (await take(captures, spool)).kept == 2


async def test_metadata_of_a_call_that_lasts_for_hours_stay_until_it_is_over(
    captures, spool, tmp_path
):
    pcap, told = spool / f"pcaps/{CAPTURED}.pcap", f"rtpengine-meta-{CAPTURED}"
    pcap.write_bytes(capture(talk(0.1)))
    os.utime(pcap, (NOW.timestamp(),) * 2)
    moved = tmp_path / "moved"
    moved.mkdir()
    # As rtpengine has it: open from the first offer on, and written to again when the call ends.
    with (spool / f"tmp/{told}.tmp").open("w") as file:
        whole = metadata()
        begun, ended = whole[: whole.index("\nTimestamp terminated")], "\nTimestamp terminated"
        file.write(begun)
        file.flush()
        os.utime(file.fileno(), ((NOW - 2 * RESTED_AFTER).timestamp(),) * 2)
        tally = await take(captures, spool, move_to=moved)
        assert (tally.kept, tally.still_written) == (0, 2)
        file.write(ended + whole.partition(ended)[2])
    (spool / f"tmp/{told}.tmp").rename(spool / f"metadata/{told}.txt")
    assert (await take(captures, spool, move_to=moved)).kept == 2
    assert (moved / f"metadata/{told}.txt").read_text() == whole
