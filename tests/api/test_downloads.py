"""Names and types of content that strangers made."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.downloads import attachment, safe_name, safe_type


@pytest.mark.parametrize(
    ("claimed", "given_out"),
    [
        ("audio/wav", "audio/wav"),
        ("Audio/WAV; rate=8000", "audio/wav"),
        ("audio/ogg; codecs=opus", "audio/ogg"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-7", "text/plain; charset=utf-8"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("audio/wav\r\nX-Evil: 1", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_only_what_cannot_run_keeps_its_type(claimed, given_out):
    assert safe_type(claimed) == given_out


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("call.wav", "call.wav"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/absolute/call.wav", "call.wav"),
        ("C:\\Windows\\call.wav", "call.wav"),
        ("call.wav\x00.exe", "call.wav.exe"),
        ("a\r\nSet-Cookie: x=1", " x=1".strip()),
        ("gnp.\u202eexe", "gnp.exe"),
        ("..", "rc_1"),
        (".", "rc_1"),
        ("", "rc_1"),
        ("CON", "rc_1"),
        ("nul.wav", "rc_1"),
        ("%2e%2e%2fx", "_2e_2e_2fx"),
        ("valitus \u00e4\u00e4nite.wav", "valitus \u00e4\u00e4nite.wav"),
        ("x" * 4096 + ".wav", "x" * 96 + ".wav"),
    ],
)
def test_a_name_is_no_path_and_hides_nothing(name, safe):
    assert safe_name(name, otherwise="rc_1") == safe


def test_a_plain_name_is_sent_plainly():
    assert attachment("call.wav") == 'attachment; filename="call.wav"'


def test_another_name_is_sent_in_both_forms():
    assert (
        attachment("\u00e4\u00e4ni 1.wav")
        == "attachment; filename=\"__ni_1.wav\"; filename*=UTF-8''%C3%A4%C3%A4ni%201.wav"
    )


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_whatever_the_name_the_header_is_one_line_of_ascii(name):
    safe = safe_name(name, otherwise="rc_1")
    header = attachment(safe)
    assert header.isascii()
    assert header.isprintable()
    assert "/" not in safe
    assert safe not in {"", ".", ".."}
