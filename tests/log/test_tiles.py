import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import NotFoundError
from service.log.errors import FormatError
from service.log.merkle import (
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    root_hash,
    subtree_of,
)
from service.log.tiles import (
    ENTRIES,
    Tile,
    build_bundles,
    build_tiles,
    decode_bundle,
    encode_bundle,
    read_hashes,
    subtree_from_tiles,
    tiles_of,
)

LEAVES = [leaf_hash(b"%d" % i) for i in range(70_000)]


def reader(files):
    def read(path):
        if path not in files:
            raise NotFoundError(path)
        return files[path]

    return read


def built(size):
    return {tile.path: data for tile, data in build_tiles(0, LEAVES[:size], reader({}))}


BIG = built(70_000)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(63, 1234, 17), "tile/63/x001/234.p/17"),
        (Tile(ENTRIES, 5), "tile/entries/005"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
    ],
)
def test_a_tile_has_one_path(tile, path):
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/../000",
        "tile/0/\u0660\u0660\u0660",
        "tile/data/000",
        "tile/entries/000.p/-1",
        "tile/0/" + "x001/" * 9 + "000",
    ],
)
def test_refuses_the_path(path):
    with pytest.raises(FormatError):
        Tile.parse(path)


@given(level=st.integers(-1, 63), index=st.integers(0, 2**55 - 1), width=st.integers(1, 256))
def test_paths_read_back(level, index, width):
    tile = Tile(level, index, width)
    assert Tile.parse(tile.path) == tile


@given(st.text(max_size=40) | st.from_regex(r"tile/(entries|\d\d?)/(x\d{3}/)*\d{3}(\.p/\d+)?"))
def test_a_path_is_refused_or_has_one_spelling(path):
    try:
        tile = Tile.parse(path)
    except FormatError:
        return
    assert tile.path == path


def test_a_tree_of_70000_has_the_tiles_of_the_specification():
    # C2SP tlog-tiles gives this very example.
    tiles = [tile for tile in tiles_of(70_000) if tile.level >= 0]
    assert sum(tile.level == 0 and tile.width == 256 for tile in tiles) == 273
    partial = [(tile.level, tile.width) for tile in tiles if tile.width < 256]
    assert partial == [(0, 112), (1, 17), (2, 1)]
    assert {tile.path for tile in tiles} == BIG.keys()


def test_a_tree_of_256_has_a_full_tile_and_a_partial_one_above():
    assert [tile.path for tile in tiles_of(256)] == [
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
    ]


def test_an_empty_tree_has_no_tiles():
    assert list(tiles_of(0)) == []


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.integers(0, 700), min_size=1, max_size=6))
def test_tiles_grown_in_steps_are_those_made_at_once(steps):
    files, size = {}, 0
    for step in steps:
        new = build_tiles(size, LEAVES[size : size + step], reader(files))
        files |= {tile.path: data for tile, data in new}
        size += step
    at_once = built(size)
    assert at_once.items() <= files.items()
    assert at_once.keys() == {tile.path for tile in tiles_of(size) if tile.level >= 0}


def test_a_step_writes_only_what_is_new():
    old = built(69_990)
    touched = []

    def read(path):
        touched.append(path)
        return old[path]

    new = dict(build_tiles(69_990, LEAVES[69_990:70_000], read))
    assert [tile.path for tile in new] == ["tile/0/273.p/112"]
    assert touched == ["tile/0/273.p/102"]


def test_nothing_new_writes_nothing():
    assert list(build_tiles(300, [], reader({}))) == []
    assert list(build_bundles(300, [], reader({}))) == []


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=st.integers(1, 70_000))
def test_proofs_from_tiles_are_those_from_all_leaves(data, size):
    index = data.draw(st.integers(0, size - 1))
    old_size = data.draw(st.integers(1, size))
    leaves = LEAVES[:size]
    from_tiles = subtree_from_tiles(70_000, reader(BIG))
    assert from_tiles(0, size) == root_hash(leaves)
    naive = subtree_of(leaves)
    assert prove_inclusion(index, size, from_tiles) == prove_inclusion(index, size, naive)
    assert prove_consistency(old_size, size, from_tiles) == prove_consistency(
        old_size, size, naive
    )


def test_a_proof_reads_few_tiles_and_each_once():
    read = []

    def count(path):
        read.append(path)
        return BIG[path]

    prove_inclusion(12_345, 70_000, subtree_from_tiles(70_000, count))
    assert len(read) == len(set(read)) <= 5


def test_a_partial_tile_that_was_dropped_is_taken_from_the_full_one():
    full = built(256)
    assert read_hashes(Tile(0, 0, 7), reader(full)) == tuple(LEAVES[:7])


def test_a_full_tile_that_is_gone_is_missed():
    with pytest.raises(NotFoundError):
        read_hashes(Tile(0, 0), reader(built(255)))


@pytest.mark.parametrize("length", [0, 31, 32 * 7 - 1, 32 * 7 + 1, 32 * 8])
def test_a_tile_of_wrong_length_is_refused(length):
    with pytest.raises(FormatError):
        read_hashes(Tile(0, 0, 7), reader({"tile/0/000.p/7": bytes(length)}))


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_bundles_read_back(entries):
    assert decode_bundle(encode_bundle(entries)) == tuple(entries)


@given(st.binary(max_size=300))
def test_bytes_are_one_bundle_or_none(data):
    try:
        entries = decode_bundle(data)
    except FormatError:
        return
    assert encode_bundle(entries) == data


@pytest.mark.parametrize("data", [b"\0", b"\0\1", b"\0\2a", b"\0\1ab", b"\0\1a\0"])
def test_a_bundle_that_ends_within_an_entry_is_refused(data):
    with pytest.raises(FormatError):
        decode_bundle(data)


def test_an_entry_of_65535_bytes_fits_and_one_more_does_not():
    assert decode_bundle(encode_bundle([bytes(65535)])) == (bytes(65535),)
    with pytest.raises(FormatError):
        encode_bundle([bytes(65536)])


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.integers(0, 400), min_size=1, max_size=5))
def test_bundles_grown_in_steps_hold_every_entry(steps):
    files, entries = {}, []
    for step in steps:
        new = [b"%d" % i for i in range(len(entries), len(entries) + step)]
        grown = build_bundles(len(entries), new, reader(files))
        files |= {tile.path: data for tile, data in grown}
        entries += new
    bundles = [tile for tile in tiles_of(len(entries)) if tile.level == ENTRIES]
    assert [e for tile in bundles for e in decode_bundle(files[tile.path])] == entries
