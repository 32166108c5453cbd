import fcntl
import os
import shutil
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from service.crypto.file import seal_file
from service.crypto.recipients import HybridIdentity, X25519Identity
from service.domain.errors import InvalidInputError, NotFoundError, UnavailableError
from service.keys import formats
from service.keys.epoch import EpochKind, EpochState
from service.keys.errors import KeysMissingError, KeysRefusedError
from service.keys.file import FileKeyProvider
from tests.crypto.age_file import open_file


def _modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_new_keys_are_private_and_complete(created, places):
    keys, _ = places
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert _modes(keys) == dict.fromkeys(
        ["epoch-000001.intake", "epoch-000001.key", "index.key", "log.key"], 0o400
    )
    material = created.load()
    assert [epoch.state for epoch in material.epochs] == [EpochState.ACTIVE]


def test_the_message_says_where_the_keys_are_and_what_to_do(provider, places, now):
    message = provider.create(now=now)
    assert str(places[0]) in message
    assert "Back that directory up" in message
    assert "No escrow recipient" in message


def test_keys_are_made_only_when_asked(provider, places, now):
    with pytest.raises(KeysMissingError, match="backup"):
        provider.load()
    with pytest.raises(KeysMissingError):
        provider.load_intake()
    with pytest.raises(KeysMissingError):
        provider.add_epoch(now=now)
    assert not places[0].exists()


def test_creating_again_changes_nothing(created, places, now):
    before = {path.name: path.read_bytes() for path in places[0].iterdir()}
    created.create(now=now + timedelta(days=1))
    assert {path.name: path.read_bytes() for path in places[0].iterdir()} == before


def test_keys_come_back_as_they_were_made(created, places, now):
    keys, archive = places
    assert FileKeyProvider(keys, archive=archive).load() == created.load()
    assert created.load().epochs[0].created_at == now


@pytest.mark.parametrize("kind", list(EpochKind))
def test_epochs_are_of_the_kind_that_was_asked_for(places, now, kind):
    provider = FileKeyProvider(places[0], archive=places[1], kind=kind)
    provider.create(now=now)
    assert provider.add_epoch(now=now).kind is kind
    assert [epoch.kind for epoch in provider.load().epochs] == [kind, kind]


def test_a_new_epoch_is_current_and_the_one_before_is_retired(created, now):
    added = created.add_epoch(now=now)
    first, second = created.load().epochs
    assert (first.state, second.state) == (EpochState.RETIRED, EpochState.ACTIVE)
    assert added == second
    assert first.keys != second.keys
    assert created.load_intake().epoch == 2


def test_a_destroyed_epoch_leaves_its_number_and_no_secret(created, places, now):
    created.add_epoch(now=now)
    secret = created.load().epochs[0].keys.identity.format_secret()
    created.destroy_epoch(1, now=now + timedelta(days=30))
    first, _ = created.load().epochs
    assert (first.state, first.keys) == (EpochState.DESTROYED, None)
    assert first.destroyed_at == now + timedelta(days=30)
    assert not any(secret.encode() in path.read_bytes() for path in places[0].iterdir())


def test_destroying_names_the_other_copies_each_time(created, now):
    created.add_epoch(now=now)
    copies = created.destroy_epoch(1, now=now)
    assert any("Backups" in copy and "epoch-000001.key" in copy for copy in copies)
    assert any("escrow" in copy for copy in copies)
    assert created.destroy_epoch(1, now=now + timedelta(days=1)) == copies
    assert created.load().epochs[0].destroyed_at == now


def test_the_number_of_a_destroyed_epoch_is_not_used_again(created, now):
    created.add_epoch(now=now)
    created.destroy_epoch(1, now=now)
    assert created.add_epoch(now=now).number == 3


def test_the_current_epoch_is_not_destroyed(created, now):
    with pytest.raises(KeysRefusedError, match="Rotate first"):
        created.destroy_epoch(1, now=now)
    assert created.load().epochs[0].keys


@pytest.mark.parametrize("number", [0, 2, -1, 999_999])
def test_an_epoch_that_never_was_is_not_destroyed(created, now, number):
    with pytest.raises(NotFoundError):
        created.destroy_epoch(number, now=now)


