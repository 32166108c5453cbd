"""An archive is begun where there was none, and never in the place of one that is away."""

import shutil
from dataclasses import replace

import pytest

from service.beginning import beginning, is_new
from service.cli.serve import running_service
from service.config import parse_config
from service.domain.errors import InvalidInputError, UnavailableError
from service.wiring import key_provider
from tests.conftest import NOW


@pytest.fixture
def config(tmp_path):
    return parse_config('[web]\nlisten = "127.0.0.1:0"\n', base=tmp_path)


@pytest.fixture
def wide(config, tmp_path):
    """Settings that also name places of backups and anchors."""
    return replace(
        config,
        backup=replace(config.backup, directory=tmp_path / "backups"),
        log=replace(config.log, anchor_directory=tmp_path / "anchors"),
    )


async def started(config):
    async with running_service(config, is_quiet=True):
        return sorted(path.name for path in config.archive.directory.iterdir())


async def test_nothing_of_the_beginning_stays(config):
    assert "taltio.db" in await started(config)
    assert not list(config.archive.directory.glob(".b*"))


@pytest.mark.parametrize("is_directory_there", [True, False])
async def test_without_its_disk_an_archive_is_not_begun_anew(config, is_directory_there):
    await started(config)
    keys = {path.name: path.read_bytes() for path in config.keys.directory.iterdir()}
    shutil.rmtree(config.archive.directory)
    if is_directory_there:
        config.archive.directory.mkdir()
    with pytest.raises(
        UnavailableError, match=r"keys are in .*Mount the disk.* backup restore"
    ):
        await started(config)
    assert {path.name: path.read_bytes() for path in config.keys.directory.iterdir()} == keys
    # Nothing is left in its place, where a restore would not go.
    assert list(config.archive.directory.glob("*")) == []
    assert config.archive.directory.exists() == is_directory_there


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (
            "backups/20261122T023000Z/manifest",
            r"backups are in .*let \[backup\] directory name",
        ),
        (
            "anchors/2026-11-22/taltio-000000000007.checkpoint",
            r"checkpoints of taltio are in .*let \[log\] anchor_directory name",
        ),
        ("anchors/2026-11-22/taltio_2-000000000007.checkpoint", "checkpoints of taltio are in"),
        ("anchors/taltio-000000000007.checkpoint", "checkpoints of taltio are in"),
        ("data/ledger/state.json", r"ledger in .*let \[archive\] directory name"),
    ],
)
async def test_what_is_left_of_an_archive_elsewhere_keeps_another_from_its_place(
    wide, tmp_path, left, said
):
    file = tmp_path / left
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    with pytest.raises(UnavailableError, match=said):
        await started(wide)
    assert not wide.keys.directory.exists()


async def test_what_is_left_of_other_archives_is_in_nobodys_way(wide, tmp_path):
    for name in ("taltio.example.org", "taltio_north", "other"):
        file = tmp_path / "anchors" / "2026-11-22" / f"{name}-000000000007.checkpoint"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    assert await is_new(wide)


async def test_what_was_stopped_when_it_had_its_keys_goes_on(config):
    config.archive.directory.mkdir()
    with pytest.raises(KeyboardInterrupt), beginning(config):  # noqa: PT012  # stopped in between
        key_provider(config).create(now=NOW)
        raise KeyboardInterrupt
    assert await is_new(config)
    assert "taltio.db" in await started(config)
    assert not await is_new(config)


@pytest.mark.parametrize("made", ["opened_keys", "open_store", "opened_blobs"])
async def test_what_was_stopped_before_all_of_its_stores_were_made_goes_on(
    config, monkeypatch, made
):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"service.wiring.{made}", stopped)
        with pytest.raises(KeyboardInterrupt):
            await started(config)
    assert {"blobs", "keys.db", "taltio.db"} <= set(await started(config))
    assert not await is_new(config)


async def test_a_directory_that_cannot_be_made_is_said_in_a_sentence(config):
    config.archive.directory.parent.mkdir(exist_ok=True)
    config.archive.directory.write_text("a file")
    with pytest.raises(InvalidInputError, match="cannot be made"):
        await started(config)
