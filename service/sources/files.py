"""What a file is that a source left in a directory: a request that it could not send, or a recording."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 4096
"""So much of a file is shown to whoever says what it is."""

CONTENT_TYPES: Final = {
    "flac": "audio/flac",
    "gsm": "audio/gsm",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
"""The media types of recordings, by the suffixes of their files."""


@dataclass(frozen=True, slots=True)
class RequestFile:
    """The body of a request that would have been sent with ``query``.

    ``is_unfinished``: its place says that it is still being written, unless nothing was written for long, also not to
    ``grows_with``, a file below the directory; None where there is no such file.
    """

    query: str
    is_unfinished: bool = False
    grows_with: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """A recording called ``name`` of what the source calls ``source_id``.

    ``whole_with`` is the name of a file below the directory that is there, or was, when the recording is whole; None
    where the recording itself tells.
    """

    source_id: str
    name: str
    content_type: str
    whole_with: str | None = None


FileKind = Callable[[str, bytes], RequestFile | RecordingFile | None]
"""Says what a file is, by its name (its path below the directory, with ``/``) and its first ``HEAD_BYTES``.

None: it is not one of the source's. The name may be anything, also what is no text.
"""


def is_finished_wave(head: bytes, size: int) -> bool:
    """Tell whether a file of ``size`` bytes that begins with ``head`` is a WAV that was closed, with sound in it.

    Until it is closed its header tells less, or nothing, while its call may still be waiting for an answer.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or _number(head, 4) != size - 8:
        return False
    return any(name == b"data" and length for name, length, _ in wave_chunks(head[12:]))


def wave_chunks(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield name, length and content of the RIFF chunks that ``data`` begins with; the content of the last may be cut.

    An odd one is followed by a byte of nothing.
    """
    place = 0
    while place + 8 <= len(data):
        length = _number(data, place + 4)
        yield data[place : place + 4], length, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _number(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "little")


def suffix_of(name: str) -> str:
    """Return what stands behind the last dot of the file's name, in small letters; nothing where there is none."""
    _, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot else ""