def test_overwriting_reaches_a_second_name_of_the_key_file(created, places, now):
    keys, _ = places
    created.add_epoch(now=now)
    os.link(keys / "epoch-000001.key", keys.parent / "copy")
    created.destroy_epoch(1, now=now)
    assert set((keys.parent / "copy").read_bytes()) == {0}


# Permissions and places


def _chmod(keys: Path, name: str, mode: int) -> None:
    (keys / name).chmod(mode)


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o444, 0o420, 0o640, 0o644])
@pytest.mark.parametrize("name", ["epoch-000001.key", "index.key", "log.key"])
def test_a_key_file_that_others_can_use_is_refused(created, places, name, mode):
    _chmod(places[0], name, mode)
    with pytest.raises(KeysRefusedError, match=f"chmod 400 .*{name}"):
        created.load()


@pytest.mark.parametrize("mode", [0o750, 0o710, 0o701, 0o755, 0o770])
def test_a_key_directory_that_others_can_use_is_refused(created, places, now, mode):
    places[0].chmod(mode)
    for call in (
        created.load,
        created.load_intake,
        lambda: created.create(now=now),
        lambda: created.add_epoch(now=now),
        lambda: created.destroy_epoch(1, now=now),
    ):
        with pytest.raises(KeysRefusedError, match="chmod 700"):
            call()


def test_an_intake_file_that_others_can_use_is_refused(created, places):
    _chmod(places[0], "epoch-000001.intake", 0o444)
    with pytest.raises(KeysRefusedError, match="chmod 400"):
        created.load_intake()


def test_keys_of_another_user_are_refused(created, monkeypatch):
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeysRefusedError, match=f"belongs to user {owner}"):
        created.load()


@pytest.mark.parametrize(("user", "may_be_given"), [(0, False), (1000, True)])
def test_keys_that_root_only_looks_at_are_not_to_become_roots(
    created, places, monkeypatch, user, may_be_given
):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(places[0], 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(KeysRefusedError, match="Run it as the owner") as refused:
        created.load()
    assert ("chown 1000" in str(refused.value)) == may_be_given
    assert ("chown" in str(refused.value)) == may_be_given


def test_a_key_file_of_another_user_is_refused(created, places):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(places[0] / "log.key", 12345, -1)
    with pytest.raises(KeysRefusedError, match="belongs to user 12345"):
        created.load()


@pytest.mark.parametrize(
    ("keys", "archive"),
    [
        pytest.param("data", "data", id="the same"),
        pytest.param("data/keys", "data", id="keys within the archive"),
        pytest.param("data/a/b/keys", "data", id="deep within the archive"),
        pytest.param("keys", "keys/data", id="the archive within the keys"),
        pytest.param("other/../data/keys", "data", id="by a detour"),
        pytest.param("link/keys", "data", id="through a symbolic link"),
        pytest.param("data/keys", "link", id="through a link to the archive"),
        pytest.param("data/keys", "link/../data", id="through both"),
    ],
)
@pytest.mark.parametrize("is_made", [True, False])
def test_keys_and_archive_do_not_lie_within_each_other(tmp_path, now, keys, archive, is_made):
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    if is_made:
        (tmp_path / "data").mkdir()
    provider = FileKeyProvider(tmp_path / keys, archive=tmp_path / archive)
    for call in (lambda: provider.create(now=now), provider.load, provider.load_intake):
        with pytest.raises(KeysRefusedError, match="must not lie in"):
            call()
    assert not list(tmp_path.rglob("*.key"))


def test_keys_beside_the_archive_are_fine_even_with_a_common_beginning(tmp_path, now):
    FileKeyProvider(tmp_path / "data-keys", archive=tmp_path / "data").create(now=now)


def test_a_key_directory_that_is_a_link_to_elsewhere_is_fine(tmp_path, now):
    (tmp_path / "safe").mkdir(mode=0o700)
    (tmp_path / "keys").symlink_to(tmp_path / "safe")
    provider = FileKeyProvider(tmp_path / "keys", archive=tmp_path / "data")
    provider.create(now=now)
    assert provider.load().epochs


def test_a_key_file_that_is_a_symbolic_link_is_refused(created, places):
    keys, _ = places
    (keys / "log.key").rename(keys.parent / "elsewhere")
    (keys / "log.key").symlink_to(keys.parent / "elsewhere")
    with pytest.raises(KeysRefusedError, match="cannot be read"):
        created.load()


def test_a_key_file_that_is_no_file_is_refused(created, places):
    keys, _ = places
    (keys / "log.key").unlink()
    os.mkfifo(keys / "log.key", 0o400)
    with pytest.raises(KeysRefusedError, match="not a key file"):
        created.load()


def test_a_plain_file_in_place_of_the_directory_is_refused(provider, places, now):
    places[0].write_text("")
    with pytest.raises(KeysRefusedError, match="not a directory"):
        provider.load()
    with pytest.raises(KeysRefusedError):
        provider.create(now=now)


# Damage


@pytest.mark.parametrize("name", ["epoch-000001.key", "index.key", "log.key"])
def test_a_missing_key_file_is_named_and_not_made_anew(created, places, now, name):
    (places[0] / name).unlink()
    with pytest.raises(KeysMissingError, match="Restore"):
        created.load()
    with pytest.raises(KeysMissingError):
        created.create(now=now)
    assert not (places[0] / name).exists()


def test_a_missing_epoch_among_others_is_named(created, places, now):
    created.add_epoch(now=now)
    (places[0] / "epoch-000001.key").unlink()
    with pytest.raises(KeysMissingError, match=r"epoch-000001\.key"):
        created.load()


def test_a_missing_current_epoch_is_not_taken_for_a_destroyed_one(created, places, now):
    created.add_epoch(now=now)
    created.destroy_epoch(1, now=now)
    (places[0] / "epoch-000002.key").unlink()
    with pytest.raises(KeysMissingError, match="current epoch"):
        created.load()


def _rewrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o400)


