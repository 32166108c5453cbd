"""``taltio sources import``: what a source left in a directory is brought in."""

import os
import time

import pytest

from service.cli.commands import build_parser
from service.config import parse_config
from service.domain.errors import InvalidInputError
from service.domain.times import to_microseconds
from service.serving import _chores, build_service
from service.wiring import key_provider, opened_archive
from storage.rows import ContactRow, DeliveryRow
from tests.conftest import NOW
from tests.freeswitch import A, B, as_json, form, further, record
from tests.intake.test_freeswitch import wav

SETTINGS = """
[[sources]]
name = "switch"
kind = "freeswitch"
spool = "left"

[[sources]]
name = "pbx"
kind = "api"
"""


@pytest.fixture
async def config(tmp_path):
    config = parse_config(SETTINGS, base=tmp_path)
    key_provider(config).create(now=NOW)
    async with opened_archive(config, create=True):
        pass
    return config


@pytest.fixture
def directory(tmp_path):
    """A directory with a call in it: both legs as files of err-log-dir, and its recording."""
    folder = tmp_path / "left"
    folder.mkdir()
    (folder / f"{B}.cdr.json").write_bytes(form(as_json(further()))[4:])
    (folder / f"a_{A}.cdr.json").write_bytes(as_json(record()).encode())
    (folder / f"{A}.wav").write_bytes(wav())
    settle(folder)
    return folder


def settle(folder):
    """Let everything have been written two minutes ago."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 120,) * 2)


async def typed(config, *arguments):
    options = build_parser().parse_args(["sources", "import", *map(str, arguments)])
    return await options.run(config, options)


async def test_a_call_that_was_left_as_files_is_brought_in(config, directory, capsys):
    (directory / "growing.wav").write_bytes(wav(2))
    (directory / "notes.txt").write_bytes(b"x")
    settle(directory)
    os.utime(directory / "growing.wav")
    assert await typed(config, "switch", directory) == 0
    printed = capsys.readouterr()
    assert printed.out == (
        "3 kept, 0 there already, 1 still being written, 1 not of this source, 0 could not be kept\n"
    )
    assert "'notes.txt': not a file of this source" in printed.err
    async with opened_archive(config) as archive:
        later = to_microseconds(NOW) * 2
        await archive.understanding.catch_up(now=NOW, received_before=later)
        rows = await archive.stores.store.find(DeliveryRow, {})
        assert [row.state for row in rows] == ["understood"] * 3
        assert len(await archive.stores.store.find(ContactRow, {})) == 1
    assert await typed(config, "switch", directory, "--settle", 0) == 0
    assert capsys.readouterr().out.startswith("1 kept, 3 there already, 0 still")


async def test_what_is_kept_is_moved_where_it_is_said(config, directory, tmp_path):
    there = tmp_path / "done"
    await typed(config, "switch", directory, "--move-to", there)
    assert list(directory.iterdir()) == []
    assert len(list(there.iterdir())) == 3
    inside = directory / "taken"
    there.rename(inside)
    assert await typed(config, "switch", directory, "--move-to", inside) == 0
    assert len(list(inside.iterdir())) == 3


async def test_what_cannot_be_kept_is_told_and_ends_with_an_error(config, directory, capsys):
    (directory / "x.cdr.json").write_bytes(bytes(2**20 + 1))
    settle(directory)
    with pytest.raises(InvalidInputError, match="told of above"):
        await typed(config, "switch", directory)
    printed = capsys.readouterr()
    assert "'x.cdr.json': a file of more than 1048576 bytes" in printed.err
    assert printed.out.startswith("3 kept")


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("nobody", ".", "no .*sources.* is called nobody"),
        ("pbx", ".", "leaves no files"),
        ("switch", "no-such", "No such file"),
    ],
)
async def test_what_cannot_be_begun_is_said(config, tmp_path, name, place, words):
    with pytest.raises(InvalidInputError, match=words):
        await typed(config, name, tmp_path / place)


async def test_files_are_moved_within_a_file_system_alone(config, directory):
    elsewhere = "/dev/shm"  # noqa: S108  # a file system that is another one; nothing is written
    if not os.path.isdir(elsewhere) or os.stat(elsewhere).st_dev == directory.stat().st_dev:  # noqa: PTH112, PTH116  # as above
        pytest.skip("there is no other file system")
    with pytest.raises(InvalidInputError, match="another file system"):
        await typed(config, "switch", directory, "--move-to", elsewhere)


@pytest.mark.parametrize("seconds", ["-1", "x", "86401", "٣"])
def test_how_long_a_file_settles_is_a_number_of_seconds(seconds):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["sources", "import", "a", "b", "--settle", seconds])


async def test_the_service_looks_into_the_directory_of_a_source(config, directory):
    async with opened_archive(config) as archive:
        service = build_service(archive)
        chores = {chore.name: chore for chore in _chores(service)}
        for _ in range(2):
            await chores["spool switch"].do(NOW)
        assert service.interpretation.backlog == 3
        assert "spool pbx" not in chores
    assert [path.name for path in directory.iterdir()] == ["taken"]
