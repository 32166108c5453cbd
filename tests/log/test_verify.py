from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from service.log.checkpoint import Checkpoint, log_key, sign_checkpoint
from service.log.merkle import EMPTY_ROOT, leaf_hash, root_hash
from service.log.report import Outcome
from service.log.tiles import Tile, decode_bundle, encode_bundle
from service.log.verify import MAX_FINDINGS, inspect_log

SIZE = 700
BUNDLE_1 = "tile/entries/001"
TAIL_BUNDLE = "tile/entries/002.p/188"
TAIL_TILE = "tile/0/002.p/188"


@pytest.fixture
def log(make_log):
    return make_log(SIZE)


def inspect(log, key, **options):
    saved = options.pop("saved", {})
    return inspect_log(log.read, key=key, saved=saved.items(), **options)


def altered(report):
    return [(f.what, f.entry) for f in report.findings if f.outcome is Outcome.ALTERED]


def unchecked(report):
    return [(f.what, f.entry) for f in report.findings if f.outcome is Outcome.UNCHECKED]


def flip(log, path, byte=0):
    data = bytearray(log.files[path])
    data[byte] ^= 1
    log.files[path] = bytes(data)


def replace_entry(log, index, entry):
    tile = Tile(-1, index // 256, min(SIZE - index // 256 * 256, 256))
    entries = list(decode_bundle(log.files[tile.path]))
    entries[index % 256] = entry
    log.files[tile.path] = encode_bundle(entries)


def rehash(log, index):
    # What a forger with write access does: the tile of level 0 follows the entry.
    tile = Tile(-1, index // 256, min(SIZE - index // 256 * 256, 256))
    entries = decode_bundle(log.files[tile.path])
    path = tile.path.replace("entries", "0")
    log.files[path] = b"".join(leaf_hash(entry) for entry in entries)
    return root_hash([leaf_hash(entry) for entry in entries])


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 700, 1024])
def test_a_log_that_nobody_touched_is_verified(make_log, key, size):
    log = make_log(size)
    saved = {f"at {n}": log.checkpoint(n) for n in range(0, size + 1, 51)}
    report = inspect(log, key, saved=saved)
    assert report.findings == ()
    assert report.outcome is Outcome.VERIFIED
    assert (report.entries, report.saved) == (size, len(saved))


def test_a_log_with_three_levels_is_verified_and_one_entry_found(make_log, key):
    log = make_log(66_000)
    assert inspect(log, key).outcome is Outcome.VERIFIED
    flip(log, "tile/entries/100", 5)
    assert altered(inspect(log, key)) == [("entry 25600", 25600)]
    flip(log, "tile/entries/100", 5)
    flip(log, "tile/2/000.p/1")
    assert altered(inspect(log, key)) == [("tile/2/000.p/1", 0)]
    flip(log, "tile/2/000.p/1")
    for path in ("tile/entries/100", "tile/0/100", "tile/1/000"):
        flip(log, path, 5)
    assert ("entries from 0", 0) in altered(inspect(log, key))


@pytest.mark.parametrize("index", [0, 1, 255, 256, 300, 511, 512, 600, 699])
def test_one_changed_entry_is_named(log, key, index):
    replace_entry(log, index, b"forged")
    report = inspect(log, key)
    assert altered(report) == [(f"entry {index}", index)]
    assert unchecked(report) == []
    assert report.outcome is Outcome.ALTERED


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("tile/0/000", 0),
        ("tile/0/001", 256),
        (TAIL_TILE, 512),
        ("tile/1/000.p/2", 0),
    ],
)
def test_one_changed_tile_is_named(log, key, path, entry):
    flip(log, path)
    assert altered(inspect(log, key)) == [(path, entry)]


def test_an_entry_rewritten_with_its_tile_is_found_from_above(log, key):
    replace_entry(log, 300, b"forged")
    rehash(log, 300)
    assert altered(inspect(log, key)) == [("tile/0/001", 256), ("entries 256 to 511", 256)]


def test_an_entry_rewritten_with_every_tile_cannot_hide_from_the_signature(log, key):
    replace_entry(log, 300, b"forged")
    root = rehash(log, 300)
    log.files["tile/1/000.p/2"] = log.files["tile/1/000.p/2"][:32] + root
    saved = {"early": log.checkpoint(256), "late": log.checkpoint(400)}
    report = inspect(log, key, saved=saved)
    assert [what for what, _ in altered(report)] == ["late", "the log"]


def test_an_entry_that_differs_from_its_tile_is_named_even_when_more_is_wrong(log, key):
    replace_entry(log, 300, b"forged")
    replace_entry(log, 690, b"forged")
    flip(log, TAIL_TILE)
    names = [what for what, _ in altered(inspect(log, key))]
    assert "the log" in names
    assert {"entry 300", "entry 690"} <= set(names)


