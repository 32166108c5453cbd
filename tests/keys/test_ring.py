from dataclasses import replace

import pytest

from service.crypto.age import open_header, parse_header
from service.crypto.errors import HeaderMacError
from service.crypto.recipients import HybridIdentity, X25519Identity
from service.crypto.secret import FileKey, IndexMaster
from service.crypto.wrap import new_key
from service.domain.errors import ErasedError, TamperedError, UnavailableError
from service.keys.epoch import EpochKind, EpochState
from service.keys.errors import KeysRefusedError
from service.keys.file import FileKeyProvider
from service.keys.ring import KeyRing


@pytest.fixture(params=list(EpochKind))
def provider(request, places, now):
    keys, archive = places
    provider = FileKeyProvider(keys, archive=archive, kind=request.param)
    provider.create(now=now)
    return provider


@pytest.fixture
def ring(provider):
    return KeyRing(provider.load())


def test_what_it_wraps_it_unwraps(ring):
    key = new_key()
    epoch, wrapped = ring.wrap(key)
    assert epoch == ring.current_epoch == 1
    assert ring.unwrap(epoch, wrapped) == key


def test_the_header_that_it_seals_it_opens(ring):
    file_key = FileKey.generate()
    epoch, header = ring.seal_header(file_key)
    assert epoch == 1
    assert ring.open_header(epoch, header) == file_key


def test_after_a_rotation_the_old_still_opens_and_the_new_is_current(provider, ring, now):
    key, file_key = new_key(), FileKey.generate()
    wrapped, header = ring.wrap(key), ring.seal_header(file_key)
    provider.add_epoch(now=now)
    ring.adopt(provider.load())
    assert ring.unwrap(*wrapped) == key
    assert ring.open_header(*header) == file_key
    assert ring.wrap(key)[0] == ring.seal_header(file_key)[0] == 2


def test_what_was_rewrapped_opens_after_the_old_epoch_is_destroyed(provider, ring, now):
    key, file_key = new_key(), FileKey.generate()
    wrapped, header = ring.wrap(key), ring.seal_header(file_key)
    provider.add_epoch(now=now)
    ring.adopt(provider.load())
    rewrapped, new_header = ring.rewrap_key(*wrapped), ring.rewrap_header(*header)
    provider.destroy_epoch(1, now=now)
    ring.adopt(provider.load())
    assert ring.unwrap(*rewrapped) == key
    assert ring.open_header(*new_header) == file_key
    assert [epoch.state for epoch in ring.epochs] == [EpochState.DESTROYED, EpochState.ACTIVE]


def test_what_was_not_rewrapped_is_erased_with_its_epoch(provider, ring, now):
    wrapped, header = ring.wrap(new_key()), ring.seal_header(FileKey.generate())
    provider.add_epoch(now=now)
    provider.destroy_epoch(1, now=now)
    ring.adopt(provider.load())
    with pytest.raises(ErasedError):
        ring.unwrap(*wrapped)
    with pytest.raises(ErasedError):
        ring.open_header(*header)


def test_an_epoch_made_elsewhere_is_unavailable_rather_than_altered(provider, ring, now):
    provider.add_epoch(now=now)
    elsewhere = KeyRing(provider.load())
    with pytest.raises(UnavailableError):
        ring.unwrap(*elsewhere.wrap(new_key()))
    with pytest.raises(UnavailableError):
        ring.open_header(*elsewhere.seal_header(FileKey.generate()))


def test_an_epoch_made_elsewhere_is_taken_up_when_it_is_met(provider, now):
    ring = KeyRing(provider.load(), load=provider.load)
    provider.add_epoch(now=now)
    elsewhere = KeyRing(provider.load())
    key, file_key = new_key(), FileKey.generate()
    assert ring.unwrap(*elsewhere.wrap(key)) == key
    assert ring.open_header(*elsewhere.seal_header(file_key)) == file_key
    assert ring.current_epoch == 2


def test_an_epoch_that_nobody_made_is_looked_for_once_until_the_keys_are_taken_again(
    provider, ring
):
    looked = []

    def load():
        looked.append(1)
        return provider.load()

    asking = KeyRing(provider.load(), load=load)
    _, wrapped = ring.wrap(new_key())
    for number in (2, 3, 999_999, 2):
        with pytest.raises(UnavailableError):
            asking.unwrap(number, wrapped)
    assert len(looked) == 1
    asking.adopt(provider.load())
    with pytest.raises(UnavailableError):
        asking.unwrap(2, wrapped)
    assert len(looked) == 2


