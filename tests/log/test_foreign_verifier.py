"""The log is checked by a program that is not ours, and its logs by us (tlog-scales)."""

import contextlib
import io
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.cli.log_files import prove_from_directory, verify_log_directory
from service.log.checkpoint import cosign_checkpoint
from service.log.merkle import prove_consistency
from service.log.note import KeyKind, VerifierKey
from service.log.tiles import subtree_from_tiles

pytest.importorskip("tlog_scales", reason="the foreign verifier tlog-scales is absent")

from tlog_scales import cli, signing, tiles, tlog
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.writer import TilesWriter

SIZE = 66_000
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory, big_log, key):
    directory = tmp_path_factory.mktemp("export")
    for path, data in big_log.files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (directory / "vkey").write_text(key.format())
    return directory


@pytest.fixture(scope="module")
def reader(exported):
    reader = TilesReader(LocalBackend(exported))
    reader.get_checkpoint()
    return reader


def test_it_accepts_the_checkpoint_and_finds_its_root_in_the_tiles(reader, key):
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(signing.Vkey.from_string(key.format()))
    assert checkpoint.size == SIZE
    assert reader.calculate_root_hash() == checkpoint.root_hash


@pytest.mark.parametrize("index", [0, 255, 256, 65_535, 65_536, 65_999])
def test_it_reads_the_entries_and_proves_them_as_we_do(exported, reader, index):
    entry, proof = prove_from_directory(exported, index)
    assert reader.get_entry(index) == entry
    checkpoint = reader.get_checkpoint()
    reader.get_inclusion_proof(index, SIZE).check(tiles.leaf_hash(entry), checkpoint.root_hash)
    output = io.StringIO()
    args = cli.build_parser().parse_args(["gen-proof", str(exported), str(index)])
    with contextlib.redirect_stdout(output):
        args.func(args)
    assert output.getvalue().encode() == proof


@pytest.mark.parametrize("old_size", [1, 255, 256, 300, 65_536, 65_999, 66_000])
def test_it_accepts_our_consistency_proofs(big_log, reader, old_size):
    proof = prove_consistency(old_size, SIZE, subtree_from_tiles(SIZE, big_log.read))
    old_root, new_root = reader.mth(0, old_size), reader.mth(0, SIZE)
    tlog.ConsistencyProof(old_size, SIZE, list(proof)).check(old_root, new_root)


def test_it_accepts_our_cosignatures(big_log):
    data = cosign_checkpoint(
        big_log.checkpoint(5),
        name="w.example.com",
        key=WITNESS,
        now=datetime(2026, 3, 4, tzinfo=UTC),
    )
    public = WITNESS.public_key().public_bytes_raw()
    witness = VerifierKey("w.example.com", public, KeyKind.COSIGNATURE)
    tlog.Checkpoint.from_text(data.decode()).verify(signing.Vkey.from_string(witness.format()))


def test_a_log_that_it_wrote_is_verified_by_us(tmp_path):
    signer = signing.PlainEd25519Signer("foreign.example.org", WITNESS)
    writer = TilesWriter.create(tmp_path / "log", "foreign.example.org")
    for level in ("entries", "0", "1"):
        (tmp_path / "log" / "tile" / level / "000.p").mkdir(parents=True)
        (tmp_path / "log" / "tile" / level / "001.p").mkdir()
    for count in (200, 100):
        for i in range(count):
            writer.add_leaf(b"leaf %d" % i)
        writer.commit([signer], gc=False)
    (tmp_path / "log" / "vkey").write_text(signer.vkey.serialize())
    verdict = verify_log_directory(tmp_path / "log")
    assert verdict.lines[0].startswith("Verified: all 300 entries of foreign.example.org")
