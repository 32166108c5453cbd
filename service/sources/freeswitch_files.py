"""What FreeSWITCH leaves in directories: records that it could not post, recordings that it could not upload."""

import re
from collections.abc import Iterator
from typing import Final

from service.sources.files import CONTENT_TYPES, RecordingFile, RequestFile, suffix_of

_RECORD: Final = re.compile(r"(?P<leg>[0-9A-Za-z_.@:+-]{1,200})\.cdr\.(?:json|xml)", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def recognise_file(name: str, head: bytes) -> RequestFile | RecordingFile | None:
    """Return what the file ``name`` is, which begins with ``head``.

    ``[a_]UUID.cdr.json`` and ``.cdr.xml`` are call records of the leg UUID (``err-log-dir``). A recording is of the
    call whose uuid it tells in itself, as ``RECORD_COMMENT``, or else in its name. In the cache of mod_http_cache names
    are random: a recording that tells nothing is kept all the same, and waits for a person.
    """
    base = name.rpartition("/")[2]
    if record := _RECORD.fullmatch(base):
        return RequestFile(f"uuid={record['leg']}")
    content_type = CONTENT_TYPES.get(suffix_of(name))
    if content_type is None:
        return None
    stem = name.rpartition(".")[0]
    told = [*_UUID.findall(" ".join(_information(head))), *_UUID.findall(base), stem]
    return RecordingFile(source_id=told[0], name=base, content_type=content_type)


def _information(head: bytes) -> Iterator[str]:
    """Yield the texts that a RIFF file tells of itself before its sound (``LIST`` of ``INFO``)."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    for name, chunk in _chunks(head[12:]):
        if name == b"LIST" and chunk[:4] == b"INFO":
            yield from (text.decode(errors="replace") for _, text in _chunks(chunk[4:]))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of ``data``, of which the last may be cut; an odd one is followed by a byte of nothing."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        yield data[place : place + 4], data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