@pytest.mark.parametrize("name", ["epoch-000001.key", "index.key", "log.key"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: data[:-10], id="cut"),
        pytest.param(lambda data: data + b"\n", id="a line more"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(lambda data: b"\xff" + data, id="not text"),
        pytest.param(lambda data: data.replace(b"-v1", b"-v2"), id="another version"),
        pytest.param(lambda data: bytes(len(data)), id="zeros"),
        pytest.param(lambda data: data * 1000, id="large"),
    ],
)
def test_a_damaged_key_file_is_named_and_not_shown(created, places, name, damage):
    path = places[0] / name
    data = path.read_bytes()
    _rewrite(path, damage(data))
    with pytest.raises(KeysRefusedError, match=name) as refused:
        created.load()
    shown = str(refused.value)
    assert not any(word in shown for word in data.decode().split() if len(word) > 40)


def test_an_epoch_file_under_the_name_of_another_is_refused(created, places, now):
    created.add_epoch(now=now)
    keys, _ = places
    (keys / "epoch-000001.key").unlink()
    shutil.copy(keys / "epoch-000002.key", keys / "epoch-000001.key")
    with pytest.raises(KeysRefusedError, match="named as epoch 1"):
        created.load()


def test_files_that_are_not_keys_do_not_matter(created, places, now):
    (places[0] / "README").write_text("ours")
    (places[0] / "epoch-1.key").write_text("not a name we give")
    created.add_epoch(now=now)
    assert created.load().epochs[-1].number == 2


# Other processes and other machines


