"""Which backup is taken: the newest, or an error; another one only where somebody says so by name."""

import shutil

import pytest

from service.cli.backup import verify
from service.cli.commands import build_parser
from service.domain.errors import TamperedError, UnavailableError
from service.wiring import opened_archive
from storage.errors import MissingError
from storage.rows import ContactRow
from tests.backup.conftest import DAY, fill
from tests.conftest import NOW

OLD, NEW = "20261122T120000Z", "20261123T120000Z"


@pytest.fixture
async def two(backups):
    """Two backups, the second with one more call."""
    await backups.make()
    async with opened_archive(backups.config) as archive:
        await fill(archive, "c-3")
        await backups.make_of(archive, now=NOW + DAY)
    return backups


def harm(path):
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))


def keys_of(backups, name, file=""):
    return backups.config.backup.keys_directory / name / file


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        pytest.param(
            lambda b: harm(keys_of(b, NEW, "backup.json")), TamperedError, id="altered"
        ),
        pytest.param(
            lambda b: keys_of(b, NEW, "backup.json").unlink(), TamperedError, id="half of it"
        ),
        pytest.param(
            lambda b: shutil.rmtree(keys_of(b, NEW)), TamperedError, id="older than the rows"
        ),
    ],
)
async def test_an_older_key_store_is_taken_only_when_somebody_says_so(
    two, capsys, spoil, refusal
):
    spoil(two)
    ledger = two.lose()
    with pytest.raises(refusal):
        await two.restore("--ledger", ledger)
    assert not two.config.archive.directory.exists()
    assert await two.restore("--ledger", ledger, "--older-keys") == 1
    assert f"WARNING: the key store of {OLD}" in capsys.readouterr().err
    async with opened_archive(two.config) as archive:
        contacts = [row.id for row in await archive.stores.store.find(ContactRow, {})]
        assert (len(contacts), len(await archive.stores.keys.get_keys(contacts))) == (3, 2)


async def test_without_any_key_store_that_can_be_used_none_is_taken(two):
    for name in (OLD, NEW):
        harm(keys_of(two, name, "backup.json"))
    ledger = two.lose()
    with pytest.raises(UnavailableError, match="no backup of the key store can be used"):
        await two.restore("--ledger", ledger, "--older-keys")


async def test_a_backup_from_the_future_is_restored_only_by_its_name(two):
    ledger = two.lose()
    with pytest.raises(UnavailableError, match="future"):
        await two.restore("--ledger", ledger, now=NOW + DAY / 2)
    # Nor are its keys taken to be the newest.
    with pytest.raises(UnavailableError, match="future"):
        await two.restore(OLD, "--ledger", ledger, now=NOW + DAY / 2)
    shutil.rmtree(keys_of(two, NEW))
    assert await two.restore(OLD, "--ledger", ledger, now=NOW + DAY / 2) == 0


async def test_clocks_may_be_some_minutes_apart(two):
    verdict = await two.verify(now=NOW + DAY - DAY / 288)
    assert verdict.troubles == []


async def test_verifying_names_what_is_from_the_future(two):
    verdict = await two.verify(now=NOW + DAY / 2)
    # That of the archive, that of its keys, and that nobody can tell which keys are the newest.
    assert {one.name for one in verdict.troubles} == {NEW}
    assert all("future" in one.text for one in verdict.troubles)


async def drill(backups, *names):
    options = build_parser().parse_args(["backup", "verify", "--drill", *names])
    return await verify(backups.config, options)


@pytest.fixture
async def older(backups):
    """Two backups that were made before today, whenever that is."""
    for day in (3, 2):
        await backups.make(now=NOW - day * DAY)
    return backups


A, B = "20261119T120000Z", "20261120T120000Z"


@pytest.mark.parametrize(
    ("spoil", "names", "code"),
    [
        pytest.param(lambda _: None, (), 0, id="sound"),
        pytest.param(lambda _: None, (A, B), 0, id="both sound"),
        pytest.param(lambda b: harm(of(b, B, "taltio.db.age")), (), 1, id="altered rows"),
        pytest.param(lambda b: harm(of(b, B, "backup.json")), (), 1, id="altered manifest"),
        pytest.param(
            lambda b: harm(of(b, A, "taltio.db.age")), (A, B), 1, id="the first altered"
        ),
        pytest.param(lambda _: None, ("20250101T000000Z", B), 1, id="one that is not there"),
        pytest.param(
            lambda _: None,
            (B, A),
            2,
            id="one that cannot be read",
        ),
    ],
)
async def test_a_drill_ends_with_1_for_what_is_altered_and_tries_the_others(
    older, capsys, monkeypatch, spoil, names, code
):
    if code == 2:
        unreadable(monkeypatch, of(older, B, "taltio.db.age"))
    spoil(older)
    assert await drill(older, *names) == code
    told = capsys.readouterr().out
    for name in {A, B} & set(names):
        assert f"{name} was brought up" in told or f"{name} could not be brought up" in told


def of(backups, name, file):
    return backups.config.backup.directory / name / file


def unreadable(monkeypatch, path):
    """Refuse to open a file, also to root."""
    real = type(path).open

    def opening(self, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(type(path), "open", opening)


async def test_a_name_that_is_none_is_missing(two):
    with pytest.raises(MissingError):
        await two.restore("no-name", "--ledger", two.lose())


async def test_when_the_newest_rows_are_gone_older_ones_are_restored_only_by_their_name(two):
    shutil.rmtree(two.config.backup.directory / NEW)
    ledger = two.lose()
    with pytest.raises(UnavailableError, match=f"{NEW} is missing in .* name it: {OLD}"):
        await two.restore("--ledger", ledger)
    assert not two.config.archive.directory.exists()
    assert await two.restore(OLD, "--ledger", ledger) == 0
