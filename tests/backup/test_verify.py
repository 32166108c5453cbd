"""Whatever is done to a backup, verifying it says so, and says it as what it is."""

import shutil
import tarfile
from dataclasses import replace

import pytest

from service.archive.checks import Outcome
from service.backup.manifest import CODE, KEY_FIELD, MANIFEST, code_of
from service.config import parse_config
from service.crypto.recipients import X25519Identity
from service.log.entry import EntryType, LogEntry, encode_entry
from service.wiring import key_provider, opened_archive
from storage.ports import Append
from storage.rows import ContactRow
from tests.backup.conftest import DAY, PLACES, Backups, fill, flip, opened_new
from tests.conftest import CONFIG, NOW


@pytest.fixture
async def two(backups):
    """Two backups, the second with one more call."""
    await backups.make()
    async with opened_archive(backups.config) as archive:
        await fill(archive, "c-3")
        await backups.make_of(archive, now=NOW + DAY)
    return backups


def of(backups, name, file, *, keys=False):
    place = backups.config.backup.keys_directory if keys else backups.config.backup.directory
    return place / name / file


OLD, NEW = "20261122T120000Z", "20261123T120000Z"


async def test_a_sound_backup_is_verified(two):
    verdict = await two.verify()
    assert verdict.outcome is Outcome.PASSED
    # A blob that two backups name is read once.
    assert (verdict.backups, verdict.blobs) == (4, 3)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda b: flip(of(b, NEW, "taltio.db.age")), id="rows, the last bit"),
        pytest.param(
            lambda b: flip(of(b, NEW, "taltio.db.age"), 300), id="rows, in the middle"
        ),
        pytest.param(lambda b: flip(of(b, NEW, "taltio.db.age"), 30), id="rows, in the header"),
        pytest.param(lambda b: flip(of(b, OLD, "log.tar.age")), id="log of the older one"),
        pytest.param(lambda b: flip(of(b, NEW, "keys.db.age", keys=True)), id="keys"),
        pytest.param(lambda b: flip(of(b, NEW, MANIFEST), 40), id="what it says of itself"),
        pytest.param(lambda b: flip(of(b, NEW, CODE), 5), id="its code"),
        pytest.param(lambda b: of(b, NEW, CODE).unlink(), id="its code removed"),
        pytest.param(lambda b: of(b, NEW, "taltio.db.age").unlink(), id="a file removed"),
        pytest.param(lambda b: of(b, NEW, MANIFEST).unlink(), id="the manifest removed"),
        pytest.param(
            lambda b: of(b, NEW, "taltio.db.age").write_bytes(
                of(b, OLD, "taltio.db.age").read_bytes()
            ),
            id="rows of the older one",
        ),
        pytest.param(
            lambda b: of(b, NEW, "log.tar.age").write_bytes(
                of(b, NEW, "taltio.db.age").read_bytes()
            ),
            id="one file in place of another",
        ),
        pytest.param(lambda b: shutil.rmtree(of(b, NEW, "")), id="the newest removed"),
        pytest.param(
            lambda b: shutil.rmtree(of(b, NEW, "", keys=True)), id="newest keys removed"
        ),
        pytest.param(
            lambda b: (
                shutil.rmtree(of(b, NEW, "")),
                shutil.copytree(of(b, OLD, ""), of(b, NEW, "")),
            ),
            id="the newest replaced by the older one",
        ),
        pytest.param(lambda b: flip(next(b.places.pool.rglob("ob_*"))), id="a blob"),
        pytest.param(lambda b: next(b.places.pool.rglob("ob_*")).unlink(), id="a blob removed"),
    ],
)
async def test_every_change_is_found_as_altered(two, change):
    change(two)
    verdict = await two.verify()
    assert verdict.outcome is Outcome.FAILED
    assert len(verdict.troubles) <= 3


