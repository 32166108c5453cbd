"""What every key provider promises, whatever keeps its secrets."""

from dataclasses import replace
from datetime import timedelta

import pytest

from service.crypto.recipients import X25519Identity
from service.crypto.secret import FileKey
from service.crypto.wrap import new_key
from service.domain.errors import NotFoundError
from service.keys.epoch import EpochState
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.file import FileKeyProvider
from service.keys.ring import KeyRing
from service.keys.safe import WRAPPED, other_suffix
from tests.crypto.age_file import open_file


@pytest.fixture
def make(places, safe):
    """Return what makes a provider as another process would have it."""

    def maker(**options: object) -> FileKeyProvider:
        return FileKeyProvider(places[0], archive=places[1], safe=safe, **options)

    return maker


@pytest.fixture
def created(make, now):
    provider = make()
    provider.create(now=now)
    return provider


def _lasting(material):
    return replace(material, usable_until=None)


def test_keys_come_back_as_they_were_made(make, created):
    assert _lasting(make().load()) == _lasting(created.load())


def test_keys_are_made_only_when_asked(make, places, now):
    provider = make()
    for call in (provider.load, provider.load_intake, provider.load_public):
        with pytest.raises(KeysMissingError):
            call()
    with pytest.raises(KeysMissingError):
        provider.add_epoch(now=now)
    assert not places[0].exists()


def test_creating_again_changes_nothing(created, places, now):
    before = {path.name: path.read_bytes() for path in places[0].iterdir()}
    created.create(now=now + timedelta(days=1))
    assert {path.name: path.read_bytes() for path in places[0].iterdir()} == before


def test_every_file_is_private(created, places):
    assert created.load()
    assert {path.stat().st_mode & 0o777 for path in places[0].iterdir()} == {0o400}


def test_an_older_epoch_still_opens_what_it_sealed(created, now):
    key, file_key = new_key(), FileKey.generate()
    before = KeyRing(created.load())
    wrapped, header = before.wrap(key), before.seal_header(file_key)
    assert created.add_epoch(now=now).number == 2
    ring = KeyRing(created.load())
    assert ring.current_epoch == created.load_intake().epoch == 2
    assert ring.unwrap(*wrapped) == key
    assert ring.open_header(*header) == file_key


def test_what_is_public_is_known_without_a_secret(created, places, safe, now):
    created.add_epoch(now=now)
    created.add_epoch(now=now)
    created.destroy_epoch(1, now=now)
    material = created.load()
    for path in places[0].glob(f"*.{safe.suffix}"):
        path.unlink()
    public = created.load_public()
    assert public.epochs == tuple(replace(epoch, keys=None) for epoch in material.epochs)
    assert public.intake == KeyRing(material).intake_keys() == created.load_intake()
    assert [epoch.state for epoch in public.epochs] == [
        EpochState.DESTROYED,
        EpochState.RETIRED,
        EpochState.ACTIVE,
    ]


def test_a_destroyed_epoch_leaves_no_secret(created, places, now):
    created.add_epoch(now=now)
    for _ in range(2):
        copies = created.destroy_epoch(1, now=now)
        assert "Backups of" in copies[0]
    assert created.load().epochs[0].keys is None
    assert sorted(path.name for path in places[0].glob("epoch-000001.*")) == [
        "epoch-000001.destroyed",
        "epoch-000001.intake",
    ]


def test_only_what_may_be_destroyed_is(created, now):
    with pytest.raises(KeysRefusedError, match="Rotate first"):
        created.destroy_epoch(1, now=now)
    with pytest.raises(NotFoundError):
        created.destroy_epoch(2, now=now)


def test_escrow_holds_the_secret_itself(make, places, now):
    offline = X25519Identity(bytes(range(32)))
    provider = make(escrow=[offline.recipient])
    provider.create(now=now)
    text = open_file((places[0] / "epoch-000001.escrow.age").read_bytes(), [offline])
    identity = provider.load().epochs[0].keys.identity.format_secret()
    assert identity.encode() in text
    assert (places[0] / "index.escrow.age").exists()
    # A plain file can be copied; a wrapped one is worth nothing without its token.
    assert (places[0] / "log.escrow.age").exists() is (provider._safe.suffix == WRAPPED)


@pytest.mark.parametrize("stem", ["epoch-000001", "index", "log"])
def test_a_file_that_lost_its_end_is_named(created, places, safe, stem):
    path = places[0] / f"{stem}.{safe.suffix}"
    data = path.read_bytes()[:-10]
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o400)
    with pytest.raises(KeysRefusedError, match=stem) as refused:
        created.load()
    assert "AGE-SECRET-KEY" not in str(refused.value)


@pytest.mark.parametrize("stem", ["epoch-000001", "index", "log"])
def test_a_missing_file_is_named(created, places, safe, stem):
    (places[0] / f"{stem}.{safe.suffix}").unlink()
    with pytest.raises(KeysMissingError):
        created.load()


def test_secrets_of_the_other_kind_are_never_ignored(created, places, safe, now):
    stray = places[0] / f"index.{other_suffix(safe.suffix)}"
    stray.write_bytes(b"anything")
    stray.chmod(0o400)
    for call in (
        created.load,
        lambda: created.create(now=now),
        lambda: created.add_epoch(now=now),
        lambda: created.destroy_epoch(1, now=now),
    ):
        with pytest.raises(KeysRefusedError, match=r"keys move|pkcs11"):
            call()