def test_keys_that_are_refused_leave_those_in_memory_in_use(provider, ring):
    def load():
        raise KeysRefusedError("others can read them")

    asking = KeyRing(provider.load(), load=load)
    epoch, wrapped = ring.wrap(new_key())
    with pytest.raises(UnavailableError):
        asking.unwrap(2, wrapped)
    asking.unwrap(epoch, wrapped)


@pytest.mark.parametrize("number", [0, -1])
def test_an_epoch_that_can_never_have_been_is_altered(ring, number):
    with pytest.raises(TamperedError):
        ring.unwrap(number, ring.wrap(new_key())[1])


def test_a_key_or_header_claimed_for_another_epoch_is_altered(provider, ring, now):
    _, wrapped = ring.wrap(new_key())
    _, header = ring.seal_header(FileKey.generate())
    provider.add_epoch(now=now)
    ring.adopt(provider.load())
    with pytest.raises(TamperedError):
        ring.unwrap(2, wrapped)
    with pytest.raises(TamperedError):
        ring.open_header(2, header)
    with pytest.raises(TamperedError):
        ring.disclose_header(2, header, [X25519Identity.generate().recipient])


def test_a_changed_header_is_altered(ring):
    epoch, header = ring.seal_header(FileKey.generate())
    changed = header.replace(b"---", b"-> grease\n\n---", 1)
    with pytest.raises(HeaderMacError):
        ring.open_header(epoch, changed)


def test_a_header_with_bytes_behind_it_is_altered(ring):
    epoch, header = ring.seal_header(FileKey.generate())
    with pytest.raises(TamperedError):
        ring.open_header(epoch, header + b"payload")


@pytest.mark.parametrize("maker", [X25519Identity, HybridIdentity])
def test_a_disclosed_header_opens_for_its_recipient_and_not_for_the_epoch(ring, maker):
    someone, file_key = maker.generate(), FileKey.generate()
    epoch, header = ring.seal_header(file_key)
    disclosed = ring.disclose_header(epoch, header, [someone.recipient])
    assert open_header(parse_header(disclosed), [someone]) == file_key
    with pytest.raises(TamperedError):
        ring.open_header(epoch, disclosed)


def test_rotation_does_not_change_tokens_nor_the_log_signing_key(provider, ring, now):
    token = ring.blind_index().token("phone", "+358401234567")
    public = ring.log_signing_key.public_key()
    provider.add_epoch(now=now)
    ring.adopt(provider.load())
    assert ring.blind_index().token("phone", "+358401234567") == token
    assert ring.log_signing_key.public_key() == public


def test_the_keys_of_another_archive_are_not_adopted(provider, ring):
    material = provider.load()
    with pytest.raises(KeysRefusedError):
        ring.adopt(replace(material, index_master=IndexMaster.generate()))
    assert ring.current_epoch == 1


def test_intake_seals_what_the_ring_opens_and_has_nothing_that_opens_it(ring):
    intake, file_key = ring.intake_keys(), FileKey.generate()
    assert ring.open_header(*intake.seal_header(file_key)) == file_key
    names = {name for name in dir(intake) if not name.startswith("_")}
    assert names == {
        "epoch",
        "recipient",
        "index_master",
        "seal_header",
        "source_key",
        "index_key",
        "blind_index",
    }


def test_the_intake_file_gives_the_same_keys_as_the_ring(provider, ring):
    assert provider.load_intake() == ring.intake_keys()


def test_intake_has_index_keys_of_its_own(ring):
    intake = ring.intake_keys()
    assert intake.index_key("phone") != ring.index_key("phone")
    assert intake.blind_index().token("delivery", "a") == intake.blind_index().token(
        "delivery", "a"
    )
    master = ring._material.index_master
    assert intake.index_master != master


def test_no_secret_is_in_a_repr(provider, ring):
    material = provider.load()
    shown = " ".join(
        map(repr, [material, *material.epochs, ring.intake_keys(), ring, provider])
    )
    keys = material.epochs[0].keys
    shown += repr(keys)
    secrets = [keys.wrapping_key, keys.identity.secret, material.index_master]
    for secret in [*secrets, material.signing_seed, ring.intake_keys().index_master]:
        assert repr(bytes(secret))[2:18] not in shown
        assert bytes(secret).hex()[:12] not in shown
    assert "SECRET" not in shown
