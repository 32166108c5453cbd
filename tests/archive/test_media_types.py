"""What a recording is: what its source says, or else what its bytes are."""

import pytest

from service.archive.media_types import suffix_of, type_of

BYTES = "application/octet-stream"


@pytest.mark.parametrize(
    ("claimed", "facts", "known"),
    [
        (BYTES, {"container": "wav"}, "audio/wav"),
        ("", {"container": "mp3"}, "audio/mpeg"),
        ("audio/x-wav", {"container": "ogg"}, "audio/x-wav"),
        (BYTES, {"container": "raw"}, BYTES),
        (BYTES, {"container": ""}, BYTES),
        (BYTES, {}, BYTES),
        (BYTES, None, BYTES),
        (BYTES, {"container": ["wav"]}, BYTES),
    ],
)
def test_what_its_source_does_not_say_its_bytes_tell(claimed, facts, known):
    assert type_of(claimed, facts) == known


def test_a_type_that_is_known_has_a_suffix():
    for container in ("aac", "flac", "mp3", "mp4", "ogg", "wav", "webm"):
        assert suffix_of(type_of(BYTES, {"container": container}))
