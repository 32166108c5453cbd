"""Anchors: the newest is found by its name, and only reading all of them reads all of them."""

import os
from datetime import date

import pytest

from service.archive import anchors as module
from service.archive.anchors import Anchors, anchor_name
from service.domain.errors import UnavailableError

ORIGIN = "archive.example.org"


@pytest.fixture
def directory(tmp_path):
    for day, sizes in {"2026-11-20": (4, 8), "2026-11-21": (12, 16, 20, 24)}.items():
        put(tmp_path, day, *sizes)
    put(tmp_path, ".", 2)
    return tmp_path


def genuine(note):
    return note.startswith(ORIGIN.encode())


def put(directory, day, *sizes, origin=ORIGIN):
    (directory / day).mkdir(exist_ok=True)
    for size in sizes:
        note = f"{origin} {size}".encode()
        (directory / day / anchor_name(origin, size)).write_bytes(note)


def test_the_anchor_of_a_known_size_is_read_without_looking_through_its_folder(
    directory, monkeypatch
):
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(
        module.os, "listdir", lambda path: [listed.append(path), *listdir(path)][1:]
    )
    found = Anchors(directory).newest(ORIGIN, {20, 16}, is_genuine=genuine)
    assert found == {f"2026-11-21/{anchor_name(ORIGIN, 20)}": f"{ORIGIN} 20".encode()}
    assert listed == [directory]


@pytest.mark.parametrize("size", [2, 8, 24])
def test_it_is_found_in_whatever_folder_it_lies(directory, size):
    (note,) = Anchors(directory).newest(ORIGIN, {size}, is_genuine=genuine).values()
    assert note == f"{ORIGIN} {size}".encode()


def test_without_the_one_looked_for_the_newest_few_are_taken(directory):
    found = Anchors(directory).newest(ORIGIN, {28}, is_genuine=genuine)
    assert list(found.values()) == [f"{ORIGIN} {size}".encode() for size in (24, 20, 16)]


def test_a_stray_file_hides_no_genuine_anchor(directory):
    for name in (anchor_name(ORIGIN, 8), anchor_name(ORIGIN, 99)):
        (directory / "2026-11-22").mkdir(exist_ok=True)
        (directory / "2026-11-22" / name).write_bytes(b"stray")
    found = Anchors(directory).newest(ORIGIN, {8}, is_genuine=genuine)
    assert list(found.values()) == [b"stray", f"{ORIGIN} 8".encode()]
    few = Anchors(directory).newest(ORIGIN, {28}, is_genuine=genuine)
    assert f"{ORIGIN} 24".encode() in few.values()


def test_a_log_of_a_similar_name_is_another_log(directory):
    put(directory, "2026-11-22", 99, origin=f"{ORIGIN}-2")
    assert (
        f"{ORIGIN} 24".encode()
        in Anchors(directory).newest(ORIGIN, {28}, is_genuine=genuine).values()
    )
    assert len(list(Anchors(directory).of_log(ORIGIN))) == 7
    assert len(list(Anchors(directory).of_log(f"{ORIGIN}-2"))) == 1


def test_all_are_read_one_after_the_other_the_newest_folder_first(directory):
    notes = Anchors(directory).of_log(ORIGIN)
    sizes = [int(note.split()[1]) for _, note in notes]
    assert sizes == [24, 20, 16, 12, 8, 4, 2]


def test_a_folder_of_the_future_is_used_until_the_days_have_caught_up(directory):
    anchors = Anchors(directory)
    assert anchors.folder_for(date(2026, 11, 22)) == "2026-11-22"
    assert anchors.folder_for(date(2026, 11, 19)) == "2026-11-21"


def test_a_missing_directory_holds_no_anchors(tmp_path):
    anchors = Anchors(tmp_path / "absent")
    assert anchors.newest(ORIGIN, {1}, is_genuine=genuine) == {}
    assert list(anchors.of_log(ORIGIN)) == []


def test_a_directory_that_cannot_be_read_is_told_of(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    anchors = Anchors(tmp_path / "file")
    with pytest.raises(UnavailableError):
        anchors.newest(ORIGIN, {1}, is_genuine=genuine)
    with pytest.raises(UnavailableError):
        list(anchors.of_log(ORIGIN))