def test_swapped_tiles_are_named(log, key):
    files = log.files
    files["tile/0/000"], files["tile/0/001"] = files["tile/0/001"], files["tile/0/000"]
    assert altered(inspect(log, key)) == [("tile/0/000", 0), ("tile/0/001", 256)]


def test_swapped_bundles_are_named_entry_by_entry_up_to_a_limit(log, key):
    files = log.files
    files["tile/entries/000"], files[BUNDLE_1] = files[BUNDLE_1], files["tile/entries/000"]
    report = inspect(log, key)
    assert altered(report) == [(f"entry {i}", i) for i in range(MAX_FINDINGS)]
    assert unchecked(report) == [("the rest", None)]


def test_an_entry_taken_out_or_put_in_is_named(log, key):
    entries = list(decode_bundle(log.files[BUNDLE_1]))
    log.files[BUNDLE_1] = encode_bundle([*entries[:44], *entries[45:]])
    assert altered(inspect(log, key)) == [(BUNDLE_1, 300)]
    log.files[BUNDLE_1] = encode_bundle([*entries[:44], b"new", *entries[44:]])
    assert altered(inspect(log, key)) == [(BUNDLE_1, 300)]


def test_a_tail_cut_off_is_named_by_the_first_entry_that_is_gone(log, key):
    entries = decode_bundle(log.files[TAIL_BUNDLE])
    log.files[TAIL_BUNDLE] = encode_bundle(entries[:-3])
    assert altered(inspect(log, key)) == [(TAIL_BUNDLE, 697)]
    log.files[TAIL_BUNDLE] = encode_bundle(entries)[:-1]
    assert altered(inspect(log, key)) == [(TAIL_BUNDLE, 699)]


@pytest.mark.parametrize("path", ["tile/0/001", TAIL_TILE, "tile/1/000.p/2"])
def test_a_tile_of_another_length_is_altered(log, key, path):
    log.files[path] = log.files[path][:-1]
    assert [what for what, _ in altered(inspect(log, key))] == [path]


def test_a_bundle_that_is_missing_says_nothing_against_the_rest(log, key):
    del log.files[BUNDLE_1]
    report = inspect(log, key)
    assert report.outcome is Outcome.UNCHECKED
    assert unchecked(report) == [(BUNDLE_1, 256)]


def test_a_bundle_missing_where_the_log_lives_was_removed(log, key):
    del log.files[BUNDLE_1]
    assert altered(inspect(log, key, absent=Outcome.ALTERED)) == [(BUNDLE_1, 256)]


def test_a_public_copy_without_entries_is_checked_as_far_as_it_goes(log, key):
    log.files = {path: d for path, d in log.files.items() if "entries" not in path}
    report = inspect(log, key, saved={"early": log.checkpoint(300)})
    assert unchecked(report) == [("tile/entries/000", 0)]
    assert "and 2 after it" in report.findings[0].why
    assert altered(inspect(log, key, saved={"forged": log.checkpoint(300)})) == []
    flip(log, "tile/0/001")
    assert altered(inspect(log, key)) == [("tile/0/001", 256)]


def test_entries_alone_are_enough_to_know_that_they_are_whole(log, key):
    log.files = {p: d for p, d in log.files.items() if "entries" in p or p == "checkpoint"}
    report = inspect(log, key, saved={"early": log.checkpoint(300)})
    assert {what for what, _ in unchecked(report)} == {"tile/0/000", "tile/1/000.p/2"}
    replace_entry(log, 300, b"forged")
    assert inspect(log, key).outcome is Outcome.ALTERED


def test_nothing_but_a_checkpoint_cannot_be_checked(log, key):
    log.files = {"checkpoint": log.files["checkpoint"]}
    report = inspect(log, key, saved={"early": log.checkpoint(300)})
    assert report.outcome is Outcome.UNCHECKED
    assert {"the log", "early"} <= {what for what, _ in unchecked(report)}


def test_a_full_tile_stands_in_for_a_partial_one(make_log, key):
    log = make_log(700)
    log.append(*(b"entry %d" % i for i in range(700, 1100)))
    del log.files[TAIL_BUNDLE], log.files[TAIL_TILE]
    assert inspect(log, key).outcome is Outcome.VERIFIED


def test_a_file_that_cannot_be_read_is_a_fault_and_no_alteration(log, key):
    def read(path):
        if path == BUNDLE_1:
            raise OSError(5, "Input/output error")
        return log.read(path)

    report = inspect_log(read, key=key)
    assert report.outcome is Outcome.UNCHECKED
    assert unchecked(report) == [(BUNDLE_1, 256)]
    assert "Input/output error" in report.findings[0].why


