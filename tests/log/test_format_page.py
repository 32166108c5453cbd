"""What docs/format-log.md says is so: its steps are run as they stand."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.cli.log_files import prove_from_directory
from service.log.checkpoint import Checkpoint, decode_checkpoint, verify_checkpoint
from service.log.entry import EntryType, commitment, decode_entry, encode_entry
from service.log.merkle import leaf_hash, root_hash
from service.log.note import VerifierKey
from service.log.proof import PROOF_HEADER, decode_proof, verify_proof
from service.log.timestamp import request_timestamp, verify_timestamp
from tests.authority import Authority

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "format-log.md").read_text()
STEPS = dict(re.findall(r"^```sh (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is absent")


@pytest.fixture
def exported(tmp_path, make_log, key):
    for path, data in make_log(600).files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (tmp_path / "vkey").write_text(key.format() + "\n")
    return tmp_path


def run(step, directory):
    done = subprocess.run(
        ["sh", "-e", "-c", STEPS[step]], cwd=directory, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode()


def test_every_type_of_entry_is_on_the_page():
    assert [name for name in EntryType if f"`{name}`" not in PAGE] == []


def test_the_examples_on_the_page_are_a_log_that_verifies():
    first, second = (line.encode() for line in re.findall(r'^{"about".*}$', PAGE, re.MULTILINE))
    (vkey,) = re.findall(r"^log\.example\.org/taltio\+.*$", PAGE, re.MULTILINE)
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (checkpoint,) = (block for block in blocks if block.startswith("log.example.org/taltio\n"))
    (proof,) = (block for block in blocks if block.startswith(PROOF_HEADER))
    assert encode_entry(decode_entry(first)) == first
    root = root_hash([leaf_hash(first), leaf_hash(second)])
    assert decode_checkpoint(checkpoint.encode()) == Checkpoint(
        "log.example.org/taltio", 2, root
    )
    key = VerifierKey.parse(vkey)
    verify_checkpoint(checkpoint.encode(), key)
    verify_proof(decode_proof(proof.encode()), entry=second, key=key)


def test_openssl_verifies_the_signature_of_a_checkpoint(exported, key):
    code, output = run("signature", exported)
    assert code == 0
    key_id = key.key_id.hex()
    assert f"{key_id} is the key id; vkey says {key_id}" in output
    assert "Signature Verified Successfully" in output


@pytest.mark.parametrize("old", [b"log.example", b"\n600\n", b"taltio\n"])
def test_openssl_refuses_a_changed_checkpoint(exported, old):
    file = exported / "checkpoint"
    file.write_bytes(
        file.read_bytes().replace(old, old.replace(b"o", b"0").replace(b"6", b"7"), 1)
    )
    code, output = run("signature", exported)
    assert code != 0
    assert "Verified Successfully" not in output


@pytest.mark.parametrize("index", [0, 1, 255, 511, 512, 555, 599])
def test_a_shell_follows_a_proof_to_the_root(exported, index):
    entry, proof = prove_from_directory(exported, index)
    (exported / "entry").write_bytes(entry)
    (exported / "entry.tlog-proof").write_bytes(proof)
    (exported / "checkpoint").unlink()
    assert run("checkpoint-of-proof", exported) == (0, "")
    assert "Signature Verified Successfully" in run("signature", exported)[1]
    assert run("inclusion", exported) == (0, "The entry is in the log.\n")
    (exported / "entry").write_bytes(entry + b".")
    assert run("inclusion", exported) == (1, "The proof does not lead to the root hash.\n")


def test_openssl_computes_a_commitment(tmp_path):
    salt, value = bytes(range(16)), b"tyytym\xc3\xa4t\xc3\xb6n"
    (tmp_path / "value").write_bytes(value)
    done = subprocess.run(
        [
            "openssl",
            "dgst",
            "-sha256",
            "-mac",
            "HMAC",
            "-macopt",
            f"hexkey:{salt.hex()}",
            "value",
        ],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split()[-1] == commitment(salt, value)


def test_openssl_verifies_a_timestamp(tmp_path):
    authority = Authority(tmp_path / "tsa")
    note = b"a checkpoint\n"
    answer = authority.answer(request_timestamp(note).body)
    (tmp_path / "authority.pem").write_bytes(authority.certificates.read_bytes())
    (tmp_path / "x.checkpoint").write_bytes(note)
    (tmp_path / "x.tsr").write_bytes(answer)
    stamped = verify_timestamp(answer, note, authority.trust).at
    step = f"name=x stamped='{stamped.isoformat()}'\n{STEPS['timestamp']} 2>&1"
    for content, is_good in ((note, True), (b"another\n", False)):
        (tmp_path / "x.checkpoint").write_bytes(content)
        done = subprocess.run(
            ["sh", "-c", step.replace("\n 2>&1", " 2>&1")],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert (b"Verification: OK" in done.stdout + done.stderr) is is_good
