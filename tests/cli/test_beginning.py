"""An archive is begun where there was none, and never in the place of one that is away."""

import shutil

import pytest

from service.cli.serve import running_service
from service.config import parse_config
from service.domain.errors import InvalidInputError, UnavailableError
from service.wiring import beginning, is_new, key_provider
from tests.conftest import NOW


@pytest.fixture
def config(tmp_path):
    return parse_config('[web]\nlisten = "127.0.0.1:0"\n', base=tmp_path)


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
    with pytest.raises(UnavailableError, match="mount the disk"):
        await started(config)
    assert {path.name: path.read_bytes() for path in config.keys.directory.iterdir()} == keys
    assert {path.name for path in config.archive.directory.iterdir()} == {"serve.lock"}


async def test_what_was_stopped_when_it_had_its_keys_goes_on(config):
    config.archive.directory.mkdir()
    with pytest.raises(KeyboardInterrupt), beginning(config):  # noqa: PT012  # stopped in between
        key_provider(config).create(now=NOW)
        raise KeyboardInterrupt
    assert await is_new(config)
    assert "taltio.db" in await started(config)
    assert not await is_new(config)


async def test_a_directory_that_cannot_be_made_is_said_in_a_sentence(config):
    config.archive.directory.parent.mkdir(exist_ok=True)
    config.archive.directory.write_text("a file")
    with pytest.raises(InvalidInputError, match="cannot be made"):
        await started(config)
