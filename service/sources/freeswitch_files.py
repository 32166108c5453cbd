"""What FreeSWITCH leaves in directories: records that it could not post, recordings that it could not upload."""

import re
from collections.abc import Iterator
from typing import Final

from service.sources.files import (
    CONTENT_TYPES,
    RecordingFile,
    RequestFile,
    suffix_of,
    wave_chunks,
)

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
    for name, _, chunk in wave_chunks(head[12:]):
        if name == b"LIST" and chunk[:4] == b"INFO":
            yield from (text.decode(errors="replace") for _, _, text in wave_chunks(chunk[4:]))
