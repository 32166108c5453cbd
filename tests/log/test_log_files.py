import os
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.cli.log_files import (
    Trusted,
    prove_from_directory,
    verify_log_directory,
    verify_proof_files,
)
from service.domain.errors import InvalidInputError, NotFoundError, TamperedError
from service.log.checkpoint import log_key
from service.log.errors import ProofError, SignatureError
from service.log.report import Outcome

SIZE = 600


@pytest.fixture
def log(make_log):
    return make_log(SIZE)


@pytest.fixture
def exported(tmp_path, log, key):
    for path, data in log.files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (tmp_path / "vkey").write_text(key.format() + "\n")
    (tmp_path / "anchors").mkdir()
    (tmp_path / "anchors" / "2026-03-04").write_bytes(log.checkpoint(300))
    return tmp_path


@pytest.fixture
def proven(tmp_path, exported, key):
    directory = tmp_path / "proof"
    directory.mkdir()
    entry, proof = prove_from_directory(exported, 555)
    (directory / "entry").write_bytes(entry)
    (directory / "entry.tlog-proof").write_bytes(proof)
    (directory / "vkey").write_text(key.format() + "\n")
    return directory


def verify_proof(directory):
    names = ("entry", "entry.tlog-proof", "vkey")
    return verify_proof_files(*(directory / name for name in names))


def test_an_exported_log_is_verified(exported, key):
    verdict = verify_log_directory(exported)
    assert verdict.outcome is Outcome.VERIFIED
    first, second, third = verdict.lines
    assert first.startswith("Verified: all 600 entries of log.example.org/taltio")
    assert second == "Compared with checkpoints that were saved earlier: 1."
    assert third.endswith(key.format())


def test_the_outcomes_are_the_exit_codes():
    assert (Outcome.VERIFIED, Outcome.ALTERED, Outcome.UNCHECKED) == (0, 1, 2)


def test_a_key_from_elsewhere_needs_no_warning(exported, tmp_path, key):
    mine = tmp_path / "mine"
    mine.write_text(key.format())
    verdict = verify_log_directory(exported, trusted=Trusted(key=mine))
    assert verdict.outcome is Outcome.VERIFIED
    assert not any("came with the files" in line for line in verdict.lines)


def test_a_log_resigned_with_its_own_key_is_unmasked_by_a_key_from_elsewhere(exported, key):
    forger = log_key(key.name, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    mine = exported / "mine"
    mine.write_text(forger.format())
    assert (
        verify_log_directory(exported, trusted=Trusted(key=mine)).outcome is Outcome.UNCHECKED
    )


def flip(path, byte=5):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1
    path.write_bytes(data)


ALTERATIONS = [
    pytest.param(lambda d: flip(d / "tile/entries/001"), "entry 256.", id="an entry"),
    pytest.param(lambda d: flip(d / "tile/0/001"), "tile/0/001.", id="a tile"),
    pytest.param(lambda d: flip(d / "checkpoint"), "checkpoint.", id="the checkpoint"),
    pytest.param(
        lambda d: flip(d / "anchors/2026-03-04"), "anchors/2026-03-04.", id="a saved checkpoint"
    ),
    pytest.param(
        lambda d: os.truncate(d / "tile/entries/002.p/88", 100),
        "tile/entries/002.p/88.",
        id="a bundle cut short",
    ),
    pytest.param(
        lambda d: (d / "tile/0/000").write_bytes((d / "tile/0/001").read_bytes()),
        "tile/0/000.",
        id="a tile in the place of another",
    ),
    pytest.param(
        lambda d: (d / "checkpoint").write_bytes(bytes(20_000_000)),
        "checkpoint.",
        id="a checkpoint without end",
    ),
]


@pytest.mark.parametrize(("alter", "name"), ALTERATIONS)
def test_alteration_is_named(exported, alter, name):
    alter(exported)
    verdict = verify_log_directory(exported)
    assert verdict.outcome is Outcome.ALTERED
    assert verdict.lines[0].startswith(f"ALTERED: {name}")


def test_a_log_rolled_back_is_newer_in_its_anchor(exported, log):
    (exported / "anchors" / "2026-03-05").write_bytes(log.checkpoint())
    (exported / "checkpoint").write_bytes(log.checkpoint(256))
    (exported / "tile/1/000.p/1").write_bytes((exported / "tile/1/000.p/2").read_bytes()[:32])
    verdict = verify_log_directory(exported)
    assert verdict.outcome is Outcome.ALTERED
    assert len([line for line in verdict.lines if "newer than the log" in line]) == 2


FAULTS = [
    pytest.param(lambda d: (d / "vkey").unlink(), "vkey does not exist", id="no key"),
    pytest.param(
        lambda d: (d / "vkey").write_bytes(b"\xff"), "not a verifier key", id="no text"
    ),
    pytest.param(lambda d: flip(d / "vkey"), "does not fit", id="a key that does not fit"),
    pytest.param(lambda d: (d / "checkpoint").unlink(), "no checkpoint", id="no checkpoint"),
    pytest.param(lambda d: (d / "tile/entries/001").unlink(), "is missing", id="no bundle"),
    pytest.param(lambda d: (d / "tile/0/001").unlink(), "is missing", id="no tile"),
    pytest.param(
        lambda d: ((d / "tile/0/001").unlink(), (d / "tile/0/001").mkdir()),
        "is not a file",
        id="a directory for a tile",
    ),
    pytest.param(
        lambda d: ((d / "checkpoint").unlink(), os.mkfifo(d / "checkpoint")),
        "is not a file",
        id="a pipe for a checkpoint",
    ),
]


@pytest.mark.parametrize(("harm", "words"), FAULTS)
def test_a_fault_is_never_called_alteration(exported, harm, words):
    harm(exported)
    verdict = verify_log_directory(exported)
    assert verdict.outcome is Outcome.UNCHECKED
    assert verdict.lines[0].startswith("Could not be checked")
    assert words in verdict.lines[0]


def test_a_directory_that_does_not_exist_cannot_be_checked(tmp_path):
    assert verify_log_directory(tmp_path / "none").outcome is Outcome.UNCHECKED


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, 599])
def test_a_proof_made_from_the_files_is_verified_by_the_proof_alone(exported, tmp_path, index):
    entry, proof = prove_from_directory(exported, index)
    assert entry == b"entry %d" % index
    (tmp_path / "e").write_bytes(entry)
    (tmp_path / "p").write_bytes(proof)
    verdict = verify_proof_files(tmp_path / "e", tmp_path / "p", exported / "vkey")
    assert verdict.outcome is Outcome.VERIFIED
    assert verdict.lines[0] == f"Verified: this is entry {index} of log.example.org/taltio,"