async def test_a_backup_of_another_archive_is_not_believed(two, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("backups", "key-backups"):
        (other / name).mkdir()
    config = parse_config(PLACES + CONFIG, base=other)
    async with opened_new(config) as archive:
        await fill(archive, "c-1")
    await Backups(config).make(now=NOW + DAY)
    for keys in (False, True):
        shutil.rmtree(of(two, NEW, "", keys=keys))
        shutil.copytree(of(Backups(config), NEW, "", keys=keys), of(two, NEW, "", keys=keys))
    verdict = await two.verify(NEW)
    assert verdict.outcome is Outcome.FAILED
    assert any("another archive" in one.text for one in verdict.troubles)


async def test_without_the_keys_it_could_not_be_checked_and_nothing_is_called_altered(two):
    bringing_up = two.bringing_up()
    keyless = replace(
        bringing_up,
        unpacker=replace(
            bringing_up.unpacker,
            keys=replace(bringing_up.unpacker.keys, index_key=None, identities=()),
        ),
    )
    verdict = await two.verify(bringing_up=keyless)
    assert verdict.outcome is Outcome.UNKNOWN


async def test_another_identity_opens_what_was_sealed_to_it_as_well(config):
    """As when the epoch was destroyed after a rotation."""
    offline = X25519Identity.generate()
    backup = replace(config.backup, recipients=(str(offline.recipient),))
    config = replace(config, backup=backup)
    async with opened_new(config) as archive:
        await fill(archive, "c-1")
    backups = Backups(config)
    await backups.make()
    real = backups.bringing_up()
    alone = replace(
        real, unpacker=replace(real.unpacker, keys=replace(real.unpacker.keys, identities=()))
    )
    assert (await backups.verify(bringing_up=alone)).outcome is Outcome.UNKNOWN
    keys = replace(real.unpacker.keys, identities=(offline,))
    given = replace(real, unpacker=replace(real.unpacker, keys=keys))
    assert (await backups.verify(bringing_up=given)).outcome is Outcome.PASSED


async def test_a_newer_program_s_backup_is_not_called_altered(two):
    path = of(two, NEW, MANIFEST)
    newer = path.read_bytes().replace(b'"version": 1', b'"version": 2')
    path.write_bytes(newer)
    of(two, NEW, CODE).write_bytes(code_of(two.ring.index_key(KEY_FIELD), newer))
    verdict = await two.verify(NEW)
    told = {(one.outcome, "newer program" in one.text) for one in verdict.troubles}
    assert (Outcome.UNKNOWN, True) in told


async def test_what_was_erased_while_a_backup_was_made_is_not_missing(backups):
    """A row was copied, and its blob and key were gone before the blobs were."""
    async with opened_archive(backups.config) as archive:
        made = await backups.make_of(archive)
        gone = next(backups.places.pool.rglob("ob_*"))
        gone.unlink()
        assert (await backups.verify(made.manifest.name)).outcome is Outcome.FAILED
        await archive.stores.keys.destroy_keys([gone.name])
        await archive.stores.blobs.remove(gone.name)
        await backups.make_of(archive, now=NOW + DAY)
    assert [one.text for one in (await backups.verify(made.manifest.name)).troubles] == []


async def test_a_drill_compares_hashes_opens_and_leaves_nothing(two):
    manifest = (await two.make(now=NOW + 2 * DAY)).manifest
    before = sorted(two.config.archive.directory.iterdir())
    drilled = await two.drill(manifest)
    assert drilled.verdict.troubles == []
    assert (drilled.hashes, drilled.opened) == (3, 1)
    assert drilled.rows == sum(n for table, n in manifest.rows.items() if table != "log_about")
    assert sorted(two.config.archive.directory.iterdir()) == before


@pytest.mark.parametrize("what", ["rows", "blob"])
async def test_a_drill_tells_what_does_not_fit(two, what):
    made = await two.make(now=NOW + 2 * DAY)
    manifest = made.manifest
    if what == "rows":
        rows = {**manifest.rows, "contacts": manifest.rows["contacts"] + 1}
        manifest = type(manifest)(
            **{
                name: getattr(manifest, name)
                for name in manifest.__struct_fields__
                if name != "rows"
            },
            rows=rows,
        )
    else:
        for blob in two.places.pool.rglob("ob_*"):
            flip(blob)
    drilled = await two.drill(manifest)
    assert drilled.verdict.outcome is Outcome.FAILED


async def test_a_rotation_leaves_older_backups_verifiable_until_the_epoch_is_destroyed(two):
    key_provider(two.config).add_epoch(now=NOW)
    await two.make(now=NOW + 2 * DAY)
    assert (await two.verify()).outcome is Outcome.PASSED
    key_provider(two.config).destroy_epoch(1, now=NOW)
    verdict = await two.verify()
    assert verdict.outcome is Outcome.UNKNOWN
    assert not [one for one in verdict.troubles if one.name == "20261124T120000Z"]


async def test_a_drill_believes_no_erasure_that_the_archive_did_not_write(two):
    """Who could write to the database cannot let every drill pass without a recording being opened."""
    async with opened_archive(two.config) as archive:
        unmarked = archive.stores.store.store
        for row in await unmarked.find(ContactRow, {}):
            erased = LogEntry(
                type=EntryType.CONTACT_ERASED, at=NOW, actor="us_x", about=(row.id,)
            )
            await unmarked.commit([Append(encode_entry(erased), erased.about)])
        made = await two.make_of(archive, now=NOW + 2 * DAY)
    drilled = await two.drill(made.manifest)
    assert (drilled.verdict.outcome, drilled.opened) == (Outcome.FAILED, 0)
    assert "was not written by the archive" in drilled.verdict.troubles[0].text


async def test_a_drill_unpacks_the_log_as_a_restore_would(two, monkeypatch):
    def fails(*_):
        raise tarfile.TarError("no log")

    monkeypatch.setattr("service.backup.unpack.read_log", fails)
    drilled = await two.drill((await two.make(now=NOW + 2 * DAY)).manifest)
    assert not drilled.is_up
    assert "no log" in str(drilled.verdict.troubles[0])
