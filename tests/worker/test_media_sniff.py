"""The bytes decide which decoder runs; a name or type is asked only when they are silent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.worker.media.sniff import find_format


def find(data, **hints):
    return find_format(
        lambda offset, length: data[offset : offset + length], size_bytes=len(data), **hints
    )


def id3(length, *, footer=False):
    sizes = bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\4\0" + (b"\x10" if footer else b"\0") + sizes + bytes(length)
    return tag + (bytes(10) if footer else b"")


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"RF64\xff\xff\xff\xffWAVE", "wav"),
        (b"OggS", "ogg"),
        (b"fLaC", "flac"),
        (b"\0\0\0\x20ftypM4A ", "mp4"),
        (b"\x1a\x45\xdf\xa3", "webm"),
        (b"#!AMR\n", "amr"),
        (b"#!AMR-WB\n", "amr"),
        (b".snd", "au"),
        (b"\xff\xfb\x90\x64", "mp3"),
        (b"\xff\xe3\x18\xc4", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
    ],
)
def test_a_mark_names_the_container(head, container):
    found = find(head + bytes(60), content_type="audio/pcmu", name="a.ul")
    assert (found.container, found.start, found.is_headerless) == (container, 0, False)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<!doctype html>", id="a page"),
        pytest.param(b"#EXTM3U\n#EXT-X-VERSION:3\n", id="a playlist"),
        pytest.param(b"ffconcat version 1.0\nfile /etc/hostname\n", id="a list of files"),
        pytest.param(b"RIFF\0\0\0\0AVI LIST", id="another RIFF form"),
        pytest.param(b"\xff\xef\x90\x64", id="a reserved MPEG version"),
        pytest.param(b"\xff\xfb\xf0\x64", id="a forbidden bit rate"),
        pytest.param(b"\xff\xfb\x9c\x64", id="a reserved sample rate"),
        pytest.param(b"%PDF-1.7", id="a document"),
    ],
)
def test_what_bears_no_mark_of_ours_is_not_decoded(data):
    assert find(data) is None


@pytest.mark.parametrize(
    ("hints", "demuxer", "options"),
    [
        ({"content_type": "audio/PCMU"}, "mulaw", {"sample_rate": "8000", "ch_layout": "1c"}),
        (
            {"content_type": 'audio/L16; rate="16000";Channels=2'},
            "s16be",
            {"sample_rate": "16000", "ch_layout": "2c"},
        ),
        (
            {"content_type": "audio/pcma;rate=99999999999;channels=0"},
            "alaw",
            {"sample_rate": "192000", "ch_layout": "1c"},
        ),
        ({"name": "in-1.AL"}, "alaw", {"sample_rate": "8000", "ch_layout": "1c"}),
        ({"name": "x.g722"}, "g722", {}),
        ({"name": "x.gsm", "content_type": "application/octet-stream"}, "gsm", {}),
    ],
)
def test_bare_samples_are_taken_at_the_senders_word(hints, demuxer, options):
    found = find(bytes(100), **hints)
    assert (found.demuxer, found.options, found.is_headerless) == (demuxer, options, True)


def test_tags_are_skipped_however_large():
    assert find(id3(300_000) + id3(9, footer=True) + b"\xff\xfb\x90\x64").start == 300_039


def test_a_tag_that_claims_more_than_the_file_leads_nowhere():
    assert find(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(100)) is None


def test_endless_tags_end():
    assert find(id3(0) * 1000) is None


@given(
    data=st.binary(max_size=200), content_type=st.text(max_size=40), name=st.text(max_size=20)
)
def test_anything_at_all_is_either_known_or_not(data, content_type, name):
    found = find(data, content_type=content_type, name=name)
    assert found is None or found.start >= 0
