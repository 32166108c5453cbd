"""The keys directory of a machine that only takes in."""

import stat

import pytest

from service.keys.current import CurrentIntakeKeys
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.file import FileKeyProvider
from service.keys.intake_files import private_files, write_intake_files
from service.keys.ring import KeyRing


@pytest.fixture
def write(created, places, tmp_path):
    def written(directory=tmp_path / "intake"):
        return write_intake_files(created.load(), directory, archive=places[1])

    return written


def outside(directory, tmp_path):
    return FileKeyProvider(directory, archive=tmp_path / "elsewhere")


def test_it_holds_one_private_file_with_which_deliveries_are_sealed(write, created, tmp_path):
    file = write()
    assert [path.name for path in file.parent.iterdir()] == ["epoch-000001.intake"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    provider = outside(file.parent, tmp_path)
    assert provider.load_intake() == KeyRing(created.load()).intake_keys()
    with pytest.raises(KeysMissingError):
        provider.load()


def test_nothing_in_it_opens_anything(write, created):
    text = write().read_text()
    material = created.load()
    keys = material.epochs[0].keys
    assert keys is not None
    assert "AGE-SECRET" not in text
    assert "wrapping-key" not in text
    assert private_files(write().parent) == []


def test_writing_it_again_changes_nothing_and_after_a_rotation_adds_the_new_one(
    write, created, now, tmp_path
):
    first = write()
    before = first.stat().st_mtime_ns
    assert write() == first
    assert first.stat().st_mtime_ns == before
    created.add_epoch(now=now)
    second = write()
    assert second.name == "epoch-000002.intake"
    assert outside(second.parent, tmp_path).load_intake().epoch == 2


def test_a_directory_with_private_keys_or_of_another_archive_is_refused(
    write, places, tmp_path, now
):
    with pytest.raises(KeysRefusedError, match="which intake must not have"):
        write(places[0])
    with pytest.raises(KeysRefusedError, match="must not lie"):
        write(places[1] / "keys")
    stranger = FileKeyProvider(tmp_path / "strange", archive=tmp_path / "strange-data")
    stranger.create(now=now)
    write_intake_files(stranger.load(), tmp_path / "intake", archive=tmp_path / "x")
    with pytest.raises(KeysRefusedError, match="another archive"):
        write()
    assert private_files(places[0]) == ["epoch-000001.key", "index.key", "log.key"]
    assert private_files(tmp_path / "nowhere") == []


def test_intake_goes_on_with_the_keys_it_has_while_they_are_away(write, created, now, tmp_path):
    directory = write().parent
    keys = CurrentIntakeKeys(outside(directory, tmp_path).load_intake)
    directory.rename(tmp_path / "away")
    with pytest.raises(KeysMissingError):
        keys.refresh()
    assert keys().epoch == 1
    (tmp_path / "away").rename(directory)
    created.add_epoch(now=now)
    write()
    keys.refresh()
    assert keys().epoch == 2


def test_intake_takes_up_no_keys_of_another_archive(created, tmp_path, now):
    stranger = FileKeyProvider(tmp_path / "strange", archive=tmp_path / "strange-data")
    stranger.create(now=now)
    loads = iter([created.load_intake(), stranger.load_intake()])
    keys = CurrentIntakeKeys(lambda: next(loads))
    with pytest.raises(KeysRefusedError, match="another archive"):
        keys.refresh()
    assert keys() == created.load_intake()