def test_two_processes_do_not_change_the_keys_at_once(created, places, now):
    descriptor = os.open(places[0], os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(UnavailableError, match="Another process"):
            created.add_epoch(now=now)
        assert created.load().epochs[-1].number == 1
    finally:
        os.close(descriptor)
    created.add_epoch(now=now)


def test_a_machine_that_only_takes_in_needs_the_intake_file_alone(created, tmp_path, places):
    intake_directory = tmp_path / "intake"
    intake_directory.mkdir(mode=0o700)
    shutil.copy(places[0] / "epoch-000001.intake", intake_directory)
    provider = FileKeyProvider(intake_directory, archive=tmp_path / "data")
    assert provider.load_intake() == created.load_intake()
    with pytest.raises(KeysMissingError):
        provider.load()


def test_intake_does_not_seal_to_an_epoch_that_it_knows_to_be_destroyed(
    created, tmp_path, places, now
):
    created.add_epoch(now=now)
    created.destroy_epoch(1, now=now)
    directory = tmp_path / "intake"
    directory.mkdir(mode=0o700)
    for name in ("epoch-000001.intake", "epoch-000001.destroyed"):
        shutil.copy(places[0] / name, directory)
    with pytest.raises(KeysMissingError, match="Copy the newest"):
        FileKeyProvider(directory, archive=tmp_path / "data").load_intake()


@pytest.mark.usefixtures("created")
def test_a_machine_that_only_takes_in_makes_no_keys(tmp_path, places, now):
    directory = tmp_path / "intake"
    directory.mkdir(mode=0o700)
    shutil.copy(places[0] / "epoch-000001.intake", directory)
    with pytest.raises(KeysMissingError):
        FileKeyProvider(directory, archive=tmp_path / "data").create(now=now)
    assert [path.name for path in directory.iterdir()] == ["epoch-000001.intake"]


def test_intake_reads_no_secret_of_an_epoch(created, places):
    for name in ("epoch-000001.key", "index.key", "log.key"):
        (places[0] / name).unlink()
    created.load_intake()


# Escrow


def _escrowed(places, now, escrow, kind=EpochKind.X25519) -> FileKeyProvider:
    provider = FileKeyProvider(places[0], archive=places[1], kind=kind, escrow=escrow)
    provider.create(now=now)
    return provider


@pytest.mark.parametrize(
    ("kind", "maker"),
    [
        (EpochKind.X25519, X25519Identity),
        (EpochKind.X25519, HybridIdentity),
        (EpochKind.HYBRID, HybridIdentity),
    ],
)
def test_the_offline_identity_alone_brings_the_keys_back(places, tmp_path, now, kind, maker):
    offline, second = maker.generate(), maker.generate()
    provider = _escrowed(places, now, [offline.recipient, second.recipient], kind)
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    for identity in (offline, second):
        for name in ("epoch-000001", "index"):
            sealed = (places[0] / f"{name}.escrow.age").read_bytes()
            assert open_file(sealed, [identity]) == (places[0] / f"{name}.key").read_bytes()
    assert provider.load().escrow == (offline.recipient, second.recipient)


def test_a_new_epoch_is_in_escrow_and_a_destroyed_one_is_not(places, now):
    offline = X25519Identity.generate()
    provider = _escrowed(places, now, [offline.recipient])
    provider.add_epoch(now=now)
    provider.destroy_epoch(1, now=now)
    assert {path.name for path in places[0].glob("epoch-*.age")} == {"epoch-000002.escrow.age"}


@pytest.mark.usefixtures("created")
def test_an_escrow_recipient_set_later_gets_the_epochs_in_use(places, now):
    offline = X25519Identity.generate()
    provider = FileKeyProvider(places[0], archive=places[1], escrow=[offline.recipient])
    provider.create(now=now)
    sealed = (places[0] / "epoch-000001.escrow.age").read_bytes()
    assert open_file(sealed, [offline]) == (places[0] / "epoch-000001.key").read_bytes()


def test_escrow_that_would_undo_the_hybrid_is_refused(places):
    classic, hybrid = X25519Identity.generate().recipient, HybridIdentity.generate().recipient
    for kind, escrow in (
        (EpochKind.HYBRID, [classic]),
        (EpochKind.HYBRID, [hybrid, classic]),
        (EpochKind.X25519, [hybrid, classic]),
    ):
        with pytest.raises(InvalidInputError):
            FileKeyProvider(places[0], archive=places[1], kind=kind, escrow=escrow)


# The age program


def test_an_epochs_file_is_an_identity_file_of_the_age_program(created, places, tmp_path):
    if shutil.which("age") is None:
        pytest.skip("the program age is absent: apt install age")
    recording = tmp_path / "recording.age"
    recording.write_bytes(seal_file(b"speech", [created.load().epochs[0].recipient]))
    command = ["age", "-d", "-i", str(places[0] / "epoch-000001.key"), str(recording)]
    opened = subprocess.run(command, capture_output=True, check=True)
    assert opened.stdout == b"speech"


def test_every_text_of_a_key_file_comes_back(created, now):
    material = created.load()
    epoch = material.epochs[0]
    assert formats.parse_epoch(formats.format_epoch(epoch, epoch.keys)).keys == epoch.keys
    assert formats.parse_destroyed(formats.format_destroyed(7, now)) == (7, now)
    record = formats.parse_intake(formats.format_intake(created.load_intake(), now))
    assert (record.keys, record.created_at) == (created.load_intake(), now)