def test_a_log_smaller_than_a_saved_checkpoint_was_rolled_back(make_log, key):
    log = make_log(300)
    newest = log.checkpoint()
    log = make_log(290)
    report = inspect(log, key, saved={"anchors/newest": newest})
    assert altered(report) == [("anchors/newest", 290)]
    assert "newer than the log" in report.findings[0].why


def test_two_checkpoints_of_one_size_are_a_split_view(log, key):
    other = sign_checkpoint(Checkpoint(key.name, SIZE, bytes(32)), SECRET)
    report = inspect(log, key, saved={"anchors/other": other})
    assert altered(report) == [("anchors/other", None)]
    assert "two histories" in report.findings[0].why


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 699])
def test_a_saved_checkpoint_of_another_past_shows_that_it_was_rewritten(log, key, size):
    other = sign_checkpoint(Checkpoint(key.name, size, bytes(32)), SECRET)
    report = inspect(log, key, saved={"anchors/other": other})
    assert altered(report) == [("anchors/other", None)]
    assert "rewritten" in report.findings[0].why


def test_a_saved_checkpoint_that_the_log_did_not_sign_is_no_witness(log, key):
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    foreign = sign_checkpoint(Checkpoint("other.example.org", 900, bytes(32)), stranger)
    own_key = sign_checkpoint(Checkpoint("old.example.org", 900, bytes(32)), SECRET)
    report = inspect(log, key, saved={"foreign": foreign, "old": own_key})
    assert unchecked(report) == [("foreign", None), ("old", None)]
    assert altered(report) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"garbage\n", b"a\n1\n\n"],
    ids=["empty", "binary", "text", "cut"],
)
def test_a_checkpoint_that_is_none_was_altered(log, key, data):
    log.files["checkpoint"] = data
    assert altered(inspect(log, key)) == [("checkpoint", None)]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"garbage\n", b"a\n1\n\n", bytes(600_000)],
    ids=["empty", "binary", "text", "cut", "long"],
)
def test_a_stray_file_beside_saved_checkpoints_is_no_sign_of_tampering(log, key, data):
    report = inspect(log, key, saved={"anchors/x": data, "anchors/y": log.checkpoint(300)})
    assert (altered(report), unchecked(report)) == ([], [("anchors/x", None)])
    assert report.saved == 1


def test_a_checkpoint_with_another_size_does_not_verify(log, key):
    log.files["checkpoint"] = log.files["checkpoint"].replace(b"\n700\n", b"\n699\n")
    assert ("checkpoint", None) in altered(inspect(log, key))


def test_a_forged_checkpoint_is_altered_and_says_nothing_against_the_log(log, key):
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    forged = sign_checkpoint(Checkpoint(key.name, SIZE, bytes(32)), stranger)
    log.files["checkpoint"] = forged
    report = inspect(log, key)
    assert altered(report) == []
    assert unchecked(report) == [("checkpoint", None), ("the log", None)]
    replace_entry(log, 300, b"forged")
    assert ("entry 300", 300) in altered(inspect(log, key))


def test_without_a_checkpoint_nothing_can_be_checked(log, key):
    del log.files["checkpoint"]
    assert unchecked(inspect(log, key)) == [("checkpoint", None)]


def test_a_key_that_is_not_the_log_s_says_nothing(log):
    stranger = log_key(
        "log.example.org/taltio", Ed25519PrivateKey.from_private_bytes(bytes(32))
    )
    report = inspect(log, stranger)
    assert report.outcome is Outcome.UNCHECKED
    replace_entry(log, 300, b"forged")
    assert altered(inspect(log, stranger)) == [("entry 300", 300)]


def test_an_empty_log_has_the_empty_root(make_log, key):
    log = make_log(0)
    log.files["checkpoint"] = sign_checkpoint(Checkpoint(key.name, 0, bytes(32)), SECRET)
    assert altered(inspect(log, key)) == [("checkpoint", None)]
    assert inspect(make_log(0), key).checkpoint.root == EMPTY_ROOT


def test_progress_is_told_bundle_by_bundle(log, key):
    told = []
    inspect(log, key, on_progress=lambda done, size: told.append((done, size)))
    assert told == [(256, 700), (512, 700), (700, 700)]


SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_altered_and_named_by_its_place(data, small_log, key):
    files = small_log.files
    path = data.draw(st.sampled_from(sorted(files)))
    bit = data.draw(st.integers(0, len(files[path]) * 8 - 1))
    changed = bytearray(files[path])
    changed[bit // 8] ^= 1 << bit % 8
    log = replace(small_log, files=files | {path: bytes(changed)})
    report = inspect(log, key)
    assert report.outcome is not Outcome.VERIFIED
    if path.startswith("tile/entries"):
        first = int(path[13:16]) * 256
        assert all(first <= entry < first + 256 for _, entry in altered(report))
        assert altered(report)
    else:
        assert {what for what, _ in altered(report)} <= {path}
        assert path in {finding.what for finding in report.findings}
