"""What Asterisk leaves in directories: call detail records as CSV, and recordings of MixMonitor."""

import re
from typing import Final

from service.sources.files import CONTENT_TYPES, RecordingFile, RequestFile, suffix_of

# uniqueid, after the time of day with the name of the system before it where that is set (asterisk.conf, systemname).
_UNIQUE: Final = re.compile(
    r"(?:^|[-_])((?:(?<=-\d{6}-)[A-Za-z][A-Za-z0-9]*-)?\d{9,11}\.\d+)(?:-(?:rx|tx|in|out))?$",
    re.ASCII,
)


def recognise_file(name: str, head: bytes) -> RequestFile | RecordingFile | None:  # noqa: ARG001  # as others need it
    """Return what the file ``name`` is: ``*.csv`` holds records; a recording is of the call that its name ends with.

    FreePBX calls recordings so, and so does the extension in docs/sources/asterisk.md.
    """
    base = name.rpartition("/")[2]
    suffix = suffix_of(name)
    if suffix == "csv":
        return RequestFile("")
    content_type = CONTENT_TYPES.get(suffix)
    if content_type is None:
        return None
    stem = base.rpartition(".")[0]
    told = _UNIQUE.search(stem)
    return RecordingFile(
        source_id=told[1] if told else stem, name=base, content_type=content_type
    )