@pytest.mark.parametrize("index", [-1, 600])
def test_no_proof_is_made_for_an_entry_that_is_not_there(exported, index):
    with pytest.raises(InvalidInputError):
        prove_from_directory(exported, index)


def test_no_proof_is_made_from_altered_or_missing_files(exported):
    flip(exported / "tile/entries/002.p/88")
    with pytest.raises(ProofError):
        prove_from_directory(exported, 512)
    (exported / "tile/entries/002.p/88").unlink()
    with pytest.raises(NotFoundError):
        prove_from_directory(exported, 512)
    flip(exported / "checkpoint")
    with pytest.raises(SignatureError):
        prove_from_directory(exported, 1)
    assert issubclass(SignatureError, TamperedError)


@pytest.mark.parametrize(
    ("alter", "outcome"),
    [
        pytest.param(lambda d: flip(d / "entry"), Outcome.ALTERED, id="another entry"),
        pytest.param(
            lambda d: flip(d / "entry.tlog-proof", 30), Outcome.ALTERED, id="the index"
        ),
        pytest.param(lambda d: flip(d / "entry.tlog-proof", 50), Outcome.ALTERED, id="a hash"),
        pytest.param(
            lambda d: flip(d / "entry.tlog-proof", -200), Outcome.ALTERED, id="the note"
        ),
        pytest.param(
            lambda d: flip(d / "entry.tlog-proof", 0), Outcome.UNCHECKED, id="no proof"
        ),
        pytest.param(lambda d: (d / "entry").unlink(), Outcome.UNCHECKED, id="no entry"),
        pytest.param(lambda d: flip(d / "vkey"), Outcome.UNCHECKED, id="a broken key"),
        pytest.param(
            lambda d: (d / "vkey").write_text(
                log_key("x", Ed25519PrivateKey.from_private_bytes(bytes(32))).format()
            ),
            Outcome.UNCHECKED,
            id="a stranger's key",
        ),
    ],
)
def test_a_proof_says_whether_it_failed_or_could_not_be_checked(proven, alter, outcome):
    assert verify_proof(proven).outcome is Outcome.VERIFIED
    alter(proven)
    assert verify_proof(proven).outcome is outcome


def test_checking_writes_nothing(exported):
    before = sorted(subprocess.run(["find", exported], capture_output=True, check=True).stdout)
    verify_log_directory(exported)
    prove_from_directory(exported, 5)
    after = sorted(subprocess.run(["find", exported], capture_output=True, check=True).stdout)
    assert after == before
