"""What FreeSWITCH leaves in directories, by name and beginning."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sources.files import RecordingFile, RequestFile, is_finished_wave
from service.sources.freeswitch_files import recognise_file
from tests.freeswitch import A, B, sample


def riff(*texts):
    """Return the beginning of a recording that tells ``texts`` of itself."""
    inside = b"INFO" + b"".join(chunk(b"ICMT", text.encode() + b"\0") for text in texts)
    return b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", bytes(16)) + chunk(b"LIST", inside) + b"data"


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        (f"{A}.cdr.json", f"uuid={A}"),
        (f"a_{A}.cdr.json", f"uuid=a_{A}"),
        (f"2026/11/a_{A}.cdr.xml", f"uuid=a_{A}"),
        ("1-26302@127.0.0.1.cdr.json", "uuid=1-26302@127.0.0.1"),
    ],
)
def test_a_record_that_could_not_be_posted_is_a_request(name, query):
    assert recognise_file(name, b"%7B") == RequestFile(query)


@pytest.mark.parametrize(
    ("name", "head", "source_id"),
    [
        (f"{A}.wav", b"RIFF", A),
        (f"2026-11-22/in-{A}-1.WAV", b"", A),
        (f"{B}.wav", riff("Sähkökatko", A), A),
        (f"{B}.wav", riff(f"taltio:{A}"), A),
        (f"{B}.wav", riff("Sähkökatko"), B),
        (f"{B}.mp3", b"ID3", B),
        ("ab/cdef0000.wav", b"", "ab/cdef0000"),
    ],
)
def test_a_recording_is_of_the_call_that_it_or_its_name_tells(name, head, source_id):
    content_type = "audio/mpeg" if name.endswith("mp3") else "audio/wav"
    base = name.rpartition("/")[2]
    assert recognise_file(name, head) == RecordingFile(source_id, base, content_type)


@pytest.mark.parametrize("number", ["002", "005"])
def test_a_recording_that_was_captured_is_recognised_and_whole(number):
    _, _, body = sample("encode-form", number)
    assert recognise_file(f"x/{A}.wav", body[:4096]).source_id == A
    assert is_finished_wave(body[:4096], len(body))
    for size in (0, len(body) - 1, len(body) + 1):
        assert not is_finished_wave(body[:4096], size)


@pytest.mark.parametrize("name", ["", ".", "x", "x.json", "x.cdr.txt", "x.wav.part"])
def test_other_files_are_none_of_its(name):
    assert recognise_file(name, b"RIFF") is None


@pytest.mark.parametrize(
    "name", ["", "a b", "a?b=1", "a&uuid=2", "a%41", "ä", "\udcff", "a" * 201]
)
def test_a_name_that_could_tell_another_leg_is_none_of_a_record(name):
    assert recognise_file(f"{name}.cdr.json", b"{}") is None


@given(st.text(max_size=40), st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_whatever_a_file_is_called_and_begins_with_it_is_one_or_none(name, rest):
    for suffix in (".wav", ".cdr.json", ""):
        recognise_file(name + suffix, b"RIFF\0\0\0\0WAVE" + rest)
    is_finished_wave(b"RIFF\4\0\0\0WAVE" + rest, 12)
